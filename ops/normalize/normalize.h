// Normalisation of groups of elements: the three functions of ops/op.h.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

/// The groups lie one after the other in X: `inner` elements each, element i of group g in channel (g % groups) * group_channels +
/// i / spatial (fn group only).
struct NormalizeExtents {
  Dim outer;  ///< groups in all
  int64_t inner = 1;
  int64_t groups = 1;          ///< fn group: groups of an image
  int64_t group_channels = 1;  ///< fn group
  int64_t spatial = 1;         ///< fn group
};
/// For a bound operator on X of this shape.
NormalizeExtents normalize_extents(const Normalize& op, const Shape& x);

void bind_op(Normalize& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Normalize& op, const Node& node, Inputs inputs);
void compute(const Normalize& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
