// Operators that move elements without computing: the three functions of ops/op.h for each.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(Transpose& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Transpose& op, const Node& node, Inputs inputs);
void compute(const Transpose& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Concat& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Concat& op, const Node& node, Inputs inputs);
void compute(const Concat& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Slice& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Slice& op, const Node& node, Inputs inputs);
void compute(const Slice& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Split& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Split& op, const Node& node, Inputs inputs);
void compute(const Split& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Gather& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Gather& op, const Node& node, Inputs inputs);
void compute(const Gather& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Pad& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Pad& op, const Node& node, Inputs inputs);
void compute(const Pad& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
