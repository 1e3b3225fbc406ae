// Passes that fuse activations and residuals, and that drop what is copied or computed for nothing: drop_expand, sink_expand,
// simplify_slices.
#include "runtime/passes/match.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kImages = {Dim(1, kBatch), 4, 6, 6};
const Unary kRelu6{UnaryFn::clip, 0.0f, 6.0f};

const Conv& last_conv(const Graph& graph) {
  return std::get<Conv>(graph.nodes.back().op);
}

TEST(FuseActivation, IntoConvGemmAndBinary) {
  Builder b;
  b.output(b.unary(kRelu6, b.conv("conv", b.input("x", kImages), 4, 4)));
  Graph graph = run_pass(b.graph, passes::fuse_activation, 1);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(last_conv(graph).activation, kRelu6);
  EXPECT_EQ(graph.nodes[0].origin.name, "conv");

  Builder g;
  g.output(g.unary({UnaryFn::silu}, g.node("gemm", Gemm{}, {g.input("x", {Dim(1, kBatch), 5}), g.random({5, 3})})));
  EXPECT_EQ(run_pass(g.graph, passes::fuse_activation, 1).nodes.size(), 1u);

  Builder s;
  const ValueId x = s.input("x", kImages);
  s.output(s.unary({UnaryFn::relu}, s.binary(BinaryFn::sub, x, s.input("z", kImages))));
  EXPECT_EQ(run_pass(s.graph, passes::fuse_activation, 1).nodes.size(), 1u);
}

TEST(FuseActivation, OneEach) {
  Builder b;
  b.output(b.unary({UnaryFn::tanh}, b.unary({UnaryFn::relu}, b.conv("conv", b.input("x", kImages), 4, 4))));
  const Graph graph = run_pass(b.graph, passes::fuse_activation, 1);
  EXPECT_EQ(graph.nodes.size(), 2u);
  EXPECT_EQ(last_conv(Graph{{}, {}, graph.values, {graph.nodes[0]}, {}, {}}).activation, Unary{UnaryFn::relu});
}

TEST(FuseActivation, IntoAllThatAConcatJoins) {
  for (const bool other_reader : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", kImages);
    const ValueId left = b.conv("left", x, 4, 4), right = b.conv("right", x, 4, 3);
    b.output(b.unary({UnaryFn::relu}, b.node("join", Concat{1}, {left, right})));
    if (other_reader) b.output(right);
    const Graph graph = run_pass(b.graph, passes::fuse_activation, other_reader ? 0 : 3);
    EXPECT_EQ(graph.nodes.size(), other_reader ? 4u : 3u);
  }
}

TEST(FuseActivation, IntoAttention) {
  Attention op;
  op.items = Dim(1, kBatch);
  op.heads = 2;
  op.queries = op.keys = 5;
  op.qk_size = op.v_size = 4;
  op.q = {0, 120, 4, 24};
  op.k = {8, 120, 4, 24};
  op.v = {16, 120, 4, 24};
  for (const AttentionFn fn : {AttentionFn::softmax, AttentionFn::relu}) {
    op.fn = fn;
    op.epsilon = 1e-5f;
    Builder one;
    one.output(one.unary({UnaryFn::hard_swish}, one.node("attention", op, {one.input("x", {Dim(1, kBatch), 5, 24})})));
    const Graph graph = run_pass(one.graph, passes::fuse_activation, 1);
    ASSERT_EQ(graph.nodes.size(), 1u) << to_string(graph);
    EXPECT_NE(to_string(graph).find("act=hard_swish"), std::string::npos) << to_string(graph);
  }
}

// A depthwise convolution of tokens: its activation stands behind the moves back.
TEST(FuseActivation, BeforeMoves) {
  for (const bool alone : {true, false}) {
    Builder b;
    ValueId y = b.node("tokens", Transpose{{0, 2, 3, 1}}, {b.conv("conv", b.input("x", {Dim(1, kBatch), 3, 4, 5}), 3, 8)});
    y = b.node("flat", passes::reshape_to({Dim(1, kBatch), 20, 8}), {y});
    b.output(b.unary({UnaryFn::gelu}, y));
    if (!alone) b.output(b.unary({UnaryFn::neg}, y));  // the value without activation is read too
    const Graph graph = run_pass(b.graph, passes::fuse_activation, alone ? 2 : 0);
    EXPECT_EQ(count_kind(graph, "UnaryOp"), alone ? 0u : 2u) << to_string(graph);
  }
}

TEST(SimplifySlices, PartsThatAreRead) {
  const Shape shape = {Dim(1, kBatch), 12, 4};
  const auto split = [&](std::vector<size_t> read) {
    Builder b;
    const ValueId x = b.input("x", shape);
    std::vector<ValueId> parts;
    for (const char* name : {"p", "q", "r"}) parts.push_back(b.graph.add_value(name, DType::f32));
    b.graph.add_node(Split{1, {3, 4, 5}}, {x}, parts, {"split", "Split", 17, ""});
    for (const size_t i : read) b.output(b.unary({UnaryFn::exp}, parts[i]));
    return b.graph;
  };
  EXPECT_EQ(count_kind(run_pass(split({1}), passes::simplify_slices, 1), "Slice"), 1u);
  EXPECT_EQ(count_kind(run_pass(split({0, 2}), passes::simplify_slices, 1), "Slice"), 2u);
  run_pass(split({0, 1, 2}), passes::simplify_slices, 0);
}

TEST(SimplifySlices, OneBehindTheOther) {
  const auto slice = [](Builder& b, const std::string& name, ValueId x, int64_t axis) {
    return b.node(name, Slice{}, {x, b.ints({1}), b.ints({INT64_MAX}), b.ints({axis}), b.ints({2})});
  };
  for (const int64_t axis : {1, 2}) {
    Builder b;
    b.output(slice(b, "y", slice(b, "rows", b.input("x", {Dim(1, kBatch), 7, 8, 3}), 1), axis));
    const Graph graph = run_pass(b.graph, passes::simplify_slices, axis == 1 ? 0 : 1);
    EXPECT_EQ(count_kind(graph, "Slice"), axis == 1 ? 2u : 1u);
  }
  Builder read;
  const ValueId rows = slice(read, "rows", read.input("x", {Dim(1, kBatch), 7, 8, 3}), 1);
  read.output(slice(read, "y", rows, 2)).output(rows);
  run_pass(read.graph, passes::simplify_slices, 0);
}

// Positions that are computed from what is the same for all items.
TEST(SinkExpand, WhatIsTheSameForAllItems) {
  Builder b;
  const Dim items(1, kBatch);
  const ValueId x = b.input("x", {items, 20, 6});
  const ValueId ones = b.node("ones", Expand{Shape{items, 4, 5}}, {b.number(1.5f)});
  ValueId h = b.node("sums", CumSum{}, {ones, b.ints({1})});
  h = b.binary(BinaryFn::mul, h, b.node("part", Slice{}, {ones, b.ints({1}), b.ints({2}), b.ints({1})}));
  h = b.binary(BinaryFn::div, b.node("four", passes::reshape_to({items, 4, 5, 1}), {h}), b.random({3}, 1.0f, 2.0f));
  h = b.node("both", Concat{3}, {b.unary({UnaryFn::sin}, h), b.unary({UnaryFn::cos}, h)});
  h = b.node("turned", Transpose{{0, 2, 1, 3}}, {h});
  h = b.node("flat", passes::reshape_to({items, 20, 6}), {h});
  h = b.node("linear", MatMul{}, {h, b.random({6, 6})});
  b.output(b.binary(BinaryFn::add, x, h));
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_EQ(graph.nodes.size(), 1u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-5);
}

TEST(SinkExpand, MustNotFire) {
  const Dim items(1, kBatch);
  Builder outer;  // the result has an axis before that of the items
  outer.output(outer.binary(BinaryFn::add, outer.node("ones", Expand{Shape{items, 4}}, {outer.number(1.0f)}), outer.random({3, 1, 4})));
  run_pass(outer.graph, passes::sink_expand, 0);
  Builder joined;  // a value of the caller's differs
  const ValueId ones = joined.node("ones", Expand{Shape{items, 4}}, {joined.number(1.0f)});
  joined.output(joined.node("y", Concat{1}, {ones, joined.input("x", {items, 2})}));
  run_pass(joined.graph, passes::sink_expand, 0);
  Builder moved;  // items are no longer the first axis
  moved.output(moved.node("y", Transpose{{1, 0}}, {moved.node("ones", Expand{Shape{items, 4}}, {moved.random({4})})}));
  run_pass(moved.graph, passes::sink_expand, 0);
}

// x + scale * (pool(x) - x)
TEST(FuseElementwise, OneAfterTheOther) {
  for (const bool read : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", kImages);
    const ValueId less = b.binary(BinaryFn::sub, b.input("pooled", kImages), x);
    const ValueId scaled = b.binary(BinaryFn::mul, less, b.random({4, 1, 1}));
    b.output(b.unary({UnaryFn::tanh}, b.binary(BinaryFn::add, x, b.unary({UnaryFn::exp}, scaled))));
    if (read) b.output(scaled);
    const Graph graph = run_pass(b.graph, passes::fuse_elementwise, read ? 3 : 4);
    EXPECT_EQ(graph.nodes.size(), read ? 2u : 1u) << to_string(graph);
    EXPECT_EQ(graph.nodes.back().inputs.size(), read ? 2u : 3u) << to_string(graph);
  }
}

TEST(FuseElementwise, ReadTwice) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
  const ValueId y = b.unary({UnaryFn::abs}, b.input("y", kImages));
  b.output(b.binary(BinaryFn::mul, b.binary(BinaryFn::mul, x, x), y));
  const Graph graph = run_pass(b.graph, passes::fuse_elementwise, 3);
  EXPECT_EQ(graph.nodes.size(), 1u) << to_string(graph);
}

TEST(FuseElementwise, MustNotFire) {
  Builder few;  // computed once for every row
  few.output(few.binary(BinaryFn::add, few.input("x", kImages), few.unary({UnaryFn::exp}, few.input("y", {Dim(1, kBatch), 4, 1, 1}))));
  run_pass(few.graph, passes::fuse_elementwise, 0);
  Builder gate;  // belongs to the layers around it
  const ValueId x = gate.input("x", kImages);
  const ValueId scale = gate.conv("conv", gate.node("mean", GlobalPool{}, {x}), 4, 4, 1, 0);
  gate.output(gate.binary(BinaryFn::add, gate.binary(BinaryFn::mul, x, scale), x));
  run_pass(gate.graph, passes::fuse_elementwise, 0);
  Builder truth;  // no number
  const ValueId seen = truth.unary({UnaryFn::abs}, truth.input("x", kImages));
  truth.output(truth.binary(BinaryFn::less, seen, truth.number(0.5f)));
  run_pass(truth.graph, passes::fuse_elementwise, 0);
}

TEST(DropExpand, BeforeWhatBroadcasts) {
  const Shape full = {Dim(1, kBatch), 6, 4, 5};
  for (const bool alone : {false, true}) {
    Builder b;
    const ValueId narrow = b.input("narrow", {Dim(1, kBatch), 6, 4, 1});
    const ValueId wide = b.node("wide", Expand{full}, {narrow});
    b.output(b.binary(BinaryFn::mul, alone ? b.random({5}) : b.input("x", full), wide));
    const Graph graph = run_pass(b.graph, passes::drop_expand, alone ? 0 : 1);
    EXPECT_EQ(count_kind(graph, "Expand"), alone ? 1u : 0u);
  }
}

TEST(FuseActivation, MustNotFire) {
  Builder shared;  // somebody else reads the convolution
  ValueId y = shared.conv("conv", shared.input("x", kImages), 4, 4);
  shared.output(shared.unary({UnaryFn::relu}, y)).output(shared.unary({UnaryFn::exp}, y));
  run_pass(shared.graph, passes::fuse_activation, 0);
  Builder shown;  // the convolution is a graph output
  y = shown.conv("conv", shown.input("x", kImages), 4, 4);
  shown.output(shown.unary({UnaryFn::relu}, y)).output(y);
  run_pass(shown.graph, passes::fuse_activation, 0);
  Builder arithmetic;  // not an activation
  arithmetic.output(arithmetic.unary({UnaryFn::abs}, arithmetic.conv("conv", arithmetic.input("x", kImages), 4, 4)));
  run_pass(arithmetic.graph, passes::fuse_activation, 0);
  Builder pool;
  Pool max;
  max.window.kernel = {2, 2};
  pool.output(pool.unary({UnaryFn::relu}, pool.node("pool", max, {pool.input("x", kImages)})));
  run_pass(pool.graph, passes::fuse_activation, 0);
  Builder integers;
  const ValueId n = integers.input("n", {4}, DType::i64);
  integers.output(integers.unary({UnaryFn::relu}, integers.binary(BinaryFn::sub, n, integers.ints({1, 2, 3, 4}))));
  run_pass(integers.graph, passes::fuse_activation, 0);
}

// A residual behind the activation must not be taken along by an activation behind the sum.
TEST(FuseActivation, NotBehindAFinishedEpilogue) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId y = b.unary({UnaryFn::relu}, b.conv("conv", x, 4, 4));
  b.output(b.unary({UnaryFn::tanh}, b.binary(BinaryFn::add, x, y)));
  Graph graph = b.graph;
  passes::normalize(graph);
  ASSERT_EQ(graph.nodes.size(), 2u) << to_string(graph);
  expect_equal_output(b.graph, graph);
}

TEST(FuseResidual, SumThenActivation) {
  for (const bool swapped : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", kImages);
    const ValueId y = b.conv("conv", x, 4, 4);
    ValueId sum = swapped ? b.binary(BinaryFn::add, x, y) : b.binary(BinaryFn::add, y, x);
    std::get<Binary>(b.graph.nodes.back().op).activation = {UnaryFn::relu};
    b.output(sum);
    const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
    ASSERT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(last_conv(graph).activation, Unary{UnaryFn::relu});
    EXPECT_FALSE(last_conv(graph).residual_after_activation);
    EXPECT_EQ(graph.nodes[0].input(3), graph.inputs[0]);
  }
}

TEST(FuseResidual, ActivationThenSum) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId y = b.conv("conv", x, 4, 4);
  std::get<Conv>(b.graph.nodes.back().op).activation = {UnaryFn::silu};
  b.output(b.binary(BinaryFn::add, y, x));
  const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_TRUE(last_conv(graph).residual_after_activation);
}

TEST(FuseResidual, IntoGemm) {
  for (const bool tokens : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", tokens ? Shape{Dim(1, kBatch), 4, 5} : Shape{Dim(1, kBatch), 5});
    b.output(b.binary(BinaryFn::add, x, b.node("gemm", Gemm{}, {x, b.random({5, 5}), b.random({5})})));
    std::get<Binary>(b.graph.nodes.back().op).activation = {UnaryFn::relu};
    const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
    ASSERT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(std::get<Gemm>(graph.nodes[0].op).activation, Unary{UnaryFn::relu});
    EXPECT_EQ(graph.nodes[0].input(3), graph.inputs[0]);
  }
  Builder activated;  // its activation stands before the sum
  const ValueId x = activated.input("x", {Dim(1, kBatch), 5});
  Gemm gemm;
  gemm.activation = {UnaryFn::relu};
  activated.output(activated.binary(BinaryFn::add, x, activated.node("gemm", gemm, {x, activated.random({5, 5})})));
  run_pass(activated.graph, passes::fuse_residual, 0);
}

// The convolution is written before what it adds: it must move behind it.
TEST(FuseResidual, TheResidualMayComeLater) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId y = b.conv("conv", x, 4, 4);
  const ValueId later = b.unary({UnaryFn::exp}, b.unary({UnaryFn::sin}, x));
  b.output(b.binary(BinaryFn::add, y, later));
  const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
  ASSERT_EQ(graph.nodes.size(), 3u);
  EXPECT_EQ(graph.nodes.back().origin.name, "conv");
}

TEST(FuseResidual, OfTwoConvolutionsTheLaterOne) {
  for (const bool swapped : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", kImages);
    const ValueId first = b.conv("shortcut", x, 4, 5, 1, 0);
    const ValueId second = b.conv("main", x, 4, 5);
    b.output(swapped ? b.binary(BinaryFn::add, second, first) : b.binary(BinaryFn::add, first, second));
    const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
    ASSERT_EQ(graph.nodes.size(), 2u);
    EXPECT_EQ(graph.nodes.back().origin.name, "main");
    EXPECT_EQ(graph.nodes.back().input(3), graph.nodes[0].outputs[0]);
  }
}

// The later one cannot hold the sum (its result is read elsewhere): the earlier one takes it.
TEST(FuseResidual, TheOtherWhereOneCannot) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId first = b.conv("shortcut", x, 4, 5, 1, 0);
  const ValueId second = b.conv("main", x, 4, 5);
  b.output(b.binary(BinaryFn::add, first, second)).output(second);
  const Graph graph = run_pass(b.graph, passes::fuse_residual, 1);
  EXPECT_EQ(graph.nodes.back().origin.name, "shortcut");
}

TEST(FuseResidual, AChainOfBlocks) {
  Builder b;
  ValueId x = b.input("x", kImages);
  for (int i = 0; i < 4; ++i) {
    ValueId y = b.unary(kRelu6, b.conv("expand", x, 4, 8, 1, 0));
    y = b.conv("project", y, 8, 4, 1, 0);
    x = b.binary(BinaryFn::add, y, x);
  }
  b.output(x);
  Graph graph = run_pass(b.graph, passes::fuse_residual, 4);
  passes::normalize(graph);
  EXPECT_EQ(graph.nodes.size(), 8u);
  expect_equal_output(b.graph, graph, 1e-5);
}

TEST(FuseResidual, MustNotFire) {
  Builder broadcast;
  ValueId x = broadcast.input("x", kImages);
  broadcast.output(broadcast.binary(BinaryFn::add, broadcast.conv("conv", x, 4, 4), broadcast.input("row", {Dim(1, kBatch), 4, 1, 1})));
  run_pass(broadcast.graph, passes::fuse_residual, 0);
  Builder doubled;  // y + y
  ValueId y = doubled.conv("conv", doubled.input("x", kImages), 4, 4);
  doubled.output(doubled.binary(BinaryFn::add, y, y));
  run_pass(doubled.graph, passes::fuse_residual, 0);
  Builder shared;
  x = shared.input("x", kImages);
  y = shared.conv("conv", x, 4, 4);
  shared.output(shared.binary(BinaryFn::add, y, x)).output(shared.unary({UnaryFn::exp}, y));
  run_pass(shared.graph, passes::fuse_residual, 0);
  Builder twice;  // an activation before the sum and one behind it
  x = twice.input("x", kImages);
  y = twice.conv("conv", x, 4, 4);
  std::get<Conv>(twice.graph.nodes.back().op).activation = {UnaryFn::relu};
  twice.output(twice.binary(BinaryFn::add, y, x));
  std::get<Binary>(twice.graph.nodes.back().op).activation = {UnaryFn::tanh};
  run_pass(twice.graph, passes::fuse_residual, 0);
  Builder product;
  x = product.input("x", kImages);
  product.output(product.binary(BinaryFn::mul, product.conv("conv", x, 4, 4), x));
  run_pass(product.graph, passes::fuse_residual, 0);
}

TEST(FuseResidual, OneResidualAConvolution) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  const ValueId z = b.input("z", kImages);
  b.output(b.binary(BinaryFn::add, b.binary(BinaryFn::add, b.conv("conv", x, 4, 4), x), z));
  EXPECT_EQ(run_pass(b.graph, passes::fuse_residual, 1).nodes.size(), 2u);
}

TEST(SpreadMatmul, RepeatsWhatBroadcastsInPart) {
  const auto product = [](const Shape& x, Dims w, bool left) {
    Builder b;
    const ValueId a = b.input("x", x);
    const ValueId c = b.random(std::move(w));
    return b.output(b.node("y", MatMul{}, left ? std::vector{c, a} : std::vector{a, c})).graph;
  };
  const Dim batch(1, kBatch);
  EXPECT_EQ(count_kind(run_pass(product({batch, 3, 5, 4}, {1, 3, 4, 2}, false), passes::spread_matmul, 1), "Expand"), 1U);
  EXPECT_EQ(count_kind(run_pass(product({batch, 3, 5, 4}, {3, 6, 5}, true), passes::spread_matmul, 1), "Expand"), 1U);
  EXPECT_EQ(count_kind(run_pass(product({3, 1, 5, 4}, {1, 2, 4, 2}, false), passes::spread_matmul, 1), "Expand"), 2U);
  run_pass(product({batch, 3, 5, 4}, {4, 2}, false), passes::spread_matmul, 0);
}

}  // namespace
}  // namespace fcm::testing
