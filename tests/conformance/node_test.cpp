// ONNX's node tests on the CPU: every folder whose operators are all in the table must give the recorded outputs, or stand in
// expected_failures.txt with a reason.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/conformance/node_tests.h"
#include "tests/support/evaluate.h"

namespace fcm::conformance {
namespace {

TEST(Conformance, NodeTests) {
  const std::filesystem::path folder = data_folder();
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is absent (package libonnx-testdata, or ONNX_NODE_TESTS)";
  const auto folders = test_folders(folder);
  const Runner reference = [](const Graph& graph, const std::vector<Tensor>& inputs) { return testing::evaluate(graph, 1, inputs); };
  const Tally tally = run_all(folders, read_expected("expected_failures.txt"), "cpu", [&](const NodeTest& test) {
    return Outcome{failure_of(test, reference, {1, 0})};
  });
  fmt::print("{}\n", tally.text(folders.size()));
  expect_share(tally, 0.95);
}

}  // namespace
}  // namespace fcm::conformance
