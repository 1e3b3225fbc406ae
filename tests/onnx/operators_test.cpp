// Every spelling of an operator becomes the same canonical node.
#include <gtest/gtest.h>

#include <limits>

#include "onnx.pb.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A model of one node on x [B,4,8,8] and int64 initializers "i0", "i1", ...; the graph's last node.
struct OneNode {
  Graph graph;
  const Node& node() const { return graph.nodes.back(); }
  template <class T>
  const T& op() const {
    return std::get<T>(node().op);
  }
  Ints ints(size_t input) const {
    const auto data = graph.value(node().inputs.at(input)).constant->data<int64_t>();
    return {data.begin(), data.end()};
  }
};

OneNode one(int64_t opset, const std::string& type, const std::vector<std::string>& inputs, const std::vector<Attribute>& attributes = {},
            const std::vector<Ints>& constants = {}, const std::vector<std::string>& outputs = {"y"}, DType dtype = DType::f32) {
  ModelBuilder b(opset);
  b.input("x", {"N", 4, 8, 8}, dtype).initializer("w", {4, 4, 1, 1}, std::vector<float>(16, 1.0f)).initializer("v", {4}, {1, 2, 3, 4});
  for (size_t i = 0; i < constants.size(); ++i) b.ints("i" + std::to_string(i), constants[i]);
  b.node(type, inputs, outputs, attributes, "node");
  for (const std::string& output : outputs) {
    if (!output.empty()) b.output(output);
  }
  return {b.import()};
}

TEST(Clip, AttributesThenInputs) {
  const OneNode old = one(7, "Clip", {"x"}, {{"min", 0.0f}, {"max", 6.0f}});
  EXPECT_EQ(old.op<UnaryOp>().u, (Unary{UnaryFn::clip, 0.0f, 6.0f}));
  EXPECT_EQ(old.node().inputs.size(), 1U);
  const OneNode open = one(7, "Clip", {"x"}, {{"min", 0.0f}, {"max", std::numeric_limits<float>::max()}});
  EXPECT_EQ(open.op<UnaryOp>().u, (Unary{UnaryFn::clip, 0.0f, kInfinity}));
  const OneNode inputs = one(11, "Clip", {"x", "", "v"});
  EXPECT_EQ(inputs.op<UnaryOp>().u, (Unary{UnaryFn::clip, -kInfinity, kInfinity}));
  ASSERT_EQ(inputs.node().inputs.size(), 3U);
  EXPECT_EQ(inputs.node().inputs[1], kNoValue);
  EXPECT_EQ(one(11, "Clip", {"x", "", ""}).node().inputs.size(), 1U);
  expect_error(ErrorCode::unsupported, {"unknown attribute min = 1"}, [] { one(11, "Clip", {"x"}, {{"min", 1.0f}}); });
  expect_error(ErrorCode::bad_input, {"3 inputs"}, [] { one(10, "Clip", {"x", "v", "v"}); });
}

TEST(Pad, AttributesThenInputs) {
  const OneNode old = one(7, "Pad", {"x"}, {{"pads", Ints{0, 0, 1, 1, 0, 0, 2, 2}}, {"value", 3.0f}, {"mode", "constant"}});
  EXPECT_EQ(old.ints(1), (Ints{0, 0, 1, 1, 0, 0, 2, 2}));
  EXPECT_EQ(old.graph.value(old.node().inputs[2]).constant->data<float>()[0], 3.0f);
  const OneNode with_axes = one(18, "Pad", {"x", "i0", "", "i1"}, {{"mode", "edge"}}, {{1, 1}, {2}});
  EXPECT_EQ(with_axes.op<Pad>().mode, PadMode::edge);
  EXPECT_EQ(with_axes.node().inputs.size(), 4U);
  EXPECT_EQ(one(19, "Pad", {"x", "i0"}, {{"mode", "wrap"}}, {{0, 0}}).op<Pad>().mode, PadMode::wrap);
  expect_error(ErrorCode::bad_input, {"mode = \"wrap\""}, [] { one(18, "Pad", {"x", "i0"}, {{"mode", "wrap"}}, {{0, 0}}); });
  expect_error(ErrorCode::bad_input, {"4 inputs"}, [] { one(13, "Pad", {"x", "i0", "", "i1"}, {}, {{1, 1}, {2}}); });
  const OneNode half = one(7, "Pad", {"x"}, {{"pads", Ints(8, 0)}}, {}, {"y"}, DType::f16);
  EXPECT_EQ(half.graph.value(half.node().inputs[2]).dtype, DType::f16);
}

TEST(Slice, AttributesThenInputs) {
  const OneNode old = one(9, "Slice", {"x"}, {{"starts", Ints{1}}, {"ends", Ints{3}}, {"axes", Ints{2}}});
  EXPECT_EQ(old.ints(1), (Ints{1}));
  EXPECT_EQ(old.ints(2), (Ints{3}));
  EXPECT_EQ(old.ints(3), (Ints{2}));
  EXPECT_EQ(one(9, "Slice", {"x"}, {{"starts", Ints{1}}, {"ends", Ints{3}}}).node().inputs.size(), 3U);
  const OneNode steps = one(13, "Slice", {"x", "i0", "i1", "", "i2"}, {}, {{0}, {4}, {2}});
  EXPECT_EQ(steps.node().inputs[3], kNoValue);
  EXPECT_EQ(steps.ints(4), (Ints{2}));
  expect_error(ErrorCode::bad_input, {"differ in length"}, [] { one(9, "Slice", {"x"}, {{"starts", Ints{1}}, {"ends", Ints{3, 4}}}); });
}

TEST(Reshape, AllForms) {
  EXPECT_EQ(one(11, "Squeeze", {"x"}, {{"axes", Ints{2}}}).op<Reshape>().axes, (Ints{2}));
  EXPECT_FALSE(one(11, "Squeeze", {"x"}).op<Reshape>().axes.has_value());
  EXPECT_EQ(one(13, "Squeeze", {"x", "i0"}, {}, {{2}}).ints(1), (Ints{2}));
  EXPECT_EQ(one(11, "Unsqueeze", {"x"}, {{"axes", Ints{0}}}).op<Reshape>().form, Reshape::Form::unsqueeze);
  EXPECT_EQ(one(21, "Unsqueeze", {"x", "i0"}, {}, {{0}}).ints(1), (Ints{0}));
  EXPECT_EQ(one(13, "Flatten", {"x"}).op<Reshape>().axis, 1);
  EXPECT_EQ(one(13, "Flatten", {"x"}, {{"axis", -1}}).op<Reshape>().axis, -1);
  EXPECT_TRUE(one(14, "Reshape", {"x", "i0"}, {{"allowzero", 1}}, {{0, -1}}).op<Reshape>().allow_zero);
  expect_error(ErrorCode::unsupported, {"unknown attribute allowzero"}, [] {
    one(13, "Reshape", {"x", "i0"}, {{"allowzero", 1}}, {{0, -1}});
  });
  expect_error(ErrorCode::bad_input, {"axes is missing"}, [] { one(11, "Unsqueeze", {"x"}); });
}

TEST(Reduce, AxesAttributeThenInput) {
  const OneNode old = one(17, "ReduceMean", {"x"}, {{"axes", Ints{2, 3}}, {"keepdims", 0}});
  EXPECT_EQ(old.op<Reduce>().axes, (Ints{2, 3}));
  EXPECT_FALSE(old.op<Reduce>().keep_dims);
  EXPECT_EQ(one(18, "ReduceMean", {"x", "i0"}, {}, {{2, 3}}).ints(1), (Ints{2, 3}));
  EXPECT_EQ(one(13, "ReduceSum", {"x", "i0"}, {{"noop_with_empty_axes", 1}}, {{1}}).op<Reduce>().noop_with_empty_axes, true);
  expect_error(ErrorCode::unsupported, {"unknown attribute axes = [1]"}, [] { one(13, "ReduceSum", {"x"}, {{"axes", Ints{1}}}); });
  EXPECT_FALSE(one(11, "ReduceL2", {"x"}).op<Reduce>().axes.has_value());
  const std::vector<std::pair<std::string, ReduceFn>> names = {
      {"ReduceMax", ReduceFn::max},        {"ReduceMin", ReduceFn::min},
      {"ReduceProd", ReduceFn::prod},      {"ReduceL1", ReduceFn::l1},
      {"ReduceL2", ReduceFn::l2},          {"ReduceSumSquare", ReduceFn::sum_square},
      {"ReduceLogSum", ReduceFn::log_sum}, {"ReduceLogSumExp", ReduceFn::log_sum_exp}};
  for (const auto& [name, fn] : names) EXPECT_EQ(one(18, name, {"x"}).op<Reduce>().fn, fn) << name;
}

TEST(Split, AllForms) {
  EXPECT_EQ(one(7, "Split", {"x"}, {{"axis", 1}, {"split", Ints{1, 3}}}, {}, {"a", "b"}).op<Split>().sizes, (Ints{1, 3}));
  EXPECT_EQ(one(13, "Split", {"x", "i0"}, {{"axis", 1}}, {{1, 3}}, {"a", "b"}).ints(1), (Ints{1, 3}));
  const OneNode parts = one(18, "Split", {"x"}, {{"axis", 1}, {"num_outputs", 3}}, {}, {"a", "", "c"});
  EXPECT_EQ(parts.node().outputs.size(), 3U);  // an unnamed output is still a value
  expect_error(ErrorCode::bad_input, {"num_outputs = 3, but 2 outputs"}, [] {
    one(18, "Split", {"x"}, {{"num_outputs", 3}}, {}, {"a", "b"});
  });
  expect_error(ErrorCode::bad_input, {"split"}, [] { one(11, "Split", {"x"}, {{"split", Ints{1, 1, 2}}}, {}, {"a", "b"}); });
}

TEST(Softmax, FlattensBefore13) {
  const OneNode old = one(11, "Softmax", {"x"});
  EXPECT_EQ(old.op<Softmax>().axis, 1);
  EXPECT_TRUE(old.op<Softmax>().flatten_from_axis);
  const OneNode now = one(13, "LogSoftmax", {"x"});
  EXPECT_EQ(now.op<Softmax>().axis, -1);
  EXPECT_FALSE(now.op<Softmax>().flatten_from_axis);
  EXPECT_TRUE(now.op<Softmax>().log);
}

TEST(Dropout, IsTheIdentity) {
  EXPECT_TRUE(std::holds_alternative<Identity>(one(7, "Dropout", {"x"}, {{"ratio", 0.5f}}).node().op));
  EXPECT_TRUE(std::holds_alternative<Identity>(one(13, "Dropout", {"x", "v"}, {{"seed", 1}}).node().op));
  expect_error(ErrorCode::unsupported, {"mask"}, [] { one(13, "Dropout", {"x"}, {}, {}, {"y", "mask"}); });
}

TEST(Conv, Window) {
  const OneNode conv =
      one(17, "Conv", {"x", "w", "v"},
          {{"kernel_shape", Ints{1, 1}}, {"strides", Ints{2, 1}}, {"pads", Ints{1, 2, 3, 4}}, {"dilations", Ints{1, 2}}, {"group", 1}});
  const Window& window = conv.op<Conv>().window;
  EXPECT_EQ(window.strides, (Ints{2, 1}));
  EXPECT_EQ(window.dilations, (Ints{1, 2}));
  EXPECT_EQ(window.pads_begin, (Ints{1, 2}));
  EXPECT_EQ(window.pads_end, (Ints{3, 4}));
  EXPECT_EQ(conv.node().inputs.size(), 3U);
  const OneNode same = one(17, "Conv", {"x", "w", ""}, {{"auto_pad", "SAME_UPPER"}, {"pads", Ints{0, 0, 0, 0}}});
  EXPECT_EQ(same.op<Conv>().window.auto_pad, AutoPad::same_upper);
  EXPECT_EQ(same.node().inputs.size(), 2U);
}

TEST(Pool, Forms) {
  const OneNode max = one(12, "MaxPool", {"x"}, {{"kernel_shape", Ints{3, 3}}, {"ceil_mode", 1}, {"storage_order", 0}}, {}, {"y", ""});
  EXPECT_TRUE(max.op<Pool>().ceil_mode);
  EXPECT_EQ(max.op<Pool>().fn, PoolFn::max);
  const OneNode average =
      one(19, "AveragePool", {"x"}, {{"kernel_shape", Ints{2, 2}}, {"count_include_pad", 1}, {"dilations", Ints{1, 1}}});
  EXPECT_TRUE(average.op<Pool>().count_include_pad);
  EXPECT_EQ(one(7, "GlobalMaxPool", {"x"}).op<GlobalPool>().fn, PoolFn::max);
  expect_error(ErrorCode::bad_input, {"kernel_shape is missing"}, [] { one(12, "MaxPool", {"x"}); });
  expect_error(ErrorCode::unsupported, {"unknown attribute dilations"}, [] {
    one(11, "AveragePool", {"x"}, {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{1, 1}}});
  });
}

TEST(Gemm, BiasIsOptionalFrom11) {
  const OneNode gemm = one(11, "Gemm", {"x", "w"}, {{"alpha", 2.0f}, {"beta", 0.5f}, {"transA", 1}, {"transB", 1}});
  EXPECT_EQ(gemm.op<Gemm>().alpha, 2.0f);
  EXPECT_EQ(gemm.op<Gemm>().beta, 0.5f);
  EXPECT_TRUE(gemm.op<Gemm>().trans_a && gemm.op<Gemm>().trans_b);
  expect_error(ErrorCode::bad_input, {"2 inputs"}, [] { one(9, "Gemm", {"x", "w"}); });
}

TEST(BatchNormalization, InferenceForms) {
  EXPECT_EQ(one(7, "BatchNormalization", {"x", "v", "v", "v", "v"}, {{"epsilon", 0.25f}, {"momentum", 0.9f}, {"spatial", 1}})
                .op<BatchNorm>()
                .epsilon,
            0.25f);
  EXPECT_EQ(one(15, "BatchNormalization", {"x", "v", "v", "v", "v"}, {{"training_mode", 0}}).node().inputs.size(), 5U);
  expect_error(ErrorCode::unsupported, {"spatial = 0"}, [] { one(7, "BatchNormalization", {"x", "v", "v", "v", "v"}, {{"spatial", 0}}); });
}

TEST(Variadic, Chains) {
  const OneNode sum = one(13, "Sum", {"x", "v", "w", "v"});
  ASSERT_EQ(sum.graph.nodes.size(), 3U);
  for (const Node& node : sum.graph.nodes) EXPECT_EQ(std::get<Binary>(node.op).fn, BinaryFn::add);
  EXPECT_EQ(sum.graph.value(sum.graph.outputs[0]).name, "y");
  EXPECT_TRUE(std::holds_alternative<Identity>(one(8, "Max", {"x"}).node().op));
  EXPECT_EQ(one(8, "Min", {"x", "v"}).op<Binary>().fn, BinaryFn::min);
  expect_error(ErrorCode::bad_input, {"0 inputs"}, [] { one(13, "Sum", {}); });
}

TEST(Activations, Parameters) {
  EXPECT_EQ(one(16, "LeakyRelu", {"x"}).op<UnaryOp>().u, (Unary{UnaryFn::leaky_relu, 0.01f, 0}));
  EXPECT_EQ(one(16, "Elu", {"x"}, {{"alpha", 2.0f}}).op<UnaryOp>().u, (Unary{UnaryFn::elu, 2.0f, 0}));
  EXPECT_EQ(one(16, "HardSigmoid", {"x"}).op<UnaryOp>().u, (Unary{UnaryFn::hard_sigmoid, 0.2f, 0.5f}));
  EXPECT_EQ(one(20, "Gelu", {"x"}).op<UnaryOp>().u.fn, UnaryFn::gelu);
  EXPECT_EQ(one(20, "Gelu", {"x"}, {{"approximate", "tanh"}}).op<UnaryOp>().u.fn, UnaryFn::gelu_tanh);
  EXPECT_EQ(one(24, "Swish", {"x"}).op<UnaryOp>().u.fn, UnaryFn::silu);
  EXPECT_EQ(one(24, "Swish", {"x"}, {{"alpha", 2.0f}}).graph.nodes.size(), 3U);
  EXPECT_EQ(one(14, "HardSwish", {"x"}).op<UnaryOp>().u.fn, UnaryFn::hard_swish);
}

TEST(Casts, TypesAreTracked) {
  EXPECT_EQ(one(13, "Cast", {"x"}, {{"to", 10}}).op<Cast>().to, DType::f16);
  const OneNode like = one(19, "CastLike", {"v", "x"}, {{"saturate", 1}}, {}, {"y"}, DType::bf16);
  EXPECT_EQ(like.op<Cast>().to, DType::bf16);
  EXPECT_EQ(one(13, "Equal", {"x", "v"}).graph.values.back().dtype, DType::boolean);
  EXPECT_EQ(one(13, "Shape", {"x"}).graph.values.back().dtype, DType::i64);
  EXPECT_EQ(one(13, "IsNaN", {"x"}).graph.values.back().dtype, DType::boolean);
}

TEST(ShapeArithmetic, Forms) {
  const OneNode shape = one(15, "Shape", {"x"}, {{"start", 1}, {"end", -1}});
  EXPECT_EQ(shape.op<ShapeOf>().start, 1);
  EXPECT_EQ(shape.op<ShapeOf>().end, -1);
  expect_error(ErrorCode::unsupported, {"unknown attribute start"}, [] { one(13, "Shape", {"x"}, {{"start", 1}}); });
  EXPECT_EQ(one(9, "ConstantOfShape", {"i0"}, {}, {{2}}).op<ConstantOfShape>().value.dtype(), DType::f32);
  const Tensor seven = Tensor::ints({1}, Ints{7});
  EXPECT_EQ(one(9, "ConstantOfShape", {"i0"}, {{"value", seven}}, {{2}}).op<ConstantOfShape>().value.data<int64_t>()[0], 7);
  const Tensor two = Tensor::ints({2}, Ints{7, 8});
  expect_error(ErrorCode::bad_input, {"2 elements"}, [&] { one(9, "ConstantOfShape", {"i0"}, {{"value", two}}, {{2}}); });
  EXPECT_EQ(one(27, "Range", {"i0", "i0", "i0"}, {{"stash_type", 1}}, {{2}}).node().inputs.size(), 3U);
}

TEST(Constant, AllForms) {
  const auto constant = [](int64_t opset, const Attribute& attribute) {
    ModelBuilder b(opset);
    b.node("Constant", {}, {"c"}, {attribute}).output("c");
    const Graph g = b.import();
    EXPECT_TRUE(g.nodes.empty());
    return *g.value(g.outputs.at(0)).constant;
  };
  EXPECT_EQ(constant(7, {"value", Tensor::floats({2}, std::vector{1.0f, 2.0f})}).data<float>()[1], 2.0f);
  EXPECT_EQ(constant(12, {"value_float", 3.0f}).rank(), 0);
  EXPECT_EQ(constant(12, {"value_int", 4}).data<int64_t>()[0], 4);
  EXPECT_EQ(constant(12, {"value_floats", std::vector{1.0f, 2.0f}}).count(), 2);
  EXPECT_EQ(constant(12, {"value_ints", Ints{5, 6}}).data<int64_t>()[1], 6);
  expect_error(ErrorCode::unsupported, {"value_string"}, [&] { constant(13, {"value_string", "text"}); });
  expect_error(ErrorCode::unsupported, {"value_int"}, [&] { constant(11, {"value_int", 4}); });
  expect_error(ErrorCode::bad_input, {"holds 0 values"}, [&] { constant(13, {"other", 4}); });
}

TEST(Binary, ModAndPRelu) {
  EXPECT_EQ(one(13, "Mod", {"x", "v"}, {{"fmod", 1}}).op<Binary>().fn, BinaryFn::fmod);
  EXPECT_EQ(one(13, "Mod", {"i0", "i0"}, {}, {{3}}).op<Binary>().fn, BinaryFn::mod);
  expect_error(ErrorCode::bad_input, {"fmod = 0"}, [] { one(13, "Mod", {"x", "v"}); });
  EXPECT_EQ(one(28, "Mod", {"x", "v"}).op<Binary>().fn, BinaryFn::mod);
  EXPECT_EQ(one(9, "PRelu", {"x", "v"}).op<Binary>().fn, BinaryFn::prelu);
}

TEST(Movement, Plain) {
  EXPECT_EQ(one(13, "Transpose", {"x"}, {{"perm", Ints{0, 2, 3, 1}}}).op<Transpose>().perm, (Ints{0, 2, 3, 1}));
  EXPECT_EQ(one(13, "Concat", {"x", "x"}, {{"axis", -1}}).op<Concat>().axis, -1);
  EXPECT_EQ(one(13, "Gather", {"x", "i0"}, {{"axis", 1}}, {{0}}).op<Gather>().axis, 1);
  EXPECT_EQ(one(13, "Expand", {"x", "i0"}, {}, {{1, 4, 8, 8}}).node().inputs.size(), 2U);
  EXPECT_EQ(one(13, "Tile", {"x", "i0"}, {}, {{1, 1, 1, 1}}).node().inputs.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<Select>(one(16, "Where", {"i0", "x", "v"}, {}, {{1}}).node().op));
}

}  // namespace
}  // namespace fcm::testing
