// Conv + x, Gemm + x: the sum moves into the layer's epilogue.
//
// The layer moves to the place of the sum, where x is known to exist. When both operands are layers the later one takes the sum: it would
// wait for the earlier one anyway.
#include <algorithm>
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// The Conv or Gemm that makes `y` with the sum `add` in its epilogue, where it can hold that.
std::optional<Op> with_residual(const Rewriter& rewriter, ValueId y, const Binary& add) {
  const NodeId n = rewriter.producer(y);
  if (n == kNoNode || rewriter.sole_consumer(y) == kNoNode || rewriter.node(n).input(3) != kNoValue) return std::nullopt;
  if (const auto* gemm = std::get_if<Gemm>(&rewriter.node(n).op)) {
    if (!gemm->activation.is_identity()) return std::nullopt;
    Gemm result = *gemm;
    result.activation = add.activation;
    return result;
  }
  const auto* conv = std::get_if<Conv>(&rewriter.node(n).op);
  if (conv == nullptr) return std::nullopt;
  Conv result = *conv;
  if (conv->activation.is_identity()) {
    result.activation = add.activation;
  } else {
    if (!add.activation.is_identity()) return std::nullopt;  // one activation before the sum and one behind it
    result.residual_after_activation = true;
  }
  return result;
}

}  // namespace

int fuse_residual(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* add = std::get_if<Binary>(&rewriter.node(n).op);
    if (add == nullptr || add->fn != BinaryFn::add) continue;
    std::vector<ValueId> operands = rewriter.node(n).inputs;
    if (!same_shape(graph, operands[0], operands[1])) continue;
    if (rewriter.producer(operands[0]) < rewriter.producer(operands[1])) std::swap(operands[0], operands[1]);
    for (size_t k = 0; k < 2; ++k) {
      const ValueId other = operands[1 - k];
      std::optional<Op> layer = with_residual(rewriter, operands[k], *add);
      if (!layer || graph.is_constant(other)) continue;
      const NodeId before = rewriter.producer(operands[k]);
      const Node& node = rewriter.node(before);
      rewriter.merge(before, n, std::move(*layer), {node.input(0), node.input(1), node.input(2), other});
      break;
    }
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
