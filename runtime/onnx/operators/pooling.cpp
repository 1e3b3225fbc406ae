// Max and average pooling, over windows and over the whole plane.
#include <fmt/format.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/operators/window.h"

namespace fcm::onnx {
namespace {

void require_kernel(NodeContext& node, const Pool& op) {
  if (op.window.kernel.empty()) node.malformed("required attribute kernel_shape is missing");
}

void max_pool(NodeContext& node) {
  node.expect_inputs(1, 1);
  Pool op;
  op.fn = PoolFn::max;
  op.window = read_window(node, node.opset() >= 10);
  require_kernel(node, op);
  if (node.opset() >= 10) op.ceil_mode = node.flag("ceil_mode", false);
  if (node.opset() >= 8) node.ignore("storage_order");  // the order of Indices, which may not be used
  node.reject_outputs_from(1, "output 0 alone, without Indices");
  node.emit(op, {node.input(0)});
}

void average_pool(NodeContext& node) {
  node.expect_inputs(1, 1);
  Pool op;
  op.fn = PoolFn::average;
  op.window = read_window(node, node.opset() >= 19);
  require_kernel(node, op);
  op.count_include_pad = node.flag("count_include_pad", false);
  if (node.opset() >= 10) op.ceil_mode = node.flag("ceil_mode", false);
  node.emit(op, {node.input(0)});
}

template <PoolFn Fn>
void global_pool(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(GlobalPool{Fn}, {node.input(0)});
}

constexpr std::array kOperators = {
    OperatorEntry{"MaxPool", 7, 22, max_pool},
    OperatorEntry{"AveragePool", 7, 22, average_pool},
    OperatorEntry{"GlobalAveragePool", 7, 22, global_pool<PoolFn::average>},
    OperatorEntry{"GlobalMaxPool", 7, 22, global_pool<PoolFn::max>},
};

}  // namespace

std::span<const OperatorEntry> pooling_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
