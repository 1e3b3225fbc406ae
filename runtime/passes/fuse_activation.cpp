// Conv, Gemm, Attention or Binary followed by an activation: one node, also where Reshapes and Transposes stand between. Behind a Concat of
// such nodes alone, each takes it.
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
  if (auto* attention = std::get_if<Attention>(&op)) activation = &attention->activation;
  if (auto* binary = std::get_if<Binary>(&op)) activation = &binary->activation;
  return activation != nullptr && activation->is_identity() ? activation : nullptr;
}

// The node that makes `x`, when `n` alone reads it and the activation fits into it; its operator with the activation in `op`.
NodeId with_activation(const Rewriter& rewriter, ValueId x, NodeId n, const Unary& u, Op& op) {
  const NodeId before = rewriter.producer(x);
  if (before == kNoNode || rewriter.sole_consumer(x) != n || !is_float(rewriter.graph().value(x).dtype)) return kNoNode;
  op = rewriter.node(before).op;
  Unary* activation = free_activation(op);
  if (activation == nullptr) return kNoNode;
  *activation = u;
  return before;
}

bool is_move(const Rewriter& rewriter, ValueId v) {
  return rewriter.made_by<Reshape>(v) != nullptr || rewriter.made_by<Transpose>(v) != nullptr;
}

// The node in front of the moves that alone lead to `x`, which node `n` alone reads, takes the activation; the last move takes the place of
// `n`.
void fuse_before_moves(Rewriter& rewriter, ValueId x, NodeId n, const Unary& u) {
  ValueId v = x;
  NodeId reader = n;
  while (is_move(rewriter, v) && rewriter.sole_consumer(v) == reader) {
    reader = rewriter.producer(v);
    v = rewriter.node(reader).inputs[0];
  }
  Op op;
  const NodeId before = reader == n ? kNoNode : with_activation(rewriter, v, reader, u, op);
  if (before == kNoNode) return;
  rewriter.replace(before, std::move(op), rewriter.node(before).inputs);
  const Node last = rewriter.node(rewriter.producer(x));
  rewriter.merge(rewriter.producer(x), n, last.op, last.inputs);
}

void fuse_into_parts(Rewriter& rewriter, NodeId join, NodeId n, const Unary& u) {
  const Node concat = rewriter.node(join);
  std::vector<std::pair<NodeId, Op>> parts;
  for (const ValueId x : concat.inputs) {
    Op op;
    const NodeId part = with_activation(rewriter, x, join, u, op);
    if (part == kNoNode) return;
    parts.emplace_back(part, std::move(op));
  }
  for (auto& [part, op] : parts) rewriter.replace(part, std::move(op), rewriter.node(part).inputs);
  rewriter.merge(join, n, concat.op, concat.inputs);
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
    const Unary u = unary->u;
    Op op;
    if (const NodeId before = with_activation(rewriter, x, n, u, op); before != kNoNode) {
      rewriter.merge(before, n, std::move(op), rewriter.node(before).inputs);
    } else if (rewriter.made_by<Concat>(x) != nullptr && rewriter.sole_consumer(x) == n) {
      fuse_into_parts(rewriter, rewriter.producer(x), n, u);
    } else {
      fuse_before_moves(rewriter, x, n, u);
    }
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
