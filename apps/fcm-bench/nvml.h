// What the driver's management library (NVML, opened at run time) says of a GPU: energy, clocks, temperature, power.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace fcm::bench {

/// One reading; a field without a value is one that this GPU does not offer.
struct GpuReading {
  std::optional<int> sm_mhz, memory_mhz, temperature_c;
  std::optional<double> power_w;
};

class GpuMonitor {
 public:
  virtual ~GpuMonitor() = default;
  /// Total energy since the driver was loaded, millijoules; nothing where the GPU has no such counter (before Volta, MIG, Jetson).
  virtual std::optional<uint64_t> energy_mj() = 0;
  virtual GpuReading read() = 0;
  virtual std::optional<double> power_limit_w() = 0;
  virtual std::optional<int> max_sm_mhz() = 0;
  /// "580.82.07"; empty when unknown.
  virtual std::string driver() = 0;
};

/// The GPU at this PCI address ("0000:1B:00.0"). Null when NVML cannot be used; then `reason` says why in one line.
std::unique_ptr<GpuMonitor> open_gpu_monitor(const std::string& pci_address, std::string& reason);

}  // namespace fcm::bench
