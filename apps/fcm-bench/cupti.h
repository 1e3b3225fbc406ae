// Kernel and graph times as the driver records them (CUPTI's activity records; the library is opened at run time).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace fcm::bench {

/// What ran on the device, by step.
struct StepActivity {
  double us = 0;  ///< of its kernels, copies and fills, end minus start of each
  int kernels = 0;
  std::vector<std::string> names;  ///< of the kernels, as compiled
};

/// Collects records of this process; at most one at a time. Kernels are slower to launch while it lives, their own times are not changed.
class ActivityTrace {
 public:
  virtual ~ActivityTrace() = default;
  /// From now on kernels are recorded and belong to `step`, until the next call.
  virtual void begin_step(size_t step) = 0;
  /// Ends the recording that the first begin_step began; call after the device has finished. By step, `steps` of them.
  /// Throws Error(device) when records were lost or belong to no step.
  virtual std::vector<StepActivity> end_steps(size_t steps) = 0;
  /// Records of whole graphs from here ...
  virtual void begin_graphs() = 0;
  /// ... to here: microseconds from the start of a graph's first node to the end of its last, in order of launch.
  virtual std::vector<double> end_graphs() = 0;
};

/// Null when CUPTI cannot be used; then `reason` says why in one line.
std::unique_ptr<ActivityTrace> open_activity_trace(std::string& reason);

}  // namespace fcm::bench
