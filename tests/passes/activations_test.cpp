// recognize_activations: every spelling, and what only looks like one.
#include <cmath>
#include <functional>

#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

const Shape kShape = {Dim(1, kBatch), 5, 4};

// Builds y = f(x), with `x` the input or the product of two inputs, and normalizes; one UnaryOp (fused or not) must remain of it.
using Spelling = std::function<ValueId(Builder&, ValueId)>;

void expect_recognized(const Spelling& spell, const Unary& expected, double tolerance = 2e-6) {
  for (const bool product : {false, true}) {
    Builder b;
    ValueId x = b.input("x", kShape);
    if (product) x = b.binary(BinaryFn::mul, x, b.input("z", kShape));
    b.output(spell(b, x));
    Graph graph = b.graph;
    for (int i = 0; i < 4; ++i) {
      passes::fold(graph);
      passes::recognize_activations(graph);
      passes::remove_dead(graph);
    }
    ASSERT_EQ(graph.nodes.size(), product ? 2u : 1u) << to_string(expected) << "\n" << to_string(graph);
    ASSERT_EQ(to_string(graph.nodes.back().op), "UnaryOp " + to_string(expected)) << to_string(graph);
    expect_equal_output(b.graph, graph, tolerance);
  }
}

void expect_ignored(const Spelling& spell) {
  Builder b;
  b.output(spell(b, b.input("x", kShape)));
  run_pass(b.graph, passes::recognize_activations, 0);
}

ValueId add(Builder& b, ValueId x, float c) {
  return b.binary(BinaryFn::add, x, b.number(c));
}
ValueId mul(Builder& b, ValueId x, float c) {
  return b.binary(BinaryFn::mul, x, b.number(c));
}
ValueId div(Builder& b, ValueId x, float c) {
  return b.binary(BinaryFn::div, x, b.number(c));
}
ValueId mul(Builder& b, ValueId x, ValueId y) {
  return b.binary(BinaryFn::mul, x, y);
}
ValueId clip(Builder& b, ValueId x, float low, float high) {
  return b.unary({UnaryFn::clip, low, high}, x);
}
ValueId relu6_shifted(Builder& b, ValueId x) {
  return clip(b, add(b, x, 3.0f), 0.0f, 6.0f);
}

TEST(RecognizeActivations, Silu) {
  expect_recognized([](Builder& b, ValueId x) { return mul(b, x, b.unary({UnaryFn::sigmoid}, x)); }, {UnaryFn::silu});
  expect_recognized([](Builder& b, ValueId x) { return mul(b, b.unary({UnaryFn::sigmoid}, x), x); }, {UnaryFn::silu});
}

TEST(RecognizeActivations, HardSigmoidAndHardSwish) {
  const Unary hard_sigmoid{UnaryFn::hard_sigmoid, 1.0f / 6.0f, 0.5f};
  const Unary hard_swish{UnaryFn::hard_swish};
  expect_recognized([](Builder& b, ValueId x) { return div(b, relu6_shifted(b, x), 6.0f); }, hard_sigmoid);
  expect_recognized([](Builder& b, ValueId x) { return mul(b, relu6_shifted(b, x), 1.0f / 6.0f); }, hard_sigmoid);
  expect_recognized([](Builder& b, ValueId x) { return clip(b, add(b, mul(b, x, 0.25f), 0.5f), 0.0f, 1.0f); },
                    {UnaryFn::hard_sigmoid, 0.25f, 0.5f});
  expect_recognized([&](Builder& b, ValueId x) { return mul(b, x, b.unary(hard_sigmoid, x)); }, hard_swish);
  expect_recognized([](Builder& b, ValueId x) { return div(b, mul(b, x, relu6_shifted(b, x)), 6.0f); }, hard_swish);
  expect_recognized([](Builder& b, ValueId x) { return mul(b, x, div(b, relu6_shifted(b, x), 6.0f)); }, hard_swish);
  expect_recognized([](Builder& b, ValueId x) { return mul(b, mul(b, relu6_shifted(b, x), 1.0f / 6.0f), x); }, hard_swish);
  expect_recognized(
      [](Builder& b, ValueId x) {  // ReLU6 as max and min
        const ValueId bounded = b.binary(BinaryFn::min, b.binary(BinaryFn::max, add(b, x, 3.0f), b.number(0.0f)), b.number(6.0f));
        return mul(b, x, div(b, bounded, 6.0f));
      },
      hard_swish);
}

TEST(RecognizeActivations, Gelu) {
  const auto bell = [](Builder& b, ValueId x) { return add(b, b.unary({UnaryFn::erf}, div(b, x, 1.41421356f)), 1.0f); };
  const Unary gelu{UnaryFn::gelu};
  expect_recognized([&](Builder& b, ValueId x) { return mul(b, mul(b, x, bell(b, x)), 0.5f); }, gelu);
  expect_recognized([&](Builder& b, ValueId x) { return mul(b, mul(b, x, 0.5f), bell(b, x)); }, gelu);
  expect_recognized([&](Builder& b, ValueId x) { return mul(b, x, mul(b, bell(b, x), 0.5f)); }, gelu);
  expect_recognized([&](Builder& b, ValueId x) { return div(b, mul(b, x, bell(b, x)), 2.0f); }, gelu);
  expect_recognized(
      [](Builder& b, ValueId x) { return mul(b, mul(b, x, 0.5f), add(b, b.unary({UnaryFn::erf}, mul(b, x, 0.70710678f)), 1.0f)); }, gelu);
}

TEST(RecognizeActivations, GeluTanh) {
  const auto finish = [](Builder& b, ValueId x, ValueId argument) {
    return mul(b, mul(b, x, 0.5f), add(b, b.unary({UnaryFn::tanh}, argument), 1.0f));
  };
  const Unary gelu_tanh{UnaryFn::gelu_tanh};
  constexpr float kRoot = 0.7978845608f;
  expect_recognized(
      [&](Builder& b, ValueId x) {
        const ValueId cube = b.binary(BinaryFn::pow, x, b.number(3.0f));
        return finish(b, x, mul(b, b.binary(BinaryFn::add, x, mul(b, cube, 0.044715f)), kRoot));
      },
      gelu_tanh);
  expect_recognized(
      [&](Builder& b, ValueId x) {
        const ValueId cube = mul(b, mul(b, x, x), x);
        return finish(b, x, mul(b, b.binary(BinaryFn::add, mul(b, cube, 0.044715f), x), kRoot));
      },
      gelu_tanh);
  expect_recognized(
      [&](Builder& b, ValueId x) { return finish(b, x, mul(b, mul(b, x, kRoot), add(b, mul(b, mul(b, x, x), 0.044715f), 1.0f))); },
      gelu_tanh);
}

TEST(RecognizeActivations, MishAndSoftplus) {
  const auto softplus = [](Builder& b, ValueId x) { return b.unary({UnaryFn::log}, add(b, b.unary({UnaryFn::exp}, x), 1.0f)); };
  expect_recognized(softplus, {UnaryFn::softplus});
  expect_recognized([&](Builder& b, ValueId x) { return mul(b, x, b.unary({UnaryFn::tanh}, softplus(b, x))); }, {UnaryFn::mish});
  expect_recognized([](Builder& b, ValueId x) { return mul(b, b.unary({UnaryFn::tanh}, b.unary({UnaryFn::softplus}, x)), x); },
                    {UnaryFn::mish});
}

TEST(RecognizeActivations, Bounds) {
  expect_recognized([](Builder& b, ValueId x) { return clip(b, x, 0.0f, INFINITY); }, {UnaryFn::relu});
  expect_recognized([](Builder& b, ValueId x) { return b.binary(BinaryFn::max, x, b.number(0.0f)); }, {UnaryFn::relu});
  expect_recognized([](Builder& b, ValueId x) { return b.binary(BinaryFn::min, b.number(0.5f), b.unary({UnaryFn::relu}, x)); },
                    {UnaryFn::clip, 0.0f, 0.5f});
  expect_recognized([](Builder& b, ValueId x) { return clip(b, clip(b, x, -1.0f, 0.5f), 0.75f, 2.0f); }, {UnaryFn::clip, 0.75f, 0.75f});
  expect_recognized(
      [](Builder& b, ValueId x) {
        return b.node("p", Binary{BinaryFn::prelu, {}}, {x, b.number(0.1f)});
      },
      {UnaryFn::leaky_relu, 0.1f});
}

TEST(RecognizeActivations, MustNotFire) {
  expect_ignored([](Builder& b, ValueId x) { return mul(b, x, b.unary({UnaryFn::sigmoid}, mul(b, x, 1.702f))); });
  expect_ignored([](Builder& b, ValueId x) { return mul(b, b.unary({UnaryFn::tanh}, x), b.unary({UnaryFn::sigmoid}, x)); });
  expect_ignored([](Builder& b, ValueId x) { return mul(b, x, b.unary({UnaryFn::hard_sigmoid, 0.2f, 0.5f}, x)); });
  expect_ignored([](Builder& b, ValueId x) { return div(b, clip(b, add(b, x, 2.0f), 0.0f, 6.0f), 6.0f); });
  expect_ignored([](Builder& b, ValueId x) { return div(b, clip(b, add(b, x, 3.0f), 0.0f, 5.0f), 6.0f); });
  expect_ignored([](Builder& b, ValueId x) { return div(b, mul(b, x, relu6_shifted(b, x)), 5.0f); });
  expect_ignored([](Builder& b, ValueId x) { return mul(b, mul(b, x, add(b, b.unary({UnaryFn::erf}, x), 1.0f)), 0.5f); });
  expect_ignored([](Builder& b, ValueId x) { return b.unary({UnaryFn::log}, add(b, b.unary({UnaryFn::exp}, x), 2.0f)); });
  expect_ignored([](Builder& b, ValueId x) { return b.binary(BinaryFn::max, x, b.random({4})); });                   // many numbers
  expect_ignored([](Builder& b, ValueId x) { return b.binary(BinaryFn::max, x, b.floats({1, 1, 1, 1}, {0.0f})); });  // grows the rank
  expect_ignored([](Builder& b, ValueId x) { return b.binary(BinaryFn::max, x, b.number(NAN)); });
}

TEST(RecognizeActivations, IntegersAreLeftAlone) {
  Builder b;
  const ValueId n = b.input("n", {4}, DType::i64);
  b.output(b.binary(BinaryFn::max, n, b.ints({0})));
  run_pass(b.graph, passes::recognize_activations, 0);
}

// What others read stays for them.
TEST(RecognizeActivations, SharedIntermediatesStay) {
  Builder b;
  const ValueId x = b.input("x", kShape);
  const ValueId gate = b.unary({UnaryFn::sigmoid}, x);
  b.output(mul(b, x, gate)).output(gate);
  EXPECT_EQ(run_pass(b.graph, passes::recognize_activations, 1).nodes.size(), 2u);
}

}  // namespace
}  // namespace fcm::testing
