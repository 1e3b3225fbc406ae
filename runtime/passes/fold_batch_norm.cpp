// BatchNormalization in inference mode is an affine map per channel: scale / sqrt(variance + epsilon), and bias - mean * that. It reaches
// the layer that makes its input directly, behind a Transpose of tokens [N,L,C] to [N,C,L], and behind a Concat of several layers'
// channels.
#include <algorithm>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

// The map of batch norm `n`, whose channels, on axis 1, are `channels` in number.
std::optional<Affine> map_of(const Rewriter& rewriter, NodeId n, int64_t channels) {
  const Node& node = rewriter.node(n);
  return channels > 0 ? affine_of(rewriter.graph(), node, std::get<BatchNorm>(node.op), channels) : std::nullopt;
}

// Whether axis 1 of the Conv's or Gemm's result `y` is what its weights' outputs lie on.
bool channels_on_axis_1(const Rewriter& rewriter, ValueId y) {
  const std::optional<Shape>& shape = rewriter.graph().value(y).shape;
  return rewriter.made_by<Gemm>(y) == nullptr || !shape || shape->size() == 2;
}

bool fold_directly(Rewriter& rewriter, NodeId n, ValueId x) {
  const int64_t channels = channels_on_axis_1(rewriter, x) ? foldable_channels(rewriter, x) : 0;
  const std::optional<Affine> affine = map_of(rewriter, n, channels);
  return affine && fold_affine_into(rewriter, rewriter.producer(x), n, *affine);
}

// A linear layer on tokens, turned so that its outputs lie on axis 1.
bool fold_behind_transpose(Rewriter& rewriter, NodeId n, ValueId x) {
  const auto* transpose = rewriter.made_by<Transpose>(x);
  if (transpose == nullptr || rewriter.sole_consumer(x) != n) return false;
  const Transpose turn = *transpose;
  const NodeId move = rewriter.producer(x);
  const ValueId tokens = rewriter.node(move).inputs[0];
  const std::optional<Shape>& shape = rewriter.graph().value(tokens).shape;
  if (rewriter.made_by<Gemm>(tokens) == nullptr || !shape || turn.perm.size() != shape->size()) return false;
  if (turn.perm[1] + 1 != static_cast<int64_t>(shape->size())) return false;
  const std::optional<Affine> affine = map_of(rewriter, n, foldable_channels(rewriter, tokens));
  std::optional<ScaledLayer> layer = affine ? scaled_layer(rewriter, rewriter.producer(tokens), *affine) : std::nullopt;
  if (!layer) return false;
  replace_layer(rewriter, rewriter.producer(tokens), std::move(*layer));
  rewriter.merge(move, n, turn, {tokens});
  return true;
}

// Layers whose outputs are joined, each with its range of the channels.
bool fold_behind_concat(Rewriter& rewriter, NodeId n, ValueId x) {
  const auto* concat = rewriter.made_by<Concat>(x);
  if (concat == nullptr || concat->axis != 1 || rewriter.sole_consumer(x) != n) return false;
  const NodeId join = rewriter.producer(x);
  const std::vector<ValueId> parts = rewriter.node(join).inputs;
  std::vector<int64_t> counts;
  int64_t channels = 0;
  for (const ValueId part : parts) {
    counts.push_back(channels_on_axis_1(rewriter, part) ? foldable_channels(rewriter, part) : 0);
    if (counts.back() == 0) return false;
    channels += counts.back();
  }
  const std::optional<Affine> affine = map_of(rewriter, n, channels);
  if (!affine) return false;
  std::vector<ScaledLayer> layers;
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto range = [&](const std::vector<double>& v) { return std::vector<double>(v.begin() + first, v.begin() + first + counts[i]); };
    std::optional<ScaledLayer> layer = scaled_layer(rewriter, rewriter.producer(parts[i]), {range(affine->scale), range(affine->shift)});
    if (!layer) return false;
    layers.push_back(std::move(*layer));
    first += counts[i];
  }
  for (size_t i = 0; i < parts.size(); ++i) replace_layer(rewriter, rewriter.producer(parts[i]), std::move(layers[i]));
  rewriter.merge(join, n, Concat{1}, parts);
  return true;
}

}  // namespace

int fold_batch_norm(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (!std::holds_alternative<BatchNorm>(rewriter.node(n).op)) continue;
    const ValueId x = rewriter.node(n).input(0);
    if (!fold_directly(rewriter, n, x) && !fold_behind_transpose(rewriter, n, x)) fold_behind_concat(rewriter, n, x);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
