// Small predicates and conversions for passes.
#include "runtime/passes/match.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcm::passes {

std::optional<double> scalar_constant(const Graph& graph, ValueId v) {
  if (!graph.is_constant(v)) return std::nullopt;
  const Tensor& t = *graph.value(v).constant;
  if (t.count() != 1 || !is_float(t.dtype())) return std::nullopt;
  return doubles_of(t).front();
}

bool is_near(double x, double expected, DType dtype) {
  double tolerance = 1e-4;
  if (dtype == DType::f16) tolerance = 1e-3;
  if (dtype == DType::bf16) tolerance = 8e-3;
  return std::fabs(x - expected) <= tolerance * std::fabs(expected);
}

bool same_shape(const Graph& graph, ValueId a, ValueId b) {
  return graph.value(a).shape && graph.value(b).shape && *graph.value(a).shape == *graph.value(b).shape;
}

std::vector<double> doubles_of(const Tensor& tensor) {
  const Tensor wide = tensor.cast(DType::f64);
  const auto view = wide.data<double>();
  return {view.begin(), view.end()};
}

Tensor tensor_of(const std::vector<double>& values, DType dtype, const Dims& dims) {
  Tensor wide(DType::f64, dims);
  std::copy(values.begin(), values.end(), wide.data<double>().begin());
  return wide.cast(dtype);
}

Reshape reshape_to(Shape target) {
  Reshape op;
  op.target = std::move(target);
  return op;
}

std::optional<Unary> as_clip(const Unary& u) {
  if (u.fn == UnaryFn::relu) return Unary{UnaryFn::clip, 0.0f, std::numeric_limits<float>::infinity()};
  if (u.fn == UnaryFn::clip) return u;
  return std::nullopt;
}

Unary make_clip(float low, float high) {
  if (low == 0.0f && high == std::numeric_limits<float>::infinity()) return {UnaryFn::relu};
  return {UnaryFn::clip, low, high};
}

}  // namespace fcm::passes
