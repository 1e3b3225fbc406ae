// A graph interpreter without a plan: one reference call a node.
#include "tests/support/evaluate.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>
#include <random>

#include "ops/op.h"
#include "runtime/support/error.h"

namespace fcm::testing {
namespace {

// Targets that hold the batch, at the running batch.
void fix_batch(Op& op, int64_t batch) {
  if (auto* attention = std::get_if<Attention>(&op)) attention->items = Dim(attention->items.at(batch));
  std::optional<Shape>* target = nullptr;
  if (auto* reshape = std::get_if<Reshape>(&op)) target = &reshape->target;
  if (auto* expand = std::get_if<Expand>(&op)) target = &expand->target;
  if (target != nullptr && *target) *target = to_shape(at_batch(**target, batch));
}

std::vector<const ops::Known*> known_inputs(const Node& node, const std::vector<std::optional<Tensor>>& tensors,
                                            std::vector<ops::Known>& storage) {
  storage.clear();
  storage.reserve(node.inputs.size());
  std::vector<const ops::Known*> known;
  for (const ValueId v : node.inputs) {
    if (v == kNoValue) {
      known.push_back(nullptr);
      continue;
    }
    const Tensor& t = tensors[static_cast<size_t>(v)].value();
    storage.push_back({t.dtype(), to_shape(t.dims()), &t, nullptr});
    known.push_back(&storage.back());
  }
  return known;
}

void check_declared(const Value& value, const Tensor& result, int64_t batch) {
  if (value.shape && (at_batch(*value.shape, batch) != result.dims() || value.dtype != result.dtype()))
    throw Error(ErrorCode::internal, fmt::format("\"{}\" is declared {} {} but has shape {}", value.name, dtype_name(value.dtype),
                                                 to_string(*value.shape), to_string(to_shape(result.dims()))));
}

}  // namespace

std::vector<Tensor> evaluate(const Graph& graph, int64_t batch, const std::vector<Tensor>& inputs) {
  graph.validate();
  std::vector<std::optional<Tensor>> tensors(graph.values.size());
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (graph.values[v].constant) tensors[v] = *graph.values[v].constant;
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    check_declared(graph.value(graph.inputs[i]), inputs.at(i), batch);
    tensors[static_cast<size_t>(graph.inputs[i])] = inputs[i];
  }
  for (const Node& original : graph.nodes) {
    Node node = original;
    fix_batch(node.op, batch);
    std::vector<ops::Known> storage;
    ops::bind(node, known_inputs(node, tensors, storage));
    const auto inferred = ops::infer(node, known_inputs(node, tensors, storage));
    std::vector<Tensor> outputs;
    for (const ops::Inferred& y : inferred) outputs.emplace_back(y.dtype, at_batch(y.shape, batch));
    std::vector<const Tensor*> arguments;
    for (const ValueId v : node.inputs) arguments.push_back(v == kNoValue ? nullptr : &*tensors[static_cast<size_t>(v)]);
    ops::reference(node.op, arguments, outputs);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      check_declared(graph.value(node.outputs[i]), outputs[i], batch);
      tensors[static_cast<size_t>(node.outputs[i])] = outputs[i];
    }
  }
  std::vector<Tensor> results;
  for (const ValueId v : graph.outputs) results.push_back(tensors[static_cast<size_t>(v)].value());
  return results;
}

std::vector<Tensor> random_inputs(const Graph& graph, int64_t batch, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Tensor> tensors;
  for (const ValueId v : graph.inputs) {
    const Value& value = graph.value(v);
    Tensor wide(DType::f64, at_batch(value.shape.value(), batch));
    for (double& x : wide.data<double>()) {
      const double unit = static_cast<double>(random()) / 4294967296.0;
      x = is_float(value.dtype) ? unit * 4.0 - 2.0 : std::floor(unit * (value.dtype == DType::boolean ? 2.0 : 8.0));
    }
    tensors.push_back(wide.cast(value.dtype));
  }
  return tensors;
}

double difference(const Tensor& a, const Tensor& b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return kInfinity;
  const Tensor wide_a = a.cast(DType::f64);
  const Tensor wide_b = b.cast(DType::f64);
  double worst = 0;
  for (size_t i = 0; i < static_cast<size_t>(a.count()); ++i) {
    const double x = wide_a.data<double>()[i];
    const double y = wide_b.data<double>()[i];
    if (std::isnan(x) != std::isnan(y)) return kInfinity;
    if (std::isnan(x) || x == y) continue;
    worst = std::max(worst, std::fabs(x - y) / (1.0 + std::fabs(y)));
  }
  return worst;
}

}  // namespace fcm::testing
