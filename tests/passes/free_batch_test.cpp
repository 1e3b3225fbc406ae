// Fixed batches: what becomes free gives every item what it gave alone; what mixes items stays, and the node that does it is named.
#include <cstring>
#include <functional>

#include "runtime/support/error.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

// Item `i` of a tensor along axis 0.
Tensor item(const Tensor& all, int64_t i, int64_t count) {
  Dims dims = all.dims();
  dims[0] /= count;
  Tensor one(all.dtype(), dims);
  std::memcpy(one.raw(), all.raw() + static_cast<size_t>(i) * one.bytes(), one.bytes());
  return one;
}

// Frees the batch of `fixed` (of `batch` items) and compares three items at once with each alone.
void expect_freed(const Graph& fixed, int64_t batch = 1) {
  Graph freed = fixed;
  ASSERT_TRUE(passes::free_batch(freed, batch == 1 ? 0 : 12)) << to_string(fixed);
  for (const bool normal : {false, true}) {
    if (normal) passes::normalize(freed);
    const std::vector<Tensor> inputs = random_inputs(freed, 3 * batch, 7);
    const std::vector<Tensor> together = evaluate(freed, 3 * batch, inputs);
    for (int64_t i = 0; i < 3; ++i) {
      std::vector<Tensor> alone;
      for (const Tensor& input : inputs) alone.push_back(item(input, i, 3));
      const std::vector<Tensor> expected = evaluate(fixed, 1, alone);
      for (size_t o = 0; o < expected.size(); ++o)
        EXPECT_LE(difference(item(together[o], i, 3), expected[o]), 2e-5) << "item " << i << "\n" << to_string(freed);
    }
  }
}

void expect_mixed(const Graph& fixed, const std::string& node) {
  Graph freed = fixed;
  EXPECT_FALSE(passes::free_batch(freed, 0));
  EXPECT_EQ(to_string(freed), to_string(fixed));
  try {
    passes::free_batch(freed, 4);
    ADD_FAILURE() << "batch 4 was accepted\n" << to_string(freed);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(node), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("the batch is fixed at 1"), std::string::npos) << error.what();
  }
}

ValueId reshape(Builder& b, const std::string& name, ValueId x, const Ints& target) {
  return b.node(name, Reshape{}, {x, b.ints(target)});
}

ValueId index(Builder& b, int64_t i) {
  const std::vector<int64_t> one = {i};
  return b.graph.add_constant("index" + std::to_string(b.graph.values.size()), Tensor::ints({}, one));
}

// Patches, a class token, attention over heads with a bias, and the token's row, all written for `batch` items.
Graph transformer(int64_t batch) {
  Builder b;
  const ValueId x = b.input("x", {batch, 3, 8, 8});
  Conv patch;
  patch.window.strides = {4, 4};
  ValueId t = b.node("patch", patch, {x, b.random({12, 3, 4, 4}), b.random({12})});
  t = b.node("tokens", Transpose{{0, 2, 1}}, {reshape(b, "flat", t, {batch, 12, 4})});
  if (batch == 1) t = b.node("joined", Concat{1}, {b.random({1, 1, 12}), t});
  const int64_t count = batch == 1 ? 5 : 4;
  t = b.binary(BinaryFn::add, t, b.random({1, count, 12}));
  const ValueId qkv = reshape(b, "heads", b.node("qkv", MatMul{}, {t, b.random({12, 36})}), {batch, count, 3, 2, 6});
  const ValueId turned = b.node("turned", Transpose{{2, 0, 3, 1, 4}}, {qkv});
  std::vector<ValueId> parts;
  for (const char* name : {"q", "k", "v"}) parts.push_back(b.node(name, Gather{0}, {turned, index(b, static_cast<int64_t>(parts.size()))}));
  ValueId scores = b.node("scores", MatMul{}, {parts[0], b.node("k_t", Transpose{{0, 1, 3, 2}}, {parts[1]})});
  scores = b.binary(BinaryFn::add, scores, b.random({1, 2, count, count}));
  const ValueId mixed = b.node("mixed", MatMul{}, {b.node("weights", Softmax{-1, false, false}, {scores}), parts[2]});
  t = reshape(b, "merged", b.node("back", Transpose{{0, 2, 1, 3}}, {mixed}), {batch, count, 12});
  Slice first;
  first.bound = true;
  first.starts = {0};
  first.ends = {1};
  first.axes = {1};
  first.steps = {1};
  t = reshape(b, "row", b.node("first", first, {t}), {batch, 12});
  return b.output(b.node("head", Gemm{}, {t, b.random({12, 7}), b.random({7})})).graph;
}

TEST(FreeBatch, TransformersKeepItemsApart) {
  expect_freed(transformer(1));
  expect_freed(transformer(2), 2);
}

// Windows of a map: the batch moves into a factor, a mask of one map is added to each.
TEST(FreeBatch, WindowsMultiplyTheBatch) {
  Builder b;
  const ValueId x = b.input("x", {1, 4, 6, 2});
  ValueId t = b.node("turned", Transpose{{0, 1, 3, 2, 4, 5}}, {reshape(b, "split", x, {1, 2, 2, 3, 2, 2})});
  t = reshape(b, "windows", t, {6, 4, 2});
  t = b.node("masked", Binary{BinaryFn::add, {}}, {t, b.random({6, 4, 1})});
  t = b.node("soft", Softmax{1, false, false}, {t});
  t = b.node("untwist", Transpose{{0, 1, 3, 2, 4, 5}}, {reshape(b, "join", t, {1, 2, 3, 2, 2, 2})});
  expect_freed(b.output(reshape(b, "map", t, {1, 4, 6, 2})).graph);
}

TEST(FreeBatch, ReductionsGathersAndPads) {
  Builder b;
  const ValueId x = b.input("x", {1, 5, 4});
  Reduce mean;
  mean.axes = Ints{1};
  mean.keep_dims = false;
  const ValueId m = b.node("mean", mean, {x});
  const ValueId wide = b.node("wide", Expand{}, {reshape(b, "column", m, {1, 1, 4}), b.ints({1, 5, 4})});
  const ValueId picked = b.node("picked", Gather{1}, {b.binary(BinaryFn::sub, x, wide), b.ints({4, 0, 0})});
  expect_freed(b.output(picked).graph);
}

TEST(FreeBatch, WhatMixesItemsIsNamed) {
  const auto graph = [](const std::function<ValueId(Builder&, ValueId)>& make) {
    Builder b;
    const ValueId x = b.input("x", {1, 4, 6});
    return b.output(make(b, x)).graph;
  };
  Reduce sum;
  sum.fn = ReduceFn::sum;
  sum.axes = Ints{0};
  expect_mixed(graph([&](Builder& b, ValueId x) { return b.node("total", sum, {x}); }), "total");
  expect_mixed(graph([](Builder& b, ValueId x) { return b.node("soft", Softmax{0, false, false}, {x}); }), "soft");
  expect_mixed(graph([](Builder& b, ValueId x) { return b.node("twice", Concat{0}, {x, x}); }), "twice");
  expect_mixed(graph([](Builder& b, ValueId x) { return b.node("one", Gather{0}, {x, index(b, 0)}); }), "one");
  // The items lie behind four rows; a target of one axis cannot keep them together.
  expect_mixed(graph([](Builder& b, ValueId x) { return reshape(b, "flat", b.node("t", Transpose{{1, 0, 2}}, {x}), {2, 12}); }), "flat");
  expect_mixed(graph([](Builder& b, ValueId x) { return b.binary(BinaryFn::add, b.node("t", Transpose{{1, 0, 2}}, {x}), x); }), "v");
}

TEST(FreeBatch, WhatIsFreeOrAsAskedForStays) {
  Builder free;
  Graph graph = free.output(free.unary({UnaryFn::relu}, free.input("x", {Dim(1, true), 4}))).graph;
  EXPECT_FALSE(passes::free_batch(graph, 5));
  Graph fixed = transformer(2);
  EXPECT_FALSE(passes::free_batch(fixed, 0));
  EXPECT_FALSE(passes::free_batch(fixed, 2));
}

}  // namespace
}  // namespace fcm::testing
