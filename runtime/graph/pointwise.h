// Which convolutions are matrix products.
#pragma once

#include <algorithm>

#include "runtime/graph/op.h"

namespace fcm {

/// 1x1, stride 1, no padding, one group.
inline bool is_pointwise(const Conv& conv) {
  const auto all = [](const Ints& list, int64_t x) { return std::all_of(list.begin(), list.end(), [&](int64_t e) { return e == x; }); };
  const Window& w = conv.window;
  return conv.group == 1 && all(w.kernel, 1) && all(w.strides, 1) && all(w.pads_begin, 0) && all(w.pads_end, 0);
}

}  // namespace fcm
