#include "apps/fcm-bench/energy.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace fcm::bench {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A counter that does not move for so long has none to offer.
constexpr double kSilentSeconds = 5;

// Runs `work` and watches the counter until the span is `seconds` long; empty when the counter is absent or stands still.
std::optional<EnergySpan> watch(GpuMonitor& monitor, const std::function<double()>& work, double seconds) {
  TickMeter meter;
  const Clock::time_point start = Clock::now();
  for (double images = 0;;) {
    images += work();
    const double now = since(start);
    const std::optional<uint64_t> counter = monitor.energy_mj();
    if (!counter) return std::nullopt;
    meter.observe(*counter, now, images);
    const std::optional<EnergySpan> span = meter.span();
    if (span && span->seconds >= seconds) return span;
    if (now > seconds + kSilentSeconds) return std::nullopt;
  }
}

}  // namespace

void TickMeter::observe(uint64_t counter_mj, double seconds, double images) {
  const Reading reading{counter_mj, seconds, images};
  if (previous_ && counter_mj != previous_->mj) {
    if (!first_) first_ = reading;
    last_ = reading;
  }
  previous_ = reading;
}

std::optional<EnergySpan> TickMeter::span() const {
  if (!first_ || last_->seconds <= first_->seconds) return std::nullopt;
  return EnergySpan{last_->seconds - first_->seconds, static_cast<double>(last_->mj - first_->mj) / 1000, last_->images - first_->images};
}

double Energy::mj_above_idle() const {
  if (!idle_w || busy.images <= 0) return 0;
  return 1000 * (busy.joules - *idle_w * busy.seconds) / busy.images;
}

std::optional<double> measure_idle(GpuMonitor& monitor, double seconds) {
  using namespace std::chrono_literals;
  std::this_thread::sleep_for(500ms);
  const auto span = watch(
      monitor,
      [] {
        std::this_thread::sleep_for(2ms);
        return 0.0;
      },
      seconds);
  return span ? std::optional(span->watts()) : std::nullopt;
}

Energy measure_energy(GpuMonitor& monitor, std::optional<double> idle_w, const std::function<double()>& work, double seconds) {
  Energy energy;
  energy.idle_w = idle_w;
  const std::optional<EnergySpan> span = watch(monitor, work, seconds);
  if (span) {
    energy.busy = *span;
  } else {
    energy.unavailable = "the GPU's energy counter does not answer or does not move";
  }
  return energy;
}

}  // namespace fcm::bench
