// Measured fusion: the best few tiles of every segment worth a look, and the nodes one by one, are timed on the device; see
// planner/tuning.h.
#pragma once

#include <memory>

#include "planner/tuning.h"
#include "runtime/engine/cuda_engine.h"

namespace fcm {

/// `options.fusion` with measurements for `options.tune_batches`, from the cache where the same graph was tuned on the same device before.
/// Compiles and times some hundred kernels otherwise. Throws as create_cuda_engine does.
FuseOptions tune_fusion(const std::shared_ptr<const Graph>& graph, const EngineOptions& options, const PlanOptions& plan);

/// Measures on the device of `options`; kernels come from the cache that `options` allow.
std::unique_ptr<Measure> device_measure(const std::shared_ptr<const Graph>& graph, const EngineOptions& options);

}  // namespace fcm
