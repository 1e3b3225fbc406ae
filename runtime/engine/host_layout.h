// Values between host tensors (dense, ONNX axis order) and the layouts that plans give them on a device.
#pragma once

#include <cstddef>
#include <vector>

#include "planner/plan.h"
#include "runtime/graph/tensor.h"

namespace fcm {

/// The bytes of a value in a layout; pad lanes are zero. Elements are converted to the layout's dtype.
std::vector<std::byte> to_layout(const Tensor& tensor, const Layout& layout);

/// The value back, in the layout's dtype. `dirty` (may be null) is set when a pad lane is not zero.
Tensor from_layout(const std::vector<std::byte>& bytes, const Layout& layout, const Dims& dims, bool* dirty = nullptr);

}  // namespace fcm
