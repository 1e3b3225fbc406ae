// Conv or Gemm followed by + - * / of a constant per channel: exporters write biases and scalings so.
#include <optional>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {

int fold_affine(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    const auto* binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || !binary->activation.is_identity()) continue;
    const ValueId x = node.inputs[0];  // `fold` puts a constant second
    const int64_t channels = foldable_channels(rewriter, x);
    if (channels == 0 || !same_shape(graph, x, node.outputs[0])) continue;
    const size_t rank = graph.value(x).shape->size(), axis = rewriter.made_by<Gemm>(x) != nullptr ? rank - 1 : 1;
    const std::vector<double> constant = per_channel(graph, node.inputs[1], rank, axis, channels);
    if (constant.empty()) continue;
    const std::optional<Affine> affine = affine_of(binary->fn, constant);
    if (affine) fold_affine_into(rewriter, rewriter.producer(x), n, *affine);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
