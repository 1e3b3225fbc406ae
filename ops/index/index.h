// Operators that give, take or follow element numbers: the three functions of ops/op.h for each.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

void bind_op(ArgReduce& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const ArgReduce& op, const Node& node, Inputs inputs);
void compute(const ArgReduce& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(TopK& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const TopK& op, const Node& node, Inputs inputs);
void compute(const TopK& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(CumSum& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const CumSum& op, const Node& node, Inputs inputs);
void compute(const CumSum& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(GatherElements& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const GatherElements& op, const Node& node, Inputs inputs);
void compute(const GatherElements& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(GatherND& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const GatherND& op, const Node& node, Inputs inputs);
void compute(const GatherND& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(ScatterND& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const ScatterND& op, const Node& node, Inputs inputs);
void compute(const ScatterND& op, Tensors inputs, std::span<Tensor> outputs);

void bind_op(Trilu& op, Node& node, Inputs inputs);
std::vector<Inferred> infer_op(const Trilu& op, const Node& node, Inputs inputs);
void compute(const Trilu& op, Tensors inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
