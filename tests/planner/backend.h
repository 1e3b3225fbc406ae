// A stand-in for a device backend: the rules of the CUDA operators without CUDA.
#pragma once

#include "planner/plan.h"

namespace fcm::test {

inline PlanBackend backend() {
  PlanBackend b;
  b.device_model = "test device";
  b.order = [](const Graph&, const Node& node) {
    if (std::holds_alternative<Conv>(node.op)) return OrderNeed::nhwc;
    if (std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op)) return OrderNeed::rows;
    return OrderNeed::any;
  };
  b.stores_as = [](const Node& node, DType, DType stored) {
    return stored == DType::f32 && (std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op));
  };
  return b;
}

}  // namespace fcm::test
