// Measured fusion. First every kernel is timed alone: the fastest tiles of the modules that a partition may choose, and the nodes one by
// one, give the cover of least measured time. What a kernel takes among others is another matter (what is left in the caches, how it
// overlaps with its neighbours), so that the tiles are then settled in place: the modules of the whole network run as one chain, and a
// change stays only where the chain gets faster. The plan without measurements runs in the same race.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/device_model.h"
#include "planner/partition.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// A module kernel to be timed.
struct TuneJob {
  ModuleSpec spec;
  TileConfig tile;
  int64_t images = 1;
  bool follows_module = true;  ///< in a chain: the step before is a module too
};

/// Who measures: a device, or a test.
class Measure {
 public:
  virtual ~Measure() = default;
  /// Microseconds of one execution among others of its kind, by job; infinity for one that cannot run.
  virtual std::vector<double> modules(const std::vector<TuneJob>& jobs) = 0;
  /// Microseconds of the modules of a network, one after another; each can run alone.
  virtual double chain(const std::vector<TuneJob>& steps) = 0;
  /// Microseconds of every node that has a step when no node is fused.
  virtual std::map<NodeId, double> nodes(int64_t batch) = 0;
};

struct TuneEffort {
  size_t tiles = 4;   ///< of a module, the best of the planner's search
  double keep = 1.4;  ///< segments predicted to take more than this times the best cover of their nodes are not measured; 0: all are
};

/// What was looked at, and what came of it.
struct TuneReport {
  size_t segments = 0;     ///< legal ones
  size_t measured = 0;     ///< segments
  size_t kernels = 0;      ///< distinct modules and tiles
  double analytic_us = 0;  ///< the plan without measurements: its modules as a chain, and its other nodes
  double alone_us = 0;     ///< the cover of least time by kernels measured alone, likewise
  double tuned_us = 0;     ///< the one that was kept
  double unfused_us = 0;   ///< all nodes one by one
};

/// Sets `how.fuse.fixed[batch]` to the segments and tiles that `measure` finds fastest. `times` (may be null) receives what was measured
/// alone.
TuneReport tune(const Graph& graph, const DeviceModel& device, PartitionOptions& how, int64_t batch, Measure& measure,
                const TuneEffort& effort = {}, MeasuredTimes* times = nullptr);

/// `fixed` as text, and back. Reading throws Error(bad_input) for anything else.
std::string lessons_text(const std::map<int64_t, std::vector<FixedSegment>>& fixed);
std::map<int64_t, std::vector<FixedSegment>> read_lessons(const std::string& text);

}  // namespace fcm
