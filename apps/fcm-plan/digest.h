// The identity of a graph by what it computes, for tools that compare models.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/graph/graph.h"

namespace fcm::apps {

enum class Weights : uint8_t {
  bytes,   ///< two graphs of one digest give an engine the same work on the same numbers
  shapes,  ///< of floats their type and shape alone count: the same work, on numbers that may differ
};
/// SHA-256 over nodes in their order, attributes, types, shapes and constants; names, metadata and origins are left out.
std::string graph_contents(const Graph& graph, Weights weights);

}  // namespace fcm::apps
