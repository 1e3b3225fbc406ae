// Which nodes of a graph execute as which modules: for each chain the cover of least cost by dynamic programming.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/cost.h"
#include "planner/fuse_options.h"
#include "planner/plan.h"
#include "planner/segments.h"

namespace fcm {

/// Measured times, microseconds, which stand in place of predictions.
struct MeasuredTimes {
  std::map<NodeId, double> nodes;                                ///< one by one
  std::map<std::string, std::map<std::string, double>> modules;  ///< by tile_key, by the tile's text
};
/// A module at a number of images, as text.
std::string tile_key(const ModuleSpec& spec, int64_t images);

struct PartitionOptions {
  DType dtype = DType::f32;
  bool tf32 = false;
  FuseOptions fuse;
  const MeasuredTimes* measured = nullptr;  ///< not null: modules run their fastest measured tile, and those not measured are left out
  bool alternatives = true;  ///< runners-up and all refusals too; a plan does without, so that modules that cannot win cost no search
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
  size_t rated_tiles = 0;  ///< what finding it took
};

/// Deterministic, touches no device, one thread. Throws Error(command_line) for an override that names no node, or a tile that is refused.
Partition partition(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch);
/// The same for several batches, ascending: what is found out of a module at one bounds it at the next.
std::vector<Partition> partitions(const Graph& graph, const DeviceModel& device, const PartitionOptions& options,
                                  const std::vector<int64_t>& batches);
/// Takes out the nodes that a plan has no step for, since their output is a view of another buffer, and their cost.
void leave_out_views(Partition& partition, const PlanVariant& variant);
/// Gives the choices what a variant's steps take at DRAM, by step, in place of what sizes alone tell; times and totals stand.
void take_dram_bytes(Partition& partition, const PlanVariant& variant, const std::vector<double>& bytes);
/// The modules of a plan variant, or of a partition, in its order.
std::vector<FixedSegment> segments_of(const PlanVariant& variant);
std::vector<FixedSegment> segments_of(const Partition& partition);

/// A module that the partition chooses from, with its tiles and cost, and the time of the best cover of its nodes.
struct Candidate {
  Group group;
  double best_us = 0;
};
/// All of them, chain by chain.
std::vector<Candidate> candidates(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch);

}  // namespace fcm
