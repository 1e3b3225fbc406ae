// What a module must do at least: bytes and operations, and the time that a device needs for them.
#pragma once

#include <cstdint>

#include "apps/fcm-bench/rates.h"
#include "fcm/spec.h"

namespace fcm::bench {

struct Work {
  double compulsory_bytes = 0;  ///< input, residual, output and weights, each once
  double unfused_bytes = 0;     ///< the same layer by layer
  double dense_macs = 0;        ///< PW and first convolutions
  double depthwise_macs = 0;
};
Work work_of(const ModuleSpec& spec, int64_t batch);

struct Bound {
  double memory_us = 0;  ///< compulsory bytes at L2 bandwidth when they fit the L2, else at DRAM bandwidth
  double dense_us = 0;
  double depthwise_us = 0;
  double step_us = 0;
  /// Step cost plus the largest of the others: they can overlap, a step's cost cannot.
  double total_us() const;
  /// "memory", "dense", "depthwise" or "step": the largest term.
  const char* what() const;
};
Bound bound_of(const ModuleSpec& spec, const Work& work, const Rates& rates);

}  // namespace fcm::bench
