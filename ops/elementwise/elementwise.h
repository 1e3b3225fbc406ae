// Operators that compute each element from the elements at its place: the three functions of ops/op.h for each.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

/// The functions whose result is boolean whatever the type of their inputs.
constexpr bool is_comparison(BinaryFn fn) {
  return fn == BinaryFn::equal || fn == BinaryFn::less || fn == BinaryFn::less_equal || fn == BinaryFn::greater ||
         fn == BinaryFn::greater_equal;
}

void bind_op(UnaryOp& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const UnaryOp& op, const Node& node, Inputs inputs);
void compute(const UnaryOp& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Binary& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Binary& op, const Node& node, Inputs inputs);
void compute(const Binary& op, Tensors inputs, std::span<Tensor> outputs);

/// Whether an Elementwise can have it as a part: floating-point numbers to one such number.
bool is_part(BinaryFn fn);
bool is_part(UnaryFn fn);
void bind_op(Elementwise& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Elementwise& op, const Node& node, Inputs inputs);
void compute(const Elementwise& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Select& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Select& op, const Node& node, Inputs inputs);
void compute(const Select& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Cast& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Cast& op, const Node& node, Inputs inputs);
void compute(const Cast& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(BatchNorm& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const BatchNorm& op, const Node& node, Inputs inputs);
void compute(const BatchNorm& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
