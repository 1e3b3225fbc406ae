// One rule an operator: when does it change nothing?
#include "runtime/passes/noop.h"

#include <algorithm>
#include <limits>

#include "runtime/passes/match.h"

namespace fcm::passes {
namespace {

// x + 0, x - 0, x * 1, x / 1, x ^ 1.
bool is_neutral(BinaryFn fn, double b) {
  switch (fn) {
    case BinaryFn::add:
    case BinaryFn::sub:
      return b == 0.0;
    case BinaryFn::mul:
    case BinaryFn::div:
    case BinaryFn::pow:
      return b == 1.0;
    default:
      return false;
  }
}

// Each answers given that the shapes and dtypes of input and output are equal already.
struct KeepsElements {
  const Graph& graph;
  const Node& node;

  bool operator()(const Identity&) const { return true; }
  bool operator()(const Cast&) const { return true; }
  bool operator()(const Reshape&) const { return true; }
  bool operator()(const Expand&) const { return true; }
  bool operator()(const Tile&) const { return true; }
  bool operator()(const Concat&) const { return node.inputs.size() == 1; }
  bool operator()(const Split&) const { return node.outputs.size() == 1; }
  bool operator()(const Transpose& op) const { return std::is_sorted(op.perm.begin(), op.perm.end()); }
  // Equal extents with forward steps: everything in order.
  bool operator()(const Slice& op) const {
    return std::all_of(op.steps.begin(), op.steps.end(), [](int64_t step) { return step > 0; });
  }
  bool operator()(const Pad& op) const {
    const auto zero = [](int64_t p) { return p == 0; };
    return std::all_of(op.begin.begin(), op.begin.end(), zero) && std::all_of(op.end.begin(), op.end.end(), zero);
  }
  bool operator()(const UnaryOp& op) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return op.u.is_identity() || (op.u.fn == UnaryFn::clip && op.u.a == -kInfinity && op.u.b == kInfinity);
  }
  bool operator()(const Binary& op) const {
    const std::optional<double> b = scalar_constant(graph, node.inputs[1]);
    return op.activation.is_identity() && b && is_neutral(op.fn, *b);
  }
  bool operator()(const Reduce& op) const {
    // Equal shapes: over no axes, or over axes of one element.
    return op.fn == ReduceFn::mean || op.fn == ReduceFn::sum || op.fn == ReduceFn::max || op.fn == ReduceFn::min || op.fn == ReduceFn::prod;
  }
  bool operator()(const GlobalPool&) const { return true; }
  template <class T>
  bool operator()(const T&) const {
    return false;
  }
};

}  // namespace

bool is_noop(const Graph& graph, const Node& node) {
  if (node.outputs.size() != 1 || node.input(0) == kNoValue) return false;
  const ValueId x = node.inputs[0];
  const ValueId y = node.outputs[0];
  if (graph.value(x).dtype != graph.value(y).dtype || !same_shape(graph, x, y)) return false;
  return std::visit(KeepsElements{graph, node}, node.op);
}

}  // namespace fcm::passes
