// Conv, Gemm or Binary followed by an activation: one node.
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// Where `op` can take an activation: the field, still empty.
Unary* free_activation(Op& op) {
  Unary* activation = nullptr;
  if (auto* conv = std::get_if<Conv>(&op)) activation = &conv->activation;
  if (auto* gemm = std::get_if<Gemm>(&op)) activation = &gemm->activation;
  if (auto* binary = std::get_if<Binary>(&op)) activation = &binary->activation;
  return activation != nullptr && activation->is_identity() ? activation : nullptr;
}

}  // namespace

int fuse_activation(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* unary = std::get_if<UnaryOp>(&rewriter.node(n).op);
    if (unary == nullptr || unary->u.is_identity() || !is_activation(unary->u.fn)) continue;
    if (rewriter.node(n).inputs.size() != 1) continue;  // a Clip whose bounds are not bound
    const ValueId x = rewriter.node(n).inputs[0];
    const NodeId before = rewriter.producer(x);
    if (before == kNoNode || rewriter.sole_consumer(x) != n || !is_float(graph.value(x).dtype)) continue;
    Op op = rewriter.node(before).op;
    Unary* activation = free_activation(op);
    if (activation == nullptr) continue;
    *activation = unary->u;
    rewriter.merge(before, n, std::move(op), rewriter.node(before).inputs);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
