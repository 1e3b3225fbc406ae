// Pooling over windows: the three functions of ops/op.h for Pool.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Pool& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Pool& op, const Node& node, Inputs inputs);
void compute(const Pool& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
