// What of a plan's accesses reaches DRAM: its steps, one after another, through an L2 in small. What is written back in a step are mostly
// lines of the steps before it, and the arena's buffers lie where others lay a moment ago: sizes alone do not tell.
#pragma once

#include <vector>

#include "planner/device_model.h"
#include "planner/plan.h"

namespace fcm {

/// Bytes that each step of a variant reads and writes at DRAM in an inference that follows another one. Deterministic; milliseconds.
std::vector<double> dram_bytes(const Graph& graph, const PlanVariant& variant, int64_t batch, const DeviceModel& device);

}  // namespace fcm
