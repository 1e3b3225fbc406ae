// A build without CUDA has no GPU to measure.
#include "apps/fcm-bench/gpu.h"
#include "runtime/support/error.h"

namespace fcm::bench {

std::unique_ptr<Gpu> open_gpu(int /*ordinal*/) {
  throw Error(ErrorCode::device, "this build has no CUDA");
}

}  // namespace fcm::bench
