// normalize: whole networks to the normal form, the same every time.
#include <filesystem>
#include <iostream>

#include "runtime/onnx/import.h"
#include "runtime/support/error.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

// conv -> batch norm -> hard swish as spelled by an exporter.
ValueId conv_block(Builder& b, ValueId x, int64_t in, int64_t out) {
  const ValueId y = b.batch_norm("norm", b.conv("conv", x, in, out), out);
  const ValueId bounded = b.unary({UnaryFn::clip, 0.0f, 6.0f}, b.binary(BinaryFn::add, y, b.number(3.0f)));
  return b.binary(BinaryFn::div, b.binary(BinaryFn::mul, y, bounded), b.number(6.0f));
}

Builder small_network() {
  Builder b;
  ValueId x = b.input("x", {Dim(1, kBatch), 3, 8, 8});
  x = b.node("pad", Pad{}, {x, b.ints({0, 0, 0, 0, 0, 0, 1, 1})});
  x = conv_block(b, x, 3, 4);
  const ValueId residual = x;
  x = conv_block(b, x, 4, 4);
  x = b.binary(BinaryFn::add, x, residual);
  // Squeeze and excitation.
  ValueId gate = b.node("squeeze", Reduce{ReduceFn::mean, Ints{2, 3}, true, false}, {x});
  gate = b.unary({UnaryFn::relu}, b.conv("reduce", gate, 4, 2, 1, 0));
  gate = b.conv("expand", gate, 2, 4, 1, 0);
  gate = b.binary(BinaryFn::div, b.unary({UnaryFn::clip, 0.0f, 6.0f}, b.binary(BinaryFn::add, gate, b.number(3.0f))), b.number(6.0f));
  x = b.binary(BinaryFn::mul, x, gate);
  // Head: mean, and a fully connected layer as MatMul and Add.
  x = b.node("mean", Reduce{ReduceFn::mean, Ints{2, 3}, false, false}, {x});
  x = b.binary(BinaryFn::add, b.node("fc", MatMul{}, {x, b.random({4, 10})}), b.random({10}));
  b.output(b.node("logits", Identity{}, {x}));
  return b;
}

TEST(Normalize, SmallNetwork) {
  const Builder b = small_network();
  Graph graph = b.graph;
  passes::normalize(graph);
  expect_equal_output(b.graph, graph, 1e-5);
  EXPECT_EQ(count_kind(graph, "Conv"), 4u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "GlobalPool"), 2u);
  EXPECT_EQ(count_kind(graph, "Gemm"), 1u);
  EXPECT_EQ(count_kind(graph, "Binary"), 1u);  // the gate
  EXPECT_EQ(graph.nodes.size(), 9u) << to_string(graph);
}

TEST(Normalize, IsAFixedPointAndDeterministic) {
  const Builder b = small_network();
  Graph first = b.graph;
  passes::normalize(first);
  Graph second = b.graph;
  passes::normalize(second);
  EXPECT_EQ(to_string(first), to_string(second));
  passes::normalize(second);
  EXPECT_EQ(to_string(first), to_string(second));
}

TEST(Normalize, EmptyAndTrivialGraphs) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 3});
  b.output(x);
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_TRUE(graph.nodes.empty());
  expect_equal_output(b.graph, graph);
}

// Random stacks of small operators: whatever fires, it ends and the results agree.
TEST(Normalize, RandomNetworksKeepTheirResults) {
  std::mt19937 random(17);
  for (int trial = 0; trial < 60; ++trial) {
    Builder b;
    std::vector<ValueId> made = {b.input("x", {Dim(1, kBatch), 4, 5, 5})};
    const auto any = [&] { return made[random() % made.size()]; };
    const size_t length = 3 + random() % 20;
    for (size_t i = 0; i < length; ++i) {
      const ValueId x = random() % 3 == 0 ? any() : made.back();
      switch (random() % 13) {
        case 0:
        case 1:
          made.push_back(b.conv("conv" + std::to_string(i), x, 4, 4));
          break;
        case 2:
          made.push_back(b.batch_norm("norm" + std::to_string(i), x, 4));
          break;
        case 3:
          made.push_back(b.unary({UnaryFn::relu}, x));
          break;
        case 4:
          made.push_back(b.unary({UnaryFn::clip, -0.5f, 1.0f}, x));
          break;
        case 5:
          made.push_back(b.binary(BinaryFn::mul, x, b.unary({UnaryFn::sigmoid}, x)));
          break;
        case 6:
        case 7:
          made.push_back(b.binary(BinaryFn::add, x, any()));
          break;
        case 8:
          made.push_back(b.binary(BinaryFn::mul, b.random({4, 1, 1}), x));
          break;
        case 9:
          made.push_back(b.binary(BinaryFn::max, x, b.number(-0.25f)));
          break;
        case 10: {
          const ValueId wide = b.node("pad" + std::to_string(i), Pad{}, {x, b.ints({0, 0, 1, 0, 0, 0, 1, 2})});
          made.push_back(b.conv("valid" + std::to_string(i), wide, 4, 4, 3, 0));
          made.back() = b.node("crop" + std::to_string(i), Slice{}, {made.back(), b.ints({0}), b.ints({5}), b.ints({3})});
          break;
        }
        case 11:
          made.push_back(b.unary({UnaryFn::tanh}, b.node("id" + std::to_string(i), Identity{}, {x})));
          break;
        default: {
          Transpose swap{{0, 1, 3, 2}};
          made.push_back(b.node("t" + std::to_string(i), swap, {x}));
          break;
        }
      }
    }
    b.output(made.back());
    if (random() % 2 == 0) b.output(b.unary({UnaryFn::neg}, any()));
    Graph graph = b.graph;
    ASSERT_NO_THROW(passes::normalize(graph)) << "trial " << trial;
    EXPECT_LE(graph.nodes.size(), b.graph.nodes.size());
    expect_equal_output(b.graph, graph, 5e-4);
    if (HasFailure()) FAIL() << "trial " << trial << "\n" << to_string(b.graph);
  }
}

TEST(Normalize, EfficientNetLite0) {
  const std::filesystem::path file = std::filesystem::path(FCM_SOURCE_DIR) / "../shared/models/efficientnet_lite0.onnx";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is absent";
  const Graph imported = onnx::import_file(file);
  Graph graph = imported;
  passes::normalize(graph);
  std::cout << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Conv"), 49u);
  EXPECT_EQ(count_kind(graph, "GlobalPool"), 1u);
  EXPECT_EQ(count_kind(graph, "Gemm"), 1u);
  EXPECT_LE(count_kind(graph, "Reshape"), 1u);
  EXPECT_LE(graph.nodes.size(), 52u);
  EXPECT_EQ(to_string(*graph.value(graph.inputs[0]).shape), "[B,3,224,224]");
  EXPECT_EQ(to_string(*graph.value(graph.outputs[0]).shape), "[B,1000]");
  size_t residuals = 0;
  for (const Node& node : graph.nodes) residuals += std::holds_alternative<Conv>(node.op) && node.input(3) != kNoValue ? 1 : 0;
  EXPECT_EQ(residuals, 9u);
  // TensorFlow's "SAME" at stride 2: one more at the end, from the folded Pad.
  const Window& stem = std::get<Conv>(graph.nodes[0].op).window;
  EXPECT_EQ(stem.pads_begin, (Ints{0, 0}));
  EXPECT_EQ(stem.pads_end, (Ints{1, 1}));
  const std::vector<Tensor> image = random_inputs(imported, 1, 1);
  EXPECT_LE(difference(evaluate(graph, 1, image)[0], evaluate(imported, 1, image)[0]), 1e-4);
}

}  // namespace
}  // namespace fcm::testing
