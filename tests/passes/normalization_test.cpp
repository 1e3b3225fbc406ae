// recognize_normalization: the spellings of layer and RMS normalisation, and what only looks like one.
#include <limits>

#include "runtime/passes/match.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kShape = {Dim(1, kBatch), 5, 8};

ValueId mean(Builder& b, ValueId x, Ints axes, bool keep_dims = true) {
  static int count = 0;
  return b.node("mean" + std::to_string(count++), Reduce{ReduceFn::mean, std::move(axes), keep_dims, false}, {x});
}

enum class Root { divide, reciprocal, one_over, power };

// x / sqrt(mean(square(x)) + 1e-5), over `axes`.
ValueId over_root(Builder& b, ValueId x, ValueId squared, const Ints& axes, Root root) {
  const ValueId radicand = b.binary(BinaryFn::add, mean(b, squared, axes), b.number(1e-5f));
  if (root == Root::power) return b.binary(BinaryFn::mul, b.binary(BinaryFn::pow, radicand, b.number(-0.5f)), x);
  const ValueId divisor = b.unary({UnaryFn::sqrt}, radicand);
  if (root == Root::divide) return b.binary(BinaryFn::div, x, divisor);
  const ValueId factor =
      root == Root::reciprocal ? b.unary({UnaryFn::reciprocal}, divisor) : b.binary(BinaryFn::div, b.number(1.0f), divisor);
  return b.binary(BinaryFn::mul, x, factor);
}

ValueId layer_norm(Builder& b, ValueId x, const Ints& axes, Root root, bool by_power) {
  const ValueId d = b.binary(BinaryFn::sub, x, mean(b, x, axes));
  const ValueId squared = by_power ? b.binary(BinaryFn::pow, d, b.number(2.0f)) : b.binary(BinaryFn::mul, d, d);
  return over_root(b, d, squared, axes, root);
}

void expect_one(const Builder& b, const std::string& text, size_t inputs) {
  Graph graph = b.graph;
  passes::fold(graph);
  EXPECT_GT(passes::recognize_normalization(graph), 0);
  passes::remove_dead(graph);
  ASSERT_EQ(graph.nodes.size(), 1u) << to_string(graph);
  EXPECT_EQ(to_string(graph.nodes[0].op), text);
  EXPECT_EQ(graph.nodes[0].inputs.size(), inputs);
  expect_equal_output(b.graph, graph, 1e-5);
}

TEST(RecognizeNormalization, LayerNormInEverySpelling) {
  for (const Root root : {Root::divide, Root::reciprocal, Root::one_over, Root::power}) {
    for (const bool by_power : {false, true}) {
      Builder b;
      const ValueId y = layer_norm(b, b.input("x", kShape), {2}, root, by_power);
      b.output(b.binary(BinaryFn::add, b.binary(BinaryFn::mul, y, b.random({8})), b.random({8})));
      expect_one(b, "Normalize layer axis=2 epsilon=1e-05", 3);
    }
  }
}

// ConvNeXt's layer norm of a map, over axis 1.
TEST(RecognizeNormalization, OfTheChannelsOfAMap) {
  Builder b;
  const ValueId y = layer_norm(b, b.input("x", {Dim(1, kBatch), 8, 3, 5}), {1}, Root::divide, true);
  b.output(b.binary(BinaryFn::add, b.binary(BinaryFn::mul, y, b.random({8, 1, 1})), b.random({8, 1, 1})));
  Graph graph = b.graph;
  passes::normalize(graph);
  ASSERT_EQ(graph.nodes.size(), 3u) << to_string(graph);
  EXPECT_EQ(to_string(graph.nodes[1].op), "Normalize layer axis=3 epsilon=1e-05");
  EXPECT_EQ(graph.nodes[1].inputs.size(), 3u);
  expect_equal_output(b.graph, graph, 1e-5);
}

TEST(RecognizeNormalization, ParametersAreOptional) {
  Builder bare;
  bare.output(layer_norm(bare, bare.input("x", kShape), {-1}, Root::divide, true));
  expect_one(bare, "Normalize layer axis=2 epsilon=1e-05", 1);
  Builder bias;
  bias.output(bias.binary(BinaryFn::add, bias.random({1, 5, 8}), layer_norm(bias, bias.input("x", kShape), {1, 2}, Root::divide, true)));
  expect_one(bias, "Normalize layer axis=1 epsilon=1e-05", 3);
}

TEST(RecognizeNormalization, RmsNorm) {
  Builder b;
  const ValueId x = b.input("x", kShape);
  const ValueId y = over_root(b, x, b.binary(BinaryFn::pow, x, b.number(2.0f)), {-1}, Root::reciprocal);
  b.output(b.binary(BinaryFn::mul, b.random({8}), y));
  expect_one(b, "Normalize rms axis=2 epsilon=1e-05", 2);
}

// x / max(|x|, least)
Builder over_length(Ints axes, float least, float most = std::numeric_limits<float>::infinity(), ReduceFn fn = ReduceFn::l2) {
  Builder b;
  const ValueId x = b.input("x", kShape);
  const ValueId length = b.node("length", Reduce{fn, std::move(axes), true, false}, {x});
  b.output(b.binary(BinaryFn::div, x, b.unary({UnaryFn::clip, least, most}, length)));
  return b;
}

TEST(RecognizeNormalization, VectorsOverTheirLengths) {
  expect_one(over_length({2}, 1e-12f), "Normalize rms axis=2 epsilon=1.25e-25", 2);
  const auto stays = [](const Builder& b) { run_pass(b.graph, passes::recognize_normalization, 0); };
  stays(over_length({1}, 1e-12f));
  stays(over_length({1, 2}, 1e-12f));
  stays(over_length({2}, 0.5f));  // lengths below it count
  stays(over_length({2}, 1e-12f, 4.0f));
  stays(over_length({2}, 1e-12f, std::numeric_limits<float>::infinity(), ReduceFn::l1));
}

TEST(RecognizeNormalization, OtherAxesStay) {
  Builder b;
  b.output(layer_norm(b, b.input("x", kShape), {1}, Root::divide, true));
  run_pass(b.graph, passes::recognize_normalization, 0);
}

TEST(RecognizeNormalization, LookAlikesStay) {
  Builder mixed;  // the mean of another tensor
  const ValueId x = mixed.input("x", kShape);
  const ValueId d = mixed.binary(BinaryFn::sub, x, mean(mixed, mixed.input("z", kShape), {2}));
  mixed.output(over_root(mixed, d, mixed.binary(BinaryFn::mul, d, x), {2}, Root::divide));
  run_pass(mixed.graph, passes::recognize_normalization, 0, 1e-5);
  Builder axes;  // mean and variance over different axes
  const ValueId v = axes.input("x", kShape);
  const ValueId centred = axes.binary(BinaryFn::sub, v, mean(axes, v, {1, 2}));
  axes.output(over_root(axes, centred, axes.binary(BinaryFn::mul, centred, centred), {2}, Root::divide));
  Graph graph = axes.graph;
  passes::fold(graph);
  passes::recognize_normalization(graph);
  passes::remove_dead(graph);
  EXPECT_EQ(count_kind(graph, "Normalize"), 1u);  // an RMS normalisation of the centred values
  EXPECT_NE(to_string(graph).find("Normalize rms axis=2"), std::string::npos) << to_string(graph);
  expect_equal_output(axes.graph, graph, 1e-5);
}

TEST(RecognizeNormalization, ParametersOfOtherAxesStayBehind) {
  Builder b;
  const ValueId y = layer_norm(b, b.input("x", kShape), {2}, Root::divide, true);
  b.output(b.binary(BinaryFn::mul, y, b.random({5, 1})));
  Graph graph = b.graph;
  passes::fold(graph);
  passes::recognize_normalization(graph);
  passes::remove_dead(graph);
  EXPECT_EQ(graph.nodes.size(), 2u) << to_string(graph);
  expect_equal_output(b.graph, graph, 1e-5);
}

// As exporters below opset 18 write group normalisation, with a scale and bias a channel behind it.
ValueId spelled_group_norm(Builder& b, ValueId x, const Shape& map, int64_t groups, bool identity) {
  const ValueId flat =
      b.node("flat", passes::reshape_to({map[0], groups, Dim(map[1].factor * map[2].factor * map[3].factor / groups)}), {x});
  const ValueId scale = identity ? b.floats({groups}, std::vector<float>(static_cast<size_t>(groups), 1.0f)) : b.random({groups});
  const ValueId bias = identity ? b.floats({groups}, std::vector<float>(static_cast<size_t>(groups), 0.0f)) : b.random({groups});
  const ValueId normal = b.node("norm", Normalize{NormFn::group, -1, 0, false, 1e-5f}, {flat, scale, bias});
  return b.node("back", passes::reshape_to(map), {normal});
}

TEST(RecognizeNormalization, GroupsSpelledByReshapes) {
  const Shape map = {Dim(1, kBatch), 6, 4, 3};
  for (const int64_t groups : {1, 2, 6}) {
    for (const bool identity : {true, false}) {
      Builder b;
      const ValueId y = spelled_group_norm(b, b.input("x", map), map, groups, identity);
      b.output(b.binary(BinaryFn::add, b.binary(BinaryFn::mul, y, b.random({6, 1, 1})), b.random({6, 1, 1})));
      expect_one(b, "Normalize group groups=" + std::to_string(groups) + " epsilon=1e-05", 3);
    }
  }
}

TEST(RecognizeNormalization, OtherMapsBehindANormalisationStay) {
  const Shape map = {Dim(1, kBatch), 6, 4, 3};
  Builder turned;  // back to another map
  const ValueId flat = turned.node("flat", passes::reshape_to({map[0], 2, 36}), {turned.input("x", map)});
  const ValueId normal = turned.node("norm", Normalize{NormFn::group, -1, 0, false, 1e-5f}, {flat, turned.random({2}), turned.random({2})});
  turned.output(turned.node("back", passes::reshape_to({map[0], 6, 3, 4}), {normal}));
  run_pass(turned.graph, passes::recognize_normalization, 0);
  Builder wide;  // a constant a pixel, not one a channel
  const ValueId y =
      wide.node("norm", Normalize{NormFn::group, -1, 2, false, 1e-5f}, {wide.input("x", map), wide.random({6}), wide.random({6})});
  wide.output(wide.binary(BinaryFn::mul, y, wide.random({4, 3})));
  run_pass(wide.graph, passes::recognize_normalization, 0);
}

}  // namespace
}  // namespace fcm::testing
