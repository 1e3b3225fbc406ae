// What fcm-bench computes and shows, without running anything: intervals, verdicts, ticks of an energy counter, pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/common/program.h"
#include "apps/common/stats.h"
#include "apps/fcm-bench/energy.h"
#include "apps/fcm-bench/model_report.h"
#include "apps/fcm-bench/page.h"

namespace fcm::bench {
namespace {

using nlohmann::json;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(BenchStats, QuantilesAreThoseOfNumpy) {
  EXPECT_DOUBLE_EQ(apps::quantile_of({4, 1, 3, 2}, 0.9), 3.7);
  EXPECT_DOUBLE_EQ(apps::median_of({5, 1, 9}), 5);
  EXPECT_DOUBLE_EQ(apps::median_of({}), 0);
  EXPECT_NEAR(apps::variation_of({9, 10, 11}), 0.1, 1e-12);
  EXPECT_EQ(apps::variation_of({9}), 0);
}

TEST(BenchStats, BootstrapCoversTheRatioAndNarrowsWithTheSpread) {
  const std::vector<double> before = {99, 100, 100, 101, 100, 99, 101};
  const std::vector<double> half = {49, 50, 50, 51, 50, 49.5, 50.5};
  const apps::Interval ratio = apps::bootstrap_ratio(half, before);
  EXPECT_LE(ratio.low, 0.5);
  EXPECT_GE(ratio.high, 0.5);
  EXPECT_GT(ratio.low, 0.48);
  EXPECT_LT(ratio.high, 0.52);
  const apps::Interval again = apps::bootstrap_ratio(half, before);
  EXPECT_EQ(again.low, ratio.low) << "repeatable";
  const apps::Interval wide = apps::bootstrap_ratio({30, 50, 70, 40, 60, 50, 50}, before);
  EXPECT_GT(wide.high - wide.low, ratio.high - ratio.low);
  const apps::Interval single = apps::bootstrap_ratio({3}, {2});
  EXPECT_EQ(single.low, 1.5);
  EXPECT_EQ(single.high, 1.5);
}

TEST(BenchCompare, VerdictsNeedTheWholeInterval) {
  EXPECT_EQ(judge({0.80, 0.90}), Verdict::faster);
  EXPECT_EQ(judge({1.10, 1.20}), Verdict::slower);
  EXPECT_EQ(judge({0.99, 1.01}), Verdict::same);
  EXPECT_EQ(judge({0.90, 1.01}), Verdict::unclear);
  EXPECT_EQ(judge({0.97 - 0.001, 1.0}), Verdict::unclear);
  EXPECT_EQ(judge({0.96, 0.969}), Verdict::faster);
}

// A counter that ticks every 100 ms at 300 W while images come at 1000 a second.
TEST(BenchEnergy, ReadsFromTickToTick) {
  TickMeter meter;
  EXPECT_FALSE(meter.span());
  for (int ms = 0; ms <= 2550; ms += 3) meter.observe(static_cast<uint64_t>(ms / 100) * 30000, ms / 1000.0, ms);
  const auto span = meter.span();
  ASSERT_TRUE(span);
  EXPECT_NEAR(span->seconds, 2.4, 0.004);  // the first tick is at 0.1 s, the last at 2.5 s
  EXPECT_DOUBLE_EQ(span->joules, 24 * 30);
  EXPECT_NEAR(span->watts(), 300, 1);
  Energy energy;
  energy.busy = *span;
  EXPECT_NEAR(energy.mj_per_image(), 300, 1);
  energy.idle_w = 100;
  EXPECT_NEAR(energy.mj_above_idle(), 200, 1);
}

TEST(BenchEnergy, OneTickIsNoSpan) {
  TickMeter meter;
  for (int ms = 0; ms < 150; ++ms) meter.observe(static_cast<uint64_t>(ms / 100), ms / 1000.0, 0);
  EXPECT_FALSE(meter.span());
}

class NoCounter : public GpuMonitor {
 public:
  std::optional<uint64_t> energy_mj() override { return std::nullopt; }
  GpuReading read() override { return {}; }
  std::optional<double> power_limit_w() override { return std::nullopt; }
  std::optional<int> max_sm_mhz() override { return std::nullopt; }
  std::string driver() override { return {}; }
};

TEST(BenchEnergy, AbsentCounterIsSaidSo) {
  NoCounter monitor;
  const Energy energy = measure_energy(
      monitor, std::nullopt, [] { return 1.0; }, 0.01);
  EXPECT_FALSE(energy.unavailable.empty());
  EXPECT_FALSE(measure_idle(monitor, 0.01));
}

ModelResult sample() {
  ModelResult r;
  r.model = "net<1>";
  r.device = "NVIDIA H200 (cuda:0)";
  r.precision = "fp16";
  r.plan_hash = "0123456789abcdef";
  r.replays = 200;
  r.rounds_us = {101, 100, 102, 100, 99, 100, 101};
  for (int i = 0; i < 1200; ++i) {
    r.gpu_us.push_back(105 + i % 7);
    r.host_us.push_back(112 + i % 9);
    r.enqueue_us.push_back(5);
  }
  r.images_per_second = 9900;
  Energy energy;
  energy.busy = {2.0, 500, 25000};
  energy.idle_w = 90;
  r.energy = energy;
  Profile profile;
  profile.method = "CUPTI";
  profile.rows.push_back({"block1/project", "PWDWPW", "pw 24 tile", 3.5, 1, {"fcm_k"}, 90000, 3.1, 80000, 1000, 0.4, "L2"});
  profile.rows.push_back({"logits", "Gemm", "gemm", 2.25, 2, {"a", "b"}, 2600000, 0, 0, 0, 0.9, "L2"});
  profile.sum_us = 5.75;
  profile.whole = {104.0, 107.75, 3.5};
  r.profile = profile;
  r.sm_mhz.add(1980);
  r.sm_mhz.add(1950);
  r.sm_mhz.add(std::nullopt);
  r.warnings = {"large spread: a < b"};
  return r;
}

TEST(BenchReport, TextHasAllFigures) {
  const std::string text = to_text(sample());
  for (const char* part :
       {"net<1>, batch 1, fp16, NVIDIA H200 (cuda:0), plan 0123456789abcdef", "100.0 us a run (7 rounds of 200: 99.0 .. 102.0)",
        "GPU, between events", "20.00 mJ/image at 250 W; 12.80 mJ/image above idle (90 W)", "1950 .. 1980 MHz", "PWDWPW",
        "sum of the steps 5.8 us", "+102.2 us",
        "whole run 104.0 us; between events around the same runs 107.8 us, of which entering and leaving a graph takes 3.5 us: +0.2 us "
        "apart",
        "warning: large spread"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
}

TEST(BenchReport, JsonKeepsThinnedSamplesAndExactCounts) {
  const json document = to_json({}, {}, {sample()});
  const json& r = document["results"][0];
  EXPECT_EQ(r["gpu_us"]["count"], 1200);
  EXPECT_EQ(r["gpu_us"]["samples"].size(), 500U);
  EXPECT_EQ(r["median_us"], 100);
  EXPECT_EQ(r["energy"]["mj_per_image"], 20);
  EXPECT_TRUE(r["profile"]["steps"][1]["predicted_us"].is_null()) << "no prediction is not 0";
  EXPECT_EQ(r["sm_mhz"]["low"], 1950);
}

TEST(BenchReport, EnergyIsAbsentWithItsReason) {
  ModelResult r = sample();
  r.energy = Energy{};
  r.energy->unavailable = "this GPU has no energy counter";
  EXPECT_TRUE(has(to_text(r), "energy                 not available: this GPU has no energy counter"));
  const json document = to_json({}, {}, {r});
  EXPECT_EQ(document["results"][0]["energy"], json({{"unavailable", "this GPU has no energy counter"}}));
  EXPECT_TRUE(has(page_text(document, json::array()), "energy not available: this GPU has no energy counter"));
}

TEST(BenchReport, CompareMatchesModelBatchPrecisionAndFusion) {
  ModelResult fast = sample();
  for (double& us : fast.rounds_us) us *= 0.5;
  ModelResult unfused = sample();
  unfused.fused = false;
  const json before = to_json({}, {}, {unfused, sample()});
  const std::vector<Comparison> found = compare(to_json({}, {}, {fast}), before);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].fused);
  EXPECT_EQ(found[0].verdict, Verdict::faster);
  EXPECT_TRUE(has(to_text(found), "-50.0 %")) << to_text(found);
}

TEST(BenchPage, ShowsStepsPeersAndHistogram) {
  const json peers =
      json::array({{{"schema", kPeersSchema},
                    {"results",
                     {{{"model", "net<1>"},
                       {"batch", 1},
                       {"precision", "fp16"},
                       {"contenders",
                        {{{"name", "inductor"}, {"label", "torch.compile"}, {"median_us", 300}, {"energy", {{"mj_per_image", 49}}}},
                         {{"name", "fcm"}, {"label", "FCM"}, {"median_us", 100}},
                         {{"name", "tensorrt"}, {"label", "TensorRT"}, {"missing", "not installed"}}}}}}}}});
  const std::string page = page_text(to_json({}, {}, {sample()}), peers);
  for (const char* part :
       {"net&lt;1&gt;, batch 1, fp16", "<svg", "median ", "PWDWPW  block1/project", "torch.compile", "300.0 µs, 49.00 mJ",
        "TensorRT: missing, not installed", "Warning: large spread: a &lt; b", "@media print", "viewport"})
    EXPECT_TRUE(has(page, part)) << part;
  EXPECT_LT(page.find("title=\"FCM\""), page.find("title=\"torch.compile\"")) << "the fastest first";
}

}  // namespace
}  // namespace fcm::bench
