#include "runtime/engine/cuda_rules.h"

#include <fmt/format.h>

#include <utility>

#include "ops/cuda/rules.h"

namespace fcm {
namespace {

// What distinguishes devices whose plans may differ.
std::string model_text(const DeviceInfo& d) {
  return fmt::format("{} sm_{} {} SMs {} MHz {} MiB L2", d.name, d.target.text(), d.sm_count, d.clock_khz / 1000, d.l2_bytes >> 20);
}

OrderNeed order_need(const Graph& graph, const Node& node) {
  switch (ops::cuda::order_rule(graph, node)) {
    case ops::cuda::OrderRule::rows:
      return OrderNeed::rows;
    case ops::cuda::OrderRule::nhwc:
      return OrderNeed::nhwc;
    case ops::cuda::OrderRule::any:
      break;
  }
  return OrderNeed::any;
}

// Every operator's output type is its layout's, apart from its operands': all can store f32 from 16-bit operands.
bool stores_as(const Node& /*node*/, DType compute, DType stored) {
  return stored == DType::f32 && (compute == DType::f16 || compute == DType::bf16);
}

}  // namespace

PlanBackend cuda_backend(const DeviceInfo& device) {
  return cuda_backend(model_text(device));
}

PlanBackend cuda_backend(std::string device_model) {
  PlanBackend backend;
  backend.device_model = std::move(device_model);
  backend.refusal = [](const Graph& graph, const Node& node) {
    std::string reason;
    if (ops::cuda::supported(graph, node, &reason)) return std::string();
    return reason.empty() ? std::string("not supported") : reason;
  };
  backend.order = order_need;
  backend.stores_as = stores_as;
  return backend;
}

}  // namespace fcm
