#include "ops/broadcast.h"

#include <algorithm>

namespace fcm::ops {

Shape broadcast(const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()));
  for (size_t i = 0; i < result.size(); ++i) {
    // Axes are aligned at the end; missing ones count as 1.
    const Dim x = i < a.size() ? a[a.size() - 1 - i] : Dim(1);
    const Dim y = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    Dim& out = result[result.size() - 1 - i];
    if (x == y || y == Dim(1)) {
      out = x;
    } else if (x == Dim(1)) {
      out = y;
    } else if (x.batch != y.batch) {
      bad_input(
          "shapes {} and {} do not broadcast: a constant {} stands against {}, so the model has a fixed batch baked in; accepted are 1 and "
          "{}",
          to_string(a), to_string(b), x.batch ? y.factor : x.factor, to_string(x.batch ? x : y), to_string(x.batch ? x : y));
    } else {
      bad_input("shapes {} and {} do not broadcast: axis of {} against {}", to_string(a), to_string(b), to_string(x), to_string(y));
    }
  }
  return result;
}

Ints dense_strides(const Dims& dims) {
  Ints strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

Ints broadcast_strides(const Dims& dims, const Dims& out) {
  const Ints dense = dense_strides(dims);
  Ints strides(out.size(), 0);
  const size_t lead = out.size() - dims.size();
  for (size_t i = 0; i < dims.size(); ++i) strides[lead + i] = dims[i] == 1 ? 0 : dense[i];
  return strides;
}

}  // namespace fcm::ops
