// What the programs that time kernels begin with.
#pragma once

#include <fmt/format.h>

#include <string>

#include "runtime/device/info.h"

namespace fcm::calibration {

/// Whether there is a GPU; where there is none, says that the program is skipped.
inline bool has_device() {
  std::string reason;
  if (device_count(&reason) > 0) return true;
  fmt::print("skipped: {}\n", reason);
  return false;
}

}  // namespace fcm::calibration
