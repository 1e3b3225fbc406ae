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
  double sum_us = 0;               ///< of the rows
  std::optional<double> graph_us;  ///< CUPTI's record of whole replays: first node's start to last node's end, median
};

using MakeRunner = std::function<std::unique_ptr<Runner>()>;

/// Profiles fresh contexts, made by `make` once CUPTI is there to see them. `device` is what bounds refer to; null: the CPU.
Profile profile_steps(const MakeRunner& make, const DeviceModel* device);

}  // namespace fcm::bench
