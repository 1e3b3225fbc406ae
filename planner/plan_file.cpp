// Plan files; see plan_file.h. Reading finds the segments anew and replays the decisions, so that nothing in a file is trusted.
#include "planner/plan_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fcm/emit.h"
#include "planner/steps.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "fcm-plan";
constexpr int kVersion = 1;

const char* precision_text(Precision p) {
  return p == Precision::f16 ? "fp16" : p == Precision::bf16 ? "bf16" : "fp32";
}

json module_json(const Graph& graph, const std::vector<const PlanModule*>& parts) {
  json nodes = json::array(), modules = json::array();
  for (const NodeId n : parts.front()->nodes) nodes.push_back({n, graph.nodes[static_cast<size_t>(n)].origin.name});
  for (const PlanModule* part : parts) modules.push_back({{"spec", to_string(part->spec)}, {"tile", to_string(part->tile)}});
  return {{"nodes", nodes}, {"modules", modules}};
}

json variant_json(const Graph& graph, const PlanVariant& variant) {
  json segments = json::array(), choices = json::array(), full = json::array();
  for (size_t i = 0; i < variant.steps.size();) {
    std::vector<const PlanModule*> parts;
    for (; i < variant.steps.size() && variant.steps[i].module; ++i) {
      const PlanModule& m = *variant.steps[i].module;
      if (!parts.empty() && m.nodes != parts.front()->nodes) break;
      parts.push_back(&m);
    }
    if (!parts.empty()) {
      segments.push_back(module_json(graph, parts));
    } else {
      ++i;
    }
  }
  for (size_t i = 0; i < variant.steps.size(); ++i) {
    for (const auto& [batch, choice] : variant.steps[i].choices) choices.push_back({i, batch, choice});
  }
  for (const NodeId n : variant.full_precision) full.push_back({n, graph.nodes[static_cast<size_t>(n)].origin.name});
  return {{"max_batch", variant.max_batch}, {"segments", segments}, {"full_precision", full}, {"choices", choices}};
}

/// Reads one file; every complaint names it.
class Reader {
 public:
  Reader(std::string source, const Graph& graph, const PlanBackend& backend, const DeviceModel& device)
      : source_(std::move(source)), graph_(graph), backend_(backend), device_(device), chains_(find_chains(graph)) {}

  Plan read(const std::string& text) {
    const json root = json::parse(text, nullptr, false);
    if (!root.is_object() || text_at(root, "format") != kFormat) throw fail("not a plan file");
    if (number_at(root, "version") != kVersion)
      throw fail(fmt::format("format version {}; this library reads version {}", number_at(root, "version"), kVersion));
    if (const std::string digest = text_at(root, "graph"); digest != graph_digest(graph_))
      throw fail(fmt::format("made for the model \"{}\" (graph {}), not for {} (graph {})", text_at(root, "model"), digest, graph_.name,
                             graph_digest(graph_)));
    Plan plan;
    plan.options.precision = precision_of(text_at(root, "precision"));
    plan.options.tf32 = number_at(root, "tf32") != 0;
    plan.device_model = text_at(root, "device");
    for (const json& v : list_at(root, "variants")) plan.variants.push_back(variant(v, plan.options));
    if (plan.variants.empty() || plan.variants.back().max_batch != 0) throw fail("the last variant does not cover all batches");
    if (const std::string hash = text_at(root, "hash"); plan.hash() != hash)
      throw fail(
          fmt::format("its steps give the hash {}, the file names {}: it was changed, or made by another version of the planner or "
                      "with operators of another device",
                      plan.hash(), hash));
    if (plan.device_model.find(device_.fingerprint()) == std::string::npos)
      log(LogLevel::warning, "{}: made for {}; running on {}", source_, plan.device_model, device_.fingerprint());
    return plan;
  }

 private:
  Error fail(const std::string& what) const { return {ErrorCode::bad_input, fmt::format("plan {}: {}", source_, what)}; }

  const json& member(const json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name)) throw fail(fmt::format("\"{}\" is missing", name));
    return object[name];
  }
  std::string text_at(const json& object, const char* name) const {
    const json& m = member(object, name);
    if (!m.is_string()) throw fail(fmt::format("\"{}\" is no text", name));
    return m.get<std::string>();
  }
  int64_t number_at(const json& object, const char* name) const { return number(member(object, name), name); }
  int64_t number(const json& value, const char* what) const {
    if (!value.is_number_integer()) throw fail(fmt::format("\"{}\" is no whole number", what));
    return value.get<int64_t>();
  }
  const json& list_at(const json& object, const char* name) const {
    const json& m = member(object, name);
    if (!m.is_array()) throw fail(fmt::format("\"{}\" is no list", name));
    return m;
  }
  Precision precision_of(const std::string& text) const {
    for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
      if (text == precision_text(p)) return p;
    }
    throw fail(fmt::format("precision \"{}\"; accepted: fp32, fp16, bf16", text));
  }

  /// Position and name of a node: both must be the graph's.
  NodeId node(const json& entry) const {
    if (!entry.is_array() || entry.size() != 2 || !entry[1].is_string()) throw fail("a node is no [position, name]");
    const int64_t at = number(entry[0], "node");
    if (at < 0 || at >= static_cast<int64_t>(graph_.nodes.size())) throw fail(fmt::format("there is no node {}", at));
    const std::string& name = graph_.nodes[static_cast<size_t>(at)].origin.name;
    if (entry[1].get<std::string>() != name)
      throw fail(fmt::format("node {} is \"{}\", not \"{}\"", at, name, entry[1].get<std::string>()));
    return static_cast<NodeId>(at);
  }

  std::vector<NodeId> nodes_at(const json& object, const char* name) const {
    std::vector<NodeId> nodes;
    for (const json& entry : list_at(object, name)) nodes.push_back(node(entry));
    return nodes;
  }

  PlanVariant variant(const json& v, const PlanOptions& options) const {
    std::vector<Group> groups;
    std::vector<bool> taken(graph_.nodes.size(), false);
    for (const json& s : list_at(v, "segments")) {
      groups.push_back(group(s, options));
      for (const NodeId n : groups.back().nodes) {
        if (taken[static_cast<size_t>(n)]) throw fail(fmt::format("node {} is in two segments", n));
        taken[static_cast<size_t>(n)] = true;
      }
    }
    std::vector<const Group*> list;
    for (const Group& g : groups) list.push_back(&g);
    PlanVariant made = plan_steps(graph_, options, backend_, list, nodes_at(v, "full_precision"));
    made.max_batch = number_at(v, "max_batch");
    for (const json& c : list_at(v, "choices")) {
      if (!c.is_array() || c.size() != 3) throw fail("a choice is no [step, batch, algorithm]");
      const int64_t step = number(c[0], "step");
      if (step < 0 || step >= static_cast<int64_t>(made.steps.size())) throw fail(fmt::format("there is no step {}", step));
      made.steps[static_cast<size_t>(step)].choices[number(c[1], "batch")] = static_cast<int>(number(c[2], "algorithm"));
    }
    return made;
  }

  Segment segment_of(const std::vector<NodeId>& nodes, const PlanOptions& options) const {
    const SegmentFinder finder(graph_, {compute_dtype(options.precision), options.tf32, device_.target});
    for (const std::vector<NodeId>& chain : chains_) {
      const auto at = std::find(chain.begin(), chain.end(), nodes.empty() ? kNoNode : nodes.front());
      if (at == chain.end()) continue;
      for (Segment& s : finder.starting_at(chain, static_cast<size_t>(at - chain.begin()))) {
        if (s.nodes == nodes) return std::move(s);
      }
    }
    const std::string name = nodes.empty() ? "" : graph_.nodes[static_cast<size_t>(nodes.front())].origin.name;
    throw fail(fmt::format("the {} nodes from \"{}\" on are no module on {}", nodes.size(), name, device_.name));
  }

  Group group(const json& s, const PlanOptions& options) const {
    Group g;
    g.module = true;
    g.nodes = nodes_at(s, "nodes");
    g.segment = segment_of(g.nodes, options);
    const json& modules = list_at(s, "modules");
    if (modules.size() != g.segment.parts.size())
      throw fail(fmt::format("{} modules for a segment of {}", modules.size(), g.segment.parts.size()));
    for (size_t i = 0; i < modules.size(); ++i) {
      ModulePart& part = g.segment.parts[i];
      g.settle_sums(i);
      const std::string spec = text_at(modules[i], "spec");
      if (spec != to_string(part.spec)) throw fail(fmt::format("the module is {}, not {}", to_string(part.spec), spec));
      const TileConfig tile = parse_tile(text_at(modules[i], "tile"));
      if (const std::string why = refusal(part.spec, tile, device_); !why.empty())
        throw fail(fmt::format("tile {} of {}: {}", to_string(tile), spec, why));
      g.tiles.push_back(tile);
      g.part_costs.emplace_back();
    }
    return g;
  }

  std::string source_;
  const Graph& graph_;
  const PlanBackend& backend_;
  const DeviceModel& device_;
  std::vector<std::vector<NodeId>> chains_;
};

}  // namespace

std::string graph_digest(const Graph& graph) {
  const std::string text = to_string(graph);
  return text_hash(text.substr(text.find('(')));  // without the file's name
}

std::string plan_file_text(const Graph& graph, const Plan& plan) {
  json variants = json::array();
  for (const PlanVariant& v : plan.variants) variants.push_back(variant_json(graph, v));
  const json root = {{"format", kFormat},
                     {"version", kVersion},
                     {"model", graph.name},
                     {"graph", graph_digest(graph)},
                     {"precision", precision_text(plan.options.precision)},
                     {"tf32", plan.options.tf32 ? 1 : 0},
                     {"device", plan.device_model},
                     {"hash", plan.hash()},
                     {"variants", variants}};
  return root.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

Plan read_plan_file(const std::string& text, const std::string& source, const Graph& graph, const PlanBackend& backend,
                    const DeviceModel& device) {
  return Reader(source, graph, backend, device).read(text);
}

}  // namespace fcm
