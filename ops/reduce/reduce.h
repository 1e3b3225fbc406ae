// Operators that combine the elements along axes: the three functions of ops/op.h for each.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Reduce& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Reduce& op, const Node& node, Inputs inputs);
void compute(const Reduce& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Softmax& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Softmax& op, const Node& node, Inputs inputs);
void compute(const Softmax& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(GlobalPool& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const GlobalPool& op, const Node& node, Inputs inputs);
void compute(const GlobalPool& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
