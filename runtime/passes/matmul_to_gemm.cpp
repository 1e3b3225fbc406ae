// MatMul by a constant matrix to Gemm, whatever the axes of the rows; an Add of a constant row behind it becomes the bias.
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// A constant of shape [N], [1,N], [1,1,N], ...
bool is_row(const Graph& graph, ValueId v, int64_t columns) {
  if (!graph.is_constant(v)) return false;
  const Dims& dims = graph.value(v).constant->dims();
  return graph.value(v).constant->count() == columns && !dims.empty() && dims.back() == columns;
}

// The Add behind node `n` that can be its bias, or kNoNode.
NodeId bias_add(const Rewriter& rewriter, NodeId n, int64_t columns, ValueId& bias) {
  const Graph& graph = rewriter.graph();
  const ValueId y = rewriter.node(n).outputs[0];
  const NodeId next = rewriter.sole_consumer(y);
  if (next == kNoNode) return kNoNode;
  const Node& node = rewriter.node(next);
  const auto* add = std::get_if<Binary>(&node.op);
  if (add == nullptr || add->fn != BinaryFn::add || !add->activation.is_identity()) return kNoNode;
  bias = node.inputs[0] == y ? node.inputs[1] : node.inputs[0];
  return is_row(graph, bias, columns) && same_shape(graph, y, node.outputs[0]) ? next : kNoNode;
}

}  // namespace

int matmul_to_gemm(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    if (rewriter.removed(n) || !std::holds_alternative<MatMul>(node.op) || !graph.is_constant(node.inputs[1])) continue;
    const std::optional<Shape>& a = graph.value(node.inputs[0]).shape;
    const Tensor& b = *graph.value(node.inputs[1]).constant;
    if (!a || a->size() < 2 || b.rank() != 2 || !is_float(b.dtype())) continue;
    ValueId bias = kNoValue;
    const NodeId add = bias_add(rewriter, n, b.dims()[1], bias);
    std::vector<ValueId> inputs = node.inputs;
    if (add != kNoNode && graph.value(bias).constant->rank() > 2)
      bias = rewriter.add_constant(graph.value(bias).name, graph.value(bias).constant->reshaped({b.dims()[1]}));
    if (add == kNoNode) {
      rewriter.replace(n, Gemm{}, std::move(inputs));
    } else {
      inputs.push_back(bias);
      rewriter.merge(n, add, Gemm{}, std::move(inputs));
    }
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
