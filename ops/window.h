// Sliding windows of convolution and pooling: defaults, automatic padding, output extents.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

/// The spatial dims of X [N,C,spatial], which must be 1 to 3 in number and free of the batch, as must be C.
Dims spatial_dims(const Known& x);

/// Fills the ONNX defaults, checks every attribute and replaces auto_pad by pads, for an input of extents `spatial`.
/// `window.kernel` must be set. SAME_*: ceil(in / stride) outputs, the odd pad at the end (UPPER) or the beginning (LOWER).
void bind_window(Window& window, const Dims& spatial);

/// Output extents of a bound window. `ceil_mode` (pooling): the last window may reach beyond the end pad but must start inside the
/// input or the begin pad. Error(bad_input) when the window is larger than the padded input.
Dims window_output(const Window& window, const Dims& spatial, bool ceil_mode);

/// Extent of a dilated kernel: (k - 1) * d + 1.
inline int64_t dilated(const Window& window, size_t axis) {
  return (window.kernel[axis] - 1) * window.dilations[axis] + 1;
}

}  // namespace fcm::ops
