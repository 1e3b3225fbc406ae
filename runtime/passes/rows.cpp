// One rule an operator: when are all rows treated alike?
#include "runtime/passes/rows.h"

#include <algorithm>

namespace fcm::passes {
namespace {

bool is_constant_or_absent(const Graph& graph, ValueId v) {
  return v == kNoValue || graph.is_constant(v);
}

// A constant that is the same for every row: one element along all axes but the last.
bool is_one_row(const Graph& graph, ValueId v) {
  if (!graph.is_constant(v)) return false;
  const Dims& dims = graph.value(v).constant->dims();
  return dims.empty() || std::all_of(dims.begin(), dims.end() - 1, [](int64_t d) { return d == 1; });
}

struct WorksByRows {
  const Graph& graph;
  const Node& node;
  ValueId v;

  const Shape& shape(ValueId value) const { return *graph.value(value).shape; }

  bool operator()(const Gemm& op) const {
    const ValueId c = node.input(2);
    return node.inputs[0] == v && !op.trans_a && graph.is_constant(node.inputs[1]) && (c == kNoValue || is_one_row(graph, c)) &&
           node.input(3) == kNoValue;
  }
  bool operator()(const MatMul&) const {
    return node.inputs[0] == v && graph.is_constant(node.inputs[1]) && graph.value(node.inputs[1]).constant->rank() == 2 &&
           shape(v).size() > 1;
  }
  bool operator()(const Normalize& op) const {
    return node.inputs[0] == v && op.fn != NormFn::group && op.axis == static_cast<int64_t>(shape(v).size()) - 1 &&
           is_constant_or_absent(graph, node.input(1)) && is_constant_or_absent(graph, node.input(2));
  }
  bool operator()(const UnaryOp&) const { return node.inputs.size() == 1; }
  bool operator()(const Binary&) const {
    const ValueId other = node.inputs[node.inputs[0] == v ? 1 : 0];
    return is_one_row(graph, other) && shape(node.outputs[0]) == shape(v);
  }
  template <class T>
  bool operator()(const T&) const {
    return false;
  }
};

}  // namespace

bool works_by_rows(const Graph& graph, const Node& node, ValueId v) {
  if (node.outputs.size() != 1 || !graph.value(v).shape || !graph.value(node.outputs[0]).shape) return false;
  return std::visit(WorksByRows{graph, node, v}, node.op);
}

bool is_about_rows(const Graph& graph, const Node& node) {
  if (std::holds_alternative<Attention>(node.op)) return true;
  const bool kind =
      std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op) || std::holds_alternative<Normalize>(node.op);
  return kind && works_by_rows(graph, node, node.inputs[0]);
}

}  // namespace fcm::passes
