// BatchNormalization in inference mode is an affine map per channel: scale / sqrt(variance + epsilon), and bias - mean * that.
#include <cmath>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

// The parameters as an affine map of `channels` channels; false when they are not constants of that size.
bool batch_norm_affine(const Graph& graph, const Node& node, const BatchNorm& norm, int64_t channels, Affine& affine) {
  std::vector<double> parameters[4];  // scale, bias, mean, variance
  for (size_t i = 0; i < 4; ++i) {
    const ValueId v = node.input(i + 1);
    if (!graph.is_constant(v) || graph.value(v).constant->count() != channels) return false;
    parameters[i] = doubles_of(*graph.value(v).constant);
  }
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double scale = parameters[0][c] / std::sqrt(parameters[3][c] + static_cast<double>(norm.epsilon));
    if (!std::isfinite(scale)) return false;  // a broken variance stays visible in the graph
    affine.scale.push_back(scale);
    affine.shift.push_back(parameters[1][c] - parameters[2][c] * scale);
  }
  return true;
}

}  // namespace

int fold_batch_norm(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* norm = std::get_if<BatchNorm>(&rewriter.node(n).op);
    if (norm == nullptr) continue;
    const ValueId x = rewriter.node(n).input(0);
    const bool tokens = rewriter.made_by<Gemm>(x) != nullptr && graph.value(x).shape && graph.value(x).shape->size() != 2;
    const int64_t channels = tokens ? 0 : foldable_channels(rewriter, x);  // BatchNormalization's channels are on axis 1
    Affine affine;
    if (channels > 0 && batch_norm_affine(graph, rewriter.node(n), *norm, channels, affine))
      fold_affine_into(rewriter, rewriter.producer(x), n, affine);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
