// Conv: window from the weights' shape, batch at axis 0, everything else static.
#include "ops/conv/conv.h"
#include "ops/window.h"

namespace fcm::ops {
namespace {

// The kernel extents are the weights' spatial dims; the attribute may only repeat them.
Ints kernel_of(const Window& window, const Known& w) {
  Ints kernel;
  for (size_t i = 2; i < w.shape.size(); ++i) kernel.push_back(w.shape[i].factor);
  if (!window.kernel.empty() && window.kernel != kernel)
    bad_input("attribute kernel_shape = [{}] differs from the weights' shape {}", fmt::join(window.kernel, ","), to_string(w.shape));
  return kernel;
}

void check_channels(const Conv& op, const Known& x, const Known& w) {
  if (op.group < 1) bad_input("attribute group = {}; accepted are 1 and more", op.group);
  const int64_t filters = w.shape[0].factor;
  const int64_t channels = x.shape[1].factor;
  if (channels != w.shape[1].factor * op.group)
    bad_input("X has {} channels; weights {} with group {} accept {}", channels, to_string(w.shape), op.group,
              w.shape[1].factor * op.group);
  if (filters % op.group != 0) bad_input("{} filters are not a multiple of group = {}", filters, op.group);
}

}  // namespace

void bind_op(Conv& op, Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& w = need(inputs, 1);
  const Dims spatial = spatial_dims(x);
  if (has_batch(w.shape)) unsupported("weights have shape {}; accepted is one that is free of the batch", to_string(w.shape));
  if (w.shape.size() != x.shape.size())
    bad_input("X has shape {} but weights {}; the ranks must be equal", to_string(x.shape), to_string(w.shape));
  op.window.kernel = kernel_of(op.window, w);
  bind_window(op.window, spatial);
}

std::vector<Inferred> infer_op(const Conv& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& w = need(inputs, 1);
  need_float(x.dtype, "X");
  need_same(x.dtype, w.dtype, "X and weights");
  const Dims spatial = spatial_dims(x);
  if (w.shape.size() != x.shape.size())
    bad_input("X has shape {} but weights {}; the ranks must be equal", to_string(x.shape), to_string(w.shape));
  check_channels(op, x, w);
  Shape y = {x.shape[0], w.shape[0]};
  for (const int64_t extent : window_output(op.window, spatial, false)) y.emplace_back(extent);
  if (const Known* bias = known(inputs, 2)) {
    need_same(x.dtype, bias->dtype, "X and bias");
    if (bias->shape != Shape{w.shape[0]}) bad_input("bias has shape {}; accepted is [{}]", to_string(bias->shape), to_string(w.shape[0]));
  }
  if (const Known* residual = known(inputs, 3)) {
    need_same(x.dtype, residual->dtype, "X and residual");
    if (residual->shape != y) bad_input("residual has shape {}; accepted is {}", to_string(residual->shape), to_string(y));
  }
  return {{x.dtype, y, std::nullopt}};
}

}  // namespace fcm::ops
