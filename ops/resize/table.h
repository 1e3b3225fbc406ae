// What Resize reads along one axis. An output element is the sum over the axes' taps of products of their weights.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/graph/op.h"

namespace fcm::ops {

struct ResizeTable {
  int64_t taps = 1;            ///< input elements an output element reads: 1, 2 or 4
  std::vector<int32_t> index;  ///< [outputs][taps], inside the axis
  std::vector<float> weight;   ///< [outputs][taps]
};

/// The table of axis number `i` of op.axes, which has `extent` elements and becomes op.sizes[i]. Coordinates in float32, as other
/// implementations have them: at exact halves the bits decide.
ResizeTable resize_table(const Resize& op, size_t i, int64_t extent);

}  // namespace fcm::ops
