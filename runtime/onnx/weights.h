// A last look at the numbers: weights that hold NaN make every answer NaN, so they are refused with their place.
#pragma once

#include "runtime/graph/graph.h"

namespace fcm::onnx {

/// Throws Error(bad_input) naming file, node, tensor and element when a constant weight, bias or statistic of Conv, Gemm, MatMul
/// or BatchNormalization, directly or through Identity, Cast, Reshape or Transpose, holds NaN. Constants elsewhere may.
void check_weights(const Graph& graph);

}  // namespace fcm::onnx
