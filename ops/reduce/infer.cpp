// Reduce, Softmax and GlobalPool: axes resolved by bind, then simple shapes.
#include <algorithm>
#include <numeric>

#include "ops/reduce/reduce.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

std::optional<BinaryFn> as_binary(ReduceFn fn) {
  switch (fn) {
    case ReduceFn::sum:
      return BinaryFn::add;
    case ReduceFn::prod:
      return BinaryFn::mul;
    case ReduceFn::min:
      return BinaryFn::min;
    case ReduceFn::max:
      return BinaryFn::max;
    default:
      return std::nullopt;
  }
}

void check_reduce_type(ReduceFn fn, DType t) {
  const bool order = fn == ReduceFn::min || fn == ReduceFn::max;
  if (order && t == DType::boolean) return;
  const bool logarithm = fn == ReduceFn::log_sum || fn == ReduceFn::log_sum_exp;
  if (logarithm || t == DType::boolean) need_float(t, "X");
}

}  // namespace

void bind_op(Reduce& op, Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (node.input(1) != kNoValue) op.axes = need_ints(need(inputs, 1), "axes");
  keep_inputs(node, 1);
  if (op.axes && !op.axes->empty()) {
    op.axes = normalize_axes(*op.axes, rank_of(x), "axes");
    return;
  }
  op.axes.emplace();
  if (op.noop_with_empty_axes) return;
  op.axes->resize(x.shape.size());
  std::iota(op.axes->begin(), op.axes->end(), 0);
}

std::vector<Inferred> infer_op(const Reduce& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  check_reduce_type(op.fn, x.dtype);
  const Ints axes = normalize_axes(op.axes.value_or(Ints{}), rank_of(x), "axes");
  Inferred y{x.dtype, {}, std::nullopt};
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const bool reduced = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i));
    if (!reduced) {
      y.shape.push_back(x.shape[i]);
    } else if (op.keep_dims) {
      y.shape.emplace_back(1);
    }
  }
  const std::optional<BinaryFn> fn = as_binary(op.fn);
  if (is_symbolic(x) && fn && axes.size() == x.shape.size()) {
    if (const std::optional<Dim> total = fold_terms(*fn, *x.terms)) y.terms = Terms{*total};
  }
  return {y};
}

void bind_op(Softmax& op, Node&, Inputs inputs) {
  const int64_t rank = rank_of(need(inputs, 0));
  op.axis = normalize_axis(op.axis, rank, "axis");
  if (op.axis + 1 == rank) op.flatten_from_axis = false;  // of the last axis both forms are the same
}

std::vector<Inferred> infer_op(const Softmax&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_float(x.dtype, "X");
  return {{x.dtype, x.shape, std::nullopt}};
}

void bind_op(GlobalPool&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const GlobalPool&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_float(x.dtype, "X");
  if (x.shape.size() < 3) bad_input("X has shape {}; accepted is rank 3 and more: batch, channels, spatial axes", to_string(x.shape));
  Shape y = {x.shape[0], x.shape[1]};
  y.resize(x.shape.size(), Dim(1));
  return {{x.dtype, y, std::nullopt}};
}

}  // namespace fcm::ops
