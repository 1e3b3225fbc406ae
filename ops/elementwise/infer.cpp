// Elementwise operators: types, broadcast shapes, and integer terms carried through arithmetic.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

bool is_logical(BinaryFn fn) {
  return fn == BinaryFn::logical_and || fn == BinaryFn::logical_or || fn == BinaryFn::logical_xor;
}

// The terms of `k` as seen through broadcasting to `out`; nullopt when unknown.
std::optional<Terms> broadcast_terms(const Known& k, const Shape& out) {
  const std::optional<Terms> terms = contents(k);
  if (!terms || has_batch(k.shape) || !small_count(out)) return std::nullopt;
  const Dims dims = at_batch(out, 1);
  const Walk<1> walk(dims, {broadcast_strides(at_batch(k.shape, 1), dims)});
  Terms result;
  for (int64_t row = 0; row < walk.rows(); ++row) {
    const int64_t start = walk.offsets(row)[0];
    for (int64_t i = 0; i < walk.inner(); ++i) result.push_back((*terms)[static_cast<size_t>(start + i * walk.inner_stride(0))]);
  }
  return result;
}

// A bound of Clip: one element, known. Bounds are float32; an integer that float32 cannot hold would clip at the wrong place,
// unless it is the type's own limit (which stays beyond every value).
float bound_value(const Known& k, std::string_view what) {
  if (k.constant == nullptr) unsupported("{} of Clip is computed at run time; accepted are constants", what);
  if (k.constant->count() != 1) bad_input("{} of Clip has shape {}; accepted is one element", what, to_string(k.shape));
  const float value = k.constant->cast(DType::f32).data<float>()[0];
  constexpr float kExact = 16777216.0f;  // 2^24
  if (is_float(k.dtype) || std::fabs(value) < kExact) return value;
  const int64_t exact = k.constant->cast(DType::i64).data<int64_t>()[0];
  const bool limit = exact == std::numeric_limits<int32_t>::max() || exact == std::numeric_limits<int64_t>::max();
  if (!limit && (k.dtype == DType::u64 || static_cast<int64_t>(value) != exact))
    unsupported("{} of Clip = {}; accepted are integers that float32 holds exactly", what, exact);
  return value;
}

std::optional<Terms> binary_terms(BinaryFn fn, Inputs inputs, const Shape& out) {
  const Known& a = need(inputs, 0);
  const Known& b = need(inputs, 1);
  if (!is_symbolic(a) && !is_symbolic(b)) return std::nullopt;
  const std::optional<Terms> x = broadcast_terms(a, out);
  const std::optional<Terms> y = broadcast_terms(b, out);
  if (!x || !y) return std::nullopt;
  Terms result;
  for (size_t i = 0; i < x->size(); ++i) {
    const std::optional<Dim> term = evaluate(fn, (*x)[i], (*y)[i]);
    if (!term) return std::nullopt;
    result.push_back(*term);
  }
  return result;
}

void check_binary_types(const Binary& op, DType a, DType b) {
  if (op.fn != BinaryFn::pow) need_same(a, b, "A and B");
  if (is_logical(op.fn) && a != DType::boolean) bad_input("A has type {}; accepted is boolean", dtype_name(a));
  if (!is_logical(op.fn) && op.fn != BinaryFn::equal && (a == DType::boolean || b == DType::boolean))
    bad_input("A or B is boolean; accepted are numbers");
  if (!op.activation.is_identity()) need_float(a, "A");
}

void check_unary_type(UnaryFn fn, DType t) {
  if (fn == UnaryFn::identity) return;
  if (fn == UnaryFn::logical_not) {
    if (t != DType::boolean) bad_input("X has type {}; accepted is boolean", dtype_name(t));
    return;
  }
  const bool on_integers = fn == UnaryFn::abs || fn == UnaryFn::neg || fn == UnaryFn::sign || fn == UnaryFn::relu || fn == UnaryFn::clip;
  if (t == DType::boolean || !on_integers) need_float(t, "X");
}

}  // namespace

void bind_op(UnaryOp& op, Node& node, Inputs inputs) {
  if (op.u.fn != UnaryFn::clip) return;
  if (node.input(1) != kNoValue) op.u.a = bound_value(need(inputs, 1), "min");
  if (node.input(2) != kNoValue) op.u.b = bound_value(need(inputs, 2), "max");
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const UnaryOp& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  check_unary_type(op.u.fn, x.dtype);
  Inferred y{op.u.fn == UnaryFn::is_nan ? DType::boolean : x.dtype, x.shape, std::nullopt};
  if (!is_symbolic(x) || is_float(x.dtype)) return {y};
  Terms terms;
  for (const Dim& term : *x.terms) {
    const std::optional<Dim> value = evaluate(op.u.fn, term);
    if (!value) return {y};
    terms.push_back(*value);
  }
  y.terms = std::move(terms);
  return {y};
}

void bind_op(Binary&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const Binary& op, const Node&, Inputs inputs) {
  const Known& a = need(inputs, 0);
  const Known& b = need(inputs, 1);
  check_binary_types(op, a.dtype, b.dtype);
  const Shape shape = broadcast(a.shape, b.shape);
  if (op.fn == BinaryFn::prelu && shape != a.shape)
    bad_input("slope has shape {}; accepted is one that broadcasts to {}", to_string(b.shape), to_string(a.shape));
  const DType dtype = is_comparison(op.fn) ? DType::boolean : a.dtype;
  return {{dtype, shape, binary_terms(op.fn, inputs, shape)}};
}

bool is_part(BinaryFn fn) {
  return !is_comparison(fn) && !is_logical(fn);
}

bool is_part(UnaryFn fn) {
  return fn != UnaryFn::logical_not && fn != UnaryFn::is_nan;
}

void bind_op(Elementwise& op, Node& node, Inputs) {
  if (op.parts.empty()) bad_input("Elementwise has no parts; accepted are 1 and more");
  for (size_t i = 0; i < op.parts.size(); ++i) {
    const Elementwise::Part& part = op.parts[i];
    const size_t operands = node.inputs.size() + i;
    if (part.a >= operands || (part.fn && part.b >= operands)) bad_input("part {} reads an operand behind it", i);
    if ((part.fn && !is_part(*part.fn)) || !is_part(part.activation.fn)) bad_input("part {} makes no number", i);
  }
}

std::vector<Inferred> infer_op(const Elementwise& op, const Node&, Inputs inputs) {
  const DType dtype = need(inputs, 0).dtype;
  need_float(dtype, "X");
  std::vector<Shape> shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    need_same(dtype, need(inputs, i).dtype, "inputs");
    shapes.push_back(need(inputs, i).shape);
  }
  for (const Elementwise::Part& part : op.parts) {
    const Shape a = shapes[part.a];
    shapes.push_back(part.fn ? broadcast(a, shapes[part.b]) : a);
  }
  return {{dtype, shapes.back(), std::nullopt}};
}

void bind_op(Select&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const Select&, const Node&, Inputs inputs) {
  const Known& condition = need(inputs, 0);
  const Known& x = need(inputs, 1);
  const Known& y = need(inputs, 2);
  if (condition.dtype != DType::boolean) bad_input("condition has type {}; accepted is boolean", dtype_name(condition.dtype));
  need_same(x.dtype, y.dtype, "X and Y");
  Inferred result{x.dtype, broadcast(condition.shape, broadcast(x.shape, y.shape)), std::nullopt};
  if (!is_symbolic(condition) && !is_symbolic(x) && !is_symbolic(y)) return {result};
  const std::optional<Terms> chosen = broadcast_terms(condition, result.shape);
  const std::optional<Terms> first = broadcast_terms(x, result.shape);
  const std::optional<Terms> second = broadcast_terms(y, result.shape);
  if (!chosen || !first || !second) return {result};
  Terms terms;
  for (size_t i = 0; i < chosen->size(); ++i) terms.push_back((*chosen)[i].factor != 0 ? (*first)[i] : (*second)[i]);
  result.terms = std::move(terms);
  return {result};
}

void bind_op(Cast&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const Cast& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  Inferred y{op.to, x.shape, std::nullopt};
  if (!is_symbolic(x)) return {y};
  Terms terms;
  for (const Dim& term : *x.terms) {
    const bool fits = op.to == DType::i64 || (op.to == DType::i32 && std::abs(term.factor) <= std::numeric_limits<int32_t>::max());
    const bool logical = op.to == DType::boolean;
    if (!fits && !logical) return {y};
    terms.push_back(logical ? Dim(term.factor != 0 ? 1 : 0) : term);
  }
  y.terms = std::move(terms);
  return {y};
}

void bind_op(BatchNorm& op, Node&, Inputs) {
  if (!(op.epsilon >= 0.0f)) bad_input("attribute epsilon = {}; accepted are 0 and more", op.epsilon);
}

std::vector<Inferred> infer_op(const BatchNorm&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_float(x.dtype, "X");
  if (x.shape.size() < 2) bad_input("X has shape {}; accepted is rank 2 and more", to_string(x.shape));
  constexpr std::array<std::string_view, 4> kNames = {"scale", "bias", "mean", "variance"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    const Known& parameter = need(inputs, i + 1);
    need_float(parameter.dtype, kNames[i]);
    if (parameter.shape != Shape{x.shape[1]})
      bad_input("{} has shape {}; accepted is [{}]", kNames[i], to_string(parameter.shape), to_string(x.shape[1]));
  }
  return {{x.dtype, x.shape, std::nullopt}};
}

}  // namespace fcm::ops
