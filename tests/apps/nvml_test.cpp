// The management library as fcm-bench reads it, on one that the test brings along.
#include "apps/fcm-bench/nvml.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "apps/fcm-bench/energy.h"

namespace fcm::bench {
namespace {

// Read once, before anything is opened.
const bool kLibraryNamed = ::setenv("FCM_LIBRARY_PATH", FCM_FAKE_NVML_FOLDER, 1) == 0;

TEST(Nvml, ReadsWhatTheGpuOffers) {
  ASSERT_TRUE(kLibraryNamed);
  std::string reason;
  const auto monitor = open_gpu_monitor("0000:01:00.0", reason);
  ASSERT_NE(monitor, nullptr) << reason;
  EXPECT_EQ(monitor->driver(), "580.00");
  EXPECT_DOUBLE_EQ(monitor->power_limit_w().value(), 700);
  EXPECT_EQ(monitor->max_sm_mhz().value(), 1980);
  const GpuReading reading = monitor->read();
  EXPECT_EQ(reading.sm_mhz.value(), 1980);
  EXPECT_EQ(reading.memory_mhz.value(), 3201);
  EXPECT_EQ(reading.temperature_c.value(), 41);
  EXPECT_DOUBLE_EQ(reading.power_w.value(), 123.456);
  const uint64_t first = monitor->energy_mj().value();
  EXPECT_EQ(monitor->energy_mj().value(), first + 250);
}

TEST(Nvml, EnergyIsMeasuredThroughTheCounter) {
  std::string reason;
  const auto monitor = open_gpu_monitor("0000:01:00.0", reason);
  ASSERT_NE(monitor, nullptr) << reason;
  int calls = 0;
  const Energy energy = measure_energy(
      *monitor, 10.0,
      [&] {
        ++calls;
        return 2.0;
      },
      0.01);
  EXPECT_EQ(energy.unavailable, "");
  EXPECT_GE(energy.busy.seconds, 0.01);
  EXPECT_NEAR(energy.mj_per_image(), 125, 1e-6);  // 250 mJ for two images
  EXPECT_LT(energy.mj_above_idle(), energy.mj_per_image());
  EXPECT_GT(calls, 2);
}

TEST(Nvml, AGpuWithoutCounterSaysSo) {
  std::string reason;
  const auto monitor = open_gpu_monitor("0000:02:00.0", reason);
  ASSERT_NE(monitor, nullptr) << reason;
  EXPECT_FALSE(monitor->energy_mj());
  EXPECT_FALSE(monitor->power_limit_w());
  EXPECT_FALSE(measure_energy(
                   *monitor, std::nullopt, [] { return 1.0; }, 0.01)
                   .unavailable.empty());
}

TEST(Nvml, AnUnknownAddressHasAReasonInOneLine) {
  std::string reason;
  EXPECT_EQ(open_gpu_monitor("0000:03:00.0", reason), nullptr);
  EXPECT_EQ(reason, "NVML: Not Found");
}

}  // namespace
}  // namespace fcm::bench
