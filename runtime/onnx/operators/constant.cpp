// Constants and tensors filled by a rule.
#include <fmt/format.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

// Exactly one attribute holds the value; the scalar and list forms came with opset 12. There is no node afterwards.
void constant(NodeContext& node) {
  node.expect_inputs(0, 0);
  int forms = 0;
  for (const char* form :
       {"value", "value_float", "value_int", "value_floats", "value_ints", "value_string", "value_strings", "sparse_value"}) {
    if (node.has_attribute(form)) ++forms;
  }
  if (forms != 1) node.malformed(fmt::format("holds {} values; accepted: one", forms));
  if (node.has_attribute("value")) {
    if (auto tensor = node.tensor_attribute("value")) node.emit_constant(std::move(*tensor));
    return;
  }
  if (node.opset() < 12) return;  // the attribute is then reported as unknown
  if (node.has_attribute("value_float")) return node.emit_constant(Tensor::scalar(node.float_attribute("value_float", 0.0f)));
  if (node.has_attribute("value_int")) return node.emit_constant(Tensor::ints({}, Ints{node.required_int("value_int")}));
  if (const auto floats = node.floats_attribute("value_floats")) {
    return node.emit_constant(Tensor::floats({static_cast<int64_t>(floats->size())}, *floats));
  }
  if (const auto ints = node.ints_attribute("value_ints")) {
    return node.emit_constant(Tensor::ints({static_cast<int64_t>(ints->size())}, *ints));
  }
}

void constant_of_shape(NodeContext& node) {
  node.expect_inputs(1, 1);
  ConstantOfShape op;
  op.value = node.tensor_attribute("value").value_or(Tensor::floats({1}, std::array{0.0f}));
  if (op.value.count() != 1) node.malformed(fmt::format("attribute value has {} elements; accepted: 1", op.value.count()));
  node.emit(std::move(op), {node.input(0)});
}

void range(NodeContext& node) {
  node.expect_inputs(3, 3);
  if (node.opset() >= 27) {
    const int64_t stash = node.int_attribute("stash_type", 1);
    if (stash != 1) node.reject("stash_type", fmt::format("{}", stash), "1 (FLOAT)");
  }
  node.emit(Range{}, {node.input(0), node.input(1), node.input(2)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Constant", 7, 25, constant},
    OperatorEntry{"ConstantOfShape", 9, 25, constant_of_shape},
    OperatorEntry{"Range", 11, 27, range},
};

}  // namespace

std::span<const OperatorEntry> constant_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
