// numpy broadcasting: of symbolic shapes, and of memory walks over several tensors at once.
#pragma once

#include <array>

#include "ops/check.h"
#include "ops/parallel.h"

namespace fcm::ops {

/// The common shape; Error(bad_input) naming both when they do not fit. `c*B` fits itself and 1.
Shape broadcast(const Shape& a, const Shape& b);

/// Element strides of a dense tensor.
Ints dense_strides(const Dims& dims);
/// Strides that read a dense tensor of `dims` as if it had shape `out` (0 along broadcast axes).
Ints broadcast_strides(const Dims& dims, const Dims& out);

/// A walk over `dims` with N strided operands; neighbouring axes that every operand crosses evenly are merged. There is always at
/// least one axis; the last one is the inner loop.
template <size_t N>
struct Walk {
  Dims dims;
  std::array<Ints, N> strides;

  Walk(const Dims& walk_dims, std::array<Ints, N> walk_strides);

  int64_t inner() const { return dims.back(); }
  int64_t inner_stride(size_t operand) const { return strides[operand].back(); }
  /// Number of inner loops.
  int64_t rows() const;
  /// Element offsets of each operand at the start of inner loop `row`.
  std::array<int64_t, N> offsets(int64_t row) const;
};

template <size_t N>
Walk<N>::Walk(const Dims& walk_dims, std::array<Ints, N> walk_strides) {
  for (size_t axis = 0; axis < walk_dims.size(); ++axis) {
    if (walk_dims[axis] == 1) continue;
    bool merges = !dims.empty();
    for (size_t i = 0; i < N && merges; ++i) merges = strides[i].back() == walk_strides[i][axis] * walk_dims[axis];
    if (merges) {
      dims.back() *= walk_dims[axis];
    } else {
      dims.push_back(walk_dims[axis]);
    }
    for (size_t i = 0; i < N; ++i) {
      if (merges) {
        strides[i].back() = walk_strides[i][axis];
      } else {
        strides[i].push_back(walk_strides[i][axis]);
      }
    }
  }
  if (dims.empty()) {
    dims.push_back(1);
    for (Ints& s : strides) s.push_back(1);
  }
}

template <size_t N>
int64_t Walk<N>::rows() const {
  int64_t count = dims.back() == 0 ? 0 : 1;
  for (size_t axis = 0; axis + 1 < dims.size(); ++axis) count *= dims[axis];
  return count;
}

template <size_t N>
std::array<int64_t, N> Walk<N>::offsets(int64_t row) const {
  std::array<int64_t, N> result{};
  for (size_t axis = dims.size() - 1; axis-- > 0;) {
    const int64_t index = row % dims[axis];
    row /= dims[axis];
    for (size_t i = 0; i < N; ++i) result[i] += index * strides[i][axis];
  }
  return result;
}

}  // namespace fcm::ops
