// Resize and Upsample: the three functions of ops/op.h.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Resize& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Resize& op, const Node& node, Inputs inputs);
void compute(const Resize& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
