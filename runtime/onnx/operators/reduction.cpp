// Reductions over axes, and softmax along one.
#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

// Axes are an attribute, and become an input at opset 13 (ReduceSum) or 18 (the others). Absent or empty axes mean all.
template <ReduceFn Fn>
void reduce(NodeContext& node) {
  Reduce op;
  op.fn = Fn;
  op.keep_dims = node.flag("keepdims", true);
  const int64_t input_since = Fn == ReduceFn::sum ? 13 : 18;
  if (node.opset() < input_since) {
    node.expect_inputs(1, 1);
    op.axes = node.ints_attribute("axes");
    if (op.axes && op.axes->empty()) op.axes.reset();
    return node.emit(op, {node.input(0)});
  }
  node.expect_inputs(1, 2);
  op.noop_with_empty_axes = node.flag("noop_with_empty_axes", false);
  node.emit(op, {node.input(0), node.input(1)});
}

// Before opset 13 the input is read as a matrix whose rows start at `axis`.
template <bool Log>
void softmax(NodeContext& node) {
  node.expect_inputs(1, 1);
  const bool flatten = node.opset() < 13;
  node.emit(Softmax{node.int_attribute("axis", flatten ? 1 : -1), Log, flatten}, {node.input(0)});
}

constexpr std::array kOperators = {
    OperatorEntry{"ReduceMean", 7, 18, reduce<ReduceFn::mean>},
    OperatorEntry{"ReduceSum", 7, 13, reduce<ReduceFn::sum>},
    OperatorEntry{"ReduceMax", 7, 20, reduce<ReduceFn::max>},
    OperatorEntry{"ReduceMin", 7, 20, reduce<ReduceFn::min>},
    OperatorEntry{"ReduceProd", 7, 18, reduce<ReduceFn::prod>},
    OperatorEntry{"ReduceL1", 7, 18, reduce<ReduceFn::l1>},
    OperatorEntry{"ReduceL2", 7, 18, reduce<ReduceFn::l2>},
    OperatorEntry{"ReduceSumSquare", 7, 18, reduce<ReduceFn::sum_square>},
    OperatorEntry{"ReduceLogSum", 7, 28, reduce<ReduceFn::log_sum>},
    OperatorEntry{"ReduceLogSumExp", 7, 28, reduce<ReduceFn::log_sum_exp>},
    OperatorEntry{"Softmax", 7, 13, softmax<false>},
    OperatorEntry{"LogSoftmax", 7, 13, softmax<true>},
};

}  // namespace

std::span<const OperatorEntry> reduction_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
