// Convolution: the three functions of ops/op.h for Conv.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Conv& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Conv& op, const Node& node, Inputs inputs);
void compute(const Conv& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(ConvTranspose& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const ConvTranspose& op, const Node& node, Inputs inputs);
void compute(const ConvTranspose& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
