// What a bound Slice reads along each axis of a concrete input; shared by every backend.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

struct AxisRange {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

/// start:end:step of one axis of extent `dim`, with ONNX's clamping (negative values count from the end).
AxisRange slice_range(int64_t start, int64_t end, int64_t step, int64_t dim);
/// One range for each axis of `dims`, for a bound Slice.
std::vector<AxisRange> slice_ranges(const Slice& op, const Dims& dims);

}  // namespace fcm::ops
