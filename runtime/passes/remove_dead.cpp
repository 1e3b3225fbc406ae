// Nodes and values that no graph output depends on.
#include "runtime/passes/passes.h"

namespace fcm::passes {

int remove_dead(Graph& graph) {
  const size_t before = graph.nodes.size() + graph.values.size();
  graph.compact();
  return static_cast<int>(before - graph.nodes.size() - graph.values.size());
}

}  // namespace fcm::passes
