// A scale and shift a channel in front of linear layers, into their weights: the parameters of a layer or RMS normalisation, a batch
// normalisation (which an activation keeps from the layer before), + - * / of a constant. W (s x + t) + b = (W s) x + (W t + b).
//
// Where x is padded with zeros a shift cannot move behind the padding. The weights must stay well inside what 16-bit types hold: a
// normalisation of pixels (1 / 255) stays where it is.
#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

constexpr double kLeastWeight = 0x1p-6;  // the largest weight of a layer should not fall below, or rise above
constexpr double kMostWeight = 0x1p10;

// The weights of a layer as sums over input channels: output f adds weight * x[channel].
struct LayerView {
  size_t depth = 0;      // input channels
  size_t outputs = 0;    // output channels
  size_t per_group = 0;  // input channels of an output
  size_t taps = 1;       // window positions
  bool trans = false;    // Gemm [K,N] rather than [F,...]
  bool padded = false;
  double alpha = 1.0, beta = 1.0;

  // Position of (output, its c-th input channel, tap) in the weights.
  size_t at(size_t f, size_t c, size_t tap) const { return trans ? c * outputs + f : (f * per_group + c) * taps + tap; }
  size_t channel(size_t f, size_t c) const { return f / (outputs * per_group / depth) * per_group + c; }
};

std::optional<LayerView> view_of(const Graph& graph, const Node& node, ValueId x) {
  const ValueId bias = node.input(2);
  const bool layer = std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op);
  if (!layer || node.input(0) != x || std::count(node.inputs.begin(), node.inputs.end(), x) != 1) return std::nullopt;
  if (!graph.is_constant(node.input(1)) || (bias != kNoValue && !graph.is_constant(bias))) return std::nullopt;
  const Dims& w = graph.value(node.input(1)).constant->dims();
  LayerView view;
  if (const auto* conv = std::get_if<Conv>(&node.op)) {
    view.outputs = static_cast<size_t>(w[0]);
    view.per_group = static_cast<size_t>(w[1]);
    view.depth = view.per_group * static_cast<size_t>(conv->group);
    for (size_t i = 2; i < w.size(); ++i) view.taps *= static_cast<size_t>(w[i]);
    const auto some = [](const Ints& pads) { return std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p != 0; }); };
    view.padded = some(conv->window.pads_begin) || some(conv->window.pads_end) || conv->window.auto_pad != AutoPad::explicit_pads;
  } else {
    const auto& gemm = std::get<Gemm>(node.op);
    if (gemm.trans_a) return std::nullopt;
    view.trans = !gemm.trans_b;
    view.outputs = static_cast<size_t>(w[gemm.trans_b ? 0 : 1]);
    view.depth = view.per_group = static_cast<size_t>(w[gemm.trans_b ? 1 : 0]);
    view.alpha = gemm.alpha, view.beta = gemm.beta;
    if (bias != kNoValue && graph.value(bias).constant->count() != static_cast<int64_t>(view.outputs)) return std::nullopt;
  }
  if (view.outputs == 0 || view.depth == 0) return std::nullopt;
  return view;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double v : values) most = std::isfinite(v) ? std::max(most, std::fabs(v)) : v;
  return most;
}

struct Folded {
  std::vector<double> weights, bias;
};

// The layer's weights and bias behind the affine map; nullopt where it must stay in front.
std::optional<Folded> fold_into(const Graph& graph, const Node& node, const LayerView& view, const Affine& affine) {
  const bool shifts = std::any_of(affine.shift.begin(), affine.shift.end(), [](double t) { return t != 0.0; });
  if (affine.scale.size() != view.depth || (shifts && view.padded)) return std::nullopt;
  const std::vector<double> before = doubles_of(*graph.value(node.input(1)).constant);
  Folded folded{before, std::vector<double>(view.outputs, 0.0)};
  if (node.input(2) != kNoValue) folded.bias = doubles_of(*graph.value(node.input(2)).constant);
  for (size_t f = 0; f < view.outputs; ++f) {
    double added = 0.0;
    for (size_t c = 0; c < view.per_group; ++c) {
      const size_t channel = view.channel(f, c);
      for (size_t tap = 0; tap < view.taps; ++tap) {
        double& w = folded.weights[view.at(f, c, tap)];
        added += w * affine.shift[channel];
        w *= affine.scale[channel];
      }
    }
    folded.bias[f] = view.beta * folded.bias[f] + view.alpha * added;
  }
  const double was = largest(before), is = largest(folded.weights);
  if (!std::isfinite(largest(folded.bias)) || !(is >= std::min(was, kLeastWeight)) || !(is <= std::max(was, kMostWeight)))
    return std::nullopt;
  return folded;
}

// What node `n` does to its first input, as a map a channel of `axis`; nullopt when it is none.
std::optional<Affine> map_of(const Graph& graph, const Node& node, size_t axis) {
  const Shape& shape = *graph.value(node.outputs[0]).shape;
  if (axis >= shape.size() || shape[axis].batch) return std::nullopt;
  const int64_t channels = shape[axis].factor;
  const auto count = static_cast<size_t>(channels);
  Affine affine{std::vector<double>(count, 1.0), std::vector<double>(count, 0.0)};
  if (const auto* norm = std::get_if<Normalize>(&node.op)) {
    if (norm->fn == NormFn::group || norm->axis + 1 != static_cast<int64_t>(shape.size()) || axis != shape.size() - 1) return std::nullopt;
    for (size_t i = 1; i < 3; ++i) {
      if (node.input(i) == kNoValue) continue;
      if (!graph.is_constant(node.input(i))) return std::nullopt;
      (i == 1 ? affine.scale : affine.shift) = per_channel(graph, node.input(i), shape.size(), axis, channels);
    }
  } else if (const auto* batch_norm = std::get_if<BatchNorm>(&node.op)) {
    return axis == 1 ? affine_of(graph, node, *batch_norm, channels) : std::nullopt;
  } else if (const auto* binary = std::get_if<Binary>(&node.op)) {
    if (!binary->activation.is_identity() || !graph.is_constant(node.inputs[1]) || !same_shape(graph, node.inputs[0], node.outputs[0]))
      return std::nullopt;
    const std::vector<double> c = per_channel(graph, node.inputs[1], shape.size(), axis, channels);
    return c.empty() ? std::nullopt : affine_of(binary->fn, c);
  } else {
    return std::nullopt;
  }
  if (affine.scale.size() != count || affine.shift.size() != count) return std::nullopt;
  return affine;
}

bool has_parameters(const Node& node) {
  return !std::holds_alternative<Normalize>(node.op) || node.input(1) != kNoValue || node.input(2) != kNoValue;
}

}  // namespace

int fold_scale(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node node = rewriter.node(n);
    if (rewriter.removed(n) || node.outputs.size() != 1 || !has_parameters(node)) continue;
    const ValueId y = node.outputs[0];
    if (!is_float(graph.value(y).dtype) || !graph.value(y).shape || graph.is_output(y)) continue;
    const std::vector<NodeId> readers = rewriter.consumers(y);
    std::vector<Folded> folded;
    for (const NodeId reader : readers) {
      const std::optional<LayerView> view = view_of(graph, rewriter.node(reader), y);
      if (!view) break;
      const size_t axis = std::holds_alternative<Gemm>(rewriter.node(reader).op) ? graph.value(y).shape->size() - 1 : 1;
      const std::optional<Affine> affine = map_of(graph, node, axis);
      std::optional<Folded> result = affine ? fold_into(graph, rewriter.node(reader), *view, *affine) : std::nullopt;
      if (!result) break;
      folded.push_back(std::move(*result));
    }
    if (readers.empty() || folded.size() != readers.size()) continue;
    const bool norm = std::holds_alternative<Normalize>(node.op);
    for (size_t r = 0; r < readers.size(); ++r) {
      const Node reader = rewriter.node(readers[r]);
      const Tensor& w = *graph.value(reader.input(1)).constant;
      const std::string name = graph.value(reader.input(1)).name;
      const Dims channels = {static_cast<int64_t>(folded[r].bias.size())};
      Tensor weights = tensor_of(folded[r].weights, w.dtype(), w.dims()), bias = tensor_of(folded[r].bias, w.dtype(), channels);
      Op op = reader.op;
      if (auto* gemm = std::get_if<Gemm>(&op)) gemm->beta = 1.0f;
      const ValueId w_id = rewriter.add_constant(name, std::move(weights));
      const ValueId b_id = rewriter.add_constant(name + ".bias", std::move(bias));
      rewriter.replace(readers[r], std::move(op), {norm ? y : node.inputs[0], w_id, b_id, reader.input(3)});
    }
    if (norm) rewriter.replace(n, node.op, {node.inputs[0]});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
