// merge_branches and fold_scale: what ends in the weights of a layer.
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kImages = {Dim(1, kBatch), 6, 7, 5};

ValueId depthwise(Builder& b, const std::string& name, ValueId x, int64_t kernel) {
  Conv op;
  op.group = 6;
  op.window.pads_begin = op.window.pads_end = {kernel / 2, kernel / 2};
  return b.node(name, op, {x, b.random({6, 1, kernel, kernel}), b.random({6})});
}

// Passes up to the point where branches can merge.
Graph merged(const Builder& b, int times) {
  Graph graph = b.graph;
  passes::fold(graph);
  passes::fold_batch_norm(graph);
  passes::remove_dead(graph);
  EXPECT_EQ(passes::merge_branches(graph), times) << to_string(graph);
  passes::remove_dead(graph);
  expect_equal_output(b.graph, graph, 1e-5);
  return graph;
}

TEST(MergeBranches, RepVgg) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
  const ValueId wide = b.batch_norm("bn3", b.conv("wide", x, 6, 6), 6), narrow = b.batch_norm("bn1", b.conv("narrow", x, 6, 6, 1, 0), 6);
  b.output(b.unary({UnaryFn::relu}, b.binary(BinaryFn::add, b.binary(BinaryFn::add, narrow, wide), b.batch_norm("bn0", x, 6))));
  const Graph graph = merged(b, 2);
  EXPECT_EQ(graph.nodes.size(), 3u) << to_string(graph);
  EXPECT_EQ(graph.nodes[1].origin.name, "wide");
}

TEST(MergeBranches, DepthwiseKernelsAndTheTensorItself) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
  const ValueId sum = b.binary(BinaryFn::add, depthwise(b, "d7", x, 7), depthwise(b, "d3", x, 3));
  b.output(b.binary(BinaryFn::add, x, sum));
  const Graph graph = merged(b, 2);
  ASSERT_EQ(graph.nodes.size(), 2u) << to_string(graph);
  EXPECT_EQ(std::get<Conv>(graph.nodes[1].op).window.kernel, (Ints{7, 7}));
}

// FastViT: x + scale * (mixer(x) - norm(x)).
TEST(MergeBranches, DifferencesAndScales) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
  ValueId t = b.binary(BinaryFn::sub, depthwise(b, "mixer", x, 3), b.batch_norm("norm", x, 6));
  t = b.binary(BinaryFn::mul, t, b.random({6, 1, 1}));
  b.output(b.binary(BinaryFn::add, x, t));
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_EQ(graph.nodes.size(), 2u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-5);
  Builder turned;  // the larger kernel is what is subtracted
  const ValueId z = turned.unary({UnaryFn::exp}, turned.input("x", kImages));
  turned.output(turned.binary(BinaryFn::sub, turned.batch_norm("norm", z, 6), depthwise(turned, "mixer", z, 3)));
  merged(turned, 1);
}

TEST(MergeBranches, StridesAgree) {
  Builder b;
  const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
  Conv wide, narrow;
  wide.window.strides = narrow.window.strides = {2, 2};
  wide.window.pads_begin = wide.window.pads_end = {1, 1};
  const ValueId w = b.node("wide", wide, {x, b.random({4, 6, 3, 3})}),
                n = b.node("narrow", narrow, {x, b.random({4, 6, 1, 1}), b.random({4})});
  b.output(b.binary(BinaryFn::add, w, n));
  EXPECT_EQ(merged(b, 1).nodes.size(), 2u);
}

TEST(MergeBranches, MustNotFire) {
  const auto expect_none = [](Builder& b, ValueId y) {
    b.output(y);
    merged(b, 0);
  };
  Builder plain;  // the residual of a pointwise convolution: its epilogue adds it
  ValueId x = plain.unary({UnaryFn::exp}, plain.input("x", kImages));
  expect_none(plain, plain.binary(BinaryFn::add, plain.conv("conv", x, 6, 6, 1, 0), x));
  Builder two;  // branches of two tensors
  expect_none(two, two.binary(BinaryFn::add, two.conv("a", two.input("x", kImages), 6, 6), two.conv("b", two.input("z", kImages), 6, 6)));
  Builder shared;
  x = shared.unary({UnaryFn::exp}, shared.input("x", kImages));
  const ValueId y = shared.conv("a", x, 6, 6);
  shared.output(shared.unary({UnaryFn::exp}, y));
  expect_none(shared, shared.binary(BinaryFn::add, y, shared.conv("b", x, 6, 6)));
  Builder activated;
  x = activated.unary({UnaryFn::exp}, activated.input("x", kImages));
  expect_none(activated, activated.binary(BinaryFn::add, activated.unary({UnaryFn::relu}, activated.conv("a", x, 6, 6)),
                                          activated.conv("b", x, 6, 6)));
  Builder dilated;  // three taps two apart are no part of a 5 x 5 kernel that is stored densely
  x = dilated.unary({UnaryFn::exp}, dilated.input("x", kImages));
  Conv apart;
  apart.window.dilations = {2, 2};
  apart.window.pads_begin = apart.window.pads_end = {2, 2};
  expect_none(dilated, dilated.binary(BinaryFn::add, dilated.node("apart", apart, {x, dilated.random({6, 6, 3, 3})}),
                                      dilated.conv("wide", x, 6, 6, 5, 2)));
  Builder kinds;  // a depthwise kernel and a dense pointwise one: their sum would be dense and wide
  x = kinds.unary({UnaryFn::exp}, kinds.input("x", kImages));
  expect_none(kinds, kinds.binary(BinaryFn::add, depthwise(kinds, "d", x, 3), kinds.conv("p", x, 6, 6, 1, 0)));
}

TEST(FoldScale, ANormalisationIntoAllThatReadIt) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 5, 8});
  const ValueId y = b.node("norm", Normalize{NormFn::layer, 2, 0, false, 1e-5f}, {x, b.random({8}, 0.5f, 1.5f), b.random({8})});
  Gemm turned;
  turned.trans_b = true;
  turned.alpha = 0.5f;
  turned.beta = 2.0f;
  b.output(b.node("q", Gemm{}, {y, b.random({8, 12})}));
  b.output(b.node("k", turned, {y, b.random({6, 8}), b.random({6})}));
  const Graph graph = run_pass(b.graph, passes::fold_scale, 3, 1e-5);
  EXPECT_EQ(graph.nodes[0].inputs.size(), 1u);
}

TEST(FoldScale, ConstantsBeforeConvolutions) {
  for (const BinaryFn fn : {BinaryFn::mul, BinaryFn::div, BinaryFn::add, BinaryFn::sub}) {
    const bool shifts = fn == BinaryFn::add || fn == BinaryFn::sub;
    for (const bool padded : {false, true}) {
      Builder b;
      const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
      b.output(b.conv("conv", b.binary(fn, x, b.random({6, 1, 1}, 0.5f, 1.5f)), 6, 3, 3, padded ? 1 : 0));
      run_pass(b.graph, passes::fold_scale, shifts && padded ? 0 : 1, 1e-5);
    }
  }
  Builder grouped;
  Conv op;
  op.group = 3;
  const ValueId x = grouped.binary(BinaryFn::mul, grouped.input("x", kImages), grouped.random({6, 1, 1}, 0.5f, 1.5f));
  grouped.output(grouped.node("conv", op, {x, grouped.random({9, 2, 3, 3})}));
  run_pass(grouped.graph, passes::fold_scale, 1, 1e-5);
}

// CMT's: an activation keeps the normalisation from the convolution before.
TEST(FoldScale, ABatchNormIntoTheConvolutionBehind) {
  for (const bool padded : {false, true}) {
    Builder b;
    const ValueId x = b.unary({UnaryFn::exp}, b.input("x", kImages));
    b.output(b.conv("conv", b.batch_norm("norm", x, 6), 6, 3, padded ? 3 : 1, padded ? 1 : 0));
    const Graph graph = run_pass(b.graph, passes::fold_scale, padded ? 0 : 1, 1e-4);
    EXPECT_EQ(count_kind(graph, "BatchNorm"), padded ? 1u : 0u);
  }
}

TEST(FoldScale, MustNotFire) {
  Builder other;  // something else reads the normalised values
  ValueId x = other.input("x", {Dim(1, kBatch), 5, 8});
  ValueId y = other.node("norm", Normalize{NormFn::layer, 2, 0, false, 1e-5f}, {x, other.random({8})});
  other.output(other.node("q", Gemm{}, {y, other.random({8, 12})})).output(other.unary({UnaryFn::exp}, y));
  run_pass(other.graph, passes::fold_scale, 0);
  Builder residual;  // the layer adds them too
  x = residual.input("x", {Dim(1, kBatch), 5, 8});
  y = residual.node("norm", Normalize{NormFn::layer, 2, 0, false, 1e-5f}, {x, residual.random({8})});
  residual.output(residual.node("q", Gemm{}, {y, residual.random({8, 8}), residual.random({8}), y}));
  run_pass(residual.graph, passes::fold_scale, 0);
  Builder pixels;  // the weights would be too small for 16-bit types
  pixels.output(pixels.conv("conv", pixels.binary(BinaryFn::div, pixels.input("x", kImages), pixels.number(255.0f)), 6, 3));
  run_pass(pixels.graph, passes::fold_scale, 0);
  Builder tokens;  // one a token, not one a channel
  x = tokens.input("x", {Dim(1, kBatch), 8, 8});
  tokens.output(tokens.node("q", Gemm{}, {tokens.binary(BinaryFn::mul, x, tokens.random({8, 1})), tokens.random({8, 4})}));
  run_pass(tokens.graph, passes::fold_scale, 0);
}

}  // namespace
}  // namespace fcm::testing
