// Every step can be built without a device, and its kernels compile: all operators for one target, every kernel file for every dtype and
// target. Skips with the reason where NVRTC cannot be opened.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/support/error.h"
#include "tests/ops_cuda/case.h"

namespace fcm::test {
namespace {

using ops::cuda::KernelSet;
using ops::cuda::StepBuild;
using ops::cuda::WeightStore;

constexpr const char* kTargets[] = {"75", "80", "86", "87", "89", "90a", "100", "120"};

// Builds the steps of all arrangements for a device of the target; keeps the kernels of one, NHWC where there is one (compiling is what
// takes time here).
void add_kernels(const std::vector<Case>& cases, DType dtype, KernelSet& kernels, const jit::Target& target) {
  WeightStore weights;
  DeviceInfo device = any_device();
  device.target = target;
  device.bf16 = target.major >= 8;
  StepBuild build{device, weights, kernels, false};
  for (const Case& c : cases) {
    const Graph graph = make_graph(c);
    std::string reason;
    ASSERT_TRUE(ops::cuda::supported(graph, graph.nodes[0], &reason)) << c.name << ": " << reason;
    const std::vector<Arrangement> list = arrangements(graph, dtype);
    for (size_t i = 0; i < list.size(); ++i) {
      SCOPED_TRACE(c.name + " " + list[i].name);
      KernelSet unused;
      StepBuild other{device, weights, unused, false};
      const bool kept = i == std::min<size_t>(1, list.size() - 1);
      const auto step = ops::cuda::make_step(graph, graph.nodes[0], list[i].inputs, list[i].outputs, kept ? build : other);
      ASSERT_NE(step, nullptr);
      EXPECT_FALSE(step->describe().empty());
    }
  }
}

class OpsCudaCompile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  }
};

TEST_F(OpsCudaCompile, EveryOperator) {
  KernelSet kernels;
  const jit::Target target = jit::Target::parse("90a");
  add_kernels(all_cases(), DType::f16, kernels, target);
  kernels.compile(target, jit::DiskCache::none(), 2);
  EXPECT_GT(kernels.binaries().size(), 100U);
  for (size_t i = 0; i < kernels.binaries().size(); ++i) {
    for (const auto& [name, figures] : kernels.binaries()[i].kernels) {
      // Well below what it may use, ptxas at times parks a register or two: not register pressure.
      EXPECT_LE(figures.spill_store_bytes + figures.spill_load_bytes, figures.registers <= 128 ? 32 : 0)
          << figures.registers << " registers, " << kernels.programs()[i].name << "\n"
          << kernels.programs()[i].source;
      EXPECT_LE(figures.registers, 255) << name;
    }
  }
}

TEST_F(OpsCudaCompile, EveryKernelForEveryTargetAndType) {
  for (const char* text : kTargets) {
    const jit::Target target = jit::Target::parse(text);
    KernelSet kernels;
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) add_kernels(kernel_cases(), dtype, kernels, target);
    kernels.compile(target, jit::DiskCache::none(), 2);
    EXPECT_EQ(kernels.binaries().size(), kernels.programs().size()) << text;
  }
}

TEST_F(OpsCudaCompile, BordersAndConversions) {
  const DeviceInfo device = any_device();
  WeightStore weights;
  KernelSet kernels;
  StepBuild build{device, weights, kernels, false};
  const Shape shape = {Dim(1, true), 3, 8, 10};
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const ops::cuda::DeviceTensor rows{shape, {Order::rows, DType::f32, 0}};
    const ops::cuda::DeviceTensor image{shape, {Order::nhwc, dtype, 8}};
    ops::cuda::make_convert(rows, image, build);
    ops::cuda::make_convert(image, rows, build);
    ops::cuda::make_border(rows, image, build);
    ops::cuda::make_border(image, rows, build);
    ops::cuda::make_image_border(image, false, build);
    ops::cuda::make_image_border({{Dim(1, true), 8, 10, 3}, {Order::rows, dtype, 0}}, true, build);
  }
  kernels.compile(jit::Target::parse("75"), jit::DiskCache::none(), 2);
  EXPECT_GE(kernels.binaries().size(), 15U);
}

TEST(OpsCudaBuild, EqualProgramsAndWeightsAreKeptOnce) {
  const DeviceInfo device = any_device();
  WeightStore weights;
  KernelSet kernels;
  StepBuild build{device, weights, kernels, false};
  const Graph graph = make_graph(kernel_cases()[0]);
  const Arrangement a = arrangements(graph, DType::f16)[0];
  const auto first = ops::cuda::make_step(graph, graph.nodes[0], a.inputs, a.outputs, build);
  const size_t bytes = weights.bytes();
  const size_t programs = kernels.programs().size();
  const auto second = ops::cuda::make_step(graph, graph.nodes[0], a.inputs, a.outputs, build);
  EXPECT_GT(bytes, 0U);
  EXPECT_EQ(weights.bytes(), bytes);
  EXPECT_EQ(kernels.programs().size(), programs);
}

TEST(OpsCudaBuild, RefusalsSayWhatIsAccepted) {
  const auto reason_of = [](const Case& c) {
    const Graph graph = make_graph(c);
    std::string reason;
    EXPECT_FALSE(ops::cuda::supported(graph, graph.nodes[0], &reason)) << c.name;
    return reason;
  };
  const Dim b(1, true);
  EXPECT_NE(reason_of({"m", MatMul{}, {{{b, 3, 4, 5}}, {{1, 3, 5, 2}}}, 1, 1.0}).find("accepted are equal ones"), std::string::npos);
  EXPECT_NE(reason_of({"r", Reduce{ReduceFn::sum, Ints{0}, true, false}, {{{b, 3}}}, 1, 1.0}).find("holds the batch"), std::string::npos);
  EXPECT_NE(reason_of({"s", ShapeOf{}, {{{b, 3}}}, 1, 1.0}).find("depends on the batch"), std::string::npos);
}

}  // namespace
}  // namespace fcm::test
