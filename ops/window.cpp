#include "ops/window.h"

#include <algorithm>

namespace fcm::ops {
namespace {

constexpr int64_t kMaxExtent = (int64_t{1} << 31) - 1;  // keeps every sum and product below in int64

// Fills an empty attribute and checks its length and the range of each value.
void settle(Ints& values, size_t rank, int64_t standard, int64_t least, std::string_view attribute) {
  if (values.empty()) values.assign(rank, standard);
  if (values.size() != rank)
    bad_input("attribute {} has {} values; accepted is one for each of {} spatial axes", attribute, values.size(), rank);
  for (const int64_t v : values) {
    if (v < least || v > kMaxExtent) bad_input("attribute {} holds {}; accepted are {} to {}", attribute, v, least, kMaxExtent);
  }
}

void resolve_auto_pad(Window& window, const Dims& spatial) {
  for (size_t i = 0; i < spatial.size(); ++i) {
    const int64_t outputs = (spatial[i] + window.strides[i] - 1) / window.strides[i];
    const int64_t covered = (outputs - 1) * window.strides[i] + dilated(window, i);
    const int64_t total = window.auto_pad == AutoPad::valid ? 0 : std::max<int64_t>(covered - spatial[i], 0);
    const int64_t lesser = total / 2;
    window.pads_begin[i] = window.auto_pad == AutoPad::same_lower ? total - lesser : lesser;
    window.pads_end[i] = total - window.pads_begin[i];
  }
  window.auto_pad = AutoPad::explicit_pads;
}

}  // namespace

Dims spatial_dims(const Known& x) {
  if (x.shape.size() < 3 || x.shape.size() > 5)
    bad_input("X has shape {}; accepted are ranks 3 to 5: batch, channels and 1 to 3 spatial axes", to_string(x.shape));
  Dims spatial;
  for (size_t i = 1; i < x.shape.size(); ++i) {
    const Dim& dim = x.shape[i];
    if (dim.batch) unsupported("axis {} of X {} depends on the batch; accepted is the batch at axis 0", i, to_string(x.shape));
    if (dim.factor < 1 || dim.factor > kMaxExtent) bad_input("axis {} of X {} is outside 1 to {}", i, to_string(x.shape), kMaxExtent);
    if (i >= 2) spatial.push_back(dim.factor);
  }
  return spatial;
}

void bind_window(Window& window, const Dims& spatial) {
  const size_t rank = spatial.size();
  if (window.kernel.empty()) bad_input("attribute kernel_shape is missing");
  settle(window.kernel, rank, 1, 1, "kernel_shape");
  settle(window.strides, rank, 1, 1, "strides");
  settle(window.dilations, rank, 1, 1, "dilations");
  // Given pads do not count under auto_pad, as the ONNX text has it.
  if (window.auto_pad != AutoPad::explicit_pads) {
    window.pads_begin.clear();
    window.pads_end.clear();
  }
  settle(window.pads_begin, rank, 0, 0, "pads");
  settle(window.pads_end, rank, 0, 0, "pads");
  if (window.auto_pad != AutoPad::explicit_pads) resolve_auto_pad(window, spatial);
}

Dims window_output(const Window& window, const Dims& spatial, bool ceil_mode) {
  Dims out;
  for (size_t i = 0; i < spatial.size(); ++i) {
    const int64_t padded = spatial[i] + window.pads_begin[i] + window.pads_end[i];
    const int64_t slack = padded - dilated(window, i);
    if (slack < 0) bad_input("the kernel covers {} along spatial axis {}, more than the padded input of {}", dilated(window, i), i, padded);
    const int64_t stride = window.strides[i];
    int64_t count = (ceil_mode ? (slack + stride - 1) / stride : slack / stride) + 1;
    if (ceil_mode && (count - 1) * stride >= spatial[i] + window.pads_begin[i]) --count;
    out.push_back(count);
  }
  return out;
}

}  // namespace fcm::ops
