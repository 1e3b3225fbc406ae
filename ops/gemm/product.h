// The matrix product under convolutions and Gemm: one block of C = A * B at a time, written for the vectoriser.
//
// A block of up to 64 x 64 results is accumulated in a local array. For each chunk of 256 of the inner dimension, B's part is packed
// into panels of 8 columns and A's into strips of 4 rows, and a 4 x 8 tile of results stays in registers through the chunk.
// Each result is one running sum over the inner dimension in ascending order: it depends on neither blocks nor threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fcm::ops {

inline constexpr int64_t kBlockRows = 64;
inline constexpr int64_t kBlockColumns = 64;
inline constexpr int64_t kBlockDepth = 256;
inline constexpr int64_t kStrip = 4;  // rows of a register tile
inline constexpr int64_t kPanel = 8;  // its columns

/// Element (r, k) stands at data[r * row + k * column].
template <class T>
struct MatrixView {
  const T* data;
  int64_t row;
  int64_t column;
};

/// A range of rows or columns of the result.
struct Extent {
  int64_t begin;
  int64_t count;
};

/// Adds the products of one strip and one panel, `depth` deep, to a 4 x 8 tile whose rows are kBlockColumns apart.
template <class T>
inline void multiply_tile(const T* __restrict strip, const T* __restrict panel, int64_t depth, T* __restrict tile) {
  T sums[kStrip][kPanel];
  for (int64_t r = 0; r < kStrip; ++r) {
    for (int64_t c = 0; c < kPanel; ++c) sums[r][c] = tile[r * kBlockColumns + c];
  }
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t r = 0; r < kStrip; ++r) {
      for (int64_t c = 0; c < kPanel; ++c) sums[r][c] += strip[k * kStrip + r] * panel[k * kPanel + c];
    }
  }
  for (int64_t r = 0; r < kStrip; ++r) {
    for (int64_t c = 0; c < kPanel; ++c) tile[r * kBlockColumns + c] = sums[r][c];
  }
}

/// Computes the block `rows` x `columns` (at most 64 x 64) of A * B, `depth` deep.
/// `load(k, line)` writes row k of B, columns `columns`, to line[0, columns.count).
/// `store(row, values)` receives columns.count results for each row of the block; it may overwrite them.
template <class T, class Load, class Store>
void multiply_block(const MatrixView<T>& a, Extent rows, Extent columns, int64_t depth, const Load& load, const Store& store) {
  alignas(64) T sums[kBlockRows * kBlockColumns] = {};
  alignas(64) T panels[kBlockColumns * kBlockDepth];
  alignas(64) T strip[kStrip * kBlockDepth];
  alignas(64) T line[kBlockColumns] = {};  // columns beyond the block stay zero
  for (int64_t start = 0; start < depth; start += kBlockDepth) {
    const int64_t chunk = std::min(kBlockDepth, depth - start);
    for (int64_t k = 0; k < chunk; ++k) {
      load(start + k, line);
      for (int64_t c = 0; c < columns.count; c += kPanel) std::copy_n(line + c, kPanel, panels + c * kBlockDepth + k * kPanel);
    }
    for (int64_t r = 0; r < rows.count; r += kStrip) {
      for (int64_t i = 0; i < kStrip; ++i) {
        // Rows beyond the block repeat its last one; their results are not stored.
        const T* source = a.data + (rows.begin + std::min(r + i, rows.count - 1)) * a.row + start * a.column;
        for (int64_t k = 0; k < chunk; ++k) strip[k * kStrip + i] = source[k * a.column];
      }
      for (int64_t c = 0; c < columns.count; c += kPanel)
        multiply_tile(strip, panels + c * kBlockDepth, chunk, sums + r * kBlockColumns + c);
    }
  }
  for (int64_t r = 0; r < rows.count; ++r) store(rows.begin + r, sums + r * kBlockColumns);
}

/// Block `index` of a dimension cut into pieces of `size`.
inline Extent block_extent(int64_t index, int64_t size, int64_t total) {
  return {index * size, std::min(size, total - index * size)};
}

inline int64_t block_count(int64_t total, int64_t size) {
  return (total + size - 1) / size;
}

}  // namespace fcm::ops
