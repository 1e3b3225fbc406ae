// Where the time of one run goes, step by step. A separate pass: steps are launched one by one and do not overlap, so that their sum is not
// the time of a run; the difference is shown.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/fcm-bench/runner.h"
#include "planner/device_model.h"

namespace fcm::bench {

struct ProfileRow {
  std::string name, kind, text;
  double us = 0;  ///< median over the passes
  int kernels = 0;
  std::vector<std::string> kernel_names;
  double bytes = 0;                                                           ///< operands, weights and results once
  double predicted_us = 0, predicted_l2_bytes = 0, predicted_dram_bytes = 0;  ///< 0: none
  double bound_us = 0;        ///< time that the bytes alone take on this device; 0 without a device model
  const char* bound_by = "";  ///< "L2" or "DRAM"
};

struct Profile {
  std::string unavailable;  ///< why there is none; empty when there is one
  std::string method;       ///< how the steps were timed
  std::vector<ProfileRow> rows;
  double sum_us = 0;  ///< of the rows
  /// CUPTI's record of a whole replay, from its first node's start to its last node's end, beside the time between events around the same
  /// replay while the device was still busy with something else, so that the host has no part in it. Medians.
  struct Whole {
    double record_us = 0, events_us = 0;
    double launch_us = 0;  ///< what events add to the record of a graph of one kernel that does nothing: entering and leaving a graph
    double rest_us() const { return events_us - launch_us - record_us; }
  };
  std::optional<Whole> whole;
};

using MakeRunner = std::function<std::unique_ptr<Runner>()>;

/// Profiles fresh contexts, made by `make` once CUPTI is there to see them. `device` is what bounds refer to; null: the CPU.
Profile profile_steps(const MakeRunner& make, const DeviceModel* device);

}  // namespace fcm::bench
