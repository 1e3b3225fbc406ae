// A Reshape of a Gemm's rows moves in front of it: Reshape(Gemm(x)) is Gemm(Reshape(x)) when the last axis stays. What belongs to the layer
// then stands right behind it: LeViT normalises the flattened tokens of each linear layer.
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {

int hoist_reshape(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* reshape = std::get_if<Reshape>(&rewriter.node(n).op);
    if (rewriter.removed(n) || reshape == nullptr || !reshape->target || reshape->target->size() < 2) continue;
    const ValueId y = rewriter.node(n).inputs[0];
    const auto* gemm = rewriter.made_by<Gemm>(y);
    if (gemm == nullptr || gemm->trans_a || rewriter.sole_consumer(y) == kNoNode) continue;
    const NodeId layer = rewriter.producer(y);
    const Node node = rewriter.node(layer);
    const ValueId x = node.inputs[0], c = node.input(2);
    if (node.input(3) != kNoValue || graph.is_constant(x) || !graph.value(y).shape || !graph.value(x).shape) continue;
    if (reshape->target->back() != graph.value(y).shape->back()) continue;
    if (c != kNoValue && (!graph.is_constant(c) || graph.value(c).constant->count() != graph.value(y).shape->back().factor)) continue;
    Shape rows = *reshape->target;
    rows.back() = graph.value(x).shape->back();
    Reshape before;
    before.target = rows;
    const Value source = graph.value(x);
    const ValueId moved = rewriter.insert_before(n, before, {x}, Value{source.name + ".rows", source.dtype, rows, nullptr});
    rewriter.merge(layer, n, node.op, {moved, node.input(1), c});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
