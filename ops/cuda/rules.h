// What the CUDA backend accepts, in terms of graph nodes alone: usable by the planner on a machine without CUDA.
#pragma once

#include <cstdint>
#include <string>

#include "planner/plan.h"
#include "runtime/graph/graph.h"

namespace fcm::ops::cuda {

/// The memory order that a node's activations must have. A constant input has no order: the step packs it itself.
enum class OrderRule : uint8_t {
  rows,  ///< every input and output in `Order::rows`
  nhwc,  ///< every (rank 4) input and output in `Order::nhwc`
  any,   ///< each input and output on its own: rows, or nhwc where the value has rank 4; they may differ
};

/// Conv over two spatial axes with constant weights: nhwc. Any other Conv, Gemm, MatMul, Reshape, Tile, the old 2-D Softmax,
/// ConvTranspose, Normalize, ArgReduce, TopK, CumSum, GatherND, ScatterND and Attention: rows.
/// All else: any.
/// A node of rule `any` is faster when its rank 4 activations are all nhwc and its other ones rows.
OrderRule order_rule(const Graph& graph, const Node& node);

/// Whether `make_step` can build the node; otherwise `reason` (may be null) says what is not accepted and what would be.
/// Shapes must have been inferred. Float inputs may be planned as f32, f16 or bf16; all float activations of a node share one
/// dtype, except the outputs (Conv, Gemm, elementwise and copying operators store f32 from 16-bit inputs when the layout says so)
/// and Cast.
bool supported(const Graph& graph, const Node& node, std::string* reason);

}  // namespace fcm::ops::cuda
