// A build without CUDA: no device, with the reason.
#include "runtime/device/info.h"
#include "runtime/support/error.h"

namespace fcm {

int device_count(std::string* reason) {
  if (reason != nullptr) *reason = "this library was built without CUDA";
  return 0;
}

DeviceInfo device_info(int /*ordinal*/) {
  throw Error(ErrorCode::device, "no CUDA device: this library was built without CUDA");
}

void mark_profile(bool /*begin*/) {
  throw Error(ErrorCode::device, "no CUDA device: this library was built without CUDA");
}

}  // namespace fcm
