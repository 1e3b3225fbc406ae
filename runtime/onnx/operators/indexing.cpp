// Operators that give or follow element numbers.
#include <fmt/format.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

template <bool Largest>
void arg_reduce(NodeContext& node) {
  node.expect_inputs(1, 1);
  ArgReduce op;
  op.largest = Largest;
  op.axis = node.int_attribute("axis", 0);
  op.keep_dims = node.flag("keepdims", true);
  if (node.opset() >= 12) op.select_last = node.flag("select_last_index", false);
  node.emit(op, {node.input(0)});
}

// k is an attribute before opset 10, then an input. Sorted results are also valid where any order is.
void top_k(NodeContext& node) {
  TopK op;
  op.axis = node.int_attribute("axis", -1);
  if (node.opset() < 10) {
    node.expect_inputs(1, 1);
    op.k = node.required_int("k");
    return node.emit(op, {node.input(0)}, 2);
  }
  node.expect_inputs(2, 2);
  if (node.opset() >= 11) {
    op.largest = node.flag("largest", true);
    node.ignore("sorted");
  }
  node.emit(op, {node.input(0), node.input(1)}, 2);
}

void cum_sum(NodeContext& node) {
  node.expect_inputs(2, 2);
  CumSum op;
  op.exclusive = node.flag("exclusive", false);
  op.reverse = node.flag("reverse", false);
  node.emit(op, {node.input(0), node.input(1)});
}

void gather_elements(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(GatherElements{node.int_attribute("axis", 0)}, {node.input(0), node.input(1)});
}

void gather_nd(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(GatherND{node.opset() >= 12 ? node.int_attribute("batch_dims", 0) : 0}, {node.input(0), node.input(1)});
}

void scatter_nd(NodeContext& node) {
  node.expect_inputs(3, 3);
  if (node.opset() >= 16) {
    const std::string reduction = node.string_attribute("reduction", "none");
    if (reduction != "none") node.reject("reduction", fmt::format("\"{}\"", reduction), "none");
  }
  node.emit(ScatterND{}, {node.input(0), node.input(1), node.input(2)});
}

void trilu(NodeContext& node) {
  node.expect_inputs(1, 2);
  Trilu op;
  op.upper = node.int_attribute("upper", 1) != 0;
  node.emit(op, {node.input(0), node.input(1)});
}

constexpr std::array kOperators = {
    OperatorEntry{"ArgMax", 7, 13, arg_reduce<true>},
    OperatorEntry{"ArgMin", 7, 13, arg_reduce<false>},
    OperatorEntry{"TopK", 7, 24, top_k},
    OperatorEntry{"CumSum", 11, 14, cum_sum},
    OperatorEntry{"GatherElements", 11, 13, gather_elements},
    OperatorEntry{"GatherND", 11, 13, gather_nd},
    OperatorEntry{"ScatterND", 11, 18, scatter_nd},
    OperatorEntry{"Trilu", 14, 14, trilu},
};

}  // namespace

std::span<const OperatorEntry> indexing_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
