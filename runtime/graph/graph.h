// The graph IR: values (dtype, shape, optional constant) and nodes (operator, inputs, outputs, origin) in topological order.
// Plain data: a Graph can be copied, printed and compared by its text.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/graph/op.h"
#include "runtime/graph/shape.h"
#include "runtime/graph/tensor.h"

namespace fcm {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr ValueId kNoValue = -1;  ///< an optional input that is absent
inline constexpr NodeId kNoNode = -1;

/// Where a node or value came from, for messages.
struct Origin {
  std::string name;    ///< node name in the model; when empty, the name of its first output
  std::string type;    ///< ONNX op_type, with its domain when that is not ai.onnx
  int64_t opset = 0;   ///< version of the domain the model imports
  std::string python;  ///< PyTorch stack or module path from metadata_props, when present
};

/// 'node "features/0" (Conv, opset 17)', with the PyTorch origin when known.
std::string describe(const Origin& origin);

struct Value {
  std::string name;  ///< name in the model, or made up by a pass
  DType dtype = DType::f32;
  std::optional<Shape> shape;              ///< unset before shape inference
  std::shared_ptr<const Tensor> constant;  ///< set: the value is known
};

struct Node {
  Op op;
  std::vector<ValueId> inputs;  ///< kNoValue where an optional input is absent; trailing absent inputs are dropped
  std::vector<ValueId> outputs;
  Origin origin;

  /// Input `i`, or kNoValue when it is absent.
  ValueId input(size_t i) const { return i < inputs.size() ? inputs[i] : kNoValue; }
};

class Graph {
 public:
  std::string name;                             ///< for messages: the file it came from
  std::map<std::string, std::string> metadata;  ///< the model's metadata_props
  std::vector<Value> values;
  std::vector<Node> nodes;      ///< topological order
  std::vector<ValueId> inputs;  ///< what the caller supplies (initializers excluded)
  std::vector<ValueId> outputs;

  ValueId add_value(std::string value_name, DType dtype, std::optional<Shape> shape = std::nullopt);
  ValueId add_constant(std::string value_name, Tensor tensor);
  /// Appends a node; its outputs must exist. Returns its position.
  NodeId add_node(Op op, std::vector<ValueId> node_inputs, std::vector<ValueId> node_outputs, Origin origin);

  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  bool is_constant(ValueId id) const { return id != kNoValue && value(id).constant != nullptr; }
  bool is_output(ValueId id) const;

  /// Redirects every use of `from` (node inputs and graph outputs) to `to`.
  void replace_uses(ValueId from, ValueId to);
  /// Removes unreachable nodes and unused values, renumbering both; graph inputs stay.
  void compact();
  /// Throws Error(internal) unless every invariant holds: ids in range, single producer, topological order, no dangling use.
  void validate() const;
};

/// Who makes and who reads each value; a snapshot, invalid after the graph changes.
struct Uses {
  explicit Uses(const Graph& graph);
  std::vector<NodeId> producer;                ///< by ValueId; kNoNode for graph inputs and constants
  std::vector<std::vector<NodeId>> consumers;  ///< by ValueId; a node that reads a value twice stands twice
  /// The only reader of `v`, or kNoNode when there are several, none, or `v` is a graph output.
  NodeId sole_consumer(const Graph& graph, ValueId v) const;
};

/// One readable line a node; constants as dtype and shape. Deterministic: tests compare it.
std::string to_string(const Graph& graph);
/// The operator with its attributes, as printed in a line of the graph: "Conv k=3x3 s=2 p=1,1,1,1 g=32 act=clip(0,6)".
std::string to_string(const Op& op);

}  // namespace fcm
