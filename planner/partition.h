// Which nodes of a graph execute as which modules: for each chain the cover of least cost by dynamic programming.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/cost.h"
#include "planner/plan.h"
#include "planner/segments.h"

namespace fcm {

struct PartitionOptions {
  DType dtype = DType::f32;
  bool tf32 = false;
  FuseOptions fuse;
  const PlanVariant* as = nullptr;  ///< not null: the modules and tiles of this variant stand, whatever they cost
};

/// One execution of some nodes of a chain.
struct Group {
  std::vector<NodeId> nodes;
  bool module = false;            ///< false: one node by its operator
  Segment segment;                ///< module
  std::vector<TileConfig> tiles;  ///< by part
  std::vector<Cost> part_costs;   ///< by part; of a node: one
  Cost cost;                      ///< of all parts
  /// Gives part `at` the number of sums that the tile of the part before it writes.
  void settle_sums(size_t at);
  std::string text() const;  ///< kinds of its parts, "PWDWPW", "PW+POOLFC"; empty for a node
};

/// A cover of the nodes of a chosen module by something else.
struct Alternative {
  std::string text;  ///< "PWDW | PW", "3 operators"
  Cost cost;
  std::string why;  ///< why it lost, with the term that decided
};

struct Choice {
  Group group;
  Alternative unfused;    ///< every node by its operator
  Alternative runner_up;  ///< the best cover without the chosen module; empty text when there is none but the unfused one
};

struct Partition {
  int64_t batch = 1;
  std::vector<Choice> choices;    ///< in graph order of their last nodes; every node of the graph in exactly one
  std::vector<Refusal> refusals;  ///< segments that were looked at and cannot be
  Cost total;
  Cost unfused;
};

/// Deterministic, touches no device, one thread. Throws Error(command_line) for an override that names no node, or a tile that is refused.
Partition partition(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch);
/// All modules that the partition chooses from, each with its tiles and cost, chain by chain.
std::vector<Group> candidate_groups(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch);

}  // namespace fcm
