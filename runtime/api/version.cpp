// What this build and machine offer.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "runtime/api/handles.h"
#include "runtime/device/info.h"
#if FCM_HAS_CUDA
#include "runtime/device/cublaslt.h"
#include "runtime/device/cudnn.h"
#include "runtime/device/nvrtc.h"
#endif

namespace {

#if FCM_HAS_CUDA
std::string cuda_version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

// A library that cannot be opened is reported in place, in one line: asking for versions never fails.
std::string version_or_reason(const std::function<std::string()>& version) {
  try {
    return version();
  } catch (const std::exception& e) {
    std::string reason = e.what();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    return "not available (" + reason + ")";
  }
}
#endif

std::string version_text() {
  std::string text = fmt::format("fcm {}.{}.{}\n", FCM_VERSION_MAJOR, FCM_VERSION_MINOR, FCM_VERSION_PATCH);
#if FCM_HAS_CUDA
  std::string reason;
  const int count = fcm::device_count(&reason);
  if (count > 0) {
    const fcm::DeviceInfo first = fcm::device_info(0);
    text += fmt::format("cuda {}\ndriver {}\n", cuda_version(first.runtime_version), cuda_version(first.driver_version));
  }
  text += "cudnn " + version_or_reason([] { return fcm::cudnn().version_text; }) + "\n";
  text += "cublas " + version_or_reason([] { return fcm::cublas_lt().version_text; }) + "\n";
  text += "nvrtc " + version_or_reason([] { return fcm::nvrtc().version_text; }) + "\n";
  for (int i = 0; i < count; ++i) {
    const fcm::DeviceInfo info = fcm::device_info(i);
    text += fmt::format("device cuda:{} {} sm_{}\n", i, info.name, info.target.text());
  }
  if (count == 0) text += "device none (" + reason + ")\n";
#else
  text += "cuda not in this build\n";
#endif
  return text;
}

}  // namespace

uint32_t fcm_version(void) {
  return FCM_VERSION_MAJOR * 10000 + FCM_VERSION_MINOR * 100 + FCM_VERSION_PATCH;
}

size_t fcm_version_text(char* buffer, size_t size) {
  try {
    const std::string text = version_text();
    if (buffer != nullptr && size > 0) {
      const size_t copied = std::min(text.size(), size - 1);
      std::memcpy(buffer, text.data(), copied);
      buffer[copied] = '\0';
    }
    return text.size();
  } catch (...) {
    if (buffer != nullptr && size > 0) buffer[0] = '\0';
    return 0;
  }
}
