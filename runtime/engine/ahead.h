// Kernels compiled ahead of time, for a device that need not be here: into the cache that engines on it look into, so that the first run
// there compiles nothing.
#pragma once

#include "planner/plan.h"
#include "runtime/device/info.h"
#include "runtime/graph/graph.h"
#include "runtime/jit/jit.h"

namespace fcm {

/// Compiles what `cache` does not hold of the kernels that an engine with this plan runs on `device`, on all cores, and returns their
/// number. Takes NVRTC of the version that runs there, and no GPU. Throws Error(unsupported) in a build without CUDA, and as building the
/// steps and jit::compile do.
size_t compile_ahead(const Graph& graph, const Plan& plan, const DeviceInfo& device, const jit::DiskCache& cache);

}  // namespace fcm
