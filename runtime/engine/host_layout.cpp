#include "runtime/engine/host_layout.h"

#include <cstring>

namespace fcm {
namespace {

int64_t element_offset(const Layout& layout, const Dims& dims, int64_t flat) {
  if (layout.order == Order::rows) return flat;
  const int64_t w = flat % dims[3];
  const int64_t h = flat / dims[3] % dims[2];
  const int64_t c = flat / (dims[3] * dims[2]) % dims[1];
  const int64_t n = flat / (dims[3] * dims[2] * dims[1]);
  return ((n * dims[2] + h) * dims[3] + w) * layout.channel_pitch + c;
}

}  // namespace

std::vector<std::byte> to_layout(const Tensor& tensor, const Layout& layout) {
  const Tensor converted = tensor.dtype() == layout.dtype ? tensor : tensor.cast(layout.dtype);
  const size_t size = dtype_size(layout.dtype);
  std::vector<std::byte> bytes(layout_bytes(layout, tensor.dims()));
  for (int64_t i = 0; i < tensor.count(); ++i) {
    std::memcpy(bytes.data() + static_cast<size_t>(element_offset(layout, tensor.dims(), i)) * size,
                converted.raw() + static_cast<size_t>(i) * size, size);
  }
  return bytes;
}

Tensor from_layout(const std::vector<std::byte>& bytes, const Layout& layout, const Dims& dims, bool* dirty) {
  Tensor stored(layout.dtype, dims);
  const size_t size = dtype_size(layout.dtype);
  std::vector<bool> real(dirty == nullptr ? 0 : bytes.size() / size, false);
  for (int64_t i = 0; i < stored.count(); ++i) {
    const auto at = static_cast<size_t>(element_offset(layout, dims, i));
    std::memcpy(stored.raw() + static_cast<size_t>(i) * size, bytes.data() + at * size, size);
    if (dirty != nullptr) real[at] = true;
  }
  for (size_t at = 0; at < real.size(); ++at) {
    for (size_t b = 0; b < size && !real[at]; ++b) *dirty = *dirty || bytes[at * size + b] != std::byte{0};
  }
  return stored;
}

}  // namespace fcm
