// Strided copies of elements of any type, the one loop under all data movement.
#pragma once

#include "ops/broadcast.h"

namespace fcm::ops {

/// Copies elements of `size` bytes (1, 2, 4, 8): operand 0 of `walk` is read at `from`, operand 1 written at `to`.
void copy_strided(const Walk<2>& walk, size_t size, const std::byte* from, std::byte* to);

}  // namespace fcm::ops
