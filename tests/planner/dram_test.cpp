// DRAM bytes of whole plans: what fits stays, what does not streams, what is overwritten in time is never written back.
#include "planner/dram.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "planner/fused.h"
#include "tests/planner/backend.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

struct Predicted {
  PlanVariant variant;
  std::vector<double> bytes;
  double total() const { return std::accumulate(bytes.begin(), bytes.end(), 0.0); }
};
Predicted predicted(const Graph& graph, int64_t batch, const DeviceModel& device = device_model("h200")) {
  const Plan plan = plan_fused(graph, PlanOptions{Precision::f16, false}, test::backend(), device, {});
  Predicted p{plan.variant_for(batch), {}};
  p.bytes = dram_bytes(graph, p.variant, batch, device);
  return p;
}

double bytes_of(const PlanVariant& v, const std::vector<BufferId>& buffers, int64_t batch) {
  double bytes = 0;
  for (const BufferId b : buffers) {
    if (b != kNoBuffer) bytes += static_cast<double>(layout_bytes(v.buffer(b).layout, at_batch(v.buffer(b).shape, batch)));
  }
  return bytes;
}

TEST(Dram, WhatFitsStays) {
  EXPECT_EQ(predicted(test::mobilenet_v2({1.0, 224, 1000}), 1).total(), 0);
}

TEST(Dram, LargeMapsGoThroughAndSmallOnesStay) {
  const int64_t batch = 64;
  const Predicted p = predicted(test::mobilenet_v1({1.0, 224, 1000}), batch);
  const auto compulsory = [&](size_t i) {
    return bytes_of(p.variant, p.variant.steps[i].inputs, batch) + bytes_of(p.variant, p.variant.steps[i].outputs, batch);
  };
  EXPECT_GT(p.bytes[0], 0.7 * compulsory(0));
  EXPECT_LT(p.bytes[0], 1.3 * compulsory(0));
  for (size_t i = 0; i < p.bytes.size(); ++i) {
    if (compulsory(i) < 15e6) {
      EXPECT_LT(p.bytes[i], 0.4 * compulsory(i) + 5e6) << p.variant.steps[i].op;
    }
  }
}

TEST(Dram, WeightsAreThereTwice) {
  constexpr int64_t kChannels = 256, kLayers = 8;
  test::NetBuilder b;
  ValueId x = b.input("x", {Dim(1, true), kChannels, 7, 7});
  for (int64_t i = 0; i < kLayers; ++i) x = b.layer("layer" + std::to_string(i), x, kChannels, 1, 1, {});
  const Graph graph = b.finish({x});
  const double weights = 2.0 * kLayers * kChannels * kChannels;
  DeviceModel device = device_model("h200");
  device.l2_mib = 1.75 * weights / 1048576;
  EXPECT_GT(predicted(graph, 1, device).total(), 0.75 * weights);
  device.l2_mib = 4 * weights / 1048576;
  EXPECT_LT(predicted(graph, 1, device).total(), 0.1 * weights);
}

TEST(Dram, WeightsAreOfTheTypeThatIsRead) {
  constexpr int64_t kDepth = 512, kClasses = 2048;
  test::NetBuilder b;
  const Graph graph = b.finish({b.gemm("classifier", b.input("x", {Dim(1, true), kDepth}), kClasses)});  // half precision in, single out
  const double weights = 2.0 * kDepth * kClasses;
  DeviceModel device = device_model("h200");
  device.l2_mib = 1;
  const double total = predicted(graph, 1, device).total();
  EXPECT_GT(total, 0.9 * weights);
  EXPECT_LT(total, 1.2 * weights);
}

TEST(Dram, RepeatsAndWorksOnEveryDevice) {
  const Graph graph = test::efficient_net({0.5, 64, 16});
  for (const std::string& key : known_devices()) {
    const DeviceModel device = device_model(key);
    const Predicted p = predicted(graph, 8, device);
    ASSERT_EQ(p.bytes.size(), p.variant.steps.size());
    EXPECT_EQ(p.bytes, dram_bytes(graph, p.variant, 8, device)) << key;
  }
}

TEST(Dram, StepsOfAPlanCarryIt) {
  const Graph graph = test::mobilenet_v1({1.0, 224, 1000});
  FuseOptions fuse;
  fuse.max_batch = 64;
  const DeviceModel device = device_model("h200");
  const Plan plan = plan_fused(graph, PlanOptions{Precision::f16, false}, test::backend(), device, fuse);
  const PlanVariant& v = plan.variant_for(64);
  const std::vector<double> bytes = dram_bytes(graph, v, 64, device);
  for (size_t i = 0; i < v.steps.size(); ++i) {
    if (v.steps[i].predicted) {
      EXPECT_EQ(v.steps[i].predicted->dram_bytes, bytes[i]);
    }
  }
}

}  // namespace
}  // namespace fcm
