// What measured step times teach a plan: the fastest tile of each module, and the segments that lose to their nodes run one by one.
#pragma once

#include <span>
#include <vector>

#include "planner/plan.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// A plan variant and the measured time of each of its steps, microseconds.
struct MeasuredVariant {
  const PlanVariant* variant = nullptr;
  std::vector<double> us;
};

/// Adds to `fuse`: `tiles`, the fastest measured tile of every module seen, and `rejected`, the segments whose modules take more than
/// their nodes alone (2 % counts as equal). `fused`: variants planned for `batch` with different tile ranks; `unfused`: every node its
/// own step.
void learn(const Graph& graph, int64_t batch, std::span<const MeasuredVariant> fused, const MeasuredVariant& unfused, FuseOptions& fuse);

/// True when every module of a variant planned for `batch` runs a tile that `fuse.tiles` names.
bool all_learnt(const PlanVariant& variant, int64_t batch, const FuseOptions& fuse);

/// `tiles`, `tile_us` and `rejected` as text, and back. Reading throws Error(bad_input) for anything else.
std::string lessons_text(const FuseOptions& fuse);
void read_lessons(const std::string& text, FuseOptions& fuse);

}  // namespace fcm
