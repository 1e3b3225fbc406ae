// The JSON view: every number of the partition.
#include <nlohmann/json.hpp>

#include "apps/fcm-plan/views.h"
#include "fcm/emit.h"

namespace fcm::apps {
namespace {

using nlohmann::json;

json traffic_json(const Traffic& t) {
  return {{"input", t.input}, {"weights", t.weights}, {"output", t.output}, {"residual", t.residual}, {"sums", t.sums}, {"gate", t.gate}};
}

json cost_json(const Cost& c) {
  return {{"time_us", c.time_us},
          {"step_us", c.step_us},
          {"among_us", c.among_us},
          {"dram_us", c.dram_us},
          {"l2_us", c.l2_us},
          {"compute_us", c.compute_us},
          {"latency_us", c.latency_us},
          {"l2_bytes", c.l2_bytes()},
          {"dram_bytes", c.dram_bytes},
          {"elements", c.elements},
          {"tensor_macs", c.tensor_macs},
          {"core_macs", c.core_macs},
          {"blocks", c.blocks},
          {"traffic", traffic_json(c.traffic)}};
}

json alternative_json(const Alternative& a) {
  if (a.text.empty()) return nullptr;
  return {{"text", a.text}, {"cost", cost_json(a.cost)}, {"why", a.why}};
}

json names_json(const Graph& graph, const std::vector<NodeId>& nodes) {
  json names = json::array();
  for (const NodeId n : nodes) names.push_back(graph.nodes[static_cast<size_t>(n)].origin.name);
  return names;
}

json choice_json(const PlanView& view, const Choice& c) {
  json parts = json::array();
  for (size_t i = 0; i < c.group.tiles.size(); ++i) {
    parts.push_back({{"spec", to_string(c.group.segment.parts[i].spec)},
                     {"images", c.group.segment.images.at(view.partition->batch)},
                     {"tile", to_string(c.group.tiles[i])},
                     {"kernel", emit(c.group.segment.parts[i].spec, c.group.tiles[i], view.device->target).launch.kernel},
                     {"cost", cost_json(c.group.part_costs[i])},
                     {"known", c.group.part_costs[i].known}});
  }
  json step = {{"nodes", names_json(*view.graph, c.group.nodes)},
               {"kind", kind_text(*view.graph, c.group)},
               {"module", c.group.module},
               {"parts", parts},
               {"cost", cost_json(c.group.cost)},
               {"unfused", alternative_json(c.unfused)},
               {"runner_up", alternative_json(c.runner_up)}};
  if (view.measured != nullptr)
    step["measured_us"] = measured_us(view, c.group), step["measured_alone_us"] = measured_alone_us(view, c.group);
  return step;
}

}  // namespace

std::string json_text(const PlanView& view) {
  json steps = json::array(), refusals = json::array();
  for (const Choice& c : view.partition->choices) steps.push_back(choice_json(view, c));
  for (const Refusal& r : view.partition->refusals)
    refusals.push_back({{"nodes", names_json(*view.graph, r.nodes)}, {"pattern", r.pattern}, {"reason", r.reason}});
  json document = {{"model", view.model},
                   {"device", view.device->name},
                   {"device_model", view.device->fingerprint()},
                   {"precision", view.precision},
                   {"batch", view.partition->batch},
                   {"objective", view.objective == Objective::gma ? "gma" : "time"},
                   {"plan_hash", view.plan_hash},
                   {"planning_ms", view.planning_ms},
                   {"steps", steps},
                   {"refusals", refusals},
                   {"total", cost_json(view.partition->total)},
                   {"unfused", cost_json(view.partition->unfused)}};
  if (view.measured != nullptr)
    document["measured"] = {{"replay_us", view.measured->replay_us}, {"unfused_replay_us", view.measured->unfused_replay_us}};
  return document.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace fcm::apps
