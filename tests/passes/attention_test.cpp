// recognize_attention: attention in many spellings becomes one node that reads its operands where they lie,
// and what only looks like attention stays.
#include <cmath>

#include "runtime/passes/match.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Dim kB(1, kBatch);

ValueId reshape(Builder& b, const std::string& name, ValueId x, Shape to) {
  return b.node(name, passes::reshape_to(std::move(to)), {x});
}
ValueId transpose(Builder& b, const std::string& name, ValueId x, Ints perm) {
  return b.node(name, Transpose{std::move(perm)}, {x});
}
ValueId slice(Builder& b, const std::string& name, ValueId x, int64_t axis, int64_t start, int64_t end) {
  return b.node(name, Slice{true, {start}, {end}, {axis}, {1}}, {x});
}
ValueId matmul(Builder& b, const std::string& name, ValueId x, ValueId y) {
  return b.node(name, MatMul{}, {x, y});
}

// The passes under test, to a fixed point.
Graph rewritten(const Graph& before) {
  Graph graph = before;
  for (int round = 0; round < 8; ++round) {
    passes::fold(graph);
    const int fired = passes::recognize_attention(graph) + passes::collapse_moves(graph);
    passes::remove_dead(graph);
    if (fired == 0) break;
  }
  passes::fold(graph);
  passes::remove_dead(graph);
  graph.validate();
  return graph;
}

size_t count_without_reshapes(const Graph& graph) {
  return graph.nodes.size() - count_kind(graph, "Reshape");
}

// Nothing is left but one Attention; the result is the same.
Graph expect_one_attention(const Builder& b, double tolerance = 1e-5) {
  Graph graph = rewritten(b.graph);
  EXPECT_EQ(count_kind(graph, "Attention"), 1u) << to_string(graph);
  EXPECT_EQ(count_without_reshapes(graph), 1u) << to_string(graph);
  expect_equal_output(b.graph, graph, tolerance);
  return graph;
}

enum class Parts { gather, slice, split };
enum class Scale { query, key, both, after, divide, none };

ValueId part(Builder& b, ValueId all, Parts style, size_t i) {
  const std::string name = "part" + std::to_string(i);
  const auto at = static_cast<int64_t>(i);
  if (style == Parts::gather) {
    return b.node(name, Gather{0}, {all, b.graph.add_constant(name + "_index", Tensor::ints({}, std::span(&at, 1)))});
  }
  const Shape whole = {3, kB, 2, 7, 5};
  Shape rest(whole.begin() + 1, whole.end());
  return reshape(b, name, slice(b, name + "_slice", all, 0, at, at + 1), rest);
}

// Two heads of five channels, seven tokens: packed as [3, heads, channels] in each row.
Builder packed(Parts style, Scale scale) {
  Builder b;
  const ValueId x = b.input("x", {kB, 7, 30});
  const ValueId all = transpose(b, "all", reshape(b, "rows", x, {kB, 7, 3, 2, 5}), {2, 0, 3, 1, 4});
  ValueId parts[3];
  if (style == Parts::split) {
    std::vector<ValueId> pieces;
    for (int i = 0; i < 3; ++i) pieces.push_back(b.graph.add_value("piece" + std::to_string(i), DType::f32));
    b.graph.add_node(Split{0, {1, 1, 1}}, {all}, pieces, {"split", "Split", 17, ""});
    for (size_t i = 0; i < 3; ++i) parts[i] = reshape(b, "part" + std::to_string(i), pieces[i], {kB, 2, 7, 5});
  } else {
    for (size_t i = 0; i < 3; ++i) parts[i] = part(b, all, style, i);
  }
  ValueId q = parts[0];
  ValueId kt = transpose(b, "kt", parts[1], {0, 1, 3, 2});
  const float factor = 1.0f / std::sqrt(5.0f);
  if (scale == Scale::query) q = b.binary(BinaryFn::mul, q, b.number(factor));
  if (scale == Scale::key) kt = b.binary(BinaryFn::mul, b.number(factor), kt);
  if (scale == Scale::both) {
    q = b.binary(BinaryFn::mul, q, b.number(std::sqrt(factor)));
    kt = b.binary(BinaryFn::mul, kt, b.number(std::sqrt(factor)));
  }
  ValueId scores = matmul(b, "scores", q, kt);
  if (scale == Scale::after) scores = b.binary(BinaryFn::mul, scores, b.number(factor));
  if (scale == Scale::divide) scores = b.binary(BinaryFn::div, scores, b.number(1.0f / factor));
  const ValueId y = matmul(b, "mixed", b.node("shares", Softmax{-1, false, false}, {scores}), parts[2]);
  b.output(reshape(b, "y", transpose(b, "turned", y, {0, 2, 1, 3}), {kB, 7, 10}));
  return b;
}

TEST(RecognizeAttention, PackedRowsInEverySpelling) {
  for (const Parts style : {Parts::gather, Parts::slice, Parts::split}) {
    for (const Scale scale : {Scale::query, Scale::key, Scale::both, Scale::after, Scale::divide, Scale::none}) {
      SCOPED_TRACE(static_cast<int>(style) * 10 + static_cast<int>(scale));
      const Graph graph = expect_one_attention(packed(style, scale));
      ASSERT_EQ(graph.nodes[0].inputs.size(), 1u);
      const auto& op = std::get<Attention>(graph.nodes[0].op);
      EXPECT_EQ(op.heads, 2);
      EXPECT_EQ(op.k, (HeadView{10, 210, 5, 30}));
      EXPECT_NEAR(op.scale, scale == Scale::none ? 1.0f : 1.0f / std::sqrt(5.0f), 1e-6);
    }
  }
}

// Each head's q, k and v side by side, of different sizes; fewer queries than keys; a bias of the model's.
TEST(RecognizeAttention, CrossAttentionWithBias) {
  Builder b;
  const ValueId q = transpose(b, "q", reshape(b, "q_rows", b.input("xq", {kB, 3, 8}), {kB, 3, 2, 4}), {0, 2, 1, 3});
  const ValueId kv = reshape(b, "kv_rows", b.input("xkv", {kB, 6, 20}), {kB, 6, 2, 10});
  const ValueId kt = transpose(b, "kt", slice(b, "k", kv, 3, 0, 4), {0, 2, 3, 1});
  const ValueId v = transpose(b, "v", slice(b, "v_rows", kv, 3, 4, 10), {0, 2, 1, 3});
  const ValueId scaled = b.binary(BinaryFn::mul, matmul(b, "scores", q, kt), b.number(0.5f));
  const ValueId scores = b.binary(BinaryFn::add, scaled, b.random({1, 2, 3, 6}));
  const ValueId y = matmul(b, "mixed", b.node("shares", Softmax{-1, false, false}, {scores}), v);
  b.output(reshape(b, "y", transpose(b, "turned", y, {0, 2, 1, 3}), {kB, 3, 12}));
  const Graph graph = expect_one_attention(b);
  EXPECT_EQ(graph.value(graph.nodes[0].inputs[3]).shape, (Shape{1, 2, 3, 6}));
}

// V' times the transposed shares, operands from images: [B, C, H, W] in and out.
TEST(RecognizeAttention, ImagesAreReadChannelsLast) {
  Builder b;
  const ValueId x = b.conv("x", b.input("in", {kB, 3, 4, 5}), 3, 14);
  const ValueId q = reshape(b, "q", slice(b, "q_part", x, 1, 0, 4), {kB, 4, 20});
  const ValueId k = reshape(b, "k", slice(b, "k_part", x, 1, 4, 8), {kB, 4, 20});
  const ValueId v = reshape(b, "v", slice(b, "v_part", x, 1, 8, 14), {kB, 6, 20});
  const ValueId scores = matmul(b, "scores", transpose(b, "qt", q, {0, 2, 1}), k);
  const ValueId shares = b.node("shares", Softmax{-1, false, false}, {b.binary(BinaryFn::add, scores, b.random({20, 20}))});
  const ValueId y = reshape(b, "y", matmul(b, "mixed", v, transpose(b, "shares_t", shares, {0, 2, 1})), {kB, 6, 4, 5});
  b.output(b.conv("out", y, 6, 2));
  const Graph graph = rewritten(b.graph);
  EXPECT_EQ(count_kind(graph, "Attention"), 1u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Transpose"), 2u) << to_string(graph);  // between images and rows; no MatMul, Slice or Softmax
  EXPECT_EQ(count_without_reshapes(graph), 5u) << to_string(graph);
  expect_equal_output(b.graph, graph, 2e-5);
}

// EfficientViT: rows of a concatenation of images, each head's q, k and v side by side, ones beside V.
TEST(RecognizeAttention, ReluAttention) {
  for (const bool relu : {true, false}) {
    Builder b;
    const ValueId x = b.conv("x", b.input("in", {kB, 3, 4, 4}), 3, 24);
    const ValueId rows = transpose(b, "rows", reshape(b, "heads", x, {kB, 2, 12, 16}), {0, 1, 3, 2});
    const ValueId q = b.unary({UnaryFn::relu}, slice(b, "q", rows, 3, 0, 4));
    const ValueId k_part = slice(b, "k", rows, 3, 4, 8);
    const ValueId k = relu ? b.unary({UnaryFn::relu}, k_part) : k_part;
    const ValueId v = b.node("v", Pad{PadMode::constant, true, {0, 0, 0, 0}, {0, 0, 0, 1}, 1.0f}, {slice(b, "v_part", rows, 3, 8, 12)});
    const ValueId z = matmul(b, "z", q, matmul(b, "kv", transpose(b, "kt", k, {0, 1, 3, 2}), v));
    const ValueId divisor = b.binary(BinaryFn::add, slice(b, "last", z, 3, 4, 5), b.number(0.5f));
    const ValueId y = b.binary(BinaryFn::div, slice(b, "first", z, 3, 0, 4), divisor);
    b.output(b.conv("out", reshape(b, "y", transpose(b, "turned", y, {0, 1, 3, 2}), {kB, 8, 4, 4}), 8, 2));
    const Graph graph = rewritten(b.graph);
    EXPECT_EQ(count_kind(graph, "Attention"), relu ? 1u : 0u) << to_string(graph);
    if (relu) {
      EXPECT_EQ(count_without_reshapes(graph), 5u) << to_string(graph);
      expect_equal_output(b.graph, graph, 2e-4);
    }
  }
}

// [B, tokens, C] as [B * windows, tokens of a window, C] of an image of 4 x 6 tokens and windows of 2 x 3, shifted by (1, 2).
ValueId roll(Builder& b, const std::string& name, ValueId x, int64_t axis, int64_t first, int64_t extent) {
  const ValueId tail = slice(b, name + "_tail", x, axis, first, extent);
  return b.node(name, Concat{axis}, {tail, slice(b, name + "_head", x, axis, 0, first)});
}

// A block of Swin: normalisation, shift, windows, attention with bias and mask, windows and shift undone, sum with the input.
Builder swin_block(bool shifted, bool masked) {
  Builder b;
  constexpr int64_t kC = 8;
  const ValueId x = b.input("x", {kB, 4, 6, kC});
  ValueId h = b.node("norm", Normalize{NormFn::layer, 3, 0, false, 1e-5f}, {x, b.random({kC}), b.random({kC})});
  if (shifted) h = roll(b, "roll_x", roll(b, "roll_y", h, 1, 1, 4), 2, 2, 6);
  h = transpose(b, "partition", reshape(b, "cut", h, {kB, 2, 2, 2, 3, kC}), {0, 1, 3, 2, 4, 5});
  h = reshape(b, "windows", h, {Dim(4, kBatch), 6, kC});
  h = b.binary(BinaryFn::add, matmul(b, "qkv", h, b.random({kC, 3 * kC})), b.random({3 * kC}));
  const ValueId all = transpose(b, "all", reshape(b, "heads", h, {Dim(4, kBatch), 6, 3, 2, 4}), {2, 0, 3, 1, 4});
  ValueId parts[3];
  for (size_t i = 0; i < 3; ++i) {
    const auto at = static_cast<int64_t>(i);
    const std::string name = "part" + std::to_string(i);
    parts[i] = reshape(b, name, slice(b, name + "_slice", all, 0, at, at + 1), {Dim(4, kBatch), 2, 6, 4});
  }
  const ValueId q = b.binary(BinaryFn::mul, parts[0], b.number(0.5f));
  ValueId scores = b.binary(BinaryFn::add, matmul(b, "scores", q, transpose(b, "kt", parts[1], {0, 1, 3, 2})), b.random({1, 2, 6, 6}));
  if (masked) {
    const ValueId five = reshape(b, "five", scores, {kB, 4, 2, 6, 6});
    scores = reshape(b, "four", b.binary(BinaryFn::add, five, b.random({1, 4, 1, 6, 6}, -5.0f, 0.0f)), {Dim(4, kBatch), 2, 6, 6});
  }
  const ValueId mixed = matmul(b, "mixed", b.node("shares", Softmax{-1, false, false}, {scores}), parts[2]);
  h = reshape(b, "joined", transpose(b, "turned", mixed, {0, 2, 1, 3}), {Dim(4, kBatch), 6, kC});
  h = b.binary(BinaryFn::add, matmul(b, "proj", h, b.random({kC, kC})), b.random({kC}));
  h = transpose(b, "reverse", reshape(b, "back", h, {kB, 2, 2, 2, 3, kC}), {0, 1, 3, 2, 4, 5});
  h = reshape(b, "image", h, {kB, 4, 6, kC});
  if (shifted) h = roll(b, "unroll_x", roll(b, "unroll_y", h, 1, 3, 4), 2, 4, 6);
  b.output(b.binary(BinaryFn::add, x, h));
  return b;
}

TEST(RecognizeAttention, WindowsOfASwinBlock) {
  for (const bool shifted : {false, true}) {
    for (const bool masked : {false, true}) {
      SCOPED_TRACE(std::to_string(shifted) + std::to_string(masked));
      const Builder b = swin_block(shifted, masked);
      Graph graph = b.graph;
      passes::normalize(graph);
      EXPECT_EQ(count_kind(graph, "Attention"), 1u) << to_string(graph);
      EXPECT_EQ(count_kind(graph, "Softmax") + count_kind(graph, "MatMul"), 0u) << to_string(graph);
      EXPECT_EQ(count_kind(graph, "Transpose") + count_kind(graph, "Gather"), 0u) << to_string(graph);
      expect_equal_output(b.graph, graph, 2e-5);
    }
  }
}

// q, k, v of [B, 2, 6, size] mixed through `shares`.
template <class Shares>
void expect_no_attention(int64_t size, const Shares& shares) {
  Builder b;
  const Shape shape = {kB, 2, 6, size};
  const ValueId q = b.input("q", shape);
  const ValueId kt = transpose(b, "kt", b.input("k", shape), {0, 1, 3, 2});
  b.output(matmul(b, "y", shares(b, matmul(b, "scores", q, kt)), b.input("v", shape)));
  const Graph graph = rewritten(b.graph);
  EXPECT_EQ(count_kind(graph, "Attention"), 0u) << to_string(graph);
}

TEST(RecognizeAttention, LeavesWhatIsNone) {
  const auto softmax = [](Builder& b, ValueId x, int64_t axis = -1, bool log = false) {
    return b.node("shares", Softmax{axis, log, false}, {x});
  };
  expect_no_attention(4, [&](Builder& b, ValueId x) { return softmax(b, x, 2); });                         // over the queries
  expect_no_attention(4, [&](Builder& b, ValueId x) { return softmax(b, x, 3, true); });                   // logarithms
  expect_no_attention(4, [&](Builder& b, ValueId x) { return softmax(b, b.unary({UnaryFn::relu}, x)); });  // another function
  expect_no_attention(4, [&](Builder& b, ValueId x) { return softmax(b, b.binary(BinaryFn::mul, x, b.random({2, 1, 1}))); });  // by head
  expect_no_attention(160, [&](Builder& b, ValueId x) { return softmax(b, x); });  // heads too large
}

// Operands of their own, computed bias, and a constant mask.
TEST(RecognizeAttention, SeparateOperandsBiasAndMask) {
  Builder b;
  const Shape shape = {kB, 2, 6, 4};
  const ValueId q = b.input("q", shape);
  const ValueId kt = b.input("kt", {kB, 2, 4, 6});
  const ValueId scores = b.binary(BinaryFn::add, matmul(b, "scores", q, kt), b.input("bias", {kB, 1, 1, 6}));
  b.output(matmul(b, "y", b.node("shares", Softmax{3, false, false}, {scores}), b.input("v", shape)));
  const Graph biased = rewritten(b.graph);
  EXPECT_EQ(count_kind(biased, "Attention"), 1u) << to_string(biased);
  EXPECT_EQ(count_kind(biased, "MatMul"), 0u) << to_string(biased);
  expect_equal_output(b.graph, biased, 1e-5);

  Builder m;
  const ValueId mq = m.input("q", shape);
  const ValueId mk = transpose(m, "kt", m.input("k", shape), {0, 1, 3, 2});
  Tensor mask(DType::boolean, {6, 6});
  for (size_t i = 0; i < 36; ++i) mask.data<bool>()[i] = i / 6 >= i % 6;
  const ValueId kept = m.graph.add_constant("mask", mask);
  const ValueId seen = m.node("seen", Select{}, {kept, matmul(m, "scores", mq, mk), m.number(-std::numeric_limits<float>::infinity())});
  m.output(matmul(m, "y", m.node("shares", Softmax{3, false, false}, {seen}), m.input("v", shape)));
  const Graph masked = rewritten(m.graph);
  EXPECT_EQ(count_kind(masked, "Attention"), 1u) << to_string(masked);
  expect_equal_output(m.graph, masked, 1e-5);
}

}  // namespace
}  // namespace fcm::testing
