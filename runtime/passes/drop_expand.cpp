// An Expand in front of arithmetic that broadcasts anyway: with another operand of the whole shape, it only copies.
#include <algorithm>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// Whether Binary `n` gives the same without the Expand that makes `wide`.
bool broadcasts_alone(const Rewriter& rewriter, NodeId n, ValueId wide) {
  const Node& node = rewriter.node(n);
  if (!std::holds_alternative<Binary>(node.op)) return false;
  const ValueId other = node.inputs[node.inputs[0] == wide ? 1 : 0];
  return other != wide && same_shape(rewriter.graph(), other, node.outputs[0]);
}

}  // namespace

int drop_expand(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (!std::holds_alternative<Expand>(rewriter.node(n).op) || rewriter.node(n).inputs.size() != 1) continue;
    const ValueId narrow = rewriter.node(n).inputs[0], wide = rewriter.node(n).outputs[0];
    const std::vector<NodeId> readers = rewriter.consumers(wide);
    for (const NodeId reader : readers) {
      if (!broadcasts_alone(rewriter, reader, wide)) continue;
      std::vector<ValueId> inputs = rewriter.node(reader).inputs;
      std::replace(inputs.begin(), inputs.end(), wide, narrow);
      const Op op = rewriter.node(reader).op;
      rewriter.replace(reader, op, std::move(inputs));
    }
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
