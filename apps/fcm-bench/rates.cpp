#include "apps/fcm-bench/rates.h"

#include "runtime/engine/device_rates.h"

namespace fcm::bench {

Rates rates_of(const DeviceInfo& device) {
  const DeviceRates measured = measure_rates(device);
  const double cycles_a_us = device.clock_khz / 1e3 * device.sm_count;
  Rates rates;
  rates.l2_bytes = static_cast<double>(device.l2_bytes);
  rates.dram_bytes_per_us = measured.dram_gbps * 1e3;
  rates.l2_bytes_per_us = measured.l2_gbps * 1e3;
  rates.tensor_macs_per_us = measured.tensor_f16 * cycles_a_us;
  rates.fma_macs_per_us = measured.core_f32 * cycles_a_us;
  rates.step_us = measured.step_pdl_us > 0 ? measured.step_pdl_us : measured.step_graph_us;
  return rates;
}

}  // namespace fcm::bench
