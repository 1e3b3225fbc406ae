// Measured fusion: plans with the best few tiles of each module and the plan without fusion run on the device, and what is learnt from
// their step times makes the final plan.
#pragma once

#include <memory>

#include "runtime/engine/cuda_engine.h"

namespace fcm {

/// `options.fusion` with measured tiles and rejected segments for `options.tune_batches`. Taken from the cache where the same plan was
/// tuned on the same device before. Builds engines, so that it takes seconds the first time. Throws as create_cuda_engine does.
FuseOptions tune_fusion(const std::shared_ptr<const Graph>& graph, const EngineOptions& options);

}  // namespace fcm
