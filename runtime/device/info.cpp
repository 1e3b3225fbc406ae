#include "runtime/device/info.h"

#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "runtime/device/cuda_check.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

int attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, which, ordinal), "cudaDeviceGetAttribute");
  return value;
}

// The GTX 16 parts (Turing without RTX) have no tensor cores; nothing but the name tells.
bool has_tensor_cores(const cudaDeviceProp& properties) {
  return properties.major >= 7 && std::string(properties.name).find("GTX 16") == std::string::npos;
}

}  // namespace

int device_count(std::string* reason) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) {
    if (reason != nullptr) *reason = "no NVIDIA driver is installed (libcuda.so.1 cannot be opened)";
    return 0;
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    if (reason != nullptr)
      *reason =
          fmt::format("{} ({}; driver {}.{})", cudaGetErrorString(status), cudaGetErrorName(status), driver / 1000, driver % 1000 / 10);
    return 0;
  }
  if (count == 0 && reason != nullptr) *reason = "the driver offers no device";
  return count;
}

DeviceInfo device_info(int ordinal) {
  std::string reason;
  const int count = device_count(&reason);
  if (count == 0) throw Error(ErrorCode::device, "no CUDA device: " + reason);
  if (ordinal < 0 || ordinal >= count)
    throw Error(ErrorCode::device, fmt::format("cuda:{} does not exist; there are {} devices", ordinal, count));
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  DeviceInfo info;
  info.ordinal = ordinal;
  info.name = properties.name;
  info.target = {properties.major, properties.minor, properties.major == 9 && properties.minor == 0};
  info.sm_count = properties.multiProcessorCount;
  info.clock_khz = attribute(cudaDevAttrClockRate, ordinal);
  info.shared_per_block = properties.sharedMemPerBlockOptin;
  info.shared_per_sm = properties.sharedMemPerMultiprocessor;
  info.registers_per_sm = properties.regsPerMultiprocessor;
  info.threads_per_sm = properties.maxThreadsPerMultiProcessor;
  info.l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  info.memory_bytes = properties.totalGlobalMem;
  info.tensor_cores = has_tensor_cores(properties);
  info.bf16 = properties.major >= 8;
  cuda_check(cudaDriverGetVersion(&info.driver_version), "cudaDriverGetVersion");
  cuda_check(cudaRuntimeGetVersion(&info.runtime_version), "cudaRuntimeGetVersion");
  return info;
}

void mark_profile(bool begin) {
  cuda_check(begin ? cudaProfilerStart() : cudaProfilerStop(), "profiler");
}

}  // namespace fcm
