#include "runtime/device/power.h"

#include <cuda_runtime_api.h>

#include <array>

#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm {

unsigned power_limit_mw(int ordinal) {
  std::array<char, 32> address{};
  if (cudaDeviceGetPCIBusId(address.data(), static_cast<int>(address.size()), ordinal) != cudaSuccess) return 0;
  try {
    // NVML's interface as it has been since its second version; 0 is success everywhere.
    const DynamicLibrary library("NVML", {"libnvidia-ml.so.1"});
    int (*init)() = nullptr;
    int (*device_by_pci)(const char*, void**) = nullptr;
    int (*power_limit)(void*, unsigned*) = nullptr;
    int (*shutdown)() = nullptr;
    library.bind(init, "nvmlInit_v2");
    library.bind(device_by_pci, "nvmlDeviceGetHandleByPciBusId_v2");
    library.bind(power_limit, "nvmlDeviceGetEnforcedPowerLimit");
    library.bind(shutdown, "nvmlShutdown");
    if (init() != 0) return 0;
    void* device = nullptr;
    unsigned limit = 0;
    const bool known = device_by_pci(address.data(), &device) == 0 && power_limit(device, &limit) == 0;
    shutdown();
    return known ? limit : 0;
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace fcm
