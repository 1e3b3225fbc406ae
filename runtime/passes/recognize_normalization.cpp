// Layer and RMS normalisation spelled out in arithmetic become one Normalize: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), with
// the division also written as a product with a reciprocal or a power; a constant scale and bias behind it join it. Over the channels of
// an image map it is the same on the map's tokens. A vector divided by its length is its RMS normalisation times 1 / sqrt(elements). Group
// normalisation spelled as an instance normalisation of a map reshaped to [N, groups, rest] (exporters below opset 18) becomes one over
// groups.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

struct Match {
  Normalize op;
  ValueId x = kNoValue;
  bool of_map = false;  // over axis 1 of [N,C,H,W]
  double scale = 1.0;
};

class Recognizer {
 public:
  explicit Recognizer(const Rewriter& rewriter) : rewriter_(rewriter), graph_(rewriter.graph()) {}

  /// What node `n` computes, when that is a normalisation over the last axes.
  std::optional<Match> match(NodeId n) const {
    const Node& node = rewriter_.node(n);
    const auto* binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || !binary->activation.is_identity()) return std::nullopt;
    if (binary->fn == BinaryFn::div) {
      const std::optional<Match> found = match_quotient(node.inputs[0], root_of(node.inputs[1]));
      return found ? found : match_length(node.inputs[0], node.inputs[1]);
    }
    if (binary->fn != BinaryFn::mul) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      if (const std::optional<Match> found = match_quotient(node.inputs[i], inverse_root_of(node.inputs[1 - i]))) return found;
    }
    return std::nullopt;
  }

 private:
  const Node* binary_node(ValueId v, BinaryFn fn) const {
    const auto* binary = rewriter_.made_by<Binary>(v);
    return binary != nullptr && binary->fn == fn && binary->activation.is_identity() ? &rewriter_.node(rewriter_.producer(v)) : nullptr;
  }

  ValueId input_of(ValueId v, UnaryFn fn) const {
    const auto* unary = rewriter_.made_by<UnaryOp>(v);
    return unary != nullptr && unary->u.fn == fn ? rewriter_.node(rewriter_.producer(v)).inputs[0] : kNoValue;
  }

  // The x of v = x^exponent.
  ValueId base_of(ValueId v, double exponent) const {
    const Node* pow = binary_node(v, BinaryFn::pow);
    return pow != nullptr && scalar_constant(graph_, pow->inputs[1]) == exponent ? pow->inputs[0] : kNoValue;
  }

  // The x of v = sqrt(x).
  ValueId root_of(ValueId v) const {
    const ValueId x = input_of(v, UnaryFn::sqrt);
    return x != kNoValue ? x : base_of(v, 0.5);
  }

  // The x of v = 1 / sqrt(x).
  ValueId inverse_root_of(ValueId v) const {
    if (const ValueId x = base_of(v, -0.5); x != kNoValue) return x;
    if (const ValueId root = input_of(v, UnaryFn::reciprocal); root != kNoValue) return root_of(root);
    const Node* div = binary_node(v, BinaryFn::div);
    return div != nullptr && scalar_constant(graph_, div->inputs[0]) == 1.0 ? root_of(div->inputs[1]) : kNoValue;
  }

  ValueId square_root_of_product(ValueId v) const {
    const Node* mul = binary_node(v, BinaryFn::mul);
    return mul != nullptr && mul->inputs[0] == mul->inputs[1] ? mul->inputs[0] : base_of(v, 2.0);
  }

  struct Mean {
    ValueId x = kNoValue;
    int64_t axis = 0;
    bool of_map = false;
  };

  // v as the mean of x over the axes from `axis` to the last, or (of_map) over axis 1 of four; kept as 1.
  std::optional<Mean> mean_of(ValueId v) const {
    const auto* reduce = v == kNoValue ? nullptr : rewriter_.made_by<Reduce>(v);
    if (reduce == nullptr || reduce->fn != ReduceFn::mean || !reduce->keep_dims || !reduce->axes || reduce->axes->empty())
      return std::nullopt;
    const Node& node = rewriter_.node(rewriter_.producer(v));
    const std::optional<Shape>& shape = graph_.value(node.inputs[0]).shape;
    if (node.inputs.size() != 1 || !shape) return std::nullopt;
    const auto rank = static_cast<int64_t>(shape->size());
    const auto count = static_cast<int64_t>(reduce->axes->size());
    if (rank == 4 && *reduce->axes == Ints{1}) return Mean{node.inputs[0], 3, true};
    for (int64_t i = 0; i < count; ++i) {
      if ((*reduce->axes)[static_cast<size_t>(i)] != rank - count + i) return std::nullopt;
    }
    return Mean{node.inputs[0], rank - count};
  }

  // v as x - mean(x).
  std::optional<Mean> centred(ValueId v) const {
    const Node* sub = binary_node(v, BinaryFn::sub);
    const std::optional<Mean> mean = sub != nullptr ? mean_of(sub->inputs[1]) : std::nullopt;
    return mean && mean->x == sub->inputs[0] ? mean : std::nullopt;
  }

  // numerator / sqrt(radicand).
  std::optional<Match> match_quotient(ValueId numerator, ValueId radicand) const {
    const Node* add = radicand == kNoValue ? nullptr : binary_node(radicand, BinaryFn::add);
    if (add == nullptr || !is_float(graph_.value(numerator).dtype)) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      const std::optional<double> epsilon = scalar_constant(graph_, add->inputs[i]);
      const std::optional<Mean> variance = epsilon ? mean_of(add->inputs[1 - i]) : std::nullopt;
      if (!variance || *epsilon < 0.0) continue;
      const ValueId squared = square_root_of_product(variance->x);
      if (squared == kNoValue) continue;
      Match m{{NormFn::layer, variance->axis, 0, false, static_cast<float>(*epsilon)}, kNoValue, variance->of_map};
      const std::optional<Mean> above = centred(numerator);
      const std::optional<Mean> below = centred(squared);
      if (above && below && above->x == below->x && above->axis == variance->axis && below->axis == variance->axis &&
          above->of_map == variance->of_map && below->of_map == variance->of_map) {
        m.x = above->x;
        return m;
      }
      if (squared == numerator) {
        m.op.fn = NormFn::rms;
        m.x = numerator;
        return m;
      }
    }
    return std::nullopt;
  }

  // x / max(|x|, least) over the last axis, where `least` but keeps zeros from being divided by zero.
  std::optional<Match> match_length(ValueId x, ValueId divisor) const {
    constexpr double kMostLeast = 1e-10;
    const auto* clip = rewriter_.made_by<UnaryOp>(divisor);
    if (clip == nullptr || clip->u.fn != UnaryFn::clip || clip->u.b != std::numeric_limits<float>::infinity()) return std::nullopt;
    if (!(clip->u.a > 0.0f) || clip->u.a > kMostLeast || rewriter_.node(rewriter_.producer(divisor)).inputs.size() != 1)
      return std::nullopt;
    const ValueId length = rewriter_.node(rewriter_.producer(divisor)).inputs[0];
    const auto* reduce = rewriter_.made_by<Reduce>(length);
    const std::optional<Shape>& shape = graph_.value(x).shape;
    if (reduce == nullptr || reduce->fn != ReduceFn::l2 || !reduce->keep_dims || !reduce->axes || !shape || shape->empty())
      return std::nullopt;
    const auto last = static_cast<int64_t>(shape->size()) - 1;
    const Node& node = rewriter_.node(rewriter_.producer(length));
    if (node.inputs.size() != 1 || node.inputs[0] != x || *reduce->axes != Ints{last}) return std::nullopt;
    if (shape->back().batch || shape->back().factor == 0 || graph_.value(x).dtype != DType::f32) return std::nullopt;
    const auto count = static_cast<double>(shape->back().factor), least = static_cast<double>(clip->u.a);
    const double epsilon = std::max(least * least / count, 1e-37);  // no subnormal number
    return Match{{NormFn::rms, last, 0, false, static_cast<float>(epsilon)}, x, false, 1.0 / std::sqrt(count)};
  }

  const Rewriter& rewriter_;
  const Graph& graph_;
};

// Whether constant `v` broadcasts to the normalised axes alone.
bool fits_axes(const Graph& graph, ValueId v, const Shape& x, int64_t axis) {
  const Dims& dims = graph.value(v).constant->dims();
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t extent = dims[dims.size() - 1 - i];
    if (extent == 1) continue;
    if (static_cast<int64_t>(i) >= static_cast<int64_t>(x.size()) - axis || Dim(extent) != x[x.size() - 1 - i]) return false;
  }
  return dims.size() <= x.size();
}

// The scale and bias of a group normalisation, one a channel; nullopt when they are not constants of that form.
std::optional<Affine> group_parameters(const Graph& graph, const Node& node, int64_t channels) {
  const auto count = static_cast<size_t>(channels);
  Affine affine{std::vector<double>(count, 1.0), std::vector<double>(count, 0.0)};
  for (size_t i = 1; i < 3; ++i) {
    if (node.input(i) == kNoValue) continue;
    if (!graph.is_constant(node.input(i)) || graph.value(node.input(i)).constant->count() != channels) return std::nullopt;
    (i == 1 ? affine.scale : affine.shift) = doubles_of(*graph.value(node.input(i)).constant);
  }
  return affine;
}

std::vector<ValueId> group_inputs(Rewriter& rewriter, ValueId x, const std::string& name, const Affine& affine) {
  const DType dtype = rewriter.graph().value(x).dtype;
  const Dims dims = {static_cast<int64_t>(affine.scale.size())};
  const ValueId scale = rewriter.add_constant(name + ".scale", tensor_of(affine.scale, dtype, dims));
  const ValueId bias = rewriter.add_constant(name + ".bias", tensor_of(affine.shift, dtype, dims));
  return {x, scale, bias};
}

// Adding, subtracting, multiplying or dividing by a constant a channel behind group normalisation `n`.
void absorb_into_groups(Rewriter& rewriter, NodeId n, NodeId late, BinaryFn fn, ValueId parameter) {
  const Graph& graph = rewriter.graph();
  const Node node = rewriter.node(n);
  const auto op = std::get<Normalize>(node.op);
  const Shape& shape = *graph.value(node.inputs[0]).shape;
  if (op.scale_by_group || rewriter.node(late).inputs[0] != node.outputs[0] || shape.size() < 2 || shape[1].batch) return;
  const std::vector<double> constant = per_channel(graph, parameter, shape.size(), 1, shape[1].factor);
  const std::optional<Affine> behind = constant.empty() ? std::nullopt : affine_of(fn, constant);
  std::optional<Affine> affine = group_parameters(graph, node, shape[1].factor);
  if (!behind || !affine || !same_shape(graph, node.outputs[0], rewriter.node(late).outputs[0])) return;
  for (size_t c = 0; c < affine->scale.size(); ++c) {
    affine->scale[c] *= behind->scale[c];
    affine->shift[c] = affine->shift[c] * behind->scale[c] + behind->shift[c];
  }
  rewriter.merge(n, late, op, group_inputs(rewriter, node.inputs[0], node.origin.name, *affine));
}

// A constant scale or bias behind normalisation `n`, when it may join it.
void absorb(Rewriter& rewriter, NodeId n) {
  const Node& node = rewriter.node(n);
  const auto* op = std::get_if<Normalize>(&node.op);
  if (op == nullptr || (op->fn != NormFn::group && node.input(2) != kNoValue)) return;
  const Graph& graph = rewriter.graph();
  const NodeId late = rewriter.sole_consumer(node.outputs[0]);
  const auto* binary = late == kNoNode ? nullptr : std::get_if<Binary>(&rewriter.node(late).op);
  if (binary == nullptr || !binary->activation.is_identity()) return;
  const Node& behind = rewriter.node(late);
  const ValueId parameter = behind.inputs[behind.inputs[0] == node.outputs[0] ? 1 : 0];
  if (!graph.is_constant(parameter) || graph.value(parameter).dtype != graph.value(node.outputs[0]).dtype) return;
  const std::optional<Shape>& shape = graph.value(node.inputs[0]).shape;
  if (!shape) return;
  if (op->fn == NormFn::group) {
    absorb_into_groups(rewriter, n, late, binary->fn, parameter);
    return;
  }
  if (!fits_axes(graph, parameter, *shape, op->axis)) return;
  if (binary->fn == BinaryFn::mul && node.input(1) == kNoValue) {
    rewriter.merge(n, late, *op, {node.inputs[0], parameter});
  } else if (binary->fn == BinaryFn::add) {
    rewriter.merge(n, late, *op, {node.inputs[0], node.input(1), parameter});
  }
}

// The normalisation of a map's channels: that of its tokens.
void replace_on_tokens(Rewriter& rewriter, NodeId n, const Match& found) {
  const Value x = rewriter.graph().value(found.x), y = rewriter.graph().value(rewriter.node(n).outputs[0]);
  const Shape& map = *x.shape;
  const Shape tokens = {map[0], map[2], map[3], map[1]};
  const ValueId rows = rewriter.insert_before(n, Transpose{{0, 2, 3, 1}}, {found.x}, Value{x.name + ".tokens", x.dtype, tokens, nullptr});
  const ValueId normal = rewriter.insert_before(n, found.op, {rows}, Value{y.name + ".tokens", y.dtype, tokens, nullptr});
  rewriter.replace(n, Transpose{{0, 3, 1, 2}}, {normal});
}

// Reshape to [N, groups, rest], one normalisation a group, Reshape back (node `n`).
void recognize_groups(Rewriter& rewriter, NodeId n) {
  const Graph& graph = rewriter.graph();
  const ValueId normal = rewriter.node(n).inputs[0], y = rewriter.node(n).outputs[0];
  const auto* op = rewriter.made_by<Normalize>(normal);
  if (op == nullptr || op->fn != NormFn::group || op->scale_by_group || rewriter.sole_consumer(normal) != n) return;
  const Node& norm = rewriter.node(rewriter.producer(normal));
  const ValueId flat = norm.inputs[0];
  if (rewriter.made_by<Reshape>(flat) == nullptr || rewriter.sole_consumer(flat) == kNoNode) return;
  const ValueId x = rewriter.node(rewriter.producer(flat)).inputs[0];
  if (!same_shape(graph, x, y) || !graph.value(flat).shape) return;
  const Shape &map = *graph.value(x).shape, &groups = *graph.value(flat).shape;
  if (map.size() < 3 || groups.size() < 3 || groups[0] != map[0] || groups[1].batch || map[1].batch || groups[1].factor == 0) return;
  const int64_t channels = map[1].factor, count = groups[1].factor;
  if (channels % count != 0 || (op->groups != 0 && op->groups != count)) return;  // one a channel of the reshaped map
  const std::optional<Affine> of_group = group_parameters(graph, norm, count);
  if (!of_group) return;
  Affine affine;
  for (int64_t c = 0; c < channels; ++c) {
    affine.scale.push_back(of_group->scale[static_cast<size_t>(c / (channels / count))]);
    affine.shift.push_back(of_group->shift[static_cast<size_t>(c / (channels / count))]);
  }
  Normalize whole = *op;
  whole.groups = count;
  const std::string name = norm.origin.name;
  rewriter.replace(n, whole, group_inputs(rewriter, x, name, affine));
}

}  // namespace

int recognize_normalization(Graph& graph) {
  Rewriter rewriter(graph);
  const Recognizer recognizer(rewriter);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (rewriter.removed(n)) continue;
    if (const std::optional<Match> found = recognizer.match(n)) {
      if (found->of_map) {
        replace_on_tokens(rewriter, n, *found);
        continue;
      }
      std::vector<ValueId> inputs = {found->x};
      if (found->scale != 1.0)
        inputs.push_back(
            rewriter.add_constant(rewriter.node(n).origin.name + ".scale", tensor_of({found->scale}, graph.value(found->x).dtype, {1})));
      rewriter.replace(n, found->op, std::move(inputs));
    }
    if (std::holds_alternative<Reshape>(rewriter.node(n).op)) recognize_groups(rewriter, n);
    absorb(rewriter, n);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
