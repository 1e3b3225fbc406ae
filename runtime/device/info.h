// What is known of a CUDA device, as plain data: usable in tests and for planning without one.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/jit/jit.h"  // jit::Target alone

namespace fcm {

struct DeviceInfo {
  int ordinal = 0;
  std::string name;    ///< "NVIDIA H200"
  jit::Target target;  ///< what kernels are compiled for: 90a on compute capability 9.0
  int sm_count = 0;
  int clock_khz = 0;            ///< maximum SM clock
  size_t shared_per_block = 0;  ///< largest dynamic shared memory of a block (opt-in), bytes
  size_t shared_per_sm = 0;     ///< bytes
  int registers_per_sm = 0;
  int threads_per_sm = 0;
  size_t l2_bytes = 0;
  size_t memory_bytes = 0;
  bool tensor_cores = false;  ///< FP16 tensor cores (compute capability 7.0 and up, without the GTX 16 parts)
  bool bf16 = false;          ///< BF16 and TF32 tensor cores (8.0 and up)
  int driver_version = 0;     ///< as cudaDriverGetVersion: 13000 is 13.0
  int runtime_version = 0;
};

/// Devices that the driver offers; 0 without one (or in a build without CUDA), then `reason` (may be null) says why.
int device_count(std::string* reason = nullptr);
/// Throws Error(device) when there is no such device.
DeviceInfo device_info(int ordinal);

/// Begins or ends what a profiler that was told to wait looks at (cudaProfilerStart, cudaProfilerStop). Throws Error(device).
void mark_profile(bool begin);

}  // namespace fcm
