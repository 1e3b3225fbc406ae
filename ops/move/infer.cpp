// Movement operators: attributes from constant inputs, shapes, and terms by moving them.
#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/broadcast.h"
#include "ops/move/move.h"
#include "ops/move/ranges.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

constexpr int64_t kToTheEnd = std::numeric_limits<int64_t>::max();

// A bound of Slice along an axis of extent `dim`: a constant, or c*B where that reaches the end of the axis.
int64_t slice_bound(const Dim& term, const Dim& dim) {
  if (!term.batch) return term.factor;
  if (dim.batch && term.factor >= dim.factor) return kToTheEnd;
  unsupported("a bound of Slice is {} on an axis of {}; with the batch in it, accepted is one at the end of the axis", to_string(term),
              to_string(dim));
}

void fill_slice_defaults(Slice& op, size_t count) {
  if (op.axes.empty()) {
    op.axes.resize(count);
    std::iota(op.axes.begin(), op.axes.end(), 0);
  }
  if (op.steps.empty()) op.steps.assign(count, 1);
}

void check_slice(const Slice& op, size_t rank) {
  const size_t count = op.starts.size();
  if (op.ends.size() != count || op.axes.size() != count || op.steps.size() != count)
    bad_input("starts, ends, axes, steps have {}, {}, {}, {} elements; they must be equal in number", count, op.ends.size(), op.axes.size(),
              op.steps.size());
  if (count > rank) bad_input("starts has {} elements for rank {}", count, rank);
  static_cast<void>(normalize_axes(op.axes, static_cast<int64_t>(rank), "axes"));
  for (const int64_t step : op.steps) {
    if (step == 0) bad_input("steps holds 0; accepted are other numbers");
  }
}

// The extent that start:end:step leaves of c*B elements, when that is c or c*B for every B >= 1.
Dim batch_slice(int64_t start, int64_t end, int64_t step, const Dim& dim) {
  const int64_t c = dim.factor;
  const bool whole = step > 0 ? (start == 0 && end >= std::numeric_limits<int32_t>::max())
                              : (start == -1 || start >= std::numeric_limits<int32_t>::max()) && end <= std::numeric_limits<int32_t>::min();
  if (whole && (step == 1 || step == -1 || c % step == 0)) return {c / std::abs(step), true};
  // Both ends counted from the same side and within the first (or last) c elements: the same for every batch.
  const bool from_front = start >= 0 && start <= (step > 0 ? c : c - 1) && end >= 0 && end <= c;
  const bool from_back = start >= -c && start < 0 && ((end >= -c && end < 0) || (step > 0 && end >= std::numeric_limits<int32_t>::max()));
  if (from_front || from_back) return slice_range(start, end, step, c).count;
  unsupported("Slice takes {}:{}:{} of an axis of {}; accepted are all of it and a constant part of its first or last {}", start, end, step,
              to_string(dim), c);
}

// Spreads per-listed-axis pads [begins..., ends...] over all axes.
void spread_pads(Pad& op, const Ints& pads, const Ints& axes, size_t rank) {
  if (pads.size() != 2 * axes.size()) bad_input("pads has {} elements; accepted are 2 for each of {} axes", pads.size(), axes.size());
  op.begin.assign(rank, 0);
  op.end.assign(rank, 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    op.begin[static_cast<size_t>(axes[i])] = pads[i];
    op.end[static_cast<size_t>(axes[i])] = pads[axes.size() + i];
  }
}

Dim pad_extent(const Pad& op, size_t axis, const Dim& dim) {
  const int64_t begin = op.begin[axis];
  const int64_t end = op.end[axis];
  if (begin == 0 && end == 0) return dim;
  if (dim.batch) unsupported("Pad of {} and {} on axis {} of {}; accepted is 0 where the batch stands", begin, end, axis, to_string(dim));
  constexpr int64_t kMost = int64_t{1} << 40;
  if (begin < -kMost || begin > kMost || end < -kMost || end > kMost)
    bad_input("pads of {} and {} on axis {}; accepted are up to {}", begin, end, axis, kMost);
  const int64_t extent = dim.factor + begin + end;
  if (extent < 0 || -begin > dim.factor || -end > dim.factor)
    bad_input("pads of {} and {} crop axis {} of {} below 0", begin, end, axis, dim.factor);
  // Reflection excludes the border element. Wrapping and repeating need an element to read.
  if (op.mode == PadMode::reflect && std::max(begin, end) >= dim.factor)
    bad_input("pads of {} and {} on axis {} of {}; mode reflect accepts less than the extent", begin, end, axis, dim.factor);
  if (op.mode != PadMode::constant && dim.factor == 0) bad_input("axis {} is empty; modes edge and wrap need an element", axis);
  return extent;
}

}  // namespace

void bind_op(Transpose& op, Node&, Inputs inputs) {
  const int64_t rank = rank_of(need(inputs, 0));
  if (op.perm.empty()) {
    for (int64_t axis = rank; axis-- > 0;) op.perm.push_back(axis);
  }
  if (static_cast<int64_t>(op.perm.size()) != rank) bad_input("attribute perm has {} axes; accepted are {}", op.perm.size(), rank);
  static_cast<void>(normalize_axes(op.perm, rank, "perm"));
  for (int64_t& axis : op.perm) axis = normalize_axis(axis, rank, "perm");
}

std::vector<Inferred> infer_op(const Transpose& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (op.perm.size() != x.shape.size()) bad_input("attribute perm has {} axes; accepted are {}", op.perm.size(), x.shape.size());
  std::vector<Inferred> outputs = {{x.dtype, {}, std::nullopt}};
  for (const int64_t axis : op.perm) outputs[0].shape.push_back(x.shape[static_cast<size_t>(normalize_axis(axis, rank_of(x), "perm"))]);
  move_terms(op, inputs.first(1), {}, outputs);
  return outputs;
}

void bind_op(Concat& op, Node&, Inputs inputs) {
  op.axis = normalize_axis(op.axis, rank_of(need(inputs, 0)), "axis");
}

std::vector<Inferred> infer_op(const Concat& op, const Node& node, Inputs inputs) {
  const Known& first = need(inputs, 0);
  const size_t axis = static_cast<size_t>(normalize_axis(op.axis, rank_of(first), "axis"));
  Shape shape = first.shape;
  for (size_t n = 1; n < inputs.size(); ++n) {
    const Known& x = need(inputs, n);
    need_same(first.dtype, x.dtype, "the inputs of Concat");
    if (x.shape.size() != shape.size())
      bad_input("inputs 0 and {} have shapes {} and {}; the ranks must be equal", n, to_string(first.shape), to_string(x.shape));
    for (size_t i = 0; i < shape.size(); ++i) {
      if (i == axis || shape[i] == x.shape[i]) continue;
      const std::string detail = fmt::format("inputs 0 and {} have shapes {} and {}", n, to_string(first.shape), to_string(x.shape));
      if (shape[i].batch != x.shape[i].batch) fail_baked_batch(node, shape[i].batch ? x.shape[i].factor : shape[i].factor, detail);
      bad_input("{}; they may differ along axis {} only", detail, axis);
    }
    const std::optional<Dim> sum = evaluate(BinaryFn::add, shape[axis], x.shape[axis]);
    if (!sum)
      unsupported("axis {} would be {} + {}; accepted are all constant or all multiples of the batch", axis, to_string(shape[axis]),
                  to_string(x.shape[axis]));
    shape[axis] = *sum;
  }
  static_cast<void>(element_count(shape));
  std::vector<Inferred> outputs = {{first.dtype, shape, std::nullopt}};
  move_terms(op, inputs, {}, outputs);
  return outputs;
}

void bind_op(Slice& op, Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.bound) {
    const Terms starts = need_terms(need(inputs, 1), "starts");
    const Terms ends = need_terms(need(inputs, 2), "ends");
    if (node.input(3) != kNoValue) op.axes = need_ints(need(inputs, 3), "axes");
    if (node.input(4) != kNoValue) op.steps = need_ints(need(inputs, 4), "steps");
    fill_slice_defaults(op, starts.size());
    if (ends.size() != starts.size() || op.axes.size() != starts.size())
      bad_input("starts, ends, axes have {}, {}, {} elements; they must be equal in number", starts.size(), ends.size(), op.axes.size());
    op.starts.clear();
    op.ends.clear();
    for (size_t i = 0; i < starts.size(); ++i) {
      const Dim& dim = x.shape[static_cast<size_t>(normalize_axis(op.axes[i], rank_of(x), "axes"))];
      op.starts.push_back(slice_bound(starts[i], dim));
      op.ends.push_back(slice_bound(ends[i], dim));
    }
  }
  fill_slice_defaults(op, op.starts.size());
  check_slice(op, x.shape.size());
  for (int64_t& axis : op.axes) axis = normalize_axis(axis, rank_of(x), "axes");
  op.bound = true;
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Slice& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.bound) unsupported("starts, ends, axes or steps are computed at run time; accepted are constants");
  check_slice(op, x.shape.size());
  std::vector<Inferred> outputs = {{x.dtype, x.shape, std::nullopt}};
  for (size_t i = 0; i < op.axes.size(); ++i) {
    Dim& dim = outputs[0].shape[static_cast<size_t>(op.axes[i])];
    dim = dim.batch ? batch_slice(op.starts[i], op.ends[i], op.steps[i], dim)
                    : Dim(slice_range(op.starts[i], op.ends[i], op.steps[i], dim.factor).count);
  }
  move_terms(op, inputs.first(1), {}, outputs);
  return outputs;
}

void bind_op(Split& op, Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  op.axis = normalize_axis(op.axis, rank_of(x), "axis");
  if (node.input(1) != kNoValue) op.sizes = need_ints(need(inputs, 1), "split");
  keep_inputs(node, 1);
  const Dim& dim = x.shape[static_cast<size_t>(op.axis)];
  if (!op.sizes.empty() || dim.batch || node.outputs.empty()) return;
  const int64_t parts = static_cast<int64_t>(node.outputs.size());
  const int64_t part = (dim.factor + parts - 1) / parts;
  for (int64_t i = 0; i < parts; ++i) op.sizes.push_back(std::clamp<int64_t>(dim.factor - i * part, 0, part));
}

std::vector<Inferred> infer_op(const Split& op, const Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const size_t axis = static_cast<size_t>(normalize_axis(op.axis, rank_of(x), "axis"));
  const Dim dim = x.shape[axis];
  const int64_t parts = static_cast<int64_t>(node.outputs.size());
  std::vector<Inferred> outputs(node.outputs.size(), {x.dtype, x.shape, std::nullopt});
  if (op.sizes.empty()) {
    if (dim.factor % parts != 0) unsupported("axis {} of {} does not divide into {} equal parts", axis, to_string(x.shape), parts);
    for (Inferred& y : outputs) y.shape[axis].factor = dim.factor / parts;
    return outputs;
  }
  if (dim.batch)
    unsupported("attribute split = [{}] on axis {} of {}; where the batch stands, accepted are equal parts", fmt::join(op.sizes, ","), axis,
                to_string(x.shape));
  int64_t total = 0;
  for (const int64_t size : op.sizes) {
    if (size < 0 || size > dim.factor) bad_input("attribute split holds {}; accepted are 0 to {}", size, dim.factor);
    total += size;
  }
  if (total != dim.factor || op.sizes.size() != node.outputs.size())
    bad_input("attribute split = [{}] for {} outputs of an axis of {}", fmt::join(op.sizes, ","), parts, dim.factor);
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i].shape[axis] = op.sizes[i];
  move_terms(op, inputs.first(1), {}, outputs);
  return outputs;
}

void bind_op(Gather& op, Node&, Inputs inputs) {
  op.axis = normalize_axis(op.axis, rank_of(need(inputs, 0)), "axis");
}

std::vector<Inferred> infer_op(const Gather& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& indices = need(inputs, 1);
  if (indices.dtype != DType::i64 && indices.dtype != DType::i32)
    bad_input("indices have type {}; accepted are i32 and i64", dtype_name(indices.dtype));
  const size_t axis = static_cast<size_t>(normalize_axis(op.axis, rank_of(x), "axis"));
  std::vector<Inferred> outputs = {{x.dtype, x.shape, std::nullopt}};
  Shape& y = outputs[0].shape;
  y.erase(y.begin() + static_cast<std::ptrdiff_t>(axis));
  y.insert(y.begin() + static_cast<std::ptrdiff_t>(axis), indices.shape.begin(), indices.shape.end());
  static_cast<void>(element_count(y));
  if (indices.constant == nullptr) return outputs;
  const Dim& dim = x.shape[axis];
  for (const Dim& index : contents(indices).value_or(Terms{})) {
    // On c*B elements only the first and last c exist whatever the batch.
    if (index.factor < -dim.factor || index.factor >= dim.factor)
      bad_input("indices hold {} for an axis of {}; accepted are {} to {}", index.factor, to_string(dim), -dim.factor, dim.factor - 1);
  }
  move_terms(op, inputs.first(1), std::array{indices.constant}, outputs);
  return outputs;
}

void bind_op(Pad& op, Node& node, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const size_t rank = x.shape.size();
  if (!op.bound) {
    const Ints pads = need_ints(need(inputs, 1), "pads");
    if (node.input(2) != kNoValue) {
      const Known& value = need(inputs, 2);
      if (value.constant == nullptr) unsupported("constant_value is computed at run time; accepted are constants");
      if (value.constant->count() > 1) bad_input("constant_value has shape {}; accepted is one element", to_string(value.shape));
      if (value.constant->count() == 1) op.value = value.constant->cast(DType::f32).data<float>()[0];
    }
    Ints axes(rank);
    std::iota(axes.begin(), axes.end(), 0);
    if (node.input(3) != kNoValue) {
      axes = need_ints(need(inputs, 3), "axes");
      static_cast<void>(normalize_axes(axes, rank_of(x), "axes"));
      for (int64_t& axis : axes) axis = normalize_axis(axis, rank_of(x), "axes");
    }
    spread_pads(op, pads, axes, rank);
  }
  op.bound = true;
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Pad& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.bound) unsupported("pads are computed at run time; accepted are constants and arithmetic on shapes");
  if (op.begin.size() != x.shape.size() || op.end.size() != x.shape.size())
    bad_input("attribute pads has {} elements; accepted are 2 for each of {} axes", op.begin.size() + op.end.size(), x.shape.size());
  Shape y;
  for (size_t axis = 0; axis < x.shape.size(); ++axis) y.push_back(pad_extent(op, axis, x.shape[axis]));
  static_cast<void>(element_count(y));
  return {{x.dtype, y, std::nullopt}};
}

}  // namespace fcm::ops
