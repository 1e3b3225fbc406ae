// Operators that only change how elements are addressed or typed, and arithmetic on shapes.
#include <fmt/format.h>

#include <array>
#include <optional>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/tensors.h"

namespace fcm::onnx {
namespace {

void identity(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(Identity{}, {node.input(0)});
}

// The identity at inference. From opset 12 the training flag is an input: it must be known to be false.
void dropout(NodeContext& node) {
  if (node.opset() < 12) {
    node.expect_inputs(1, 1);
    node.ignore("ratio");
  } else {
    node.expect_inputs(1, 3);
    node.ignore("seed");
    const ValueId training = node.input(2);
    const Tensor* value = node.constant(training);
    const bool known_false = value != nullptr && value->count() == 1 && value->dtype() == DType::boolean && !value->data<bool>()[0];
    if (training != kNoValue && !known_false) {
      node.reject("input training_mode", value != nullptr ? "true" : "a computed value", "absent or a constant false");
    }
  }
  node.reject_outputs_from(1, "output 0 alone, without the mask");
  node.emit(Identity{}, {node.input(0)});
}

void cast(NodeContext& node) {
  node.expect_inputs(1, 1);
  if (node.opset() >= 19) node.ignore("saturate");    // casts to 8-bit floats only
  if (node.opset() >= 24) node.ignore("round_mode");  // casts to FLOAT8E8M0 only
  const int64_t to = node.required_int("to");
  const bool in_range = to >= 0 && to <= 1000;
  const std::optional<DType> dtype = in_range ? dtype_of(static_cast<int32_t>(to)) : std::nullopt;
  if (!dtype) node.reject("to", in_range ? dtype_text(static_cast<int32_t>(to)) : fmt::format("{}", to), accepted_dtypes());
  node.emit(Cast{dtype.value_or(DType::f32)}, {node.input(0)});
}

void cast_like(NodeContext& node) {
  node.expect_inputs(2, 2);
  if (node.opset() >= 19) node.ignore("saturate");
  if (node.opset() >= 24) node.ignore("round_mode");
  node.emit(Cast{node.dtype(node.input(1))}, {node.input(0)});
}

void shape(NodeContext& node) {
  node.expect_inputs(1, 1);
  ShapeOf op;
  if (node.opset() >= 15) {
    op.start = node.int_attribute("start", 0);
    if (node.has_attribute("end")) op.end = node.required_int("end");
  }
  node.emit(op, {node.input(0)});
}

void size(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(SizeOf{}, {node.input(0)});
}

void reshape(NodeContext& node) {
  node.expect_inputs(2, 2);
  Reshape op;
  if (node.opset() >= 14) op.allow_zero = node.flag("allowzero", false);
  node.emit(op, {node.input(0), node.input(1)});
}

void flatten(NodeContext& node) {
  node.expect_inputs(1, 1);
  Reshape op;
  op.form = Reshape::Form::flatten;
  op.axis = node.int_attribute("axis", 1);
  node.emit(op, {node.input(0)});
}

// Axes are an attribute before opset 13, then an input. Squeeze without axes drops every dimension of size 1.
void squeeze(NodeContext& node) {
  Reshape op;
  op.form = Reshape::Form::squeeze;
  node.expect_inputs(1, node.opset() < 13 ? 1 : 2);
  if (node.opset() < 13) op.axes = node.ints_attribute("axes");
  node.emit(op, {node.input(0), node.input(1)});
}

void unsqueeze(NodeContext& node) {
  Reshape op;
  op.form = Reshape::Form::unsqueeze;
  if (node.opset() < 13) {
    node.expect_inputs(1, 1);
    op.axes = node.ints_attribute("axes");
    if (!op.axes) node.malformed("required attribute axes is missing");
    return node.emit(op, {node.input(0)});
  }
  node.expect_inputs(2, 2);
  node.emit(op, {node.input(0), node.input(1)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Identity", 7, 25, identity},   OperatorEntry{"Dropout", 7, 22, dropout}, OperatorEntry{"Cast", 7, 28, cast},
    OperatorEntry{"CastLike", 15, 25, cast_like}, OperatorEntry{"Shape", 7, 25, shape},     OperatorEntry{"Size", 7, 25, size},
    OperatorEntry{"Reshape", 7, 25, reshape},     OperatorEntry{"Flatten", 7, 25, flatten}, OperatorEntry{"Squeeze", 7, 25, squeeze},
    OperatorEntry{"Unsqueeze", 7, 25, unsqueeze},
};

}  // namespace

std::span<const OperatorEntry> shape_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
