// Where the items of a batch lie in a tensor.
#include "apps/fcm-infer/items.h"

#include <cstring>
#include <functional>
#include <numeric>

#include "apps/common/tensor.h"

namespace fcm::apps {
namespace {

size_t product(std::span<const int64_t> dims) {
  return static_cast<size_t>(std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()));
}

}  // namespace

std::vector<int64_t> ItemLayout::dims_of(int64_t items) const {
  std::vector<int64_t> out = dims;
  if (axis) out[*axis] *= items;
  return out;
}

size_t ItemLayout::bytes(int64_t items) const {
  return product(dims_of(items)) * element;
}

ItemLayout item_layout(const fcm_port& port, int64_t fixed_items) {
  ItemLayout layout;
  layout.element = dtype_bytes(port.dtype);
  layout.dims.assign(port.dims, port.dims + port.rank);
  for (size_t i = 0; i < port.rank && !layout.axis; ++i) {
    if (port.batch_dims[i] != 0) layout.axis = i;
  }
  if (!layout.axis && port.rank > 0 && layout.dims[0] > 0 && layout.dims[0] % fixed_items == 0) {
    layout.axis = 0;
    layout.dims[0] /= fixed_items;
  }
  return layout;
}

void copy_items(const ItemLayout& layout, const std::byte* source, int64_t source_items, int64_t from, std::byte* target,
                int64_t target_items, int64_t to, int64_t count) {
  if (!layout.axis) {
    if (layout.bytes(1) > 0) std::memcpy(target, source, layout.bytes(1));
    return;
  }
  const std::span<const int64_t> dims(layout.dims);
  const size_t outer = product(dims.first(*layout.axis));
  const size_t item = product(dims.subspan(*layout.axis)) * layout.element;
  const auto at = [&](size_t row, int64_t items, int64_t position) {
    return (row * static_cast<size_t>(items) + static_cast<size_t>(position)) * item;
  };
  if (item == 0 || count == 0) return;
  for (size_t row = 0; row < outer; ++row) {
    std::memcpy(target + at(row, target_items, to), source + at(row, source_items, from), static_cast<size_t>(count) * item);
  }
}

}  // namespace fcm::apps
