// Where the buffers of a plan lie in a context's one allocation: arena, then workspace, then border. Pure arithmetic.
#pragma once

#include <cstddef>
#include <vector>

#include "planner/plan.h"

namespace fcm {

/// Arena offsets of a plan's buffers at one batch.
struct BufferPlaces {
  static constexpr size_t kOutside = static_cast<size_t>(-1);
  std::vector<size_t> offsets;  ///< by BufferId; an alias has its root's; kOutside for border buffers and unused ones
  size_t bytes = 0;             ///< of the arena
};
/// Deterministic; buffers that are in use at the same time never overlap.
BufferPlaces place_buffers(const PlanVariant& variant, int64_t batch);
/// The places for `batch` in an arena made for a larger batch: its own where they fit, else those of the larger one, which hold a
/// smaller batch too.
BufferPlaces place_within(const PlanVariant& variant, int64_t batch, const BufferPlaces& largest);

/// The border: device copies of what callers give and take, and the pinned staging, which has the same offsets.
struct BorderPlaces {
  std::vector<size_t> inputs;   ///< by graph input
  std::vector<size_t> outputs;  ///< by graph output; equal for outputs that are the same buffer; kOutside for constants
  size_t bytes = 0;
};
BorderPlaces place_border(const PlanVariant& variant, int64_t max_batch);

}  // namespace fcm
