// Energy from a counter that ticks every 20 to 100 ms: readings are taken from tick to tick over at least two seconds, so that no part of a
// tick is lost or counted twice.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "apps/fcm-bench/nvml.h"

namespace fcm::bench {

/// What the counter showed between two of its ticks.
struct EnergySpan {
  double seconds = 0;
  double joules = 0;
  double images = 0;
  double watts() const { return seconds > 0 ? joules / seconds : 0; }
};

/// Turns readings of a ticking counter into the span between the first and the last tick.
class TickMeter {
 public:
  /// `seconds` since any fixed moment, `images` done so far; both never fall.
  void observe(uint64_t counter_mj, double seconds, double images);
  /// From the first tick seen to the last; nothing before the second one.
  std::optional<EnergySpan> span() const;

 private:
  struct Reading {
    uint64_t mj = 0;
    double seconds = 0, images = 0;
  };
  std::optional<Reading> previous_, first_, last_;
};

struct Energy {
  std::string unavailable;       ///< why there is no figure; empty when there is one
  EnergySpan busy;               ///< back-to-back runs
  std::optional<double> idle_w;  ///< of the same GPU with its context but without work
  double mj_per_image() const { return busy.images > 0 ? 1000 * busy.joules / busy.images : 0; }
  /// Without what the GPU takes when idle.
  double mj_above_idle() const;
};

/// Least length of a measurement.
inline constexpr double kEnergySeconds = 2;

/// Watts without work, after half a second of rest. Nothing without a counter.
std::optional<double> measure_idle(GpuMonitor& monitor, double seconds = kEnergySeconds);

/// Calls `work` (a few milliseconds of runs, kept in flight by the caller; returns the images done since its last call) until the counter
/// has been watched for `seconds`.
Energy measure_energy(GpuMonitor& monitor, std::optional<double> idle_w, const std::function<double()>& work,
                      double seconds = kEnergySeconds);

}  // namespace fcm::bench
