// Passes that change weights or windows: fold_batch_norm, fold_affine, fold_pad, matmul_to_gemm, canonicalize_global_pool.
#include <cmath>

#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kImages = {Dim(1, kBatch), 3, 8, 8};

Builder conv_norm(bool second_reader, bool activation) {
  Builder b;
  const ValueId x = b.input("x", kImages);
  ValueId y = b.conv("conv", x, 3, 6);
  if (activation) y = b.unary({UnaryFn::relu}, y);
  b.output(b.batch_norm("norm", y, 6));
  if (second_reader) b.output(b.unary({UnaryFn::exp}, y));
  return b;
}

TEST(FoldBatchNorm, IntoConv) {
  const Graph graph = run_pass(conv_norm(false, false).graph, passes::fold_batch_norm, 1);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(graph.nodes[0].origin.name, "conv");
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "norm");
}

TEST(FoldBatchNorm, IntoGroupedConvWithoutBias) {
  Builder b;
  const ValueId x = b.input("x", {Dim(1, kBatch), 4, 6, 6});
  Conv op;
  op.group = 4;
  op.window.pads_begin = op.window.pads_end = {1, 1};
  const ValueId y = b.node("depthwise", op, {x, b.random({8, 1, 3, 3})});
  b.output(b.batch_norm("norm", y, 8));
  const Graph graph = run_pass(b.graph, passes::fold_batch_norm, 1);
  EXPECT_EQ(graph.nodes[0].inputs.size(), 3u);
}

TEST(FoldBatchNorm, IntoGemm) {
  for (const bool trans_b : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", {Dim(1, kBatch), 5});
    Gemm gemm;
    gemm.alpha = 0.5f;
    gemm.beta = 2.0f;
    gemm.trans_b = trans_b;
    const ValueId y = b.node("gemm", gemm, {x, b.random(trans_b ? Dims{4, 5} : Dims{5, 4}), b.random({4})});
    b.output(b.batch_norm("norm", y, 4));
    EXPECT_EQ(run_pass(b.graph, passes::fold_batch_norm, 1).nodes.size(), 1u);
  }
}

// CeiT's: a linear layer on tokens, normalised as a map of one axis.
TEST(FoldBatchNorm, BehindATransposeOfTokens) {
  for (const bool read_twice : {false, true}) {
    Builder b;
    const ValueId y = b.node("linear", Gemm{}, {b.input("x", {Dim(1, kBatch), 5, 8}), b.random({8, 6}), b.random({6})});
    const ValueId turned = b.node("turn", Transpose{{0, 2, 1}}, {y});
    b.output(b.node("back", Transpose{{0, 2, 1}}, {b.batch_norm("norm", turned, 6)}));
    if (read_twice) b.output(turned);
    const Graph graph = run_pass(b.graph, passes::fold_batch_norm, read_twice ? 0 : 2, 1e-5);
    EXPECT_EQ(count_kind(graph, "BatchNorm"), read_twice ? 1u : 0u);
  }
  Builder tokens;  // the normalisation of tokens, not of channels
  const ValueId y = tokens.node("linear", Gemm{}, {tokens.input("x", {Dim(1, kBatch), 6, 8}), tokens.random({8, 6}), tokens.random({6})});
  tokens.output(tokens.batch_norm("norm", tokens.node("turn", Transpose{{0, 1, 2}}, {y}), 6));
  run_pass(tokens.graph, passes::fold_batch_norm, 0);
}

// MixNet's: convolutions of several sizes, joined, then normalised.
TEST(FoldBatchNorm, BehindAConcatOfConvolutions) {
  for (const bool through_relu : {false, true}) {
    Builder b;
    const ValueId x = b.input("x", kImages);
    const ValueId small = b.conv("small", x, 3, 4, 1, 0);
    ValueId large = b.conv("large", x, 3, 5);
    if (through_relu) large = b.unary({UnaryFn::relu}, large);
    b.output(b.batch_norm("norm", b.node("join", Concat{1}, {small, large}), 9));
    const Graph graph = run_pass(b.graph, passes::fold_batch_norm, through_relu ? 0 : 3, 1e-5);
    EXPECT_EQ(count_kind(graph, "BatchNorm"), through_relu ? 1u : 0u);
  }
}

TEST(FoldBatchNorm, MustNotFire) {
  run_pass(conv_norm(true, false).graph, passes::fold_batch_norm, 0);
  run_pass(conv_norm(false, true).graph, passes::fold_batch_norm, 0);
  Builder shown = conv_norm(false, false);
  shown.output(shown.graph.nodes[0].outputs[0]);  // the convolution's result is a graph output
  run_pass(shown.graph, passes::fold_batch_norm, 0);
  Builder active = conv_norm(false, false);
  std::get<Conv>(active.graph.nodes[0].op).activation = {UnaryFn::relu};
  run_pass(active.graph, passes::fold_batch_norm, 0);

  Builder dynamic;  // weights that arrive at run time
  const ValueId x = dynamic.input("x", kImages);
  const ValueId y = dynamic.node("conv", Conv{}, {x, dynamic.input("w", {6, 3, 3, 3})});
  dynamic.output(dynamic.batch_norm("norm", y, 6));
  run_pass(dynamic.graph, passes::fold_batch_norm, 0);

  Builder residual;
  const ValueId image = residual.input("x", {Dim(1, kBatch), 3, 8, 8});
  ValueId z = residual.conv("conv", image, 3, 3);
  residual.graph.nodes[0].inputs.push_back(image);
  residual.output(residual.batch_norm("norm", z, 3));
  run_pass(residual.graph, passes::fold_batch_norm, 0);
}

TEST(FoldBatchNorm, NegativeVarianceStaysVisible) {
  Builder b = conv_norm(false, false);
  b.graph.value(b.graph.nodes[1].inputs[4]).constant = std::make_shared<Tensor>(Tensor::floats({6}, std::vector<float>(6, -1.0f)));
  Graph graph = b.graph;
  passes::fold(graph);
  EXPECT_EQ(passes::fold_batch_norm(graph), 0);
}

TEST(FoldAffine, ConstantsPerChannel) {
  Builder b;
  ValueId y = b.conv("conv", b.input("x", kImages), 3, 6);
  y = b.binary(BinaryFn::add, y, b.random({6, 1, 1}));
  y = b.binary(BinaryFn::mul, b.random({1, 6, 1, 1}), y);
  y = b.binary(BinaryFn::sub, y, b.number(0.25f));
  b.output(b.node("y", Binary{BinaryFn::div, {}}, {y, b.random({1, 6, 1, 1}, 1.0f, 2.0f)}));
  EXPECT_EQ(run_pass(b.graph, passes::fold_affine, 4).nodes.size(), 1u);
}

TEST(FoldAffine, MustNotFire) {
  Builder width;  // along the width, not the channels
  width.output(width.binary(BinaryFn::add, width.conv("conv", width.input("x", {Dim(1, kBatch), 3, 8, 6}), 3, 6), width.random({6})));
  run_pass(width.graph, passes::fold_affine, 0);
  Builder reversed;  // c - y and c / y are not affine in this form
  reversed.output(reversed.binary(BinaryFn::sub, reversed.number(1.0f), reversed.conv("conv", reversed.input("x", kImages), 3, 6)));
  run_pass(reversed.graph, passes::fold_affine, 0);
  Builder zero;
  zero.output(zero.binary(BinaryFn::div, zero.conv("conv", zero.input("x", kImages), 3, 6), zero.number(0.0f)));
  Graph graph = zero.graph;
  passes::fold(graph);
  EXPECT_EQ(passes::fold_affine(graph), 0);
}

// x -> [relu] -> Pad -> op.
Builder padded(const Op& op, bool relu, const std::vector<int64_t>& pads, float value = 0.0f, int64_t weights = 0) {
  Builder b;
  ValueId x = b.input("x", kImages);
  if (relu) x = b.unary({UnaryFn::relu}, x);
  x = b.node("pad", Pad{}, {x, b.ints(pads), b.number(value)});
  std::vector<ValueId> inputs = {x};
  if (weights > 0) inputs.push_back(b.random({weights, 3, 3, 3}));
  b.output(b.node("y", op, inputs));
  return b;
}

const std::vector<int64_t> kSame = {0, 0, 0, 1, 0, 0, 1, 1};  // unequal, as TensorFlow's "SAME" has them

TEST(FoldPad, IntoConv) {
  Conv conv;
  conv.window.strides = {2, 2};
  conv.window.pads_begin = {1, 0};
  conv.window.pads_end = {0, 0};
  const Graph graph = run_pass(padded(conv, false, kSame, 0.0f, 4).graph, passes::fold_pad, 1);
  ASSERT_EQ(graph.nodes.size(), 1u);
  const Window& w = std::get<Conv>(graph.nodes[0].op).window;
  EXPECT_EQ(w.pads_begin, (Ints{1, 1}));
  EXPECT_EQ(w.pads_end, (Ints{1, 1}));
}

TEST(FoldPad, OnePadForTwoConvs) {
  Builder b;
  const ValueId x = b.node("pad", Pad{}, {b.input("x", kImages), b.ints(kSame)});
  b.output(b.conv("a", x, 3, 4, 3, 0)).output(b.conv("b", x, 3, 5, 5, 1));
  EXPECT_EQ(run_pass(b.graph, passes::fold_pad, 2).nodes.size(), 2u);
}

Pool pool(PoolFn fn, bool count_include_pad = false, Ints pads = {0, 0}, bool ceil_mode = false, Ints strides = {2, 2}) {
  Pool p;
  p.fn = fn;
  p.window.kernel = {3, 3};
  p.window.strides = std::move(strides);
  p.window.pads_begin = p.window.pads_end = std::move(pads);
  p.count_include_pad = count_include_pad;
  p.ceil_mode = ceil_mode;
  return p;
}

TEST(FoldPad, IntoPools) {
  EXPECT_EQ(run_pass(padded(pool(PoolFn::average), false, kSame).graph, passes::fold_pad, 1).nodes.size(), 1u);
  EXPECT_EQ(run_pass(padded(pool(PoolFn::average, true, {1, 0}), false, kSame).graph, passes::fold_pad, 1).nodes.size(), 1u);
  EXPECT_EQ(run_pass(padded(pool(PoolFn::max), true, kSame).graph, passes::fold_pad, 1).nodes.size(), 2u);
  EXPECT_EQ(run_pass(padded(pool(PoolFn::max, false, {1, 1}), false, kSame, -INFINITY).graph, passes::fold_pad, 1).nodes.size(), 1u);
}

TEST(FoldPad, MustNotFireForConv) {
  run_pass(padded(Conv{}, false, kSame, 0.5f, 4).graph, passes::fold_pad, 0);                      // not zero
  run_pass(padded(Conv{}, false, {0, 0, -1, 1, 0, 0, 1, 1}, 0.0f, 4).graph, passes::fold_pad, 0);  // crops
  Builder channels;                                                                                // pads channels
  channels.output(
      channels.conv("y", channels.node("pad", Pad{}, {channels.input("x", kImages), channels.ints({0, 1, 1, 1, 0, 0, 1, 1})}), 4, 2));
  run_pass(channels.graph, passes::fold_pad, 0);
  Builder reflect;
  reflect.output(reflect.conv(
      "y", reflect.node("pad", Pad{PadMode::reflect, false, {}, {}, 0.0f}, {reflect.input("x", kImages), reflect.ints(kSame)}), 3, 2));
  run_pass(reflect.graph, passes::fold_pad, 0);
}

TEST(FoldPad, MustNotFireForPools) {
  run_pass(padded(pool(PoolFn::max), false, kSame).graph, passes::fold_pad, 0);                           // the input may be negative
  run_pass(padded(pool(PoolFn::max), true, kSame, 1.0f).graph, passes::fold_pad, 0);                      // ones may win
  run_pass(padded(pool(PoolFn::average, false, {1, 1}), false, kSame).graph, passes::fold_pad, 0);        // its own pads do not count
  run_pass(padded(pool(PoolFn::average, false, {0, 0}, true), false, kSame).graph, passes::fold_pad, 0);  // ceil_mode
  run_pass(padded(pool(PoolFn::max, false, {2, 2}), true, kSame).graph, passes::fold_pad, 0);             // pads as large as the kernel
}

TEST(MatMulToGemm, WithAndWithoutBias) {
  for (const bool bias : {false, true}) {
    Builder b;
    ValueId y = b.node("matmul", MatMul{}, {b.input("x", {Dim(1, kBatch), 5}), b.random({5, 7})});
    if (bias) y = b.binary(BinaryFn::add, b.random({1, 7}), y);
    b.output(y);
    const Graph graph = run_pass(b.graph, passes::matmul_to_gemm, 1);
    ASSERT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(graph.nodes[0].inputs.size(), bias ? 3u : 2u);
  }
}

// Tokens: the rows are on several axes, the bias may have as many.
TEST(MatMulToGemm, OnTokens) {
  for (const Dims& bias : {Dims{}, Dims{7}, Dims{1, 1, 7}}) {
    Builder b;
    ValueId y = b.node("matmul", MatMul{}, {b.input("x", {Dim(1, kBatch), 4, 5}), b.random({5, 7})});
    if (!bias.empty()) y = b.binary(BinaryFn::add, b.random(bias), y);
    b.output(y);
    const Graph graph = run_pass(b.graph, passes::matmul_to_gemm, 1);
    ASSERT_EQ(graph.nodes.size(), 1u);
    EXPECT_EQ(graph.nodes[0].inputs.size(), bias.empty() ? 2u : 3u);
  }
}

TEST(MatMulToGemm, MustNotFire) {
  Builder leading;  // several matrices, one of them for each row of the batch
  leading.output(leading.node("y", MatMul{}, {leading.input("x", {Dim(1, kBatch), 4, 5}), leading.random({1, 5, 7})}));
  run_pass(leading.graph, passes::matmul_to_gemm, 0);
  Builder dynamic;
  dynamic.output(dynamic.node("y", MatMul{}, {dynamic.input("x", {Dim(1, kBatch), 5}), dynamic.input("w", {5, 7})}));
  run_pass(dynamic.graph, passes::matmul_to_gemm, 0);
  Builder vector;
  vector.output(vector.node("y", MatMul{}, {vector.input("x", {Dim(1, kBatch), 5}), vector.random({5})}));
  run_pass(vector.graph, passes::matmul_to_gemm, 0);
}

TEST(MatMulToGemm, AnAddThatIsNoBiasStays) {
  Builder b;
  const ValueId y = b.node("matmul", MatMul{}, {b.input("x", {Dim(1, kBatch), 7}), b.random({7, 7})});
  b.output(b.binary(BinaryFn::add, y, b.random({3, 1, 7})));
  const Graph graph = run_pass(b.graph, passes::matmul_to_gemm, 1);
  EXPECT_EQ(count_kind(graph, "Binary"), 1u);
}

// On tokens the channels are the last axis; axis 1 counts tokens.
TEST(FoldAffine, IntoALayerOnTokens) {
  for (const Dims& dims : {Dims{6}, Dims{1, 1, 6}, Dims{1}}) {
    Builder b;
    b.output(b.binary(BinaryFn::mul, b.node("gemm", Gemm{}, {b.input("x", {Dim(1, kBatch), 6, 5}), b.random({5, 6})}), b.random(dims)));
    EXPECT_EQ(run_pass(b.graph, passes::fold_affine, 1).nodes.size(), 1u);
  }
  Builder rows;
  rows.output(rows.binary(BinaryFn::mul, rows.node("gemm", Gemm{}, {rows.input("x", {Dim(1, kBatch), 6, 5}), rows.random({5, 6})}),
                          rows.random({6, 1})));
  run_pass(rows.graph, passes::fold_affine, 0);
  Builder norm;
  norm.output(norm.batch_norm("norm", norm.node("gemm", Gemm{}, {norm.input("x", {Dim(1, kBatch), 6, 5}), norm.random({5, 6})}), 6));
  run_pass(norm.graph, passes::fold_batch_norm, 0);
}

TEST(GlobalPool, Spellings) {
  for (const bool keep_dims : {true, false}) {
    for (const ReduceFn fn : {ReduceFn::mean, ReduceFn::max}) {
      Builder b;
      b.output(b.node("y", Reduce{fn, Ints{-1, 2}, keep_dims, false}, {b.input("x", kImages)}));
      const Graph graph = run_pass(b.graph, passes::canonicalize_global_pool, 1);
      EXPECT_EQ(count_kind(graph, "GlobalPool"), 1u);
      EXPECT_EQ(graph.nodes.size(), keep_dims ? 1u : 2u);
    }
  }
  Pool whole;
  whole.fn = PoolFn::average;
  whole.window.kernel = {8, 8};
  whole.window.strides = {8, 8};
  Builder b;
  b.output(b.node("y", whole, {b.input("x", kImages)}));
  EXPECT_EQ(to_string(run_pass(b.graph, passes::canonicalize_global_pool, 1).nodes[0].op), "GlobalPool average");
}

TEST(GlobalPool, MustNotFire) {
  const auto reduce = [](ReduceFn fn, Ints axes, Shape shape) {
    Builder b;
    b.output(b.node("y", Reduce{fn, std::move(axes), true, false}, {b.input("x", std::move(shape))}));
    run_pass(b.graph, passes::canonicalize_global_pool, 0);
  };
  reduce(ReduceFn::mean, {2}, kImages);
  reduce(ReduceFn::mean, {1, 2}, kImages);
  reduce(ReduceFn::sum, {2, 3}, kImages);
  reduce(ReduceFn::mean, {2}, {Dim(1, kBatch), 4, 5});  // a layer normalisation's mean
  Builder part;
  part.output(part.node("y", pool(PoolFn::average), {part.input("x", kImages)}));
  run_pass(part.graph, passes::canonicalize_global_pool, 0);
}

}  // namespace
}  // namespace fcm::testing
