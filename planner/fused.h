// The plan with fused modules: one variant a range of batch sizes, since the best fusion and tiles change with the batch.
#pragma once

#include <vector>

#include "planner/device_model.h"
#include "planner/partition.h"
#include "planner/plan.h"

namespace fcm {

/// Batch sizes that a plan is made for: each range ends at `up_to` (0: open) and is planned for `planned_at`.
struct BatchRange {
  int64_t up_to = 0;
  int64_t planned_at = 1;
};
/// 1, 2-8, 9-64, more; cut where `max_batch` (0: any) needs no more. The last range is always open.
std::vector<BatchRange> batch_ranges(int64_t max_batch);

/// The partition of every range, its steps, and equal neighbours merged. Deterministic; touches no device.
/// Throws as plan_unfused and partition do.
Plan plan_fused(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const DeviceModel& device,
                const FuseOptions& fuse);

}  // namespace fcm
