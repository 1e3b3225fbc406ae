// The sliding-window attributes that convolution and pooling share.
#pragma once

#include "runtime/onnx/node_context.h"

namespace fcm::onnx {

/// Reads kernel_shape, strides, dilations, pads and auto_pad. Throws Error(bad_input) when their lengths disagree, a value is
/// out of range, or auto_pad stands beside pads.
Window read_window(NodeContext& node, bool has_dilations);

}  // namespace fcm::onnx
