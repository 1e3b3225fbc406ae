// Questions that several passes ask of a graph.
#pragma once

#include <optional>
#include <vector>

#include "runtime/graph/graph.h"

namespace fcm::passes {

/// The number that a constant of one element holds; nullopt for anything else, and for values that are not floating point.
std::optional<double> scalar_constant(const Graph& graph, ValueId v);

/// Whether `x` is the number `expected` as a constant of `dtype` would be written: within 1e-4 of it, in f16 and bf16 within their
/// rounding.
bool is_near(double x, double expected, DType dtype);

/// Both shapes are known and equal.
bool same_shape(const Graph& graph, ValueId a, ValueId b);

/// A floating-point tensor's elements as doubles.
std::vector<double> doubles_of(const Tensor& tensor);
/// A tensor of `dtype` (floating point) from doubles, each rounded once.
Tensor tensor_of(const std::vector<double>& values, DType dtype, const Dims& dims);

/// A bound Reshape to this shape.
Reshape reshape_to(Shape target);

/// A function that equals a clip: relu as clip(0, inf). nullopt for all others.
std::optional<Unary> as_clip(const Unary& u);
/// clip(low, high), or relu where it is that.
Unary make_clip(float low, float high);

}  // namespace fcm::passes
