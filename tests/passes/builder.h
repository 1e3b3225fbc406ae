// Small graphs for the tests of passes, and the checks that all of them need.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/graph/graph.h"
#include "runtime/passes/passes.h"
#include "tests/support/evaluate.h"

namespace fcm::testing {

inline constexpr bool kBatch = true;

class Builder {
 public:
  Graph graph;

  Builder() { graph.name = "test"; }

  ValueId input(const std::string& name, Shape shape, DType dtype = DType::f32) {
    const ValueId v = graph.add_value(name, dtype, std::move(shape));
    graph.inputs.push_back(v);
    return v;
  }
  /// One node with one output of the same name.
  ValueId node(const std::string& name, Op op, std::vector<ValueId> inputs) {
    const ValueId v = graph.add_value(name, DType::f32);
    const Origin origin{name, std::string(op_kind(op)), 17, ""};
    graph.add_node(std::move(op), std::move(inputs), {v}, origin);
    return v;
  }
  ValueId number(float x) { return graph.add_constant(next_name(), Tensor::scalar(x)); }
  ValueId floats(Dims dims, const std::vector<float>& values) {
    return graph.add_constant(next_name(), Tensor::floats(std::move(dims), values));
  }
  ValueId ints(const std::vector<int64_t>& values) {
    return graph.add_constant(next_name(), Tensor::ints({static_cast<int64_t>(values.size())}, values));
  }
  /// Uniform in [low, high).
  ValueId random(Dims dims, float low = -1.0f, float high = 1.0f) {
    Tensor t(DType::f32, std::move(dims));
    for (float& x : t.data<float>()) x = low + (high - low) * static_cast<float>(random_() % 65536) / 65536.0f;
    return graph.add_constant(next_name(), std::move(t));
  }
  ValueId binary(BinaryFn fn, ValueId a, ValueId b) { return node(next_name(), Binary{fn, {}}, {a, b}); }
  ValueId unary(Unary u, ValueId x) { return node(next_name(), UnaryOp{u}, {x}); }
  /// A 3x3 (or `kernel`) convolution with random weights and bias.
  ValueId conv(const std::string& name, ValueId x, int64_t in, int64_t out, int64_t kernel = 3, int64_t pad = 1) {
    Conv op;
    op.window.pads_begin = op.window.pads_end = {pad, pad};
    return node(name, op, {x, random({out, in, kernel, kernel}), random({out})});
  }
  ValueId batch_norm(const std::string& name, ValueId x, int64_t channels) {
    return node(name, BatchNorm{1e-3f},
                {x, random({channels}, 0.5f, 1.5f), random({channels}), random({channels}), random({channels}, 0.2f, 2.0f)});
  }
  Builder& output(ValueId v) {
    graph.outputs.push_back(v);
    return *this;
  }

 private:
  std::string next_name() { return "v" + std::to_string(graph.values.size()); }
  std::mt19937 random_{5};
};

inline size_t count_kind(const Graph& graph, std::string_view kind) {
  size_t count = 0;
  for (const Node& node : graph.nodes) count += op_kind(node.op) == kind ? 1 : 0;
  return count;
}

/// The same inputs, output names and results, at batch 1 and 3.
inline void expect_equal_output(const Graph& before, const Graph& after, double tolerance = 2e-6) {
  ASSERT_EQ(before.outputs.size(), after.outputs.size());
  ASSERT_EQ(before.inputs.size(), after.inputs.size());
  for (size_t i = 0; i < before.outputs.size(); ++i) EXPECT_EQ(before.value(before.outputs[i]).name, after.value(after.outputs[i]).name);
  for (size_t i = 0; i < before.inputs.size(); ++i) EXPECT_EQ(before.value(before.inputs[i]).name, after.value(after.inputs[i]).name);
  for (const int64_t batch : {1, 3}) {
    const std::vector<Tensor> inputs = random_inputs(before, batch, static_cast<uint32_t>(batch));
    const std::vector<Tensor> expected = evaluate(before, batch, inputs);
    const std::vector<Tensor> actual = evaluate(after, batch, inputs);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_LE(difference(actual[i], expected[i]), tolerance) << "output " << i << " at batch " << batch << "\n" << to_string(after);
  }
}

/// Folds, runs one pass and removes what is dead; checks that the pass fired `times` and that nothing changed in the results.
inline Graph run_pass(const Graph& before, int (*pass)(Graph&), int times, double tolerance = 2e-6) {
  Graph graph = before;
  passes::fold(graph);
  passes::remove_dead(graph);
  const std::string folded = to_string(graph);
  EXPECT_EQ(pass(graph), times) << folded;
  if (times == 0) {
    EXPECT_EQ(to_string(graph), folded);
  }
  passes::remove_dead(graph);
  expect_equal_output(before, graph, tolerance);
  return graph;
}

}  // namespace fcm::testing
