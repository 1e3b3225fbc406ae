// ONNX's node tests on a GPU, in FP32 through the engine. A test counts where at least one step other than a conversion at the border runs
// on the device; models that fold away while they are loaded say nothing of it. What fails stands in expected_gpu_failures.txt, after what
// fails on the CPU already.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>

#include "runtime/device/info.h"
#include "runtime/engine/engine.h"
#include "tests/conformance/node_tests.h"

namespace fcm::conformance {
namespace {

// Steps of a plan's text that are no conversions.
size_t working_steps(const std::string& plan) {
  std::istringstream lines(plan);
  size_t steps = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  step ") && line.find("\" convert (") == std::string::npos) ++steps;
  }
  return steps;
}

std::vector<Tensor> run_on_gpu(const Graph& graph, const std::vector<Tensor>& inputs, bool& ran) {
  EngineOptions options;
  options.device.kind = DeviceChoice::Kind::cuda;
  options.precision = Precision::f32;
  const auto engine = Engine::create(std::make_shared<const Graph>(graph), options);
  ran = working_steps(engine->plan_text()) > 0;
  const auto context = engine->create_context(1);
  std::vector<InputBuffer> in(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) in[i].data = inputs[i].raw();
  std::vector<Tensor> outputs;
  for (const Port& port : engine->outputs()) outputs.emplace_back(port.dtype, at_batch(port.shape, 1));
  std::vector<OutputBuffer> out(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) out[i].data = outputs[i].raw();
  context->run(1, in, out);
  return outputs;
}

TEST(ConformanceGpu, NodeTests) {
  const std::filesystem::path folder = data_folder();
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is absent (package libonnx-testdata, or ONNX_NODE_TESTS)";
  std::string reason;
  if (device_count(&reason) == 0) GTEST_SKIP() << "no CUDA device: " << reason;
  const auto folders = test_folders(folder);
  auto expected = read_expected("expected_failures.txt");
  expected.merge(read_expected("expected_gpu_failures.txt"));
  const Tally tally = run_all(folders, expected, "gpu", [](const NodeTest& test) {
    bool ran = true;  // a model that is refused is one that should have run
    const Runner runner = [&](const Graph& graph, const std::vector<Tensor>& inputs) { return run_on_gpu(graph, inputs, ran); };
    Outcome outcome{failure_of(test, runner, {1})};
    outcome.ran = ran;
    return outcome;
  });
  fmt::print("{}\n", tally.text(folders.size()));
  expect_share(tally, 0.90);
}

}  // namespace
}  // namespace fcm::conformance
