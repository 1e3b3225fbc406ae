#include "ops/move/copy.h"

#include <cstring>

namespace fcm::ops {
namespace {

template <class T>
void copy_typed(const Walk<2>& walk, const T* from, T* to) {
  const int64_t count = walk.inner();
  const int64_t read = walk.inner_stride(0);
  const int64_t write = walk.inner_stride(1);
  parallel_for(walk.rows(), count, [&](int64_t row) {
    const auto [source, target] = walk.offsets(row);
    const T* x = from + source;
    T* y = to + target;
    if (read == 1 && write == 1) {
      std::memcpy(y, x, static_cast<size_t>(count) * sizeof(T));
    } else {
      for (int64_t i = 0; i < count; ++i) y[i * write] = x[i * read];
    }
  });
}

template <class T>
void copy_bytes(const Walk<2>& walk, const std::byte* from, std::byte* to) {
  copy_typed(walk, reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
}

}  // namespace

void copy_strided(const Walk<2>& walk, size_t size, const std::byte* from, std::byte* to) {
  switch (size) {
    case 1:
      return copy_bytes<uint8_t>(walk, from, to);
    case 2:
      return copy_bytes<uint16_t>(walk, from, to);
    case 4:
      return copy_bytes<uint32_t>(walk, from, to);
    default:
      return copy_bytes<uint64_t>(walk, from, to);
  }
}

}  // namespace fcm::ops
