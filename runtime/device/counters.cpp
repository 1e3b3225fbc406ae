#include "runtime/device/counters.h"

namespace fcm {

CallCounts& call_counts() {
  static thread_local CallCounts counts;
  return counts;
}

}  // namespace fcm
