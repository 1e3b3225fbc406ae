// recognize_roll and order_tokens: tokens that are cut into windows and put back.
#include <functional>

#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

constexpr int64_t kHeight = 4, kWidth = 6, kChannels = 8;
const Shape kTokens = {Dim(1, kBatch), kHeight, kWidth, kChannels};

std::string fresh(const Builder& b, const char* what) {
  return what + std::to_string(b.graph.nodes.size());
}
ValueId reshape(Builder& b, ValueId x, Shape target) {
  Reshape op;
  op.target = std::move(target);
  return b.node(fresh(b, "reshape"), op, {x});
}
ValueId transpose(Builder& b, ValueId x, Ints perm) {
  return b.node(fresh(b, "transpose"), Transpose{std::move(perm)}, {x});
}
ValueId part(Builder& b, ValueId x, int64_t axis, int64_t from, int64_t to) {
  return b.node(fresh(b, "slice"), Slice{}, {x, b.ints({from}), b.ints({to}), b.ints({axis})});
}
// As torch.roll is exported.
ValueId roll(Builder& b, ValueId x, int64_t shift) {
  for (const int64_t axis : {1, 2})
    x = b.node(fresh(b, "roll"), Concat{axis}, {part(b, x, axis, -shift, INT64_MAX), part(b, x, axis, 0, -shift)});
  return x;
}
ValueId norm(Builder& b, ValueId x) {
  return b.node(fresh(b, "norm"), Normalize{NormFn::layer, -1, 0, false, 1e-5f},
                {x, b.random({kChannels}, 0.5f, 1.5f), b.random({kChannels})});
}
ValueId linear(Builder& b, ValueId x, int64_t in, int64_t out) {
  return b.node(fresh(b, "linear"), MatMul{}, {x, b.random({in, out}, -0.4f, 0.4f)});
}

ValueId windows(Builder& b, ValueId x) {
  x = transpose(b, reshape(b, x, {Dim(1, kBatch), 2, 2, 3, 2, kChannels}), {0, 1, 3, 2, 4, 5});
  return reshape(b, x, {Dim(6, kBatch), 4, kChannels});
}
ValueId unwindowed(Builder& b, ValueId x) {
  x = transpose(b, reshape(b, x, {Dim(1, kBatch), 2, 3, 2, 2, kChannels}), {0, 1, 3, 2, 4, 5});
  return reshape(b, x, kTokens);
}
// Something that looks across a window, between two layers.
ValueId attend(Builder& b, ValueId x) {
  x = linear(b, x, kChannels, kChannels);
  x = b.binary(BinaryFn::sub, x, b.node(fresh(b, "mean"), Reduce{ReduceFn::mean, Ints{1}, true, false}, {x}));
  return linear(b, x, kChannels, kChannels);
}

// Attention of one head among the tokens of each item.
Attention among(Dim items, int64_t tokens) {
  Attention op;
  op.items = items;
  op.queries = op.keys = tokens;
  op.qk_size = op.v_size = kChannels;
  op.q = op.k = op.v = {0, tokens * 3 * kChannels, kChannels, 3 * kChannels};
  op.k.offset = kChannels;
  op.v.offset = 2 * kChannels;
  return op;
}
ValueId attention(Builder& b, ValueId x, Dim items, int64_t tokens, ValueId bias = kNoValue) {
  x = linear(b, x, kChannels, 3 * kChannels);
  return linear(b, b.node(fresh(b, "attention"), among(items, tokens), {x, kNoValue, kNoValue, bias}), kChannels, kChannels);
}

using Attend = std::function<ValueId(Builder&, ValueId)>;
ValueId block(Builder& b, ValueId x, int64_t shift, const Attend& across = attend) {
  ValueId h = norm(b, x);
  if (shift != 0) h = roll(b, h, -shift);
  h = unwindowed(b, across(b, windows(b, h)));
  if (shift != 0) h = roll(b, h, shift);
  x = b.binary(BinaryFn::add, x, h);
  h = b.unary({UnaryFn::gelu}, linear(b, norm(b, x), kChannels, 16));
  return b.binary(BinaryFn::add, x, linear(b, h, 16, kChannels));
}

size_t copies(const Graph& graph) {
  size_t count = 0;
  for (const char* kind : {"Transpose", "Gather", "Slice", "Concat"}) count += count_kind(graph, kind);
  return count;
}

TEST(RecognizeRoll, AlongOneAxisAndTwo) {
  Builder b;
  b.output(roll(b, b.input("x", kTokens), 1));
  const Graph graph = run_pass(b.graph, passes::recognize_roll, 2);
  EXPECT_EQ(count_kind(graph, "Gather"), 2u);
  EXPECT_EQ(graph.nodes.size(), 2u);
}

TEST(RecognizeRoll, MustNotFire) {
  Builder repeated;
  ValueId x = repeated.input("x", kTokens);
  repeated.output(repeated.node("y", Concat{1}, {part(repeated, x, 1, 1, 4), part(repeated, x, 1, 0, 2)}));
  run_pass(repeated.graph, passes::recognize_roll, 0);
  Builder two;
  two.output(two.node("y", Concat{1}, {part(two, two.input("x", kTokens), 1, 1, 4), part(two, two.input("z", kTokens), 1, 0, 1)}));
  run_pass(two.graph, passes::recognize_roll, 0);
  Builder other;  // cut along one axis, joined along another
  x = other.input("x", {Dim(1, kBatch), 4, 4, 8});
  other.output(other.node("y", Concat{2}, {part(other, x, 1, 1, 3), part(other, x, 1, 0, 2)}));
  run_pass(other.graph, passes::recognize_roll, 0);
}

// One reordering before, one between the blocks, one behind.
TEST(OrderTokens, ShiftedWindows) {
  for (const int64_t shift : {0, 1}) {
    Builder b;
    b.output(b.unary({UnaryFn::exp}, block(b, block(b, b.input("x", kTokens), 0), shift)));
    Graph graph = b.graph;
    passes::normalize(graph);
    EXPECT_EQ(copies(graph), shift == 0 ? 2u : 3u) << to_string(graph);  // equal windows: nothing between
    EXPECT_EQ(count_kind(graph, "Binary"), 2u) << "the subtractions of attend\n" << to_string(graph);
    expect_equal_output(b.graph, graph, 1e-4);
  }
}

// Attention is told which tokens a window holds: nothing is moved any more.
TEST(OrderTokens, IntoAttention) {
  for (const int64_t biases : {0, 1, 6}) {
    const Attend windowed = [&](Builder& b, ValueId x) {
      return attention(b, x, Dim(6, kBatch), 4, biases == 0 ? kNoValue : b.random({biases, 1, 4, 4}));
    };
    Builder b;
    b.output(b.unary({UnaryFn::exp}, block(b, block(b, b.input("x", kTokens), 0, windowed), 1, windowed)));
    Graph graph = b.graph;
    passes::normalize(graph);
    EXPECT_EQ(copies(graph), 0u) << to_string(graph);
    EXPECT_NE(to_string(graph).find("items=B heads=1 windows=6 tokens=4x4"), std::string::npos) << to_string(graph);
    expect_equal_output(b.graph, graph, 1e-4);
  }
}

// Windows that are reordered themselves, and several layers between one reordering and the other.
TEST(OrderTokens, IntoAttentionOfWindows) {
  Builder b;
  const Shape columns = {Dim(1, kBatch), kWidth, kHeight, kChannels};
  ValueId x = transpose(b, b.input("x", kTokens), {0, 2, 1, 3});
  for (int layer = 0; layer < 2; ++layer) {
    ValueId h = transpose(b, reshape(b, x, {Dim(1, kBatch), 3, 2, 2, 2, kChannels}), {0, 1, 3, 2, 4, 5});
    h = attention(b, reshape(b, h, {Dim(6, kBatch), 4, kChannels}), Dim(6, kBatch), 4);
    h = transpose(b, reshape(b, h, {Dim(1, kBatch), 3, 2, 2, 2, kChannels}), {0, 1, 3, 2, 4, 5});
    x = b.binary(BinaryFn::add, x, reshape(b, h, columns));
  }
  b.output(b.unary({UnaryFn::exp}, transpose(b, x, {0, 2, 1, 3})));
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_EQ(copies(graph), 0u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-4);
}

// Keys of another value have another order.
TEST(OrderTokens, NotIntoAttentionToOthers) {
  Builder b;
  Attention op = among(Dim(6, kBatch), 4);
  op.k = op.v = {0, 4 * kChannels, kChannels, kChannels};
  const ValueId q = linear(b, windows(b, norm(b, b.input("x", kTokens))), kChannels, 3 * kChannels);
  const ValueId keys = b.input("keys", {Dim(6, kBatch), 4, kChannels});
  b.output(b.unary({UnaryFn::exp}, unwindowed(b, b.node("y", op, {q, keys}))));
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_EQ(copies(graph), 2u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-4);
}

TEST(OrderTokens, AFixedBatchToo) {
  Builder b;
  const ValueId x = b.input("x", {2, kHeight, kWidth, kChannels});
  ValueId h = transpose(b, reshape(b, norm(b, x), {2, 2, 2, 3, 2, kChannels}), {0, 1, 3, 2, 4, 5});
  h = attend(b, reshape(b, h, {12, 4, kChannels}));
  h = transpose(b, reshape(b, h, {2, 2, 3, 2, 2, kChannels}), {0, 1, 3, 2, 4, 5});
  b.output(b.binary(BinaryFn::add, x, reshape(b, h, {2, kHeight, kWidth, kChannels})));
  Graph graph = b.graph;
  passes::normalize(graph);
  EXPECT_EQ(count_kind(graph, "Binary"), 1u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-4);
}

TEST(OrderTokens, MustNotFire) {
  Builder heads;  // [B,N,H,D] to [B,H,N,D] keeps the last axis, but the layers behind see another one
  ValueId x = heads.input("x", {Dim(1, kBatch), 6, 24});
  x = transpose(heads, reshape(heads, x, {Dim(1, kBatch), 6, 3, 8}), {0, 2, 1, 3});
  heads.output(linear(heads, x, 8, 8));
  run_pass(heads.graph, passes::order_tokens, 0);
  Builder once;  // windows that are not put back
  once.output(attend(once, windows(once, norm(once, once.input("x", kTokens)))));
  run_pass(once.graph, passes::order_tokens, 0);
  Builder read;  // the normalised tokens are read elsewhere too
  x = read.input("x", kTokens);
  const ValueId n = norm(read, x);
  read.output(read.binary(BinaryFn::add, x, unwindowed(read, attend(read, windows(read, n))))).output(read.unary({UnaryFn::exp}, n));
  run_pass(read.graph, passes::order_tokens, 0);
  Builder another;  // put back in another order
  x = another.input("x", {Dim(1, kBatch), 4, 4, kChannels});
  ValueId h = transpose(another, reshape(another, norm(another, x), {Dim(1, kBatch), 2, 2, 4, kChannels}), {0, 1, 3, 2, 4});
  h = attend(another, reshape(another, h, {Dim(8, kBatch), 2, kChannels}));
  another.output(another.binary(BinaryFn::add, x, reshape(another, h, {Dim(1, kBatch), 4, 4, kChannels})));
  run_pass(another.graph, passes::order_tokens, 0);
}

}  // namespace
}  // namespace fcm::testing
