// fold: inference, constants, batch arithmetic, vanishing nodes, and the report of what fails.
#include <cmath>

#include "runtime/support/error.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kImages = {Dim(1, kBatch), 3, 8, 8};

Graph folded(const Builder& b, int least = 1) {
  Graph graph = b.graph;
  EXPECT_GE(passes::fold(graph), least);
  passes::remove_dead(graph);
  EXPECT_EQ(passes::fold(graph), 0) << "a second fold has nothing to do\n" << to_string(graph);
  expect_equal_output(b.graph, graph);
  return graph;
}

TEST(Fold, InfersShapesWithTheBatch) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  b.output(b.conv("y", x, 3, 5));
  Graph graph = b.graph;
  EXPECT_EQ(passes::fold(graph), 0);
  EXPECT_EQ(to_string(*graph.value(graph.outputs[0]).shape), "[B,5,8,8]");
}

TEST(Fold, ConstantsAreComputed) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId two = b.binary(BinaryFn::add, b.number(0.5f), b.unary({UnaryFn::exp}, b.number(0.25f)));
  b.output(b.node("y", Binary{BinaryFn::mul, {}}, {x, two}));
  const Graph graph = folded(b);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_TRUE(graph.is_constant(graph.nodes[0].inputs[1]));
}

// Flatten as PyTorch writes it: x.view(x.shape[0], -1).
TEST(Fold, ReshapeByShapeArithmetic) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId shape = b.node("shape", ShapeOf{}, {x});
  const ValueId n = b.node("n", Gather{0}, {shape, b.graph.add_constant("zero", Tensor::ints({}, std::array<int64_t, 1>{0}))});
  Reshape unsqueeze;
  unsqueeze.form = Reshape::Form::unsqueeze;
  unsqueeze.axes = Ints{0};
  const ValueId n1 = b.node("n1", unsqueeze, {n});
  const ValueId target = b.node("target", Concat{0}, {n1, b.ints({-1})});
  b.output(b.node("y", Reshape{}, {x, target}));
  const Graph graph = folded(b, 0);
  ASSERT_EQ(graph.nodes.size(), 1u) << to_string(graph);
  EXPECT_EQ(graph.nodes[0].inputs.size(), 1u);
  EXPECT_EQ(to_string(graph.nodes[0].op), "Reshape [B,192]");
}

// Padding amounts computed from the static part of a shape fold although the batch is symbolic.
TEST(Fold, ArithmeticOnStaticDimensions) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId hw = b.node("hw", ShapeOf{2, std::nullopt}, {x});
  const ValueId half = b.node("half", Binary{BinaryFn::div, {}}, {hw, b.ints({2, 2})});
  const ValueId zeros = b.ints({0, 0});
  const ValueId pads = b.node("pads", Concat{0}, {zeros, half, zeros, half});
  b.output(b.node("y", Pad{}, {x, pads}));
  const Graph graph = folded(b);
  ASSERT_EQ(graph.nodes.size(), 1u) << to_string(graph);
  EXPECT_EQ(to_string(*graph.value(graph.outputs[0]).shape), "[B,3,16,16]");
}

TEST(Fold, ConstantOfSymbolicShapeNeedsNoArithmetic) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId shape = b.node("shape", ShapeOf{}, {x});
  const ValueId ones = b.node("ones", ConstantOfShape{Tensor::floats({1}, std::array<float, 1>{1.5f})}, {shape});
  b.output(b.node("y", Binary{BinaryFn::add, {}}, {x, ones}));
  const Graph graph = folded(b);
  EXPECT_EQ(count_kind(graph, "ShapeOf"), 0u);
  EXPECT_EQ(count_kind(graph, "Expand"), 1u);
}

TEST(Fold, HugeConstantsStayNodes) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 1});
  const ValueId big = b.node("big", ConstantOfShape{Tensor::floats({1}, std::array<float, 1>{1.0f})}, {b.ints({5000, 5000})});
  const ValueId sum = b.node("sum", Reduce{ReduceFn::mean, std::nullopt, false, false}, {big});
  b.output(b.node("y", Binary{BinaryFn::add, {}}, {x, sum}));
  Graph graph = b.graph;
  passes::fold(graph);
  passes::remove_dead(graph);
  EXPECT_EQ(graph.nodes.size(), 3u) << to_string(graph);
}

TEST(Fold, NodesThatChangeNothingVanish) {
  Builder b;
  ValueId x = b.input("x", kImages);
  x = b.conv("first", x, 3, 4);
  x = b.node("identity", Identity{}, {x});
  x = b.node("cast", Cast{DType::f32}, {x});
  x = b.node("reshape", Reshape{}, {x, b.ints({0, 4, 8, 8})});
  x = b.node("transpose", Transpose{{0, 1, 2, 3}}, {x});
  x = b.node("pad", Pad{}, {x, b.ints({0, 0, 0, 0, 0, 0, 0, 0})});
  x = b.node("slice", Slice{}, {x, b.ints({0, 0}), b.ints({1000, 1 << 30}), b.ints({1, 3})});
  x = b.node("concat", Concat{1}, {x});
  x = b.node("expand", Expand{}, {x, b.ints({1, 1, 8, 1})});
  x = b.node("tile", Tile{}, {x, b.ints({1, 1, 1, 1})});
  x = b.node("times one", Binary{BinaryFn::mul, {}}, {b.number(1.0f), x});
  x = b.node("unbounded", UnaryOp{{UnaryFn::clip, -INFINITY, INFINITY}}, {x});
  b.output(b.conv("y", x, 4, 2));
  const Graph graph = folded(b);
  EXPECT_EQ(graph.nodes.size(), 2u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Conv"), 2u);
}

TEST(Fold, NodesThatChangeSomethingStay) {
  Builder b;
  ValueId x = b.input("x", kImages);
  x = b.node("reversed", Slice{}, {x, b.ints({-1}), b.ints({-1000}), b.ints({2}), b.ints({-1})});
  x = b.node("swapped", Transpose{{0, 1, 3, 2}}, {x});
  x = b.node("grown", Binary{BinaryFn::add, {}}, {x, b.floats({1, 1, 1, 1, 1}, {0.0f})});
  b.output(b.node("y", Binary{BinaryFn::sub, {}}, {b.number(0.0f), x}));
  Graph graph = b.graph;
  EXPECT_EQ(passes::fold(graph), 0);
  EXPECT_EQ(graph.nodes.size(), 4u);
  expect_equal_output(b.graph, graph);
}

TEST(Fold, OutputNamesSurvive) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId y = b.conv("y", x, 3, 4);
  b.output(b.node("answer", Identity{}, {y}));                           // takes over y's place
  b.output(b.node("again", Identity{}, {y}));                            // y has a name already: stays
  b.output(b.node("copy", Cast{DType::f32}, {x}));                       // a graph input: stays, as Identity
  b.output(b.node("fixed", Identity{}, {b.floats({2}, {1.0f, 2.0f})}));  // a constant
  b.output(b.unary({UnaryFn::relu}, y));
  const Graph graph = folded(b);
  EXPECT_EQ(count_kind(graph, "Identity"), 2u) << to_string(graph);
  EXPECT_EQ(graph.nodes.size(), 4u) << to_string(graph);
}

TEST(Fold, ChainsOfReshapesAndTransposesShrink) {
  Builder b;
  ValueId x = b.input("x", {Dim(1, kBatch), 4, 2, 3});
  x = b.node("r1", Reshape{}, {x, b.ints({0, 8, 3})});
  x = b.node("r2", Reshape{}, {x, b.ints({-1, 24})});
  x = b.node("r3", Reshape{}, {x, b.ints({0, 4, 2, 3})});
  x = b.unary({UnaryFn::relu}, x);
  x = b.node("t1", Transpose{{0, 2, 3, 1}}, {x});
  x = b.node("t2", Transpose{{0, 3, 1, 2}}, {x});
  x = b.unary({UnaryFn::exp}, x);
  x = b.node("t3", Transpose{{0, 2, 1, 3}}, {x});
  b.output(b.node("y", Transpose{{0, 3, 2, 1}}, {x}));
  const Graph graph = folded(b);
  EXPECT_EQ(graph.nodes.size(), 3u) << to_string(graph);
  EXPECT_EQ(to_string(graph.nodes[2].op), "Transpose perm=0,3,1,2");
}

TEST(Fold, TransposeOfUnitAxesIsAReshape) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 6, 1, 1});
  b.output(b.node("y", Transpose{{0, 2, 3, 1}}, {x}));
  const Graph graph = folded(b);
  EXPECT_EQ(to_string(graph.nodes[0].op), "Reshape [B,1,1,6]");
}

TEST(Fold, AllFailingNodesInOneReport) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId lengths = b.input("lengths", {2}, DType::i64);
  const ValueId bad_conv = b.conv("narrow", x, 7, 4);                  // 3 channels given, 7 wanted
  const ValueId behind = b.unary({UnaryFn::relu}, bad_conv);           // only follows from it: not named
  const ValueId dynamic = b.node("dynamic", Reshape{}, {x, lengths});  // target known at run time only
  const ValueId ragged = b.node("ragged", Binary{BinaryFn::add, {}}, {x, b.random({5})});
  b.output(behind).output(dynamic).output(ragged);
  try {
    passes::fold(b.graph);
    FAIL() << "nothing thrown";
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(text.find("3 nodes"), std::string::npos) << text;
    for (const char* part : {"test: ", "\"narrow\" (Conv, opset 17)", "\"dynamic\"", "\"ragged\""})
      EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(text.find("UnaryOp"), std::string::npos) << text;
  }
}

TEST(Fold, UnsupportedAloneIsUnsupported) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId lengths = b.input("lengths", {2}, DType::i64);
  b.output(b.node("dynamic", Reshape{}, {x, lengths}));
  try {
    passes::fold(b.graph);
    FAIL() << "nothing thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(e.what()).find("node \"dynamic\""), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fcm::testing
