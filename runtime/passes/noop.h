// Nodes that hand their first input on unchanged.
#pragma once

#include "runtime/graph/graph.h"

namespace fcm::passes {

/// True when the only output of a bound node with inferred shapes always equals its first input, element for element and in shape.
bool is_noop(const Graph& graph, const Node& node);

}  // namespace fcm::passes
