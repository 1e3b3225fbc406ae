// Shared by the engine tests: random inputs, runs over host buffers, and the graph evaluated operator by operator.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "ops/op.h"
#include "runtime/engine/engine.h"
#include "tests/planner/graphs.h"

namespace fcm::test {

inline std::vector<float> random_floats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(count);
  for (float& v : values) v = uniform(random);
  return values;
}

/// Every value of the graph by plain evaluation with fresh tensors: what an engine must reproduce.
inline std::vector<Tensor> evaluate(const Graph& graph, int64_t batch, const std::vector<Tensor>& inputs) {
  std::map<ValueId, Tensor> values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (graph.values[v].constant) values[static_cast<ValueId>(v)] = *graph.values[v].constant;
  }
  for (const Node& node : graph.nodes) {
    std::vector<const Tensor*> in;
    for (const ValueId v : node.inputs) in.push_back(v == kNoValue ? nullptr : &values.at(v));
    std::vector<Tensor> out;
    for (const ValueId v : node.outputs) out.emplace_back(graph.value(v).dtype, at_batch(*graph.value(v).shape, batch));
    ops::reference(node.op, in, out);
    for (size_t i = 0; i < out.size(); ++i) values[node.outputs[i]] = out[i];
  }
  std::vector<Tensor> outputs;
  for (const ValueId v : graph.outputs) outputs.push_back(values.at(v));
  return outputs;
}

inline size_t elements(const Port& port, int64_t batch) {
  return static_cast<size_t>(element_count(at_batch(port.shape, batch)));
}

/// Runs a model of one f32 input and one f32 output from and to host memory.
inline std::vector<float> run_host(Context& context, const Engine& engine, int64_t batch, const std::vector<float>& input) {
  std::vector<float> output(elements(engine.outputs()[0], batch), -77.0f);
  InputBuffer in;
  in.data = input.data();
  OutputBuffer out;
  out.data = output.data();
  context.run(batch, std::span(&in, 1), std::span(&out, 1));
  return output;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

inline float max_abs(const std::vector<float>& values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::fabs(v));
  return most;
}

inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::fabs(a[i] - b[i]) <= most ? most : std::fabs(a[i] - b[i]);
  return most;
}

/// Gives each image of the batch the input of its own single run.
inline std::vector<float> one_image(const std::vector<float>& all, int64_t batch, int64_t index) {
  const auto size = static_cast<std::ptrdiff_t>(all.size()) / batch;
  return {all.begin() + size * index, all.begin() + size * (index + 1)};
}

/// A network with every shape of traffic: depthwise, residuals, squeeze-and-excitation, reshape, softmax, two readers of a value.
inline Graph small_net() {
  GraphBuilder b;
  const Dim batch(1, true);
  ValueId x = b.input("image", Shape{batch, 3, 20, 18});
  x = b.conv("stem", x, 16, 3, 2);
  ValueId h = b.conv("expand", x, 40, 1, 1);
  h = b.conv("depthwise", h, 40, 5, 1, true);
  const ValueId gate = b.unary("gate", b.conv("squeeze", b.global_pool("average", h), 40, 1, 1), {UnaryFn::sigmoid, 0, 0});
  Binary mul;
  mul.fn = BinaryFn::mul;
  h = b.node("scale", mul, {h, gate}, *b.graph.value(h).shape);
  x = b.conv("project", h, 16, 1, 1, false, x);
  x = b.conv("odd", x, 12, 3, 1);
  x = b.reshape("flatten", b.global_pool("pool", x), Shape{batch, 12});
  x = b.gemm("classifier", x, 10);
  return b.finish({x});
}

}  // namespace fcm::test
