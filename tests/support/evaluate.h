// Runs a graph, folded or not, through the operators' references: the oracle for everything that rewrites graphs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/graph/graph.h"

namespace fcm::testing {

/// The graph's outputs for `inputs` (by graph input) at a batch size. Nodes need not be bound: each is bound and inferred from the
/// tensors that actually reach it, so nothing of the symbolic inference is trusted; shapes that the graph states are checked against
/// what comes out (Error(internal) where they differ).
std::vector<Tensor> evaluate(const Graph& graph, int64_t batch, const std::vector<Tensor>& inputs);

/// Tensors for the graph's inputs: floats uniform in [-2, 2), integers in [0, 8), booleans.
std::vector<Tensor> random_inputs(const Graph& graph, int64_t batch, uint32_t seed);

/// The largest |a - b| / (1 + |b|) over all elements; infinity when dtypes or dims differ, or where one alone is NaN.
double difference(const Tensor& a, const Tensor& b);

}  // namespace fcm::testing
