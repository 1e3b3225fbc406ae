// What can be built for a GPU without one: plans meet the operators' rules, and the kernels of a network compile for the target.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/engine/cuda_steps.h"
#include "runtime/support/error.h"
#include "tests/planner/graphs.h"

namespace fcm {
namespace {

using test::GraphBuilder;

DeviceInfo hopper() {
  DeviceInfo d;
  d.name = "a Hopper";
  d.target = jit::Target::parse("90a");
  d.sm_count = 132;
  d.shared_per_block = 227 << 10;
  d.shared_per_sm = 228 << 10;
  d.registers_per_sm = 65536;
  d.threads_per_sm = 2048;
  d.l2_bytes = size_t{50} << 20;
  d.tensor_cores = true;
  d.bf16 = true;
  return d;
}

// Plan and steps of one graph at one precision.
struct Built {
  DeviceInfo device = hopper();
  Plan plan;
  ops::cuda::WeightStore weights;
  ops::cuda::KernelSet kernels;
  std::vector<CudaStep> steps;

  Built(const Graph& graph, Precision precision) : plan(plan_unfused(graph, PlanOptions{precision, false}, cuda_backend(device))) {
    ops::cuda::StepBuild build{device, weights, kernels, false};
    steps = build_steps(graph, plan.variants[0], build);
  }
};

Graph mixed_net() {
  GraphBuilder b;
  const Dim batch(1, true);
  const ValueId ids = b.input("ids", {batch}, DType::i64);
  ValueId x = b.input("image", {batch, 3, 20, 18});
  x = b.conv("stem", x, 16, 3, 2);
  x = b.node("matmul", MatMul{}, {x, b.constant("m", {9, 9})}, {batch, 16, 10, 9});
  x = b.conv("odd", x, 12, 3, 1);
  const ValueId rows = b.node("gather", Gather{0}, {b.constant("table", {4, 12}), ids}, {batch, 12});
  x = b.add("sum", b.reshape("flatten", b.global_pool("pool", x), {batch, 12}), rows, {batch, 12});
  Softmax softmax;
  softmax.axis = 1;
  return b.finish({b.node("softmax", softmax, {b.gemm("fc", x, 10)}, {batch, 10}), x, ids});
}

TEST(CudaBuild, EveryStepOfThePlansCanBeBuilt) {
  for (const Graph& graph : {test::lite_like(224, 1.0, 1000), mixed_net()}) {
    for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
      const Built built(graph, p);
      const PlanVariant& v = built.plan.variants[0];
      ASSERT_EQ(built.steps.size(), v.steps.size());
      EXPECT_GT(built.weights.bytes(), 0u);
      for (size_t i = 0; i < v.steps.size(); ++i) {
        const CudaStep& s = built.steps[i];
        EXPECT_NE(s.step == nullptr, s.border == nullptr) << v.steps[i].name;
        EXPECT_EQ(s.border != nullptr, s.input_port >= 0 || s.output_port >= 0) << v.steps[i].name;
      }
    }
  }
}

TEST(CudaBuild, OutputsAreStoredInTheModelsTypeWithoutAConversion) {
  const Graph graph = test::many_outputs_net();
  const Built built(graph, Precision::f16);
  const PlanVariant& v = built.plan.variants[0];
  int converts = 0;
  for (const PlanStep& s : v.steps) converts += s.kind == PlanStep::Kind::convert ? 1 : 0;
  EXPECT_EQ(converts, 2) << to_string(built.plan);  // the input, and the map that is read again
}

TEST(CudaBuild, ImagePortsHaveABorderForBytes) {
  const Built built(mixed_net(), Precision::f16);
  int images = 0;
  for (const CudaStep& s : built.steps) {
    if (!s.image) continue;
    ++images;
    EXPECT_EQ(s.input_port, 1);
  }
  EXPECT_EQ(images, 1);
}

TEST(CudaBuild, KernelsCompileWithoutADevice) {
  std::string reason;
  if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  for (const Precision p : {Precision::f16, Precision::f32}) {
    Built built(mixed_net(), p);
    built.kernels.compile(built.device.target, jit::DiskCache::none());
    EXPECT_EQ(built.kernels.binaries().size(), built.kernels.programs().size());
    EXPECT_FALSE(built.kernels.binaries().empty());
  }
}

TEST(CudaBuild, UnsupportedNodesAreAllReported) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim(1, true), 4});
  const ValueId s = b.node("shape", ShapeOf{}, {x}, {2}, DType::i64);
  const ValueId n = b.node("size", SizeOf{}, {x}, {}, DType::i64);
  const Graph graph = b.finish({s, n});
  try {
    plan_unfused(graph, PlanOptions{}, cuda_backend(hopper()));
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(e.what()).find("\"shape\""), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("\"size\""), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fcm
