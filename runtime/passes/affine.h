// y * scale + shift, per output channel, into the weights of a Conv or Gemm.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/passes/rewriter.h"

namespace fcm::passes {

/// One scale and shift an output channel.
struct Affine {
  std::vector<double> scale;
  std::vector<double> shift;
};

/// The elements of a constant that broadcasts along `axis` of a value of `rank` axes alone, repeated to `channels`; empty otherwise.
std::vector<double> per_channel(const Graph& graph, ValueId v, size_t rank, size_t axis, int64_t channels);
/// The map that x + c, x - c, x * c or x / c is, c being one number a channel; nullopt for other functions.
std::optional<Affine> affine_of(BinaryFn fn, const std::vector<double>& c);
/// The map that a BatchNormalization is; nullopt when its parameters are not constants of `channels` elements, or the variance is broken,
/// which then stays visible in the graph.
std::optional<Affine> affine_of(const Graph& graph, const Node& node, const BatchNorm& norm, int64_t channels);

/// How many output channels the Conv or Gemm that makes `y` has, when its weights can take an affine map: they and the bias are
/// constant, nothing is fused into it yet, and `y` has no other reader. 0 otherwise.
int64_t foldable_channels(const Rewriter& rewriter, ValueId y);

/// A Conv or Gemm behind which an affine map has been taken in.
struct ScaledLayer {
  Op op;
  Tensor weights, bias;
};
/// The Conv or Gemm `layer` for which `foldable_channels` is not 0, followed by `affine`: the weights become weights * scale, the bias
/// bias * scale + shift, computed in double and rounded once. nullopt when that gives a value that is not finite in the weights' type.
std::optional<ScaledLayer> scaled_layer(const Rewriter& rewriter, NodeId layer, const Affine& affine);
/// Gives node `layer` those weights.
void replace_layer(Rewriter& rewriter, NodeId layer, ScaledLayer scaled);
/// Merges node `late`, the sole reader of the Conv or Gemm `early`, into it. False, with nothing changed, when `scaled_layer` is none.
bool fold_affine_into(Rewriter& rewriter, NodeId early, NodeId late, const Affine& affine);

}  // namespace fcm::passes
