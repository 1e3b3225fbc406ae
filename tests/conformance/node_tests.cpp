// Reading, binding and comparing ONNX's node tests.
#include "tests/conformance/node_tests.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "runtime/onnx/import.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/tensors.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"

namespace fcm::conformance {
namespace {

namespace fs = std::filesystem;

std::string read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// input_0.pb, input_1.pb, ... or output_0.pb, ... of the model's `ports`; nullopt when one is no tensor (sequences, optional values).
template <class Ports>
std::optional<std::vector<::onnx::TensorProto>> read_tensors(const fs::path& folder, const char* kind, const Ports& ports) {
  std::vector<::onnx::TensorProto> tensors;
  for (int i = 0;; ++i) {
    const fs::path file = folder / fmt::format("{}_{}.pb", kind, i);
    if (!fs::exists(file)) return tensors;
    ::onnx::TensorProto& tensor = tensors.emplace_back();
    if (!tensor.ParseFromString(read_bytes(file)) || !onnx::dtype_of(tensor.data_type())) return std::nullopt;
    // onnx 1.12 stamped the bits of bfloat16 as UINT16; the port says what they are.
    const bool bf16 = i < ports.size() && ports.Get(i).type().tensor_type().elem_type() == ::onnx::TensorProto::BFLOAT16;
    if (bf16 && tensor.data_type() == ::onnx::TensorProto::UINT16) tensor.set_data_type(::onnx::TensorProto::BFLOAT16);
  }
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
  // Twice the spacing of 16-bit numbers: intermediate results of expanded operators are rounded too.
  const double relative = want.dtype() == DType::bf16 ? 1.6e-2 : (want.dtype() == DType::f16 ? 4e-3 : 1e-3);
  for (size_t i = 0; i < static_cast<size_t>(a.count()); ++i) {
    const double x = a.data<double>()[i];
    const double y = b.data<double>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::fabs(x - y) <= 1e-6 + relative * std::fabs(y))) return fmt::format("element {} is {} instead of {}", i, x, y);
  }
  return {};
}

std::string attempt(const NodeTest& test, const Runner& run, size_t bound_from) {
  try {
    Graph graph = onnx::import_bytes(with_bound_inputs(test, bound_from), test.name, {});
    passes::normalize(graph);
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < std::min(bound_from, test.inputs.size()); ++i) inputs.push_back(to_tensor(test.inputs[i]));
    const std::vector<Tensor> outputs = run(graph, inputs);
    if (outputs.size() != test.outputs.size()) return fmt::format("{} outputs instead of {}", outputs.size(), test.outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (const std::string difference = compare(outputs[i], to_tensor(test.outputs[i])); !difference.empty()) return difference;
    }
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return text;
}

void report(const std::string& device, const NodeTest& test, const char* result, const std::string& reason) {
  const char* file = std::getenv("ONNX_NODE_TESTS_REPORT");
  if (file == nullptr) return;
  std::ofstream out(file, std::ios::app);
  // The operator that an expanded test spells out stands in its name alone; its first node stands for it.
  out << fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", device, test.name, test.model.graph().node(0).op_type(),
                     test.model.opset_import(0).version(), result, one_line(reason));
}

}  // namespace

fs::path data_folder() {
  const char* given = std::getenv("ONNX_NODE_TESTS");
  return given != nullptr ? fs::path(given) : fs::path("/usr/share/libonnx-testdata/data/node");
}

std::vector<fs::path> test_folders(const fs::path& folder) {
  std::vector<fs::path> tests;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "model.onnx")) tests.push_back(entry.path());
  }
  std::sort(tests.begin(), tests.end());
  if (const char* part = std::getenv("ONNX_NODE_TESTS_PART")) {  // "i/n": every n-th test from the i-th on
    size_t index = 0;
    size_t parts = 1;
    EXPECT_EQ(std::sscanf(part, "%zu/%zu", &index, &parts), 2) << "ONNX_NODE_TESTS_PART is not i/n: " << part;
    std::vector<fs::path> mine;
    for (size_t i = index; i < tests.size(); i += std::max<size_t>(parts, 1)) mine.push_back(tests[i]);
    return mine;
  }
  return tests;
}

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
  auto inputs = read_tensors(folder / "test_data_set_0", "input", test.model.graph().input());
  auto outputs = read_tensors(folder / "test_data_set_0", "output", test.model.graph().output());
  if (!inputs || !outputs || test.model.graph().node().empty()) return std::nullopt;
  test.inputs = std::move(*inputs);
  test.outputs = std::move(*outputs);
  return test;
}

NodeTest with_first_output(const NodeTest& test) {
  NodeTest first = test;
  first.model.mutable_graph()->mutable_output()->DeleteSubrange(1, first.model.graph().output_size() - 1);
  first.outputs.resize(1);
  return first;
}

std::string failure_of(const NodeTest& test, const Runner& run, const std::vector<size_t>& forms) {
  std::string failure = attempt(test, run, test.inputs.size());
  for (const size_t first : forms) {
    if (failure.empty() || test.inputs.size() <= first) continue;
    failure = attempt(test, run, first);
  }
  return failure;
}

std::map<std::string, std::string> read_expected(const std::string& name) {
  std::ifstream file(std::string(FCM_SOURCE_DIR) + "/tests/conformance/" + name);
  EXPECT_TRUE(file.good()) << name << " cannot be read";
  std::map<std::string, std::string> expected;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' ');
    EXPECT_NE(space, std::string::npos) << "no reason is given: " << line;
    expected[line.substr(0, space)] = space == std::string::npos ? "" : line.substr(space + 1);
  }
  return expected;
}

std::string Tally::text(size_t all) const {
  return fmt::format("{} of {} node tests count; {} pass, and {} with their first output ({:.1f} %)", known, all, passed, partly,
                     100 * share());
}

void expect_share(const Tally& tally, double least) {
  if (std::getenv("ONNX_NODE_TESTS_PART") != nullptr) return;
  EXPECT_GE(tally.share(), least);
}

Tally run_all(const std::vector<fs::path>& folders, const std::map<std::string, std::string>& expected, const std::string& device,
              const Trial& trial) {
  Tally tally;
  for (const fs::path& path : folders) {
    const std::optional<NodeTest> test = read_test(path);
    if (!test) continue;
    const Outcome outcome = trial(*test);
    if (!outcome.ran) {
      report(device, *test, "folded", "");
      continue;
    }
    ++tally.known;
    const bool passes = outcome.failure.empty();
    const auto found = expected.find(test->name);
    const bool listed = found != expected.end();
    bool partly = false;
    if (listed && found->second.starts_with("first output passes:")) {
      const Outcome first = trial(with_first_output(*test));
      EXPECT_EQ(first.failure, "") << test->name << " without its other outputs";
      partly = first.failure.empty();
    }
    tally.passed += passes ? 1 : 0;
    tally.partly += partly && !passes ? 1 : 0;
    report(device, *test, passes ? "passes" : (partly ? "partly" : (listed ? "listed" : "fails")),
           listed ? found->second : outcome.failure);
    EXPECT_TRUE(passes == !listed) << test->name << ": " << (passes ? "passes, but is listed as a failure" : outcome.failure);
  }
  return tally;
}

}  // namespace fcm::conformance
