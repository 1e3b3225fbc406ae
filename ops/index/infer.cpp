// Index operators: attributes from constant inputs, and shapes.
#include <algorithm>

#include "ops/index/index.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

void need_indices(const Known& k) {
  if (k.dtype != DType::i64 && k.dtype != DType::i32) bad_input("indices have type {}; accepted are i32 and i64", dtype_name(k.dtype));
}

// The one number of a constant integer input of any shape with one element.
int64_t need_number(const Known& k, std::string_view what) {
  if (k.constant == nullptr) unsupported("{} is computed at run time; accepted are constants", what);
  if (k.constant->count() != 1 || is_float(k.dtype) || k.dtype == DType::boolean)
    bad_input("{} has type {} and shape {}; accepted is one integer", what, dtype_name(k.dtype), to_string(k.shape));
  return k.constant->cast(DType::i64).data<int64_t>()[0];
}

const Dim& axis_dim(const Known& x, int64_t axis) {
  return x.shape[static_cast<size_t>(normalize_axis(axis, rank_of(x), "axis"))];
}

void need_static(const Known& x, int64_t axis) {
  if (axis_dim(x, axis).batch) unsupported("axis {} of X {} depends on the batch; accepted are the other axes", axis, to_string(x.shape));
}

void need_number_type(const Known& x) {
  if (x.dtype == DType::boolean) bad_input("X has type boolean; accepted are numbers");
}

// The length r of the index tuples, for X's axes behind `batch_dims`.
size_t tuple_length(const Known& x, const Known& indices, int64_t batch_dims) {
  need_indices(indices);
  if (indices.shape.empty() || x.shape.empty())
    bad_input("X {} and indices {}; accepted is rank 1 and more", to_string(x.shape), to_string(indices.shape));
  const Dim& length = indices.shape.back();
  if (length.batch || length.factor < 1 || length.factor > rank_of(x) - batch_dims)
    bad_input("indices have shape {}: tuples of {} for X {}; accepted are 1 to {}", to_string(indices.shape), to_string(length),
              to_string(x.shape), rank_of(x) - batch_dims);
  return static_cast<size_t>(length.factor);
}

}  // namespace

void bind_op(ArgReduce& op, Node&, Inputs inputs) {
  op.axis = normalize_axis(op.axis, rank_of(need(inputs, 0)), "axis");
}

std::vector<Inferred> infer_op(const ArgReduce& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_number_type(x);
  need_static(x, op.axis);
  if (axis_dim(x, op.axis).factor < 1) bad_input("axis {} of X {} is empty", op.axis, to_string(x.shape));
  Inferred y{DType::i64, x.shape, std::nullopt};
  const auto at = y.shape.begin() + static_cast<std::ptrdiff_t>(normalize_axis(op.axis, rank_of(x), "axis"));
  if (op.keep_dims) {
    *at = Dim(1);
  } else {
    y.shape.erase(at);
  }
  return {y};
}

void bind_op(TopK& op, Node& node, Inputs inputs) {
  op.axis = normalize_axis(op.axis, rank_of(need(inputs, 0)), "axis");
  if (!op.k) op.k = need_number(need(inputs, 1), "k");
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const TopK& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_number_type(x);
  need_static(x, op.axis);
  const int64_t k = op.k.value_or(-1);
  if (k < 0 || k > axis_dim(x, op.axis).factor)
    bad_input("k = {} for axis {} of X {}; accepted are 0 to its extent", k, op.axis, to_string(x.shape));
  Inferred values{x.dtype, x.shape, std::nullopt};
  values.shape[static_cast<size_t>(op.axis)] = k;
  return {values, {DType::i64, values.shape, std::nullopt}};
}

void bind_op(CumSum& op, Node& node, Inputs inputs) {
  if (!op.axis) op.axis = need_number(need(inputs, 1), "axis");
  op.axis = normalize_axis(*op.axis, rank_of(need(inputs, 0)), "axis");
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const CumSum& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_number_type(x);
  need_static(x, op.axis.value_or(0));
  return {{x.dtype, x.shape, std::nullopt}};
}

void bind_op(GatherElements& op, Node&, Inputs inputs) {
  op.axis = normalize_axis(op.axis, rank_of(need(inputs, 0)), "axis");
}

std::vector<Inferred> infer_op(const GatherElements& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& indices = need(inputs, 1);
  need_indices(indices);
  if (indices.shape.size() != x.shape.size())
    bad_input("X has shape {} but indices {}; the ranks must be equal", to_string(x.shape), to_string(indices.shape));
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const bool fits = x.shape[i].batch == indices.shape[i].batch ? indices.shape[i].factor <= x.shape[i].factor
                                                                 : x.shape[i].batch && indices.shape[i].factor <= x.shape[i].factor;
    if (static_cast<int64_t>(i) != op.axis && !fits)
      bad_input("indices {} reach beyond X {} on axis {}", to_string(indices.shape), to_string(x.shape), i);
  }
  return {{x.dtype, indices.shape, std::nullopt}};
}

void bind_op(GatherND&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const GatherND& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& indices = need(inputs, 1);
  const int64_t shared = op.batch_dims;
  if (shared < 0 || shared >= std::min(rank_of(x), rank_of(indices)))
    bad_input("attribute batch_dims = {} for X {} and indices {}", shared, to_string(x.shape), to_string(indices.shape));
  for (size_t i = 0; i < static_cast<size_t>(shared); ++i) {
    if (x.shape[i] != indices.shape[i])
      bad_input("X {} and indices {} differ in axis {}, which they share", to_string(x.shape), to_string(indices.shape), i);
  }
  const size_t length = tuple_length(x, indices, shared);
  Shape y(indices.shape.begin(), indices.shape.end() - 1);
  y.insert(y.end(), x.shape.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(shared) + length), x.shape.end());
  static_cast<void>(element_count(y));
  return {{x.dtype, y, std::nullopt}};
}

void bind_op(ScatterND&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const ScatterND&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& indices = need(inputs, 1);
  const Known& updates = need(inputs, 2);
  need_same(x.dtype, updates.dtype, "X and updates");
  const size_t length = tuple_length(x, indices, 0);
  Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  expected.insert(expected.end(), x.shape.begin() + static_cast<std::ptrdiff_t>(length), x.shape.end());
  if (updates.shape != expected) bad_input("updates have shape {}; accepted is {}", to_string(updates.shape), to_string(expected));
  return {{x.dtype, x.shape, std::nullopt}};
}

void bind_op(Trilu& op, Node& node, Inputs inputs) {
  constexpr int64_t kFar = int64_t{1} << 40;  // beyond every diagonal
  if (!op.k) op.k = node.input(1) == kNoValue ? 0 : std::clamp(need_number(need(inputs, 1), "k"), -kFar, kFar);
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Trilu&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (x.shape.size() < 2) bad_input("X has shape {}; accepted is rank 2 and more", to_string(x.shape));
  return {{x.dtype, x.shape, std::nullopt}};
}

}  // namespace fcm::ops
