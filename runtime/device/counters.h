// Counts of CUDA calls made through this library's wrappers on the calling thread. Tests use them to prove that a prepared run
// allocates nothing and synchronises once.
#pragma once

#include <cstdint>

namespace fcm {

struct CallCounts {
  int64_t allocations = 0;  ///< device and pinned memory, streams, events
  int64_t releases = 0;
  int64_t synchronizations = 0;  ///< host waits: stream, event, device
  int64_t launches = 0;          ///< kernels launched outside graphs
  int64_t graph_launches = 0;
  int64_t copies = 0;
};

/// The calling thread's counts; assign {} to reset.
CallCounts& call_counts();

}  // namespace fcm
