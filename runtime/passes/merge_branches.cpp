// Parallel convolutions of one tensor that are added or subtracted become one convolution: the small kernels lie inside the large one, a
// BatchNormalization of the tensor and the tensor itself are 1x1 kernels with one weight a channel. RepVGG, MobileOne, RepViT and FastViT
// train with such branches.
//
// The tensor itself joins only where that is no plain residual of a dense 1x1 convolution, which its epilogue adds for nothing.
#include <optional>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

// A convolution of `x` in two spatial axes: weights [outputs, channels a group, kernel].
struct Branch {
  NodeId node = kNoNode;  // kNoNode: x itself
  ValueId x = kNoValue;
  Conv conv;
  int64_t outputs = 0, group_channels = 0;
  std::vector<double> weights, bias;

  size_t at(int64_t f, int64_t c, int64_t ky, int64_t kx) const {
    return static_cast<size_t>(((f * group_channels + c) * conv.window.kernel[0] + ky) * conv.window.kernel[1] + kx);
  }
  int64_t taps() const { return conv.window.kernel[0] * conv.window.kernel[1]; }
  bool diagonal() const { return group_channels == 1 && conv.group == outputs; }
};

std::optional<Branch> conv_branch(const Rewriter& rewriter, NodeId n, const Conv& conv) {
  const Graph& graph = rewriter.graph();
  const Node& node = rewriter.node(n);
  const ValueId bias = node.input(2);
  const Window& w = conv.window;
  if (!graph.is_constant(node.input(1)) || (bias != kNoValue && !graph.is_constant(bias)) || node.input(3) != kNoValue) return std::nullopt;
  if (!conv.activation.is_identity() || w.auto_pad != AutoPad::explicit_pads) return std::nullopt;
  if (w.kernel.size() != 2 || w.strides.size() != 2 || w.dilations.size() != 2 || w.pads_begin.size() != 2 || w.pads_end.size() != 2)
    return std::nullopt;
  const Tensor& weights = *graph.value(node.input(1)).constant;
  Branch b{n, node.input(0), conv, weights.dims()[0], weights.dims()[1], doubles_of(weights), {}};
  b.bias.assign(static_cast<size_t>(b.outputs), 0.0);
  if (bias != kNoValue) b.bias = doubles_of(*graph.value(bias).constant);
  for (size_t axis = 0; axis < 2; ++axis) {
    if (w.kernel[axis] == 1) b.conv.window.dilations[axis] = 1;
  }
  return b;
}

Branch diagonal(NodeId n, ValueId x, std::vector<double> scale, std::vector<double> shift) {
  Branch b;
  b.node = n;
  b.x = x;
  b.conv.group = b.outputs = static_cast<int64_t>(scale.size());
  b.group_channels = 1;
  b.conv.window = {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, AutoPad::explicit_pads};
  b.weights = std::move(scale);
  b.bias = std::move(shift);
  return b;
}

std::optional<Branch> norm_branch(const Rewriter& rewriter, NodeId n, const BatchNorm& norm) {
  const Node& node = rewriter.node(n);
  const int64_t channels = (*rewriter.graph().value(node.input(0)).shape)[1].factor;
  std::optional<Affine> affine = affine_of(rewriter.graph(), node, norm, channels);
  if (!affine) return std::nullopt;
  return diagonal(n, node.input(0), std::move(affine->scale), std::move(affine->shift));
}

// What computes `v`, when only `reader` reads it.
std::optional<Branch> branch_of(const Rewriter& rewriter, ValueId v, NodeId reader) {
  const NodeId n = rewriter.producer(v);
  if (n == kNoNode || rewriter.sole_consumer(v) != reader) return std::nullopt;
  const Node& node = rewriter.node(n);
  if (const auto* conv = std::get_if<Conv>(&node.op)) return conv_branch(rewriter, n, *conv);
  if (const auto* norm = std::get_if<BatchNorm>(&node.op)) return norm_branch(rewriter, n, *norm);
  return std::nullopt;
}

// Where the small window begins in the large one along an axis, or -1.
int64_t offset_of(const Window& small, const Window& large, size_t axis) {
  const int64_t before = large.pads_begin[axis] - small.pads_begin[axis], after = large.pads_end[axis] - small.pads_end[axis];
  const bool fits = before >= 0 && after >= 0 && before + small.kernel[axis] + after == large.kernel[axis];
  const bool dense = (small.kernel[axis] == 1 || small.dilations[axis] == 1) && (large.kernel[axis] == 1 || large.dilations[axis] == 1);
  return fits && dense && small.strides[axis] == large.strides[axis] ? before : -1;
}

// large += sign * small, when large's window and groups hold what small computes.
bool add_into(Branch& large, const Branch& small, double sign) {
  if (large.x != small.x || large.outputs != small.outputs) return false;
  const bool same_groups = large.conv.group == small.conv.group && large.group_channels == small.group_channels;
  const bool one_a_channel = small.diagonal() && small.taps() == 1 && large.conv.group * large.group_channels == small.outputs;
  if (!same_groups && !one_a_channel) return false;
  const int64_t dy = offset_of(small.conv.window, large.conv.window, 0), dx = offset_of(small.conv.window, large.conv.window, 1);
  if (dy < 0 || dx < 0) return false;
  for (int64_t f = 0; f < small.outputs; ++f) {
    large.bias[static_cast<size_t>(f)] += sign * small.bias[static_cast<size_t>(f)];
    for (int64_t c = 0; c < small.group_channels; ++c) {
      const int64_t channel = same_groups ? c : f % large.group_channels;  // output f reads channel f
      for (int64_t ky = 0; ky < small.conv.window.kernel[0]; ++ky) {
        for (int64_t kx = 0; kx < small.conv.window.kernel[1]; ++kx)
          large.weights[large.at(f, channel, ky + dy, kx + dx)] += sign * small.weights[small.at(f, c, ky, kx)];
      }
    }
  }
  return true;
}

// The sum or difference of two branches as one, its node being that of the larger.
std::optional<Branch> merged(Branch a, Branch b, double sign) {
  if (a.taps() > b.taps() || (a.taps() == b.taps() && (a.group_channels > b.group_channels || a.node > b.node))) {
    if (!add_into(a, b, sign)) return std::nullopt;
    return a;
  }
  if (sign < 0) {
    for (double& w : b.weights) w = -w;
    for (double& t : b.bias) t = -t;
  }
  if (!add_into(b, a, 1.0)) return std::nullopt;
  return b;
}

// The branch beside `other` that is x itself: a convolution that keeps the shape, and is no dense 1x1.
std::optional<Branch> identity_of(ValueId v, const Branch& other, const Graph& graph, ValueId y) {
  const bool plain = other.taps() == 1 && !other.diagonal();
  if (v != other.x || plain || !same_shape(graph, v, y)) return std::nullopt;
  const auto channels = static_cast<size_t>(other.outputs);
  return diagonal(kNoNode, v, std::vector<double>(channels, 1.0), std::vector<double>(channels, 0.0));
}

}  // namespace

int merge_branches(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* binary = std::get_if<Binary>(&rewriter.node(n).op);
    if (rewriter.removed(n) || binary == nullptr || (binary->fn != BinaryFn::add && binary->fn != BinaryFn::sub)) continue;
    const ValueId left = rewriter.node(n).inputs[0], right = rewriter.node(n).inputs[1], y = rewriter.node(n).outputs[0];
    if (left == right || !same_shape(graph, left, y) || !same_shape(graph, right, y)) continue;
    std::optional<Branch> a = branch_of(rewriter, left, n), b = branch_of(rewriter, right, n);
    if (a && !b) b = identity_of(right, *a, graph, y);
    if (b && !a) a = identity_of(left, *b, graph, y);
    if (!a || !b) continue;
    std::optional<Branch> sum = merged(std::move(*a), std::move(*b), binary->fn == BinaryFn::sub ? -1.0 : 1.0);
    if (!sum || sum->node == kNoNode) continue;
    const Node& kept = rewriter.node(sum->node);
    const bool had_bias = std::holds_alternative<Conv>(kept.op) && kept.input(2) != kNoValue;
    const DType dtype = graph.value(sum->x).dtype;
    const std::string name = graph.value(kept.input(1)).name, bias_name = had_bias ? graph.value(kept.input(2)).name : name + ".bias";
    const Window& w = sum->conv.window;
    const ValueId weights =
        rewriter.add_constant(name, tensor_of(sum->weights, dtype, {sum->outputs, sum->group_channels, w.kernel[0], w.kernel[1]}));
    const ValueId bias = rewriter.add_constant(bias_name, tensor_of(sum->bias, dtype, {sum->outputs}));
    sum->conv.activation = binary->activation;
    rewriter.merge(sum->node, n, sum->conv, {sum->x, weights, bias});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
