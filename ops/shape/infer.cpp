// Operators on shapes: where terms come from (Shape, Size) and the simple ones that carry them. Reshape has its own file.
#include <algorithm>
#include <cmath>

#include "ops/broadcast.h"
#include "ops/shape/shape.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

Inferred with_terms(DType dtype, Terms terms) {
  return {dtype, {Dim(static_cast<int64_t>(terms.size()))}, std::move(terms)};
}

void need_dimensions(const Terms& shape, std::string_view what) {
  for (const Dim& dim : shape) {
    if (dim.factor < 0) bad_input("{} holds {}; accepted are 0 and more", what, to_string(dim));
  }
}

// limit - start in steps of delta, for constants of any numeric type.
int64_t range_count(double start, double limit, double delta) {
  if (delta == 0.0 || !std::isfinite(delta)) bad_input("delta = {}; accepted is a finite number other than 0", delta);
  const double count = std::ceil((limit - start) / delta);
  if (!(count < 9e15)) bad_input("Range from {} to {} by {} has too many elements", start, limit, delta);
  return count > 0.0 ? static_cast<int64_t>(count) : 0;
}

std::optional<Dim> scalar_term(const Known& k) {
  const std::optional<Terms> terms = contents(k);
  if (!terms || terms->size() != 1) return std::nullopt;
  return terms->front();
}

// The length of a Range over integers, where the batch may occur.
Dim symbolic_range_count(const Known& start, const Known& limit, const Known& delta) {
  const std::optional<Dim> first = scalar_term(start);
  const std::optional<Dim> last = scalar_term(limit);
  const std::optional<Dim> step = scalar_term(delta);
  if (!first || !last || !step)
    unsupported("start, limit or delta is computed at run time; accepted are constants and arithmetic on shapes");
  const std::optional<Dim> span = evaluate(BinaryFn::sub, *last, *first);
  if (!span || step->batch || step->factor == 0)
    unsupported("Range from {} to {} by {} has a length that is not c or c*B", to_string(*first), to_string(*last), to_string(*step));
  if (!span->batch) return range_count(0.0, static_cast<double>(span->factor), static_cast<double>(step->factor));
  if ((span->factor < 0) != (step->factor < 0)) return 0;
  const std::optional<Dim> count = evaluate(BinaryFn::div, *span, *step);
  if (!count) unsupported("Range over {} by {} has a length that is not c or c*B", to_string(*span), to_string(*step));
  return *count;
}

}  // namespace

void bind_op(ShapeOf& op, Node&, Inputs inputs) {
  const int64_t rank = rank_of(need(inputs, 0));
  const auto clamp = [rank](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  op.start = clamp(op.start);
  op.end = std::max(op.start, clamp(op.end.value_or(rank)));
}

std::vector<Inferred> infer_op(const ShapeOf& op, const Node&, Inputs inputs) {
  const Shape& shape = need(inputs, 0).shape;
  const int64_t rank = static_cast<int64_t>(shape.size());
  const int64_t start = std::clamp<int64_t>(op.start, 0, rank);
  const int64_t end = std::clamp<int64_t>(op.end.value_or(rank), start, rank);
  return {with_terms(DType::i64, Terms(shape.begin() + start, shape.begin() + end))};
}

void bind_op(SizeOf&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const SizeOf&, const Node&, Inputs inputs) {
  return {{DType::i64, {}, Terms{element_count(need(inputs, 0).shape)}}};
}

void bind_op(ConstantOfShape& op, Node&, Inputs) {
  if (op.value.count() != 1) bad_input("attribute value has {} elements; accepted is one", op.value.count());
}

std::vector<Inferred> infer_op(const ConstantOfShape& op, const Node&, Inputs inputs) {
  const Terms dims = need_terms(need(inputs, 0), "shape");
  need_dimensions(dims, "shape");
  Inferred y{op.value.dtype(), Shape(dims.begin(), dims.end()), std::nullopt};
  static_cast<void>(element_count(y.shape));  // throws when the size overflows
  if (const std::optional<int64_t> count = small_count(y.shape); count && !is_float(y.dtype)) {
    const int64_t value = op.value.cast(DType::i64).data<int64_t>()[0];
    y.terms = Terms(static_cast<size_t>(*count), Dim(value));
  }
  return {y};
}

void bind_op(Range&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const Range&, const Node&, Inputs inputs) {
  const Known& start = need(inputs, 0);
  const Known& limit = need(inputs, 1);
  const Known& delta = need(inputs, 2);
  need_same(start.dtype, limit.dtype, "start and limit");
  need_same(start.dtype, delta.dtype, "start and delta");
  if (start.dtype == DType::boolean) bad_input("start has type boolean; accepted are numbers");
  for (const Known* k : {&start, &limit, &delta}) {
    if (element_count(k->shape) != Dim(1)) bad_input("an input of Range has shape {}; accepted is one element", to_string(k->shape));
  }
  if (!is_float(start.dtype)) return {{start.dtype, {symbolic_range_count(start, limit, delta)}, std::nullopt}};
  if (start.constant == nullptr || limit.constant == nullptr || delta.constant == nullptr)
    unsupported("start, limit or delta is computed at run time; accepted are constants");
  const auto value = [](const Known& k) { return k.constant->cast(DType::f64).data<double>()[0]; };
  return {{start.dtype, {Dim(range_count(value(start), value(limit), value(delta)))}, std::nullopt}};
}

void bind_op(Identity&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const Identity&, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  Inferred y{x.dtype, x.shape, std::nullopt};
  if (is_symbolic(x)) y.terms = *x.terms;
  return {y};
}

void bind_op(Expand& op, Node& node, Inputs inputs) {
  if (!op.target) {
    const Terms target = need_terms(need(inputs, 1), "shape");
    need_dimensions(target, "shape");
    op.target = broadcast(need(inputs, 0).shape, Shape(target.begin(), target.end()));
  }
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Expand& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.target) unsupported("the shape is computed at run time; accepted are constants and arithmetic on shapes");
  std::vector<Inferred> outputs = {{x.dtype, broadcast(x.shape, *op.target), std::nullopt}};
  static_cast<void>(element_count(outputs[0].shape));
  move_terms(op, inputs.first(1), {}, outputs);
  return outputs;
}

void bind_op(Tile& op, Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (op.repeats) return keep_inputs(node, 1);
  const Terms repeats = need_terms(need(inputs, 1), "repeats");
  if (repeats.size() != x.shape.size())
    bad_input("repeats has {} elements; accepted is one for each of {} axes", repeats.size(), x.shape.size());
  need_dimensions(repeats, "repeats");
  if (!has_batch(repeats)) {
    op.repeats.emplace();
    for (const Dim& r : repeats) op.repeats->push_back(r.factor);
    return keep_inputs(node, 1);
  }
  // Repeating an axis of 1 by the batch is an Expand, whose target may hold the batch.
  Shape target = x.shape;
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] == Dim(1)) continue;
    if (target[i] != Dim(1))
      unsupported("repeats [{}] of shape {}: with the batch in them, only axes of 1 may be repeated", to_string(repeats),
                  to_string(x.shape));
    target[i] = repeats[i];
  }
  keep_inputs(node, 1);
  node.op = Expand{std::move(target)};  // `op` is gone from here on
}

std::vector<Inferred> infer_op(const Tile& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.repeats) unsupported("repeats is computed at run time; accepted are constants");
  if (op.repeats->size() != x.shape.size())
    bad_input("repeats has {} elements; accepted is one for each of {} axes", op.repeats->size(), x.shape.size());
  std::vector<Inferred> outputs = {{x.dtype, {}, std::nullopt}};
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const std::optional<Dim> dim = evaluate(BinaryFn::mul, x.shape[i], (*op.repeats)[i]);
    if (!dim || (*op.repeats)[i] < 0) bad_input("repeats holds {} for axis {} of {}", (*op.repeats)[i], i, to_string(x.shape));
    outputs[0].shape.push_back(*dim);
  }
  static_cast<void>(element_count(outputs[0].shape));
  move_terms(op, inputs.first(1), {}, outputs);
  return outputs;
}

}  // namespace fcm::ops
