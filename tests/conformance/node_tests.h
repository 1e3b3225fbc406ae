// ONNX's node tests as data, and how one is tried: shared by the CPU's and the GPU's conformance programs.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "onnx.pb.h"
#include "runtime/graph/graph.h"

namespace fcm::conformance {

struct NodeTest {
  std::string name;
  ::onnx::ModelProto model;
  std::vector<::onnx::TensorProto> inputs;
  std::vector<::onnx::TensorProto> outputs;
};

/// $ONNX_NODE_TESTS, else the folder of Debian's libonnx-testdata.
std::filesystem::path data_folder();
/// The folders in `folder` that hold a model, sorted by name; with $ONNX_NODE_TESTS_PART=i/n every n-th of them from the i-th on.
std::vector<std::filesystem::path> test_folders(const std::filesystem::path& folder);
/// nullopt for a test outside of what the runtime reads: other operators, other types of values, an opset before the oldest.
std::optional<NodeTest> read_test(const std::filesystem::path& folder);
NodeTest with_first_output(const NodeTest& test);

/// Runs a normalised graph on its non-constant inputs (batch 1). Throws Error.
using Runner = std::function<std::vector<Tensor>(const Graph&, const std::vector<Tensor>&)>;

/// Tries the model as it is and, where an operator needs a constant (axes, sizes, k) that the test passes as a graph input, with all
/// inputs but the first `forms[i]` bound as initializers, in this order until one passes. Empty when one does, else the last reason.
std::string failure_of(const NodeTest& test, const Runner& run, const std::vector<size_t>& forms);

/// Names with reasons of a list in tests/conformance: "name reason", one a line.
std::map<std::string, std::string> read_expected(const std::string& file);

/// What became of all tests, against a list of expected failures. Where a listed reason begins with "first output passes:", the model
/// without its other outputs must pass; a listed test that passes is a failure, so that the list stays true.
struct Tally {
  size_t known = 0;
  size_t passed = 0;
  size_t partly = 0;
  std::string text(size_t all) const;
  double share() const { return known == 0 ? 1.0 : static_cast<double>(passed + partly) / static_cast<double>(known); }
};
/// Expects a share of passes, unless the run is a part of the tests: tests/gpu/operators.sh checks it over all parts then.
void expect_share(const Tally& tally, double least);
/// What a try says of one test; `ran` false leaves it out of the count.
struct Outcome {
  std::string failure;
  bool ran = true;
};
using Trial = std::function<Outcome(const NodeTest&)>;
/// Runs every test of `folders` and expects what the list says (EXPECT_*). With $ONNX_NODE_TESTS_REPORT set, appends to that file a line a
/// test: device, test, operator, opset, result, reason, separated by tabs (tests/conformance/table.py makes the table of it).
Tally run_all(const std::vector<std::filesystem::path>& folders, const std::map<std::string, std::string>& expected,
              const std::string& device, const Trial& trial);

}  // namespace fcm::conformance
