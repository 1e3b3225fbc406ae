// The memory arena: which steps touch each block -> where each block lies in one allocation. Plain data in and out; the same
// blocks give the same offsets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fcm {

inline constexpr size_t kArenaAlignment = 256;

/// A range of bytes that must stay intact from the first step that touches it to the last.
struct ArenaBlock {
  size_t bytes = 0;            ///< 0 is allowed: such a block takes no room and lies at offset 0
  std::vector<int32_t> steps;  ///< the steps that write or read it, ascending, the writer first; scratch names its one step
};

struct ArenaLayout {
  std::vector<size_t> offsets;  ///< by block, multiples of the alignment
  size_t bytes = 0;             ///< size of the allocation, a multiple of the alignment
};

/// The largest sum of bytes (each rounded up to `alignment`) that are live during one step when the steps run one after another:
/// no layout can be smaller.
size_t live_bytes_bound(std::span<const ArenaBlock> blocks, size_t alignment = kArenaAlignment);

/// Places the blocks of steps that run one after another (one stream): two blocks share bytes only when the last step of one comes
/// before the first of the other. `alignment` is a power of two. Throws Error(internal) for a block without steps,
/// Error(out_of_memory) when the sum of all blocks overflows.
ArenaLayout plan_arena(std::span<const ArenaBlock> blocks, size_t alignment = kArenaAlignment);

/// The same for steps that may overlap wherever the DAG lets them: `depends_on[s]` are the earlier steps that step `s` waits for. Two
/// blocks share bytes only when every step of one is an ancestor of every step of the other.
ArenaLayout plan_arena(std::span<const ArenaBlock> blocks, std::span<const std::vector<int32_t>> depends_on,
                       size_t alignment = kArenaAlignment);

}  // namespace fcm
