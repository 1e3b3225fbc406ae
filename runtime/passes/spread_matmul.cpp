// Operands of a MatMul whose leading axes broadcast in part ([B,3,49,32] by [1,3,32,49], [3,1,3,4] by [1,2,4,2]) are repeated, so that
// both have the result's leading axes: batched products have one matrix of each operand a result, or one operand for all.
#include <algorithm>

#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

constexpr size_t kMatrix = 2;

Shape leading(const Shape& shape) {
  return {shape.begin(), shape.end() - static_cast<std::ptrdiff_t>(std::min(kMatrix, shape.size()))};
}

bool all_ones(const Shape& axes) {
  return std::all_of(axes.begin(), axes.end(), [](const Dim& d) { return d == Dim(1); });
}

// `v` as a value of the leading axes `full`, by a Reshape where axes are missing and an Expand.
ValueId spread(Rewriter& rewriter, NodeId n, ValueId v, const Shape& full) {
  const Value value = rewriter.graph().value(v);
  Shape thin = *value.shape;
  thin.insert(thin.begin(), full.size() + kMatrix - thin.size(), Dim(1));
  Shape wide = full;
  wide.insert(wide.end(), thin.end() - kMatrix, thin.end());
  if (thin != *value.shape) {
    Reshape reshape;
    reshape.target = thin;
    v = rewriter.insert_before(n, reshape, {v}, {value.name + ".aligned", value.dtype, thin, nullptr});
  }
  return thin == wide ? v : rewriter.insert_before(n, Expand{wide}, {v}, {value.name + ".spread", value.dtype, wide, nullptr});
}

}  // namespace

int spread_matmul(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    if (rewriter.removed(n) || !std::holds_alternative<MatMul>(node.op)) continue;
    const auto& a = graph.value(node.inputs[0]).shape;
    const auto& b = graph.value(node.inputs[1]).shape;
    const auto& y = graph.value(node.outputs[0]).shape;
    if (!a || !b || !y || a->size() < kMatrix || b->size() < kMatrix) continue;
    const Shape full = leading(*y);
    if (all_ones(leading(*a)) || all_ones(leading(*b)) || leading(*a) == leading(*b)) continue;
    std::vector<ValueId> inputs = node.inputs;
    for (ValueId& v : inputs) v = spread(rewriter, n, v, full);
    rewriter.replace(n, MatMul{}, std::move(inputs));
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
