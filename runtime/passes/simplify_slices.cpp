// A Split of which some parts are not read copies them all the same: a Slice for each of the others. A Slice of a Slice along other axes is
// one Slice.
#include <algorithm>

#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// The parts of a Split that are read, as Slices with the outputs of those parts; empty where that is all of them.
std::vector<Node> read_parts(const Graph& graph, const Uses& uses, const Node& node) {
  const auto& split = std::get<Split>(node.op);
  std::vector<Node> slices;
  int64_t start = 0;
  for (const ValueId y : node.outputs) {
    const std::optional<Shape>& shape = y == kNoValue ? std::nullopt : graph.value(y).shape;
    if (!shape || node.inputs.size() != 1) return {};
    const Dim size = (*shape)[static_cast<size_t>(split.axis)];
    if (size.batch) return {};
    if (!uses.consumers[static_cast<size_t>(y)].empty() || graph.is_output(y))
      slices.push_back({Slice{true, {start}, {start + size.factor}, {split.axis}, {1}}, {node.inputs[0]}, {y}, node.origin});
    start += size.factor;
  }
  return slices.size() == node.outputs.size() ? std::vector<Node>{} : slices;
}

int split_to_slices(Graph& graph) {
  const Uses uses(graph);
  std::vector<Node> nodes;
  int fired = 0;
  for (Node& node : graph.nodes) {
    std::vector<Node> parts;
    if (std::holds_alternative<Split>(node.op)) parts = read_parts(graph, uses, node);
    if (parts.empty()) {
      nodes.push_back(std::move(node));
    } else {
      nodes.insert(nodes.end(), std::make_move_iterator(parts.begin()), std::make_move_iterator(parts.end()));
      ++fired;
    }
  }
  graph.nodes = std::move(nodes);
  return fired;
}

void append(Ints& list, const Ints& more) {
  list.insert(list.end(), more.begin(), more.end());
}

int join_slices(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* outer = std::get_if<Slice>(&rewriter.node(n).op);
    const auto* inner = outer == nullptr ? nullptr : rewriter.made_by<Slice>(rewriter.node(n).inputs[0]);
    if (inner == nullptr || !outer->bound || !inner->bound) continue;
    const auto cuts_too = [&](int64_t axis) { return std::find(inner->axes.begin(), inner->axes.end(), axis) != inner->axes.end(); };
    const NodeId before = rewriter.producer(rewriter.node(n).inputs[0]);
    if (std::any_of(outer->axes.begin(), outer->axes.end(), cuts_too) || rewriter.sole_consumer(rewriter.node(before).outputs[0]) != n)
      continue;
    Slice both = *inner;
    append(both.starts, outer->starts);
    append(both.ends, outer->ends);
    append(both.axes, outer->axes);
    append(both.steps, outer->steps);
    rewriter.merge(before, n, both, rewriter.node(before).inputs);
  }
  return rewriter.finish();
}

}  // namespace

int simplify_slices(Graph& graph) {
  return split_to_slices(graph) + join_slices(graph);
}

}  // namespace fcm::passes
