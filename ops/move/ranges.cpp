#include "ops/move/ranges.h"

#include <algorithm>

namespace fcm::ops {

AxisRange slice_range(int64_t start, int64_t end, int64_t step, int64_t dim) {
  const int64_t first = start < 0 ? start + dim : start;
  const int64_t last = end < 0 ? end + dim : end;
  // A negative step may stop before element 0, which only -1 can express.
  const int64_t from = step > 0 ? std::clamp<int64_t>(first, 0, dim) : std::clamp<int64_t>(first, -1, dim - 1);
  const int64_t to = step > 0 ? std::clamp<int64_t>(last, 0, dim) : std::clamp<int64_t>(last, -1, dim - 1);
  const int64_t distance = step > 0 ? to - from : from - to;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const int64_t count = distance > 0 ? static_cast<int64_t>((static_cast<uint64_t>(distance) - 1) / stride) + 1 : 0;
  return {from, step, count};
}

std::vector<AxisRange> slice_ranges(const Slice& op, const Dims& dims) {
  std::vector<AxisRange> ranges;
  for (const int64_t dim : dims) ranges.push_back({0, 1, dim});
  for (size_t i = 0; i < op.axes.size(); ++i) {
    const size_t axis = static_cast<size_t>(op.axes[i]);
    ranges[axis] = slice_range(op.starts[i], op.ends[i], op.steps[i], dims[axis]);
  }
  return ranges;
}

}  // namespace fcm::ops
