// Fused plans made ready for a GPU that is not there: every module emits and packs, and the kernels of a network compile.
#include <gtest/gtest.h>

#include <filesystem>

#include "planner/fused.h"
#include "runtime/engine/ahead.h"
#include "runtime/engine/cuda_steps.h"
#include "runtime/engine/device_rates.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

DeviceInfo hopper() {
  DeviceInfo d;
  d.name = "a Hopper";
  d.target = jit::Target::parse("90a");
  d.sm_count = 132;
  d.shared_per_block = 227 << 10;
  d.shared_per_sm = 228 << 10;
  d.registers_per_sm = 65536;
  d.threads_per_sm = 2048;
  d.l2_bytes = size_t{60} << 20;
  d.tensor_cores = true;
  d.bf16 = true;
  return d;
}

struct Built {
  DeviceInfo device = hopper();
  Plan plan;
  ops::cuda::WeightStore weights;
  ops::cuda::KernelSet kernels;
  ModuleSet modules{device.target, false};
  std::vector<std::vector<CudaStep>> steps;

  Built(const Graph& graph, Precision precision, int64_t max_batch) {
    FuseOptions how;
    how.max_batch = max_batch;
    plan = plan_fused(graph, PlanOptions{precision, false}, cuda_backend(device), device_model("h200"), how);
    ops::cuda::StepBuild build{device, weights, kernels, false};
    for (const PlanVariant& v : plan.variants) steps.push_back(build_steps(graph, v, build, &modules));
  }
};

TEST(FusedBuild, EveryStepOfThePlansCanBeBuilt) {
  for (const Graph& graph : {test::mobilenet_v1({0.5, 96, 16}), test::mobilenet_v2({0.5, 96, 16}), test::efficient_net({0.5, 96, 16}),
                             test::token_net({0.5, 64, 16})}) {
    for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
      const Built built(graph, p, 0);
      EXPECT_GT(built.modules.size(), 5u);
      for (size_t v = 0; v < built.steps.size(); ++v) {
        ASSERT_EQ(built.steps[v].size(), built.plan.variants[v].steps.size());
        for (const CudaStep& s : built.steps[v]) {
          EXPECT_EQ((s.step ? 1 : 0) + (s.module || s.border ? 1 : 0), 1);
          EXPECT_EQ(s.border != nullptr, s.input_port >= 0 || s.output_port >= 0);
          if (s.module) {
            EXPECT_FALSE(s.module->describe().empty());
          }
        }
      }
    }
  }
}

TEST(FusedBuild, WeightsOfEqualPackingsAreStoredOnce) {
  const Graph graph = test::mobilenet_v2({0.5, 96, 16});
  const size_t one = Built(graph, Precision::f16, 1).weights.bytes(), all = Built(graph, Precision::f16, 0).weights.bytes();
  EXPECT_LT(all, 4 * one);
}

TEST(FusedBuild, KernelsCompileWithoutADevice) {
  std::string reason;
  if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  Built built(test::mobilenet_v2({0.25, 32, 16}), Precision::f16, 1);
  built.modules.compile(jit::DiskCache::standard(), 0);
  for (size_t i = 0; i < built.modules.size(); ++i) {
    for (const auto& [name, figures] : built.modules.binary(i).kernels) EXPECT_EQ(figures.spill_store_bytes, 0) << name;
  }
}

// What was compiled for a described card is what an engine on that card asks the cache for.
TEST(FusedBuild, KernelsCompiledAheadAreFound) {
  std::string reason;
  if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "fcm_ahead";
  std::filesystem::remove_all(folder);
  const jit::DiskCache cache(folder);
  const auto entries = [&] { return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()); };
  const Graph graph = test::token_net({0.5, 64, 16});
  Built here(graph, Precision::f16, 1);
  const size_t kernels = compile_ahead(graph, here.plan, described_device(device_model("h200")), cache);
  EXPECT_EQ(kernels, here.modules.size() + here.kernels.programs().size());
  EXPECT_GT(here.modules.size(), 0u);
  EXPECT_GT(here.kernels.programs().size(), 0u);
  const auto before = entries();
  EXPECT_GT(before, 0);
  compile_kernels(here.modules, here.kernels, here.device.target, cache);
  EXPECT_EQ(entries(), before) << "nothing was missing";
  std::filesystem::remove_all(folder);
}

// A fault of one node's precision would show here: layouts of operands that no operator takes.
TEST(FusedBuild, NodesInFullPrecisionCanBeBuilt) {
  const Graph graph = test::efficient_net({0.5, 64, 16});
  const DeviceInfo device = hopper();
  for (const char* name : {"stem", "block2/depthwise", "block3/project", "block3/squeeze", "block3/scale", "classifier"}) {
    for (const bool fuse : {true, false}) {
      FuseOptions how;
      how.max_batch = 1;
      how.overrides[name].full_precision = true;
      const PlanOptions options{Precision::f16, false};
      const Plan plan = fuse ? plan_fused(graph, options, cuda_backend(device), device_model("h200"), how)
                             : plan_unfused(graph, options, cuda_backend(device), full_precision_nodes(graph, how.overrides));
      ops::cuda::WeightStore weights;
      ops::cuda::KernelSet kernels;
      ModuleSet modules{device.target, false};
      ops::cuda::StepBuild build{device, weights, kernels, false};
      EXPECT_NO_THROW(build_steps(graph, plan.variants[0], build, &modules)) << name;
    }
  }
}

TEST(DeviceRates, KernelsCompileForEveryTarget) {
  std::string reason;
  if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  for (const char* target : {"75", "80", "86", "87", "89", "90a", "100", "120"}) {
    const jit::Binary binary = jit::compile(rate_program(), jit::Target::parse(target), jit::DiskCache::standard());
    EXPECT_EQ(binary.kernels.size(), 6u) << target;
    for (const auto& [name, figures] : binary.kernels) EXPECT_EQ(figures.spill_store_bytes, 0) << name << " sm_" << target;
  }
}

}  // namespace
}  // namespace fcm
