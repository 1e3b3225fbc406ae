// Matrix products: the three functions of ops/op.h for Gemm and MatMul.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Gemm& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Gemm& op, const Node& node, Inputs inputs);
void compute(const Gemm& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(MatMul& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const MatMul& op, const Node& node, Inputs inputs);
void compute(const MatMul& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
