// What callers and measurements decide about fusion.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fcm/spec.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// What a partition into modules makes small.
enum class Objective : uint8_t {
  time,  ///< predicted time
  gma,   ///< compulsory accesses to global memory, then time
};

/// What a caller decides for one node.
struct NodeOverride {
  bool fuse = true;             ///< false: the node executes alone, by its operator
  bool full_precision = false;  ///< the node executes alone, in FP32 whatever the plan's precision
  std::string tile;             ///< canonical text: the tile of the module that the node is in; a refused tile is an error
};

/// A run of nodes that is a module (or a few that hand each other sums or a gate), with the tile of each.
struct FixedSegment {
  std::vector<NodeId> nodes;
  std::vector<TileConfig> tiles;
  friend bool operator==(const FixedSegment&, const FixedSegment&) = default;
};

struct FuseOptions {
  Objective objective = Objective::time;
  std::map<std::string, NodeOverride> overrides;       ///< by node name
  int64_t max_batch = 0;                               ///< largest batch that matters; 0: any
  std::map<int64_t, std::vector<FixedSegment>> fixed;  ///< by batch that is planned for: these modules and no others, whatever they cost
};

/// The nodes that overrides set to FP32, ascending. Throws Error(command_line) for an override that names no node of the graph.
std::vector<NodeId> full_precision_nodes(const Graph& graph, const std::map<std::string, NodeOverride>& overrides);

}  // namespace fcm
