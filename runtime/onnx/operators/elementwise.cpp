// Functions of one number, binary functions with broadcasting, and their variadic forms.
#include <fmt/format.h>

#include <array>
#include <limits>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <UnaryFn Fn>
void unary(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(UnaryOp{{Fn}}, {node.input(0)});
}

template <BinaryFn Fn>
void binary(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(Binary{Fn, {}}, {node.input(0), node.input(1)});
}

// Min, Max, Sum: a chain from the left; one input is the identity.
template <BinaryFn Fn>
void variadic(NodeContext& node) {
  const size_t count = node.input_count();
  node.expect_inputs(std::max<size_t>(count, 1), std::numeric_limits<int32_t>::max());
  if (count == 1) return node.emit(Identity{}, {node.input(0)});
  ValueId total = node.input(0);
  for (size_t i = 1; i + 1 < count; ++i) total = node.emit_step(Binary{Fn, {}}, {total, node.input(i)}, fmt::format("{}", i));
  node.emit(Binary{Fn, {}}, {total, node.input(count - 1)});
}

// Bounds are attributes before opset 11, then inputs. An absent bound is infinite: that lets every value of every type pass.
void clip(NodeContext& node) {
  Unary u{UnaryFn::clip, -kInfinity, kInfinity};
  if (node.opset() < 11) {
    node.expect_inputs(1, 1);
    u.a = node.float_attribute("min", -kInfinity);
    u.b = node.float_attribute("max", kInfinity);
    if (u.a == std::numeric_limits<float>::lowest()) u.a = -kInfinity;
    if (u.b == std::numeric_limits<float>::max()) u.b = kInfinity;
    return node.emit(UnaryOp{u}, {node.input(0)});
  }
  node.expect_inputs(1, 3);
  node.emit(UnaryOp{u}, {node.input(0), node.input(1), node.input(2)});
}

void leaky_relu(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(UnaryOp{{UnaryFn::leaky_relu, node.float_attribute("alpha", 0.01f), 0.0f}}, {node.input(0)});
}

void elu(NodeContext& node) {
  node.expect_inputs(1, 1);
  node.emit(UnaryOp{{UnaryFn::elu, node.float_attribute("alpha", 1.0f), 0.0f}}, {node.input(0)});
}

void hard_sigmoid(NodeContext& node) {
  node.expect_inputs(1, 1);
  const float alpha = node.float_attribute("alpha", 0.2f);
  node.emit(UnaryOp{{UnaryFn::hard_sigmoid, alpha, node.float_attribute("beta", 0.5f)}}, {node.input(0)});
}

void gelu(NodeContext& node) {
  node.expect_inputs(1, 1);
  const std::string approximate = node.string_attribute("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    node.malformed(fmt::format("attribute approximate = \"{}\"; accepted: none, tanh", approximate));
  node.emit(UnaryOp{{approximate == "tanh" ? UnaryFn::gelu_tanh : UnaryFn::gelu}}, {node.input(0)});
}

// x * sigmoid(alpha * x); only alpha = 1 is a function of the graph.
void swish(NodeContext& node) {
  node.expect_inputs(1, 1);
  const ValueId x = node.input(0);
  const float alpha = node.float_attribute("alpha", 1.0f);
  if (alpha == 1.0f) return node.emit(UnaryOp{{UnaryFn::silu}}, {x});
  const ValueId factor = node.add_constant("alpha", Tensor::scalar(alpha).cast(node.dtype(x)));
  const ValueId scaled = node.emit_step(Binary{BinaryFn::mul, {}}, {x, factor}, "scaled");
  const ValueId gate = node.emit_step(UnaryOp{{UnaryFn::sigmoid}}, {scaled}, "gate");
  node.emit(Binary{BinaryFn::mul, {}}, {x, gate});
}

void mod(NodeContext& node) {
  node.expect_inputs(2, 2);
  const bool truncated = node.flag("fmod", false);
  if (!truncated && node.opset() < 28 && is_float(node.dtype(node.input(0)))) {
    node.malformed("attribute fmod = 0 with floating-point inputs; accepted before opset 28: 1");
  }
  node.emit(Binary{truncated ? BinaryFn::fmod : BinaryFn::mod, {}}, {node.input(0), node.input(1)});
}

void where(NodeContext& node) {
  node.expect_inputs(3, 3);
  node.emit(Select{}, {node.input(0), node.input(1), node.input(2)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Relu", 7, 14, unary<UnaryFn::relu>},
    OperatorEntry{"Clip", 7, 13, clip},
    OperatorEntry{"LeakyRelu", 7, 16, leaky_relu},
    OperatorEntry{"Elu", 7, 22, elu},
    OperatorEntry{"Sigmoid", 7, 13, unary<UnaryFn::sigmoid>},
    OperatorEntry{"HardSigmoid", 7, 22, hard_sigmoid},
    OperatorEntry{"HardSwish", 14, 22, unary<UnaryFn::hard_swish>},
    OperatorEntry{"Gelu", 20, 20, gelu},
    OperatorEntry{"Tanh", 7, 13, unary<UnaryFn::tanh>},
    OperatorEntry{"Softplus", 7, 22, unary<UnaryFn::softplus>},
    OperatorEntry{"Mish", 18, 22, unary<UnaryFn::mish>},
    OperatorEntry{"Swish", 24, 24, swish},
    OperatorEntry{"Softsign", 7, 22, unary<UnaryFn::softsign>},
    OperatorEntry{"Abs", 7, 13, unary<UnaryFn::abs>},
    OperatorEntry{"Neg", 7, 13, unary<UnaryFn::neg>},
    OperatorEntry{"Ceil", 7, 13, unary<UnaryFn::ceil>},
    OperatorEntry{"Floor", 7, 13, unary<UnaryFn::floor>},
    OperatorEntry{"Round", 11, 22, unary<UnaryFn::round>},
    OperatorEntry{"Sqrt", 7, 13, unary<UnaryFn::sqrt>},
    OperatorEntry{"Reciprocal", 7, 13, unary<UnaryFn::reciprocal>},
    OperatorEntry{"Exp", 7, 13, unary<UnaryFn::exp>},
    OperatorEntry{"Log", 7, 13, unary<UnaryFn::log>},
    OperatorEntry{"Erf", 9, 13, unary<UnaryFn::erf>},
    OperatorEntry{"Sin", 7, 22, unary<UnaryFn::sin>},
    OperatorEntry{"Cos", 7, 22, unary<UnaryFn::cos>},
    OperatorEntry{"Sign", 9, 13, unary<UnaryFn::sign>},
    OperatorEntry{"Not", 7, 1, unary<UnaryFn::logical_not>},
    OperatorEntry{"IsNaN", 9, 20, unary<UnaryFn::is_nan>},
    OperatorEntry{"Add", 7, 14, binary<BinaryFn::add>},
    OperatorEntry{"Sub", 7, 14, binary<BinaryFn::sub>},
    OperatorEntry{"Mul", 7, 14, binary<BinaryFn::mul>},
    OperatorEntry{"Div", 7, 14, binary<BinaryFn::div>},
    OperatorEntry{"Pow", 7, 15, binary<BinaryFn::pow>},
    OperatorEntry{"Mod", 10, 28, mod},
    OperatorEntry{"Min", 7, 13, variadic<BinaryFn::min>},
    OperatorEntry{"Max", 7, 13, variadic<BinaryFn::max>},
    OperatorEntry{"Sum", 7, 13, variadic<BinaryFn::add>},
    OperatorEntry{"Equal", 7, 19, binary<BinaryFn::equal>},
    OperatorEntry{"Less", 7, 13, binary<BinaryFn::less>},
    OperatorEntry{"LessOrEqual", 12, 16, binary<BinaryFn::less_equal>},
    OperatorEntry{"Greater", 7, 13, binary<BinaryFn::greater>},
    OperatorEntry{"GreaterOrEqual", 12, 16, binary<BinaryFn::greater_equal>},
    OperatorEntry{"And", 7, 7, binary<BinaryFn::logical_and>},
    OperatorEntry{"Or", 7, 7, binary<BinaryFn::logical_or>},
    OperatorEntry{"Xor", 7, 7, binary<BinaryFn::logical_xor>},
    OperatorEntry{"PRelu", 7, 16, binary<BinaryFn::prelu>},
    OperatorEntry{"Where", 9, 16, where},
};

}  // namespace

std::span<const OperatorEntry> elementwise_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
