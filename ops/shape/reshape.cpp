// Reshape, Flatten, Squeeze and Unsqueeze: the target shape, with the batch in it.
#include <algorithm>

#include "ops/shape/shape.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

// Where the element count cannot agree: names a baked batch when that is the reason.
[[noreturn]] void fail_count(const Node& node, const Shape& x, const Shape& target, const Dim& have, const Dim& want) {
  const std::string detail =
      fmt::format("input {} has {} elements, target {} has {}", to_string(x), to_string(have), to_string(target), to_string(want));
  if (have.batch && !want.batch && have.factor > 0 && want.factor % have.factor == 0)
    fail_baked_batch(node, want.factor / have.factor, detail);
  bad_input("{}", detail);
}

// The one -1 of a target: what is left of the input's elements.
Dim remaining(const Node& node, const Shape& x, const Shape& target, size_t free_axis) {
  Shape others = target;
  others.erase(others.begin() + static_cast<std::ptrdiff_t>(free_axis));
  const Dim have = element_count(x);
  const Dim rest = element_count(others);
  if (rest.factor == 0) bad_input("target {} has -1 beside 0, which leaves its size open", to_string(target));
  const bool fits = have.factor % rest.factor == 0 && (have.batch || !rest.batch || have.factor == 0);
  if (!fits) {
    // A batch of N traced into the target, as in [B,12] to [4,-1,8]: the factor that B must have is N / gcd, at least.
    const std::string detail =
        fmt::format("input {} has {} elements, not a multiple of target {}", to_string(x), to_string(have), to_string(target));
    if (have.batch && !rest.batch && rest.factor % have.factor == 0) fail_baked_batch(node, rest.factor / have.factor, detail);
    bad_input("{}", detail);
  }
  return {have.factor / rest.factor, have.batch && !rest.batch && have.factor != 0};
}

Shape resolve_target(const Node& node, const Reshape& op, const Shape& x, const Terms& given) {
  Shape target(given.begin(), given.end());
  std::optional<size_t> free_axis;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] == Dim(0) && !op.allow_zero) {
      if (i >= x.size()) bad_input("target {} copies axis {} of an input of shape {}", to_string(target), i, to_string(x));
      target[i] = x[i];
    } else if (target[i] == Dim(-1)) {
      if (free_axis) bad_input("target {} holds -1 twice; accepted is once", to_string(target));
      free_axis = i;
    } else if (target[i].factor < 0) {
      bad_input("target {} holds {}; accepted are -1, 0 and more", to_string(target), to_string(target[i]));
    }
  }
  if (free_axis) target[*free_axis] = remaining(node, x, target, *free_axis);
  return target;
}

Shape flatten(const Reshape& op, const Shape& x) {
  const int64_t rank = static_cast<int64_t>(x.size());
  if (op.axis < -rank || op.axis > rank) bad_input("attribute axis = {}: accepted are {} to {} for rank {}", op.axis, -rank, rank, rank);
  const auto middle = x.begin() + (op.axis < 0 ? op.axis + rank : op.axis);
  return {element_count(Shape(x.begin(), middle)), element_count(Shape(middle, x.end()))};
}

Shape squeeze(const Node& node, const Reshape& op, const Shape& x) {
  const Ints axes = normalize_axes(op.axes.value_or(Ints{}), static_cast<int64_t>(x.size()), "axes");
  Shape target;
  for (size_t i = 0; i < x.size(); ++i) {
    // Without axes every 1 goes. A batch of 1 is no such 1: it is B.
    const bool chosen = op.axes ? std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i)) : x[i] == Dim(1);
    if (!chosen) {
      target.push_back(x[i]);
    } else if (x[i] == Dim(1, true)) {
      fail_baked_batch(node, 1, fmt::format("axis {} of {} is removed", i, to_string(x)));
    } else if (x[i] != Dim(1)) {
      bad_input("attribute axes names axis {} of shape {}; accepted are axes of 1", i, to_string(x));
    }
  }
  return target;
}

Shape unsqueeze(const Reshape& op, const Shape& x) {
  if (!op.axes) bad_input("attribute axes is missing");
  const int64_t rank = static_cast<int64_t>(x.size() + op.axes->size());
  const Ints axes = normalize_axes(*op.axes, rank, "axes");
  Shape target = x;
  for (const int64_t axis : axes) target.insert(target.begin() + axis, Dim(1));
  return target;
}

}  // namespace

void bind_op(Reshape& op, Node& node, Inputs inputs) {
  if (op.target) return keep_inputs(node, 1);
  const Known& x = need(inputs, 0);
  const bool has_list = node.input(1) != kNoValue;
  switch (op.form) {
    case Reshape::Form::target:
      op.target = resolve_target(node, op, x.shape, need_terms(need(inputs, 1), "shape"));
      break;
    case Reshape::Form::flatten:
      op.target = flatten(op, x.shape);
      break;
    case Reshape::Form::squeeze:
      if (has_list) op.axes = need_ints(need(inputs, 1), "axes");
      op.target = squeeze(node, op, x.shape);
      break;
    case Reshape::Form::unsqueeze:
      if (has_list) op.axes = need_ints(need(inputs, 1), "axes");
      op.target = unsqueeze(op, x.shape);
      break;
  }
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Reshape& op, const Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.target) unsupported("the target shape is computed at run time; accepted are constants and arithmetic on shapes");
  const Dim have = element_count(x.shape);
  const Dim want = element_count(*op.target);
  if (have != want && (have.factor != 0 || want.factor != 0)) fail_count(node, x.shape, *op.target, have, want);
  Inferred y{x.dtype, *op.target, std::nullopt};
  if (is_symbolic(x)) y.terms = *x.terms;
  return {y};
}

}  // namespace fcm::ops
