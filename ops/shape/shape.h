// Operators on shapes, and those that give a tensor another shape: the three functions of ops/op.h for each.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(ShapeOf& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const ShapeOf& op, const Node& node, Inputs inputs);
void compute(const ShapeOf& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(SizeOf& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const SizeOf& op, const Node& node, Inputs inputs);
void compute(const SizeOf& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(ConstantOfShape& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const ConstantOfShape& op, const Node& node, Inputs inputs);
void compute(const ConstantOfShape& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Range& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Range& op, const Node& node, Inputs inputs);
void compute(const Range& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Reshape& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Reshape& op, const Node& node, Inputs inputs);
void compute(const Reshape& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Expand& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Expand& op, const Node& node, Inputs inputs);
void compute(const Expand& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Tile& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Tile& op, const Node& node, Inputs inputs);
void compute(const Tile& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Identity& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Identity& op, const Node& node, Inputs inputs);
void compute(const Identity& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
