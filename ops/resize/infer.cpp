// Resize: scales or sizes become the axes that change, with the extent and the scale of each.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/resize/resize.h"
#include "ops/terms.h"

namespace fcm::ops {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;  // coordinates are float32

std::vector<float> need_scales(const Known& k) {
  if (k.constant == nullptr) unsupported("scales are computed at run time; accepted are constants");
  if (!is_float(k.dtype) || k.shape.size() != 1)
    bad_input("scales have type {} and shape {}; accepted is a list of floats", dtype_name(k.dtype), to_string(k.shape));
  const Tensor wide = k.constant->cast(DType::f32);
  std::vector<float> scales(wide.data<float>().begin(), wide.data<float>().end());
  for (const float s : scales) {
    if (!(s > 0.0f) || !std::isfinite(s)) bad_input("scales hold {}; accepted are positive numbers", s);
  }
  return scales;
}

// One axis as the model gives it.
struct Change {
  int64_t axis = 0;
  int64_t size = 0;
  float scale = 1.0f;
};

void set_scales(std::vector<Change>& changes, const Shape& x, const std::vector<float>& scales) {
  if (scales.size() != changes.size())
    bad_input("scales have {} elements; accepted is one for each of {} axes", scales.size(), changes.size());
  for (size_t i = 0; i < changes.size(); ++i) {
    const Dim& dim = x[static_cast<size_t>(changes[i].axis)];
    if (dim.batch && scales[i] != 1.0f)
      unsupported("scale {} on axis {} of {}; accepted is 1 where the batch stands", scales[i], changes[i].axis, to_string(x));
    changes[i].scale = scales[i];
    const double size = std::floor(static_cast<double>(static_cast<float>(dim.factor) * scales[i]));
    if (!(size <= static_cast<double>(kMost)))
      bad_input("scale {} makes axis {} of {} too large", scales[i], changes[i].axis, to_string(x));
    changes[i].size = static_cast<int64_t>(size);
  }
}

// The one scale of all axes that keeps the aspect.
void keep_aspect(std::vector<Change>& changes, const Shape& x, ResizeAspect aspect) {
  float scale = aspect == ResizeAspect::not_larger ? std::numeric_limits<float>::max() : 0.0f;
  for (const Change& c : changes) scale = aspect == ResizeAspect::not_larger ? std::min(scale, c.scale) : std::max(scale, c.scale);
  for (Change& c : changes) {
    c.scale = scale;
    c.size = static_cast<int64_t>(std::round(scale * static_cast<float>(x[static_cast<size_t>(c.axis)].factor)));
  }
}

void set_sizes(std::vector<Change>& changes, const Shape& x, const Terms& sizes, ResizeAspect aspect) {
  if (sizes.size() != changes.size())
    bad_input("sizes have {} elements; accepted is one for each of {} axes", sizes.size(), changes.size());
  for (size_t i = 0; i < changes.size(); ++i) {
    const Dim& dim = x[static_cast<size_t>(changes[i].axis)];
    if (dim == sizes[i]) {
      changes[i].size = dim.factor;
      continue;
    }
    if (dim.batch || sizes[i].batch || dim.factor == 0)
      unsupported("size {} on axis {} of {}; where the batch stands, accepted is the same", to_string(sizes[i]), changes[i].axis,
                  to_string(x));
    if (sizes[i].factor < 0 || sizes[i].factor > kMost) bad_input("sizes hold {}; accepted are 0 to {}", sizes[i].factor, kMost);
    changes[i].size = sizes[i].factor;
    changes[i].scale = static_cast<float>(sizes[i].factor) / static_cast<float>(dim.factor);
  }
  if (aspect == ResizeAspect::stretch) return;
  for (const Change& c : changes) {
    if (x[static_cast<size_t>(c.axis)].batch) unsupported("keep_aspect_ratio_policy over the batch axis; accepted are spatial axes");
  }
  keep_aspect(changes, x, aspect);
}

bool given(const Node& node, Inputs inputs, size_t i) {
  // An empty list stands for an absent one, as opset 11 has it.
  return node.input(i) != kNoValue && element_count(need(inputs, i).shape) != Dim(0);
}

}  // namespace

void bind_op(Resize& op, Node& node, Inputs inputs) {
  if (op.bound) return keep_inputs(node, 1);
  const Known& x = need(inputs, 0);
  Ints axes = op.axes.value_or(Ints{});
  if (!op.axes) {
    axes.resize(x.shape.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  static_cast<void>(normalize_axes(axes, rank_of(x), "axes"));
  std::vector<Change> changes;
  for (const int64_t axis : axes) changes.push_back({normalize_axis(axis, rank_of(x), "axes"), 0, 1.0f});
  const bool scales = given(node, inputs, 1);
  if (scales == given(node, inputs, 2))
    bad_input("{}; accepted is one of scales and sizes", scales ? "both scales and sizes are given" : "neither scales nor sizes are given");
  if (scales) {
    set_scales(changes, x.shape, need_scales(need(inputs, 1)));
  } else {
    set_sizes(changes, x.shape, need_terms(need(inputs, 2), "sizes"), op.aspect);
  }
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) { return a.axis < b.axis; });
  op.axes.emplace();
  for (const Change& c : changes) {
    if (c.scale == 1.0f && c.size == x.shape[static_cast<size_t>(c.axis)].factor) continue;
    op.axes->push_back(c.axis);
    op.sizes.push_back(c.size);
    op.scales.push_back(c.scale);
  }
  op.bound = true;
  keep_inputs(node, 1);
}

std::vector<Inferred> infer_op(const Resize& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  if (!op.bound) unsupported("scales or sizes are computed at run time; accepted are constants and arithmetic on shapes");
  if (op.mode != ResizeMode::nearest) need_float(x.dtype, "X");
  Inferred y{x.dtype, x.shape, std::nullopt};
  for (size_t i = 0; i < op.axes->size(); ++i) {
    const int64_t axis = normalize_axis((*op.axes)[i], rank_of(x), "axes");
    const Dim& dim = x.shape[static_cast<size_t>(axis)];
    if (dim.batch) unsupported("Resize of axis {} of {}, where the batch stands", axis, to_string(x.shape));
    if (dim.factor < 1 || dim.factor > kMost) bad_input("axis {} of X {} is outside 1 to {}", axis, to_string(x.shape), kMost);
    y.shape[static_cast<size_t>(axis)] = op.sizes[i];
  }
  static_cast<void>(element_count(y.shape));
  return {y};
}

}  // namespace fcm::ops
