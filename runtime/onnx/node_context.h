// What an operator's importer sees of its node: typed attributes (each must be read, or it is reported as unknown), inputs as
// values of the graph under construction, and ways to emit canonical nodes and to report what is not supported.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "runtime/graph/graph.h"
#include "runtime/onnx/external_data.h"
#include "runtime/onnx/report.h"

namespace onnx {
class AttributeProto;
class NodeProto;
}  // namespace onnx

namespace fcm::onnx {

/// The graph under construction and what its nodes share.
struct Assembly {
  Graph graph;
  ExternalData external;
  UnsupportedReport report;
  std::unordered_map<std::string, ValueId> values;  ///< by their name in the model
  std::unordered_set<std::string> read_names;       ///< names that a node or a graph output reads
  std::unordered_set<std::string> names;            ///< every value name in use, for made-up ones

  explicit Assembly(std::filesystem::path folder) : external(std::move(folder)) {}
  /// `base`, or `base` with a number when that name is taken.
  std::string unique_name(const std::string& base);
};

class NodeContext {
 public:
  /// Throws Error(bad_input) when attributes are unnamed, repeated or outside a function refer to one.
  NodeContext(Assembly& assembly, ::onnx::NodeProto& proto, Origin origin, int64_t opset);

  /// The opset whose rules apply: the model's, at most kNewestOpset.
  int64_t opset() const { return opset_; }

  // Attributes. Reading one marks it as known; a wrong type is Error(bad_input).
  int64_t int_attribute(std::string_view name, int64_t fallback);
  int64_t required_int(std::string_view name);
  bool flag(std::string_view name, bool fallback);  ///< an int that must be 0 or 1
  float float_attribute(std::string_view name, float fallback);
  std::string string_attribute(std::string_view name, const std::string& fallback);
  std::optional<Ints> ints_attribute(std::string_view name);
  std::optional<std::vector<float>> floats_attribute(std::string_view name);
  std::optional<Tensor> tensor_attribute(std::string_view name);
  bool has_attribute(std::string_view name) const;
  /// The attribute is known and has no effect on inference with the supported data types.
  void ignore(std::string_view name) { read_.emplace(name); }

  // Inputs and outputs.
  void expect_inputs(size_t least, size_t most) const;
  size_t input_count() const;
  /// Input `i`, kNoValue when it is absent or left empty.
  ValueId input(size_t i) const;
  DType dtype(ValueId id) const { return assembly_.graph.value(id).dtype; }
  const Tensor* constant(ValueId id) const;
  size_t output_count() const;
  /// Whether output `i` is named and something reads it.
  bool output_used(size_t i) const;
  /// Reports the node when an output from `first` on is used; `accepted` says what would be.
  void reject_outputs_from(size_t first, const std::string& accepted);

  // Emission.
  /// A made-up constant input, named after the node and `label`.
  ValueId add_constant(std::string_view label, Tensor tensor);
  ValueId add_ints(std::string_view label, const Ints& values);
  /// The last node: its results are the ONNX node's outputs, the first `count` of them.
  void emit(Op op, const std::vector<ValueId>& inputs, size_t count = 1);
  /// The node whose one result is output `i` of the ONNX node.
  void emit_output(size_t i, Op op, const std::vector<ValueId>& inputs);
  /// A node before the last, with one made-up result.
  ValueId emit_step(Op op, const std::vector<ValueId>& inputs, std::string_view label);
  /// Output 0 is this constant; there is no node.
  void emit_constant(Tensor tensor);

  /// Throws Error(bad_input) naming file and node.
  [[noreturn]] void malformed(const std::string& what) const;
  /// Notes an attribute (or input) whose value is not supported; the caller goes on, the graph will not be used.
  void reject(std::string_view name, const std::string& value, const std::string& accepted);
  /// Reports attributes that nothing has read and defines outputs that a rejected node left undefined.
  void finish();

 private:
  ::onnx::AttributeProto* find(std::string_view name, int type, std::string_view type_name);
  ValueId define_output(size_t i, DType dtype);

  Assembly& assembly_;
  ::onnx::NodeProto& proto_;
  Origin origin_;
  int64_t opset_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace fcm::onnx
