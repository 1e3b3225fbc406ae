// Multi-head attention over operands that are views of larger tensors: the three functions of ops/op.h.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

/// Inputs of Attention by position.
enum AttentionInput : size_t { kQuery, kKey, kValue, kBias, kRows };

/// The position of the tensor that holds K (or V): an absent one is in Q's (in K's).
size_t holder_of(const Node& node, AttentionInput input);

/// Groups of tokens that see one another: items * windows.
Dim attention_groups(const Attention& op);

void bind_op(Attention& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Attention& op, const Node& node, Inputs inputs);
void compute(const Attention& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
