// What this device can do at most, for bounds: the engine's measured rates (runtime/engine/device_rates.h) at the maximum clock.
#pragma once

#include "runtime/device/info.h"

namespace fcm::bench {

struct Rates {
  double l2_bytes = 0;
  double dram_bytes_per_us = 0;   ///< read plus written, buffers far larger than the L2
  double l2_bytes_per_us = 0;     ///< read plus written, buffers that stay in the L2
  double tensor_macs_per_us = 0;  ///< FP16, mma.sync, FP32 accumulation
  double fma_macs_per_us = 0;     ///< FP32 on CUDA cores
  double step_us = 0;             ///< a dependent trivial step in a CUDA graph, programmatic launch where the device has it
};

/// About a second. Throws Error.
Rates rates_of(const DeviceInfo& device);

}  // namespace fcm::bench
