// ONNX's node tests on the CPU: every folder whose operators are all in the table must give the recorded outputs, or stand in
// expected_failures.txt with a reason. A test that stands there and passes is a failure too, so that the list stays true.
//
// Each model is imported and normalised as a user's would be. Where an operator needs a constant (axes, sizes, k), which node tests pass as
// a graph input, the model is read again with all inputs but the first bound as initializers, then with all of them bound.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "onnx.pb.h"
#include "runtime/onnx/import.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/tensors.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"
#include "tests/support/evaluate.h"

namespace fcm::testing {
namespace {

namespace fs = std::filesystem;

struct NodeTest {
  std::string name;
  ::onnx::ModelProto model;
  std::vector<::onnx::TensorProto> inputs;
  std::vector<::onnx::TensorProto> outputs;
};

std::string read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// input_0.pb, input_1.pb, ... or output_0.pb, ...; nullopt when one is no tensor (sequences, optional values).
std::optional<std::vector<::onnx::TensorProto>> read_tensors(const fs::path& folder, const char* kind) {
  std::vector<::onnx::TensorProto> tensors;
  for (int i = 0;; ++i) {
    const fs::path file = folder / fmt::format("{}_{}.pb", kind, i);
    if (!fs::exists(file)) return tensors;
    if (!tensors.emplace_back().ParseFromString(read_bytes(file)) || !onnx::dtype_of(tensors.back().data_type())) return std::nullopt;
  }
}

// nullopt for a test outside of what the runtime reads: other operators, other types of values.
std::optional<NodeTest> read_test(const fs::path& folder) {
  NodeTest test;
  test.name = folder.filename().string();
  if (!test.model.ParseFromString(read_bytes(folder / "model.onnx"))) return std::nullopt;
  for (const auto& node : test.model.graph().node()) {
    if (!node.domain().empty() || onnx::find_operator(node.op_type()) == nullptr) return std::nullopt;
  }
  for (const auto& import : test.model.opset_import()) {
    if (import.domain().empty() && import.version() < onnx::kOldestOpset) return std::nullopt;
  }
  for (const auto* list : {&test.model.graph().input(), &test.model.graph().output()}) {
    for (const auto& value : *list) {
      if (!value.type().has_tensor_type() || !onnx::dtype_of(value.type().tensor_type().elem_type())) return std::nullopt;
    }
  }
  auto inputs = read_tensors(folder / "test_data_set_0", "input");
  auto outputs = read_tensors(folder / "test_data_set_0", "output");
  if (!inputs || !outputs) return std::nullopt;
  test.inputs = std::move(*inputs);
  test.outputs = std::move(*outputs);
  return test;
}

Tensor to_tensor(::onnx::TensorProto proto) {
  onnx::ExternalData none{fs::path()};
  return onnx::read_tensor(proto, "test data", none);
}

// The model with inputs from number `first` on made initializers.
std::string with_bound_inputs(const NodeTest& test, size_t first) {
  ::onnx::ModelProto model = test.model;
  auto& inputs = *model.mutable_graph()->mutable_input();
  while (static_cast<size_t>(inputs.size()) > first) {
    const auto last = static_cast<size_t>(inputs.size()) - 1;
    ::onnx::TensorProto* value = model.mutable_graph()->add_initializer();
    *value = test.inputs.at(last);
    value->set_name(inputs.Get(static_cast<int>(last)).name());
    inputs.RemoveLast();
  }
  return model.SerializeAsString();
}

// What differs from the recorded output; empty when nothing does.
std::string compare(const Tensor& got, const Tensor& want) {
  if (got.dtype() != want.dtype() || got.dims() != want.dims())
    return fmt::format("{} {} instead of {} {}", dtype_name(got.dtype()), to_string(to_shape(got.dims())), dtype_name(want.dtype()),
                       to_string(to_shape(want.dims())));
  const Tensor a = got.cast(DType::f64);
  const Tensor b = want.cast(DType::f64);
  const bool half = want.dtype() == DType::f16 || want.dtype() == DType::bf16;
  for (size_t i = 0; i < static_cast<size_t>(a.count()); ++i) {
    const double x = a.data<double>()[i];
    const double y = b.data<double>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::fabs(x - y) <= 1e-6 + (half ? 4e-3 : 1e-3) * std::fabs(y))) return fmt::format("element {} is {} instead of {}", i, x, y);
  }
  return {};
}

std::string attempt(const NodeTest& test, size_t bound_from) {
  try {
    Graph graph = onnx::import_bytes(with_bound_inputs(test, bound_from), test.name, {});
    passes::normalize(graph);
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < std::min(bound_from, test.inputs.size()); ++i) inputs.push_back(to_tensor(test.inputs[i]));
    const std::vector<Tensor> outputs = evaluate(graph, 1, inputs);
    if (outputs.size() != test.outputs.size()) return fmt::format("{} outputs instead of {}", outputs.size(), test.outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (const std::string difference = compare(outputs[i], to_tensor(test.outputs[i])); !difference.empty()) return difference;
    }
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

// The last reason for failing; empty when some form of the model passes.
std::string failure_of(const NodeTest& test) {
  std::string failure = attempt(test, test.inputs.size());
  for (const size_t first : {size_t{1}, size_t{0}}) {
    if (failure.empty() || test.inputs.size() <= first) continue;
    failure = attempt(test, first);
  }
  return failure;
}

NodeTest with_first_output(const NodeTest& test) {
  NodeTest first = test;
  first.model.mutable_graph()->mutable_output()->DeleteSubrange(1, first.model.graph().output_size() - 1);
  first.outputs.resize(1);
  return first;
}

// "name reason", one a line.
std::map<std::string, std::string> read_expected() {
  std::ifstream file(std::string(FCM_SOURCE_DIR) + "/tests/conformance/expected_failures.txt");
  std::map<std::string, std::string> expected;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' ');
    EXPECT_NE(space, std::string::npos) << "no reason is given: " << line;
    expected[line.substr(0, space)] = space == std::string::npos ? "" : line.substr(space + 1);
  }
  return expected;
}

fs::path data_folder() {
  const char* given = std::getenv("ONNX_NODE_TESTS");
  return given != nullptr ? fs::path(given) : fs::path("/usr/share/libonnx-testdata/data/node");
}

TEST(Conformance, NodeTests) {
  const fs::path folder = data_folder();
  if (!fs::is_directory(folder)) GTEST_SKIP() << folder << " is absent (package libonnx-testdata, or ONNX_NODE_TESTS)";
  std::vector<fs::path> tests;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "model.onnx")) tests.push_back(entry.path());
  }
  std::sort(tests.begin(), tests.end());
  const std::map<std::string, std::string> expected = read_expected();
  size_t known = 0;
  size_t passed = 0;
  size_t partly = 0;
  for (const fs::path& path : tests) {
    const std::optional<NodeTest> test = read_test(path);
    if (!test) continue;
    ++known;
    const std::string failure = failure_of(*test);
    passed += failure.empty() ? 1 : 0;
    const auto found = expected.find(test->name);
    const bool listed = found != expected.end();
    if (listed && found->second.starts_with("first output passes:")) {
      const std::string rest = failure_of(with_first_output(*test));
      EXPECT_EQ(rest, "") << test->name << " without its other outputs";
      partly += rest.empty() ? 1 : 0;
    }
    EXPECT_EQ(failure.empty(), !listed) << test->name << ": " << (failure.empty() ? "passes, but is listed as a failure" : failure);
  }
  const std::string summary = fmt::format("{} of {} node tests use the operators of the table; {} pass, and {} with their first output",
                                          known, tests.size(), passed, partly);
  RecordProperty("summary", summary);
  fmt::print("{}\n", summary);
  EXPECT_GE((passed + partly) * 100, known * 95) << summary;
}

}  // namespace
}  // namespace fcm::testing
