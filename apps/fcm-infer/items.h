// Where the items of a batch lie in a tensor. A dimension of a port may be `factor` times the number of items, at any axis; cutting items
// out of a tensor and joining them are copies of one contiguous piece an outer index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fcm/fcm.h"

namespace fcm::apps {

/// How a port's tensor depends on the number of items.
struct ItemLayout {
  std::vector<int64_t> dims;   ///< for one item
  std::optional<size_t> axis;  ///< whose dimension counts items; none: the tensor is the same for any number
  size_t element = 0;          ///< bytes

  std::vector<int64_t> dims_of(int64_t items) const;
  size_t bytes(int64_t items) const;
};

/// The layout of a port. A model with a fixed batch computes `fixed_items` a run (1 when the batch is free); its dimension at axis 0
/// counts items when it is a multiple of that.
ItemLayout item_layout(const fcm_port& port, int64_t fixed_items);

/// Copies `count` items from position `from` of a tensor of `source_items` to position `to` of one of `target_items`. Without an item axis
/// the whole tensor is copied.
void copy_items(const ItemLayout& layout, const std::byte* source, int64_t source_items, int64_t from, std::byte* target,
                int64_t target_items, int64_t to, int64_t count);

}  // namespace fcm::apps
