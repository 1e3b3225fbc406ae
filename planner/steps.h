// From a graph, and for fused plans the groups of nodes that are modules, to the steps of a plan variant.
#pragma once

#include <vector>

#include "planner/partition.h"
#include "planner/plan.h"

namespace fcm {

/// The steps in graph order; a module stands where its last node does. `groups`: the modules (others are ignored); empty: every node its
/// own step. `full_precision`: nodes outside modules that compute in FP32 (conversions stand around them).
/// Throws Error(unsupported) listing every node outside a module that the backend refuses.
PlanVariant plan_steps(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const std::vector<const Group*>& groups,
                       const std::vector<NodeId>& full_precision = {});

}  // namespace fcm
