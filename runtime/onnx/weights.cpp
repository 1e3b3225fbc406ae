#include "runtime/onnx/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_set>

#include "runtime/onnx/text.h"
#include "runtime/support/error.h"

namespace fcm::onnx {
namespace {

template <class T, class IsNan>
std::optional<int64_t> find_nan(const Tensor& tensor, IsNan&& is_nan) {
  const auto data = tensor.data<T>();
  const auto found = std::find_if(data.begin(), data.end(), is_nan);
  if (found == data.end()) return std::nullopt;
  return found - data.begin();
}

std::optional<int64_t> first_nan(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f32:
      return find_nan<float>(tensor, [](float x) { return std::isnan(x); });
    case DType::f64:
      return find_nan<double>(tensor, [](double x) { return std::isnan(x); });
    case DType::f16:
      return find_nan<uint16_t>(tensor, [](uint16_t x) { return (x & 0x7FFFU) > 0x7C00U; });
    case DType::bf16:
      return find_nan<uint16_t>(tensor, [](uint16_t x) { return (x & 0x7FFFU) > 0x7F80U; });
    default:
      return std::nullopt;
  }
}

bool has_weights(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<Gemm>(op) || std::holds_alternative<MatMul>(op) ||
         std::holds_alternative<BatchNorm>(op);
}

// The constant behind `v`, through nodes that change no number; kNoValue when there is none.
ValueId constant_behind(const Graph& graph, const Uses& uses, ValueId v) {
  while (v != kNoValue && !graph.is_constant(v)) {
    const NodeId producer = uses.producer[static_cast<size_t>(v)];
    if (producer == kNoNode) return kNoValue;
    const Node& node = graph.nodes[static_cast<size_t>(producer)];
    const bool keeps_numbers = std::holds_alternative<Identity>(node.op) || std::holds_alternative<Cast>(node.op) ||
                               std::holds_alternative<Reshape>(node.op) || std::holds_alternative<Transpose>(node.op);
    if (!keeps_numbers) return kNoValue;
    v = node.input(0);
  }
  return v;
}

}  // namespace

void check_weights(const Graph& graph) {
  const Uses uses(graph);
  std::unordered_set<ValueId> checked;
  for (const Node& node : graph.nodes) {
    if (!has_weights(node.op)) continue;
    for (const ValueId input : node.inputs) {
      const ValueId v = constant_behind(graph, uses, input);
      if (v == kNoValue || !checked.insert(v).second) continue;
      if (const auto element = first_nan(*graph.value(v).constant)) {
        malformed(graph.name, fmt::format("{}: weight \"{}\" holds NaN at element {}", describe(node.origin),
                                          printable(graph.value(v).name), *element));
      }
    }
  }
}

}  // namespace fcm::onnx
