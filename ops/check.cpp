#include "ops/check.h"

#include <algorithm>

namespace fcm::ops {

const Known& need(Inputs inputs, size_t i) {
  const Known* k = known(inputs, i);
  if (k == nullptr) bad_input("input {} is missing or its shape is not known", i);
  return *k;
}

int64_t normalize_axis(int64_t axis, int64_t rank, std::string_view attribute) {
  if (axis < -rank || axis >= rank) {
    if (rank == 0) bad_input("attribute {} = {}: a scalar has no axes", attribute, axis);
    bad_input("attribute {} = {}: accepted are {} to {} for rank {}", attribute, axis, -rank, rank - 1, rank);
  }
  return axis < 0 ? axis + rank : axis;
}

Ints normalize_axes(const Ints& axes, int64_t rank, std::string_view attribute) {
  Ints result;
  result.reserve(axes.size());
  for (const int64_t axis : axes) result.push_back(normalize_axis(axis, rank, attribute));
  std::sort(result.begin(), result.end());
  const auto repeated = std::adjacent_find(result.begin(), result.end());
  if (repeated != result.end()) bad_input("attribute {} names axis {} twice; each axis may stand once", attribute, *repeated);
  return result;
}

void keep_inputs(Node& node, size_t count) {
  if (node.inputs.size() > count) node.inputs.resize(count);
}

void need_float(DType t, std::string_view what) {
  if (!is_float(t)) bad_input("{} has type {}; accepted are f32, f16, bf16, f64", what, dtype_name(t));
}

void need_same(DType a, DType b, std::string_view what) {
  if (a != b) bad_input("{} have types {} and {}; they must be equal", what, dtype_name(a), dtype_name(b));
}

void fail_baked_batch(const Node& node, int64_t baked, std::string_view detail) {
  const std::string_view type = node.origin.type.empty() ? op_kind(node.op) : std::string_view(node.origin.type);
  bad_input("batch is baked as {} in {} {}: {}; export the model with a dynamic batch, or fix the input shape to batch {}", baked, type,
            node.origin.name, detail, baked);
}

}  // namespace fcm::ops
