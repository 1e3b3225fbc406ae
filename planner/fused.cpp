// One partition a range of batches.
#include "planner/fused.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "planner/dram.h"
#include "planner/steps.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

bool has_free_batch(const Graph& graph) {
  return std::any_of(graph.values.begin(), graph.values.end(), [](const Value& v) { return v.shape && has_batch(*v.shape); });
}

/// Modules carry their prediction from the start; this gives the steps of single nodes theirs, and all what their order makes of DRAM.
void predict_steps(const Graph& graph, const DeviceModel& device, const Partition& parts, PlanVariant& variant) {
  std::map<NodeId, const Cost*> alone;
  for (const Choice& c : parts.choices) {
    if (!c.group.module) alone[c.group.nodes.front()] = &c.group.cost;
  }
  for (PlanStep& step : variant.steps) {
    const auto found = alone.find(step.node);
    if (step.kind != PlanStep::Kind::node || found == alone.end()) continue;
    step.predicted = Prediction{found->second->time_us, found->second->l2_bytes(), found->second->dram_bytes};
  }
  const std::vector<double> dram = dram_bytes(graph, variant, parts.batch, device);
  for (size_t i = 0; i < dram.size(); ++i) {
    if (variant.steps[i].predicted) variant.steps[i].predicted->dram_bytes = dram[i];
  }
}

/// Two variants run the same steps when their texts agree but for the range.
bool same_steps(const PlanVariant& a, const PlanVariant& b) {
  const auto same_op = [](const PlanStep& x, const PlanStep& y) { return x.op == y.op; };
  if (!std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(), same_op)) return false;
  Plan left, right;
  left.variants = {a};
  right.variants = {b};
  left.variants[0].max_batch = right.variants[0].max_batch = 0;
  return to_string(left) == to_string(right);
}

}  // namespace

std::vector<NodeId> full_precision_nodes(const Graph& graph, const std::map<std::string, NodeOverride>& overrides) {
  std::vector<NodeId> nodes;
  for (const auto& [name, what] : overrides) {
    bool found = false;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      if (graph.nodes[n].origin.name != name) continue;
      found = true;
      if (what.full_precision) nodes.push_back(static_cast<NodeId>(n));
    }
    if (!found) throw Error(ErrorCode::command_line, fmt::format("{} has no node \"{}\"", graph.name, name));
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

std::vector<BatchRange> batch_ranges(int64_t max_batch) {
  std::vector<BatchRange> ranges;
  for (const int64_t up_to : {1, 8, 64}) {
    if (max_batch > 0 && max_batch <= up_to) {
      ranges.push_back({0, max_batch});
      return ranges;
    }
    ranges.push_back({up_to, up_to});
  }
  ranges.push_back({0, max_batch > 0 ? max_batch : 128});
  return ranges;
}

Plan plan_fused(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const DeviceModel& device,
                const FuseOptions& fuse) {
  PartitionOptions how;
  how.dtype = compute_dtype(options.precision);
  how.tf32 = options.tf32;
  how.fuse = fuse;
  how.alternatives = false;
  Plan plan;
  plan.options = options;
  plan.device_model = fmt::format("{}; {}", backend.device_model, device.fingerprint());
  const std::vector<BatchRange> ranges = has_free_batch(graph) ? batch_ranges(fuse.max_batch) : std::vector<BatchRange>{{0, 1}};
  std::vector<int64_t> batches;
  for (const BatchRange& range : ranges) batches.push_back(range.planned_at);
  const std::vector<Partition> covers = partitions(graph, device, how, batches);
  for (size_t i = 0; i < ranges.size(); ++i) {
    const BatchRange& range = ranges[i];
    std::vector<const Group*> groups;
    for (const Choice& c : covers[i].choices) {
      if (c.group.module) groups.push_back(&c.group);
    }
    PlanVariant variant = plan_steps(graph, options, backend, groups, full_precision_nodes(graph, fuse.overrides));
    variant.max_batch = range.up_to;
    predict_steps(graph, device, covers[i], variant);
    if (!plan.variants.empty() && same_steps(plan.variants.back(), variant)) {
      plan.variants.back().max_batch = range.up_to;
    } else {
      plan.variants.push_back(std::move(variant));
    }
  }
  return plan;
}

}  // namespace fcm
