// BatchNormalization in inference mode is an affine map per channel: scale / sqrt(variance + epsilon), and bias - mean * that.
#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {

int fold_batch_norm(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* norm = std::get_if<BatchNorm>(&rewriter.node(n).op);
    if (norm == nullptr) continue;
    const ValueId x = rewriter.node(n).input(0);
    const bool tokens = rewriter.made_by<Gemm>(x) != nullptr && graph.value(x).shape && graph.value(x).shape->size() != 2;
    const int64_t channels = tokens ? 0 : foldable_channels(rewriter, x);  // BatchNormalization's channels are on axis 1
    const std::optional<Affine> affine = channels > 0 ? affine_of(graph, rewriter.node(n), *norm, channels) : std::nullopt;
    if (affine) fold_affine_into(rewriter, rewriter.producer(x), n, *affine);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
