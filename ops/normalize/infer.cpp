// Normalize: the shape of X stays; what is checked is that groups are static and that scale and bias fit them.
#include "ops/normalize/normalize.h"

namespace fcm::ops {
namespace {

// Whether `shape` broadcasts to X's axes from `axis` on.
bool fits_axes(const Shape& shape, const Shape& x, size_t axis) {
  for (size_t i = 0; i < shape.size(); ++i) {
    const Dim& dim = shape[shape.size() - 1 - i];
    if (dim == Dim(1)) continue;
    if (i >= x.size() - axis || dim != x[x.size() - 1 - i]) return false;
  }
  return true;
}

void check_parameter(const Normalize& op, const Known& x, const Known& parameter, const char* name) {
  need_same(x.dtype, parameter.dtype, fmt::format("X and {}", name));
  if (op.fn == NormFn::group) {
    const Shape expected = {op.scale_by_group ? Dim(op.groups) : x.shape[1]};
    if (parameter.shape != expected) bad_input("{} has shape {}; accepted is {}", name, to_string(parameter.shape), to_string(expected));
    return;
  }
  if (!fits_axes(parameter.shape, x.shape, static_cast<size_t>(op.axis)))
    unsupported("{} has shape {} for X {} and axis {}; accepted is what broadcasts to the normalised axes", name,
                to_string(parameter.shape), to_string(x.shape), op.axis);
}

}  // namespace

NormalizeExtents normalize_extents(const Normalize& op, const Shape& x) {
  NormalizeExtents e;
  const size_t first = op.fn == NormFn::group ? 2 : static_cast<size_t>(op.axis);
  e.outer = element_count(Shape(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(first)));
  e.inner = element_count(Shape(x.begin() + static_cast<std::ptrdiff_t>(first), x.end())).factor;
  if (op.fn != NormFn::group) return e;
  e.groups = op.groups;
  e.group_channels = op.groups == 0 ? 0 : x[1].factor / op.groups;
  e.spatial = e.inner;
  e.inner *= e.group_channels;
  e.outer.factor = e.group_channels == 0 ? 0 : e.outer.factor / e.group_channels;
  return e;
}

void bind_op(Normalize& op, Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (op.fn != NormFn::group) {
    op.axis = normalize_axis(op.axis, rank_of(x), "axis");
    return;
  }
  if (x.shape.size() < 2) bad_input("X has shape {}; accepted is rank 2 and more: batch, channels, spatial axes", to_string(x.shape));
  if (op.groups == 0) op.groups = x.shape[1].factor;
}

std::vector<Inferred> infer_op(const Normalize& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  need_float(x.dtype, "X");
  const bool group = op.fn == NormFn::group;
  const size_t first = group ? 1 : static_cast<size_t>(normalize_axis(op.axis, rank_of(x), "axis"));
  for (size_t i = first; i < x.shape.size(); ++i) {
    if (x.shape[i].batch) unsupported("axis {} of X {} depends on the batch; the normalised axes must not", i, to_string(x.shape));
  }
  if (group && (op.groups < 1 || x.shape[1].factor % op.groups != 0))
    bad_input("attribute num_groups = {}; accepted are divisors of the {} channels", op.groups, x.shape[1].factor);
  if (const Known* scale = known(inputs, 1)) check_parameter(op, x, *scale, "scale");
  if (const Known* bias = known(inputs, 2)) check_parameter(op, x, *bias, "bias");
  return {{x.dtype, x.shape, std::nullopt}};
}

}  // namespace fcm::ops
