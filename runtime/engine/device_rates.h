// Micro-benchmarks: what the current device can do, as the planner's DeviceModel wants it. Compiled only where the toolkit is.
#pragma once

#include "planner/device_model.h"
#include "runtime/device/info.h"

namespace fcm {

/// Measured on the device, in under two seconds. Bandwidths are read plus written.
struct DeviceRates {
  double dram_gbps = 0, dram_gbps_per_sm = 0;  ///< all multiprocessors; a few of them, each
  double l2_gbps = 0, l2_gbps_per_sm = 0;
  double shared_bytes = 0;  ///< a cycle and multiprocessor
  double tensor_f16 = 0;    ///< multiply-adds a cycle and multiprocessor through mma.sync; 0: the device has no tensor cores
  double tensor_tf32 = 0;
  double core_f32 = 0;
  double step_plain_us = 0, step_graph_us = 0,
         step_pdl_us = 0;  ///< a dependent trivial kernel; step_pdl_us 0: the device has no such launch
};
/// The kernels that measure.
jit::Program rate_program();
/// Throws Error(device), Error(out_of_memory).
DeviceRates measure_rates(const DeviceInfo& device);

/// A model of the device from sizes that the driver tells, rates measured here (rounded to two digits) and, for what is not measured, the
/// figures of the nearest shipped card. Measurements are cached by device, driver, maximum clock and power limit. Throws as measure_rates.
DeviceModel measured_model(const DeviceInfo& device);

/// The model that plans for this device are made with: the shipped one of the card, else the measured one. `note` (may be null) says what
/// was done when the card has no model of its own.
DeviceModel model_of_device(const DeviceInfo& device, std::string* note = nullptr);

}  // namespace fcm
