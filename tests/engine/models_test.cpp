// The engine's arithmetic on real models (the shared one and those of models/zoo that were obtained): arena near its bound for the
// CUDA plan, and every step of the plan built for a GPU that is not there.
#include <gtest/gtest.h>

#include <filesystem>

#include "ops/cuda/rules.h"
#include "planner/placement.h"
#include "planner/plan.h"
#include "runtime/engine/arena/arena.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"
#if FCM_HAS_CUDA
#include "runtime/engine/cuda_steps.h"
#endif

namespace fcm {
namespace {

std::vector<std::filesystem::path> models() {
  std::vector<std::filesystem::path> found;
  for (const char* folder : {FCM_SOURCE_DIR "/../shared/models", FCM_SOURCE_DIR "/models/zoo"}) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".onnx") found.push_back(entry.path());
    }
  }
  return found;
}

PlanBackend rules() {
  PlanBackend backend;
  backend.device_model = "test device";
  backend.refusal = [](const Graph& graph, const Node& node) {
    std::string reason;
    return ops::cuda::supported(graph, node, &reason) ? std::string() : reason;
  };
  backend.order = [](const Graph& graph, const Node& node) {
    switch (ops::cuda::order_rule(graph, node)) {
      case ops::cuda::OrderRule::rows:
        return OrderNeed::rows;
      case ops::cuda::OrderRule::nhwc:
        return OrderNeed::nhwc;
      default:
        return OrderNeed::any;
    }
  };
  backend.stores_as = [](const Node&, DType, DType stored) { return stored == DType::f32; };
  return backend;
}

TEST(Models, ArenasStayWithinFivePercentOfTheBound) {
  const auto files = models();
  if (files.empty()) GTEST_SKIP() << "neither ../shared/models nor models/zoo holds a model";
  for (const auto& file : files) {
    Graph graph = onnx::import_file(file);
    passes::normalize(graph);
    for (const Precision p : {Precision::f32, Precision::f16}) {
      const Plan plan = plan_unfused(graph, PlanOptions{p, false}, rules());
      const PlanVariant& v = plan.variants[0];
      int converts = 0;
      for (const PlanStep& s : v.steps) converts += s.kind == PlanStep::Kind::convert ? 1 : 0;
      EXPECT_EQ(converts, 1) << file << ": only the input is converted";
      for (const int64_t batch : {1, 8, 64}) {
        std::vector<ArenaBlock> blocks;
        for (const BufferUse& use : buffer_uses(v)) {
          const PlanBuffer& b = v.buffer(use.buffer);
          blocks.push_back({layout_bytes(b.layout, at_batch(b.shape, batch)), use.steps});
        }
        const auto bound = static_cast<double>(live_bytes_bound(blocks));
        EXPECT_LE(static_cast<double>(place_buffers(v, batch).bytes), 1.05 * bound) << file << " batch " << batch;
      }
    }
  }
}

#if FCM_HAS_CUDA
TEST(Models, EveryStepCanBeBuiltForAGpu) {
  const auto files = models();
  if (files.empty()) GTEST_SKIP() << "neither ../shared/models nor models/zoo holds a model";
  DeviceInfo device;
  device.name = "a Hopper";
  device.target = jit::Target::parse("90a");
  device.shared_per_block = 227 << 10;
  Graph graph = onnx::import_file(files.front());
  passes::normalize(graph);
  const Plan plan = plan_unfused(graph, PlanOptions{Precision::f16, false}, cuda_backend(device));
  ops::cuda::WeightStore weights;
  ops::cuda::KernelSet kernels;
  ops::cuda::StepBuild build{device, weights, kernels, false};
  EXPECT_EQ(build_steps(graph, plan.variants[0], build).size(), plan.variants[0].steps.size());
  RecordProperty("kernels", static_cast<int>(kernels.programs().size()));
}
#endif

}  // namespace
}  // namespace fcm
