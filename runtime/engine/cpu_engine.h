// The CPU engine: the graph on the reference operators, in float32.
#pragma once

#include "runtime/engine/engine.h"

namespace fcm {

/// Throws Error(unsupported) for a precision other than automatic and f32, Error(out_of_memory) beyond the memory limit.
std::shared_ptr<const Engine> create_cpu_engine(std::shared_ptr<const Graph> graph, const EngineOptions& options);

}  // namespace fcm
