// A build without CUPTI's headers.
#include "apps/fcm-bench/cupti.h"

namespace fcm::bench {

std::unique_ptr<ActivityTrace> open_activity_trace(std::string& reason) {
  reason = "this build has no CUPTI (its headers come with the CUDA toolkit)";
  return nullptr;
}

}  // namespace fcm::bench
