// Weights of Conv: [F, C/group, kernel], so channel f is a contiguous block. Weights of Gemm: [K, N], or [N, K] when trans_b.
#include "runtime/passes/affine.h"

#include <algorithm>
#include <cmath>

#include "runtime/passes/match.h"

namespace fcm::passes {
namespace {

// The bias of a Gemm as one number an output channel; empty when its shape is not that of a bias.
std::vector<double> gemm_bias(const Graph& graph, const Gemm& gemm, ValueId c, int64_t channels) {
  std::vector<double> bias(static_cast<size_t>(channels), 0.0);
  if (c == kNoValue) return bias;
  const Tensor& t = *graph.value(c).constant;
  const bool per_channel = t.count() == channels && t.rank() >= 1 && t.dims().back() == channels;
  if (!per_channel && t.count() != 1) return {};
  const std::vector<double> values = doubles_of(t);
  for (size_t n = 0; n < bias.size(); ++n) bias[n] = static_cast<double>(gemm.beta) * values[per_channel ? n : 0];
  return bias;
}

int64_t conv_channels(const Rewriter& rewriter, const Node& node, const Conv& conv) {
  const Graph& graph = rewriter.graph();
  const ValueId bias = node.input(2);
  if (!conv.activation.is_identity() || node.input(3) != kNoValue || !graph.is_constant(node.input(1))) return 0;
  if (bias != kNoValue && !graph.is_constant(bias)) return 0;
  return graph.value(node.input(1)).constant->dims()[0];
}

int64_t gemm_channels(const Rewriter& rewriter, const Node& node, const Gemm& gemm) {
  const Graph& graph = rewriter.graph();
  const ValueId c = node.input(2);
  if (!gemm.activation.is_identity() || node.input(3) != kNoValue || !graph.is_constant(node.input(1))) return 0;
  if (c != kNoValue && !graph.is_constant(c)) return 0;
  const Dims& dims = graph.value(node.input(1)).constant->dims();
  const int64_t channels = gemm.trans_b ? dims[0] : dims[1];
  return gemm_bias(graph, gemm, c, channels).empty() ? 0 : channels;
}

bool all_finite(const Tensor& t) {
  const std::vector<double> values = doubles_of(t);
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

// The new weights and bias of a node whose output channel lies `stride` elements apart in the weights.
struct Folded {
  Tensor weights, bias;
};
Folded scaled(const Tensor& weights, std::vector<double> bias, size_t channels, size_t stride, const Affine& affine) {
  std::vector<double> w = doubles_of(weights);
  for (size_t i = 0; i < w.size(); ++i) w[i] *= affine.scale[i / stride % channels];
  for (size_t n = 0; n < channels; ++n) bias[n] = bias[n] * affine.scale[n] + affine.shift[n];
  return {tensor_of(w, weights.dtype(), weights.dims()), tensor_of(bias, weights.dtype(), {static_cast<int64_t>(channels)})};
}

}  // namespace

std::vector<double> per_channel(const Graph& graph, ValueId v, size_t rank, size_t axis, int64_t channels) {
  if (!graph.is_constant(v)) return {};
  const Tensor& t = *graph.value(v).constant;
  const Dims& dims = t.dims();
  if (!is_float(t.dtype()) || dims.size() > rank || t.count() == 0) return {};
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool on_axis = rank - dims.size() + i == axis;
    if (dims[i] != 1 && !(on_axis && dims[i] == channels)) return {};
  }
  std::vector<double> values = doubles_of(t);
  values.resize(static_cast<size_t>(channels), values.front());
  return values;
}

std::optional<Affine> affine_of(BinaryFn fn, const std::vector<double>& c) {
  Affine affine{std::vector<double>(c.size(), 1.0), std::vector<double>(c.size(), 0.0)};
  for (size_t i = 0; i < c.size(); ++i) {
    switch (fn) {
      case BinaryFn::add:
        affine.shift[i] = c[i];
        break;
      case BinaryFn::sub:
        affine.shift[i] = -c[i];
        break;
      case BinaryFn::mul:
        affine.scale[i] = c[i];
        break;
      case BinaryFn::div:
        affine.scale[i] = 1.0 / c[i];
        break;
      default:
        return std::nullopt;
    }
  }
  return affine;
}

std::optional<Affine> affine_of(const Graph& graph, const Node& node, const BatchNorm& norm, int64_t channels) {
  std::vector<double> parameters[4];  // scale, bias, mean, variance
  for (size_t i = 0; i < 4; ++i) {
    const ValueId v = node.input(i + 1);
    if (!graph.is_constant(v) || graph.value(v).constant->count() != channels) return std::nullopt;
    parameters[i] = doubles_of(*graph.value(v).constant);
  }
  Affine affine;
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double scale = parameters[0][c] / std::sqrt(parameters[3][c] + static_cast<double>(norm.epsilon));
    if (!std::isfinite(scale)) return std::nullopt;
    affine.scale.push_back(scale);
    affine.shift.push_back(parameters[1][c] - parameters[2][c] * scale);
  }
  return affine;
}

int64_t foldable_channels(const Rewriter& rewriter, ValueId y) {
  const NodeId n = rewriter.producer(y);
  if (n == kNoNode || rewriter.sole_consumer(y) == kNoNode) return 0;
  const Node& node = rewriter.node(n);
  if (const auto* conv = std::get_if<Conv>(&node.op)) return conv_channels(rewriter, node, *conv);
  if (const auto* gemm = std::get_if<Gemm>(&node.op)) return gemm_channels(rewriter, node, *gemm);
  return 0;
}

std::optional<ScaledLayer> scaled_layer(const Rewriter& rewriter, NodeId layer, const Affine& affine) {
  const Node& node = rewriter.node(layer);
  const Graph& graph = rewriter.graph();
  const Tensor& weights = *graph.value(node.input(1)).constant;
  const size_t channels = affine.scale.size();
  Op op = node.op;
  Folded folded;
  if (auto* gemm = std::get_if<Gemm>(&op)) {
    const size_t stride = gemm->trans_b ? static_cast<size_t>(weights.dims()[1]) : 1;
    folded = scaled(weights, gemm_bias(graph, *gemm, node.input(2), static_cast<int64_t>(channels)), channels, stride, affine);
    gemm->beta = 1.0f;
  } else {
    std::vector<double> bias(channels, 0.0);
    if (node.input(2) != kNoValue) bias = doubles_of(*graph.value(node.input(2)).constant);
    folded = scaled(weights, std::move(bias), channels, std::max<size_t>(1, static_cast<size_t>(weights.count()) / channels), affine);
  }
  if (all_finite(weights) && (!all_finite(folded.weights) || !all_finite(folded.bias))) return std::nullopt;
  return ScaledLayer{std::move(op), std::move(folded.weights), std::move(folded.bias)};
}

namespace {

// Inputs of the layer with its new weights.
std::vector<ValueId> add_weights(Rewriter& rewriter, const Node& node, ScaledLayer& scaled) {
  const Graph& graph = rewriter.graph();
  const std::string w_name = graph.value(node.input(1)).name;
  const std::string b_name = node.input(2) == kNoValue ? w_name + ".bias" : graph.value(node.input(2)).name;
  const ValueId w = rewriter.add_constant(w_name, std::move(scaled.weights));
  const ValueId b = rewriter.add_constant(b_name, std::move(scaled.bias));
  return {node.input(0), w, b};
}

}  // namespace

void replace_layer(Rewriter& rewriter, NodeId layer, ScaledLayer scaled) {
  const Node node = rewriter.node(layer);
  std::vector<ValueId> inputs = add_weights(rewriter, node, scaled);
  rewriter.replace(layer, std::move(scaled.op), std::move(inputs));
}

bool fold_affine_into(Rewriter& rewriter, NodeId early, NodeId late, const Affine& affine) {
  std::optional<ScaledLayer> layer = scaled_layer(rewriter, early, affine);
  if (!layer) return false;
  const Node node = rewriter.node(early);
  std::vector<ValueId> inputs = add_weights(rewriter, node, *layer);
  rewriter.merge(early, late, std::move(layer->op), std::move(inputs));
  return true;
}

}  // namespace fcm::passes
