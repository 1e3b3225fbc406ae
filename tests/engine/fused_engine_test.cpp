// The fused engine on a GPU: against the CPU engine, against itself without programmatic launch, over batches and ranges.
// FCM_TEST_REPLAYS sets the number of replays that must agree to the bit (10000 by default); FCM_PDL_JITTER=1 adds random spins around the
// kernels' waits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "tests/engine/support.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

using namespace test;

EngineOptions on_gpu(Precision precision) {
  EngineOptions options;
  options.device.kind = DeviceChoice::Kind::cuda;
  options.precision = precision;
  options.fusion.max_batch = 9;
  return options;
}

std::shared_ptr<const Engine> create(const Graph& graph, const EngineOptions& options) {
  return Engine::create(std::make_shared<const Graph>(graph), options);
}

std::shared_ptr<const Engine> on_cpu(const Graph& graph) {
  EngineOptions options;
  options.device.kind = DeviceChoice::Kind::cpu;
  return create(graph, options);
}

float tolerance(Precision p) {
  switch (p) {
    case Precision::f16:
      return 3e-2f;
    case Precision::bf16:
      return 1.5e-1f;
    default:
      return 1e-3f;
  }
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return ab / std::sqrt(aa * bb + 1e-300);
}

class FusedEngine : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda_device_count(&reason) == 0) GTEST_SKIP() << "no CUDA device: " << reason;
  }
};

void expect_agreement(const Graph& graph, const std::vector<int64_t>& batches, const std::vector<Precision>& precisions) {
  const auto cpu = on_cpu(graph);
  const auto reference = cpu->create_context(9);
  for (const Precision p : precisions) {
    const auto engine = create(graph, on_gpu(p));
    ASSERT_NE(engine->plan_text().find(" PW"), std::string::npos) << "nothing is fused\n" << engine->plan_text();
    const auto context = engine->create_context(9);
    for (const int64_t batch : batches) {
      const auto x = random_floats(elements(cpu->inputs()[0], batch), static_cast<uint32_t>(batch));
      const auto expected = run_host(*reference, *cpu, batch, x);
      const auto y = run_host(*context, *engine, batch, x);
      EXPECT_LE(max_difference(y, expected), tolerance(p) * max_abs(expected)) << engine->precision_name() << " batch " << batch;
      EXPECT_GE(cosine(y, expected), p == Precision::bf16 ? 0.99 : 0.999) << engine->precision_name() << " batch " << batch;
    }
  }
}

constexpr Precision kAll[] = {Precision::f32, Precision::f16, Precision::bf16};

TEST_F(FusedEngine, SmallNetsAgreeWithTheCpu) {
  for (const Graph& graph : {small_net(), lite_like(64, 0.5, 16, 5)})
    expect_agreement(graph, {1, 3, 9}, {std::begin(kAll), std::end(kAll)});
}
TEST_F(FusedEngine, MobileNetV2AgreesWithTheCpu) {
  expect_agreement(mobilenet_v2({0.5, 64, 16}), {1, 2, 9}, {std::begin(kAll), std::end(kAll)});
}
TEST_F(FusedEngine, WholeMobileNetV2AgreesWithTheCpu) {
  expect_agreement(mobilenet_v2(), {1}, {Precision::f32, Precision::f16});
}
TEST_F(FusedEngine, MobileNetV1AgreesWithTheCpu) {
  expect_agreement(mobilenet_v1({0.5, 64, 16}), {1, 9}, {Precision::f16, Precision::f32});
}
TEST_F(FusedEngine, LayersOnTokensAgreeWithTheCpu) {
  expect_agreement(token_net({0.5, 64, 16}), {1, 3, 9}, {std::begin(kAll), std::end(kAll)});
  expect_agreement(token_net({3.0, 56, 16}), {1, 2}, {Precision::f16, Precision::f32});
}
TEST_F(FusedEngine, SqueezeAndExcitationAgreesWithTheCpu) {
  expect_agreement(efficient_net({0.5, 64, 16}), {1, 3, 9}, {std::begin(kAll), std::end(kAll)});
}

TEST_F(FusedEngine, MapsOnlyObjectiveAgreesWithTheCpu) {
  const Graph graph = mobilenet_v2({0.5, 64, 16});
  EngineOptions options = on_gpu(Precision::f16);
  options.fusion.objective = Objective::gma;
  const auto cpu = on_cpu(graph);
  const auto engine = create(graph, options);
  const auto x = random_floats(elements(cpu->inputs()[0], 1), 5);
  const auto expected = run_host(*cpu->create_context(1), *cpu, 1, x);
  EXPECT_LE(max_difference(run_host(*engine->create_context(1), *engine, 1, x), expected), tolerance(Precision::f16) * max_abs(expected));
}

TEST_F(FusedEngine, LibraryStepsBetweenModulesAgreeWithTheCpu) {
  expect_agreement(grouped_net({1.0, 64, 16}), {1, 3, 9}, {std::begin(kAll), std::end(kAll)});
}

// Programmatic launches may overlap kernels; what they compute must not change by a bit.
TEST_F(FusedEngine, ReplaysEqualRunsWithoutProgrammaticLaunch) {
  const char* asked = std::getenv("FCM_TEST_REPLAYS");
  const int replays = asked != nullptr ? std::atoi(asked) : 10000;
  for (const Graph& graph : {mobilenet_v2({0.5, 96, 16}), efficient_net({0.5, 64, 16}), grouped_net({1.0, 64, 16})}) {
    EngineOptions options = on_gpu(Precision::f16);
    const auto overlapped = create(graph, options);
    options.programmatic_launch = false;
    const auto ordered = create(graph, options);
    const auto context = overlapped->create_context(2), calm = ordered->create_context(2);
    for (const int64_t batch : {1, 2}) {
      const size_t count = elements(overlapped->inputs()[0], batch), results = elements(overlapped->outputs()[0], batch);
      const std::vector<float> x = random_floats(count, 11);
      const std::vector<float> expected = run_host(*calm, *ordered, batch, x);
      int wrong = 0;
      for (int i = 0; i < replays / 2; ++i) wrong += same_bits(run_host(*context, *overlapped, batch, x), expected) ? 0 : 1;
      EXPECT_EQ(wrong, 0) << "of " << replays / 2 << " replays, " << results << " numbers each";
    }
  }
}

// What is prepared beside other contexts leaves them room on the multiprocessors, and computes the same.
TEST_F(FusedEngine, ContextsInCompanyComputeTheSame) {
  const auto engine = create(mobilenet_v2({0.5, 64, 16}), on_gpu(Precision::f16));
  const auto x = random_floats(elements(engine->inputs()[0], 1), 8);
  const auto first = engine->create_context(1);
  const auto alone = run_host(*first, *engine, 1, x);
  const auto second = engine->create_context(1);
  EXPECT_TRUE(same_bits(run_host(*second, *engine, 1, x), alone));
  EXPECT_TRUE(same_bits(run_host(*first, *engine, 1, x), alone));
}

TEST_F(FusedEngine, ASecondContextAndALargerBatchShareTheEngine) {
  const Graph graph = mobilenet_v2({0.5, 64, 16});
  const auto engine = create(graph, on_gpu(Precision::f16));
  const auto small = engine->create_context(1), large = engine->create_context(70);
  const std::vector<float> x = random_floats(elements(engine->inputs()[0], 70), 3);
  const std::vector<float> first(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(elements(engine->inputs()[0], 1)));
  const auto alone = run_host(*small, *engine, 1, first);
  EXPECT_TRUE(same_bits(alone, run_host(*large, *engine, 1, first)));
  const auto many = run_host(*large, *engine, 70, x);
  EXPECT_LE(max_difference(one_image(many, 70, 0), alone), 3e-2f * max_abs(alone));
  EXPECT_GE(engine->memory(70).activations, engine->memory(1).activations);
}

}  // namespace
}  // namespace fcm
