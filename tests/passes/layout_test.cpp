// collapse_moves and sink_to_map: chains of Reshape and Transpose, and layers between Transposes.
#include <array>
#include <numeric>

#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kMap = {Dim(1, kBatch), 8, 4, 6};
const Ints kToMap = {0, 3, 1, 2};
const Ints kToTokens = {0, 2, 3, 1};

ValueId transpose(Builder& b, ValueId x, Ints perm) {
  return b.node("transpose" + std::to_string(b.graph.nodes.size()), Transpose{std::move(perm)}, {x});
}
ValueId reshape(Builder& b, ValueId x, Shape target) {
  Reshape op;
  op.target = std::move(target);
  return b.node("reshape" + std::to_string(b.graph.nodes.size()), op, {x});
}

// An integer of rank 0.
Tensor scalar_of(int64_t x) {
  Tensor t(DType::i64, {});
  t.data<int64_t>()[0] = x;
  return t;
}

Graph collapsed(const Builder& b, int times = 1) {
  return run_pass(b.graph, passes::collapse_moves, times);
}

// The patches of a vision transformer: flattening and transposing a map is what its tokens are.
TEST(CollapseMoves, AMapToTokens) {
  Builder b;
  const ValueId map = b.conv("conv", b.input("x", {Dim(1, kBatch), 3, 4, 6}), 3, 8);
  b.output(b.unary({UnaryFn::exp}, transpose(b, reshape(b, map, {Dim(1, kBatch), 8, 24}), {0, 2, 1})));
  const Graph graph = collapsed(b);
  ASSERT_EQ(graph.nodes.size(), 4u) << to_string(graph);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[1].op).perm, kToTokens);
}

TEST(CollapseMoves, TokensToAMap) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 24, 8});
  b.output(b.conv("conv", reshape(b, transpose(b, x, {0, 2, 1}), kMap), 8, 3));
  const Graph graph = collapsed(b);
  ASSERT_EQ(graph.nodes.size(), 3u) << to_string(graph);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[1].op).perm, kToMap);
}

// MobileViT unfolds a map into patches with two Transposes, and folds it again.
TEST(CollapseMoves, UnfoldAndFold) {
  Builder b;
  const ValueId map = b.conv("conv", b.input("x", {Dim(1, kBatch), 3, 4, 6}), 3, 8);
  ValueId t = transpose(b, reshape(b, map, {Dim(16, kBatch), 2, 3, 2}), {0, 2, 1, 3});
  t = transpose(b, reshape(b, t, {Dim(1, kBatch), 8, 6, 4}), {0, 3, 2, 1});
  t = b.unary({UnaryFn::exp}, reshape(b, t, {Dim(4, kBatch), 6, 8}));
  t = transpose(b, reshape(b, t, {Dim(1, kBatch), 4, 6, 8}), {0, 3, 2, 1});
  t = transpose(b, reshape(b, t, {Dim(16, kBatch), 3, 2, 2}), {0, 2, 1, 3});
  b.output(b.conv("last", reshape(b, t, kMap), 8, 3));
  const Graph graph = collapsed(b, 2);
  EXPECT_EQ(count_kind(graph, "Transpose"), 4u) << to_string(graph);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[1].op).perm, kToTokens);
  int copies = 0;
  for (const Node& n : graph.nodes) {
    const auto* op = std::get_if<Transpose>(&n.op);
    if (op == nullptr || op->perm == kToTokens || op->perm == kToMap) continue;
    ++copies;
    EXPECT_EQ(op->perm.back(), static_cast<int64_t>(op->perm.size()) - 1) << "channels stay together";
  }
  EXPECT_EQ(copies, 2);
}

TEST(CollapseMoves, ChannelShuffle) {
  Builder b;
  const ValueId map = b.conv("conv", b.input("x", {Dim(1, kBatch), 3, 4, 6}), 3, 8);
  const ValueId t = transpose(b, reshape(b, map, {Dim(1, kBatch), 2, 4, 4, 6}), {0, 2, 1, 3, 4});
  b.output(b.conv("last", reshape(b, t, kMap), 8, 3));
  const Graph graph = collapsed(b);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[1].op).perm, kToTokens);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[graph.nodes.size() - 2].op).perm, kToMap);
}

TEST(CollapseMoves, WhatCancelsIsAReshape) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 6, 4});
  const ValueId t = transpose(b, reshape(b, transpose(b, x, {0, 2, 1}), {Dim(1, kBatch), 2, 2, 6}), {0, 3, 1, 2});
  b.output(b.unary({UnaryFn::exp}, t));
  EXPECT_EQ(count_kind(collapsed(b), "Transpose"), 0u);
}

TEST(CollapseMoves, RandomChains) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
    Builder b;
    Shape shape = {Dim(2, kBatch), 6, 4, 5};
    ValueId x = b.input("x", shape);
    if (seed % 3 == 0) {
      shape = kMap;
      x = b.conv("conv", b.input("map", {Dim(1, kBatch), 3, 4, 6}), 3, 8);
    }
    const size_t length = 2 + below(5);
    bool batch_inside = false;  // of a joined axis: where such an axis can be cut again is not known, and the chain stays as it is there
    for (size_t i = 0; i < length; ++i) {
      if (below(2) == 0) {
        Ints perm(shape.size());
        std::iota(perm.begin(), perm.end(), 0);
        std::shuffle(perm.begin(), perm.end(), random);
        Shape turned;
        for (const int64_t axis : perm) turned.push_back(shape[static_cast<size_t>(axis)]);
        x = transpose(b, x, perm);
        shape = turned;
      } else if (below(2) == 0 && shape.size() > 2) {  // two axes become one
        const size_t axis = below(shape.size() - 1);
        batch_inside = batch_inside || (shape[axis + 1].batch && shape[axis].factor > 1);
        shape[axis] = Dim(shape[axis].factor * shape[axis + 1].factor, shape[axis].batch || shape[axis + 1].batch);
        shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1);
        x = reshape(b, x, shape);
      } else {  // one becomes two
        const size_t axis = below(shape.size());
        const int64_t piece = shape[axis].factor % 2 == 0 ? 2 : shape[axis].factor % 3 == 0 ? 3 : 1;
        const bool batch_first = below(2) == 0;
        const Dim outer(shape[axis].factor / piece, shape[axis].batch && batch_first), inner(piece, shape[axis].batch && !batch_first);
        shape[axis] = outer;
        shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1, inner);
        x = reshape(b, x, shape);
      }
    }
    b.output(b.unary({UnaryFn::exp}, x));
    Graph graph = b.graph;
    passes::fold(graph);
    passes::remove_dead(graph);
    while (passes::collapse_moves(graph) > 0) {  // settles
      passes::fold(graph);
      passes::remove_dead(graph);
    }
    EXPECT_LE(count_kind(graph, "Transpose"), seed % 3 == 0 || batch_inside ? 2u : 1u) << to_string(graph);
    expect_equal_output(b.graph, graph);
  }
}

TEST(CollapseMoves, MustNotFire) {
  Builder attention;  // heads apart: one Reshape and one Transpose are the least
  ValueId x = attention.input("x", {Dim(1, kBatch), 6, 24});
  attention.output(
      attention.unary({UnaryFn::exp}, transpose(attention, reshape(attention, x, {Dim(1, kBatch), 6, 3, 2, 4}), {2, 0, 3, 1, 4})));
  collapsed(attention, 0);
  Builder shared;  // the value between is read elsewhere
  x = shared.input("x", {Dim(1, kBatch), 6, 4});
  const ValueId t = transpose(shared, x, {0, 2, 1});
  shared.output(shared.unary({UnaryFn::exp}, reshape(shared, t, {Dim(1, kBatch), 24}))).output(shared.unary({UnaryFn::sin}, t));
  collapsed(shared, 0);
  Builder ragged;  // 6 x 4 as 8 x 3: no product of factors
  x = ragged.input("x", {Dim(1, kBatch), 6, 4});
  const ValueId turned =
      transpose(ragged, transpose(ragged, reshape(ragged, transpose(ragged, x, {0, 2, 1}), {Dim(1, kBatch), 3, 8}), {0, 2, 1}), {1, 0, 2});
  ragged.output(ragged.unary({UnaryFn::exp}, turned));
  Graph graph = ragged.graph;
  passes::normalize(graph);
  expect_equal_output(ragged.graph, graph);
}

// A ConvNeXt block as it is exported in both ways: with linear layers between Transposes, and with 1x1 convolutions behind a layer norm.
Builder convnext(bool convolutions) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::relu}, b.conv("stem", b.input("x", {Dim(1, kBatch), 3, 4, 6}), 3, 8));
  Conv depthwise;
  depthwise.group = 8;
  depthwise.window.pads_begin = depthwise.window.pads_end = {3, 3};
  ValueId t = b.node("depthwise", depthwise, {x, b.random({8, 1, 7, 7}), b.random({8})});
  t = b.node("norm", Normalize{NormFn::layer, -1, 0, false, 1e-6f}, {transpose(b, t, kToTokens), b.random({8}, 0.5f, 1.5f), b.random({8})});
  if (convolutions) {
    t = b.unary({UnaryFn::gelu}, b.conv("expand", transpose(b, t, kToMap), 8, 32, 1, 0));
    t = b.conv("project", t, 32, 8, 1, 0);
    t = b.binary(BinaryFn::mul, t, b.random({8, 1, 1}));
  } else {
    t = b.unary({UnaryFn::gelu}, b.node("expand", Gemm{}, {t, b.random({8, 32}), b.random({32})}));
    t = b.binary(BinaryFn::mul, b.node("project", Gemm{}, {t, b.random({32, 8}), b.random({8})}), b.random({8}));
    t = transpose(b, t, kToMap);
  }
  b.output(b.conv("last", b.binary(BinaryFn::add, t, x), 8, 3));
  return b;
}

TEST(SinkToMap, AConvNextBlockIsOnTokensWhole) {
  for (const bool convolutions : {false, true}) {
    const Builder b = convnext(convolutions);
    Graph graph = b.graph;
    passes::normalize(graph);
    EXPECT_EQ(count_kind(graph, "Gemm"), 2u) << to_string(graph);
    EXPECT_EQ(count_kind(graph, "Binary"), 0u) << to_string(graph);
    EXPECT_EQ(count_kind(graph, "Normalize"), 1u);
    EXPECT_EQ(count_kind(graph, "Transpose"), 3u);  // in, of the residual, out
    for (const Node& n : graph.nodes) {
      if (std::holds_alternative<Normalize>(n.op)) {
        EXPECT_EQ(n.inputs.size(), 1u) << "scale and bias are in the layer behind";
      }
    }
    expect_equal_output(b.graph, graph, 1e-5);
  }
}

TEST(SinkToMap, PastWhatKeepsChannels) {
  Builder b;
  const ValueId t = transpose(b, b.input("x", {Dim(1, kBatch), 4, 6, 8}), kToMap);
  const ValueId u = transpose(b, b.input("z", {Dim(1, kBatch), 4, 6, 8}), kToMap);
  ValueId y = b.binary(BinaryFn::mul, b.unary({UnaryFn::silu}, t), b.random({1, 8, 1, 1}));
  y = b.binary(BinaryFn::sub, b.binary(BinaryFn::add, y, u), b.number(0.5f));
  b.output(b.conv("last", y, 8, 3));
  Graph graph = b.graph;
  passes::fold(graph);
  while (passes::sink_to_map(graph) > 0) passes::remove_dead(graph);
  EXPECT_EQ(count_kind(graph, "Transpose"), 1u) << to_string(graph);
  EXPECT_EQ(std::get<Transpose>(graph.nodes[graph.nodes.size() - 2].op).perm, kToMap);
  expect_equal_output(b.graph, graph);
}

TEST(SinkToMap, NotAwayFromADepthwiseConvolution) {
  Builder b;
  const ValueId t = transpose(b, b.input("x", {Dim(1, kBatch), 4, 6, 8}), kToMap);
  const ValueId expanded = b.unary({UnaryFn::silu}, b.conv("expand", t, 8, 16, 1, 0));
  Conv op;
  op.group = 16;
  b.output(b.node("depthwise", op, {expanded, b.random({16, 1, 3, 3})}));
  run_pass(b.graph, passes::sink_to_map, 0);
}

TEST(HoistReshape, InFrontOfTheLayer) {
  Builder b;
  ValueId y = b.node("gemm", Gemm{}, {b.input("x", {Dim(1, kBatch), 5, 8}), b.random({8, 6})});
  y = b.batch_norm("norm", reshape(b, y, {Dim(5, kBatch), 6}), 6);
  b.output(reshape(b, y, {Dim(1, kBatch), 5, 6}));
  Graph graph = run_pass(b.graph, passes::hoist_reshape, 1);
  passes::normalize(graph);
  EXPECT_EQ(count_kind(graph, "BatchNorm"), 0u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-5);
  Builder heads;  // the last axis is cut
  y = heads.node("gemm", Gemm{}, {heads.input("x", {Dim(1, kBatch), 5, 8}), heads.random({8, 6})});
  heads.output(heads.unary({UnaryFn::exp}, reshape(heads, y, {Dim(1, kBatch), 5, 2, 3})));
  run_pass(heads.graph, passes::hoist_reshape, 0);
}

TEST(SinkToMap, MustNotFire) {
  Builder window;  // a convolution that looks at neighbours
  window.output(window.conv("conv", transpose(window, window.input("x", {Dim(1, kBatch), 4, 6, 8}), kToMap), 8, 3));
  run_pass(window.graph, passes::sink_to_map, 0);
  Builder grouped;
  Conv op;
  op.group = 2;
  const ValueId t = transpose(grouped, grouped.input("x", {Dim(1, kBatch), 4, 6, 8}), kToMap);
  grouped.output(grouped.node("conv", op, {t, grouped.random({8, 4, 1, 1})}));
  run_pass(grouped.graph, passes::sink_to_map, 0);
  Builder plane;  // a constant for each pixel
  plane.output(plane.binary(BinaryFn::add, transpose(plane, plane.input("x", {Dim(1, kBatch), 4, 6, 8}), kToMap), plane.random({4, 6})));
  run_pass(plane.graph, passes::sink_to_map, 0);
  Builder other;  // another order of axes
  other.output(other.unary({UnaryFn::relu}, transpose(other, other.input("x", {Dim(1, kBatch), 4, 6, 8}), {0, 3, 2, 1})));
  run_pass(other.graph, passes::sink_to_map, 0);
}

Graph patches(int64_t channels, int64_t kernel, int64_t stride, int64_t height, int64_t pad = 0, bool residual = false) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), channels, height, 2 * stride});
  Conv op;
  op.window.kernel = {kernel, kernel}, op.window.strides = {stride, stride};
  op.window.pads_begin = op.window.pads_end = {pad, pad};
  op.activation = {UnaryFn::relu};
  std::vector<ValueId> inputs = {x, b.random({5, channels, kernel, kernel}, -0.1f, 0.1f), b.random({5})};
  if (residual) inputs.push_back(b.input("r", {Dim(1, kBatch), 5, height / stride, 2}));
  return b.output(b.node("embed", op, std::move(inputs))).graph;
}

TEST(SplitPatches, BecomeRowsOfAProduct) {
  const Graph graph = run_pass(patches(3, 8, 8, 24), passes::split_patches, 1, 1e-5);
  EXPECT_EQ(count_kind(graph, "Conv"), 0U);
  EXPECT_EQ(count_kind(graph, "Gemm"), 1U);
  EXPECT_EQ(count_kind(graph, "Transpose"), 2U);
  run_pass(patches(1, 16, 16, 32), passes::split_patches, 1, 1e-5);
}

TEST(SplitPatches, MustNotFire) {
  run_pass(patches(3, 4, 4, 12), passes::split_patches, 0);           // small
  run_pass(patches(8, 8, 8, 24), passes::split_patches, 0);           // a map
  run_pass(patches(3, 8, 4, 24), passes::split_patches, 0);           // overlap
  run_pass(patches(3, 8, 8, 25), passes::split_patches, 0);           // rows are left over
  run_pass(patches(3, 8, 8, 24, 4), passes::split_patches, 0);        // padding
  run_pass(patches(3, 8, 8, 24, 0, true), passes::split_patches, 0);  // a sum
}

// As torch.export writes as_strided of pooled channels: items by a Range up to the batch, `item` apart, and channels by a constant.
Graph strided_view(int64_t item, const std::vector<int64_t>& channels, int64_t ahead, int times) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 5, 1, 1});
  const ValueId batch = b.node("batch", Gather{0}, {b.node("shape", ShapeOf{}, {x}), b.graph.add_constant("first", scalar_of(0))});
  const ValueId items =
      b.node("items", Range{}, {b.graph.add_constant("from", scalar_of(0)), batch, b.graph.add_constant("by", scalar_of(1))});
  Reshape spread;
  spread.form = Reshape::Form::unsqueeze;
  spread.axes = Ints{1, 2, 3};
  const ValueId rows = b.node("rows", spread, {b.binary(BinaryFn::mul, items, b.graph.add_constant("item", scalar_of(item)))});
  const ValueId columns = b.graph.add_constant("columns", Tensor::ints({1, static_cast<int64_t>(channels.size()), 1, 1}, channels));
  const ValueId sum = b.binary(BinaryFn::add, rows, columns);
  const ValueId positions = b.binary(BinaryFn::add, sum, b.graph.add_constant("ahead", Tensor::ints({1}, std::array{ahead})));
  b.output(b.node("y", Gather{0}, {reshape(b, b.unary({UnaryFn::exp}, x), {Dim(5, kBatch)}), positions}));
  return run_pass(b.graph, passes::recognize_view, times);
}

TEST(RecognizeView, AllElementsInOrder) {
  const Graph graph = strided_view(5, {0, 1, 2, 3, 4}, 0, 1);
  EXPECT_EQ(count_kind(graph, "Gather"), 0u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Range"), 0u) << to_string(graph);
}

TEST(RecognizeView, MustNotFire) {
  strided_view(5, {4, 3, 2, 1, 0}, 0, 0);
  strided_view(5, {0, 1, 2, 4, 3}, 0, 0);
  strided_view(5, {0, 1, 2, 3}, 0, 0);
  strided_view(4, {0, 1, 2, 3, 4}, 0, 0);
  strided_view(0, {0, 1, 2, 3, 4}, 0, 0);
  strided_view(5, {1, 2, 3, 4, 5}, -1, 1);
  strided_view(5, {0, 1, 2, 3, 4}, -1, 0);
}

}  // namespace
}  // namespace fcm::testing
