#include "apps/fcm-bench/nvml.h"

#include <fmt/format.h>

#include <array>

#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm::bench {
namespace {

// The part of NVML's interface that is used here; its values have been the same since its second version.
struct NvmlDevice;
using Nvml = int;
constexpr Nvml kSuccess = 0;
constexpr unsigned kClockSm = 1, kClockMemory = 2, kSensorGpu = 0;

struct Functions {
  Nvml (*init)() = nullptr;
  const char* (*error_string)(Nvml) = nullptr;
  Nvml (*device_by_pci)(const char*, NvmlDevice**) = nullptr;
  Nvml (*total_energy)(NvmlDevice*, unsigned long long*) = nullptr;
  Nvml (*clock)(NvmlDevice*, unsigned, unsigned*) = nullptr;
  Nvml (*max_clock)(NvmlDevice*, unsigned, unsigned*) = nullptr;
  Nvml (*temperature)(NvmlDevice*, unsigned, unsigned*) = nullptr;
  Nvml (*power)(NvmlDevice*, unsigned*) = nullptr;
  Nvml (*power_limit)(NvmlDevice*, unsigned*) = nullptr;
  Nvml (*driver)(char*, unsigned) = nullptr;

  explicit Functions(const DynamicLibrary& library) {
    library.bind(init, "nvmlInit_v2");
    library.bind(error_string, "nvmlErrorString");
    library.bind(device_by_pci, "nvmlDeviceGetHandleByPciBusId_v2");
    library.bind(total_energy, "nvmlDeviceGetTotalEnergyConsumption");
    library.bind(clock, "nvmlDeviceGetClockInfo");
    library.bind(max_clock, "nvmlDeviceGetMaxClockInfo");
    library.bind(temperature, "nvmlDeviceGetTemperature");
    library.bind(power, "nvmlDeviceGetPowerUsage");
    library.bind(power_limit, "nvmlDeviceGetEnforcedPowerLimit");
    library.bind(driver, "nvmlSystemGetDriverVersion");
  }
};

// A figure that NVML writes through a pointer, or nothing when it refuses.
template <class Value, class Function, class... Arguments>
std::optional<Value> ask(Function* function, Arguments... arguments) {
  Value value{};
  if (function(arguments..., &value) != kSuccess) return std::nullopt;
  return value;
}

std::optional<int> as_int(std::optional<unsigned> value) {
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

std::optional<double> watts(std::optional<unsigned> milliwatts) {
  return milliwatts ? std::optional(*milliwatts / 1000.0) : std::nullopt;
}

class NvmlMonitor final : public GpuMonitor {
 public:
  NvmlMonitor(const Functions& functions, NvmlDevice* device) : f_(functions), device_(device) {}

  std::optional<uint64_t> energy_mj() override { return ask<unsigned long long>(f_.total_energy, device_); }
  GpuReading read() override {
    GpuReading reading;
    reading.sm_mhz = as_int(ask<unsigned>(f_.clock, device_, kClockSm));
    reading.memory_mhz = as_int(ask<unsigned>(f_.clock, device_, kClockMemory));
    reading.temperature_c = as_int(ask<unsigned>(f_.temperature, device_, kSensorGpu));
    reading.power_w = watts(ask<unsigned>(f_.power, device_));
    return reading;
  }
  std::optional<double> power_limit_w() override { return watts(ask<unsigned>(f_.power_limit, device_)); }
  std::optional<int> max_sm_mhz() override { return as_int(ask<unsigned>(f_.max_clock, device_, kClockSm)); }
  std::string driver() override {
    std::array<char, 96> text{};
    return f_.driver(text.data(), static_cast<unsigned>(text.size())) == kSuccess ? std::string(text.data()) : std::string();
  }

 private:
  Functions f_;
  NvmlDevice* device_;
};

}  // namespace

std::unique_ptr<GpuMonitor> open_gpu_monitor(const std::string& pci_address, std::string& reason) {
  try {
    const DynamicLibrary library("NVML", {"libnvidia-ml.so.1"});
    const Functions functions(library);
    NvmlDevice* device = nullptr;
    Nvml status = functions.init();
    if (status == kSuccess) status = functions.device_by_pci(pci_address.c_str(), &device);
    if (status == kSuccess) return std::make_unique<NvmlMonitor>(functions, device);
    reason = fmt::format("NVML: {}", functions.error_string(status));
  } catch (const Error& e) {
    const std::string text = e.what();
    reason = text.substr(0, text.find(';'));
  }
  return nullptr;
}

}  // namespace fcm::bench
