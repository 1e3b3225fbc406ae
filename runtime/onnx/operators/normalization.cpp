// Normalisation over axes, groups of channels and single channels.
#include <fmt/format.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

// Statistics are always computed in float32 or wider; stash_type may ask for less, which nobody does.
void check_stash_type(NodeContext& node) {
  constexpr int64_t kFloat = 1;
  constexpr int64_t kDouble = 11;
  const int64_t type = node.int_attribute("stash_type", kFloat);
  if (type != kFloat && type != kDouble) node.reject("stash_type", fmt::format("{}", type), "1 (float)");
}

void layer_normalization(NodeContext& node) {
  node.expect_inputs(2, 3);
  check_stash_type(node);
  Normalize op;
  op.fn = NormFn::layer;
  op.axis = node.int_attribute("axis", -1);
  op.epsilon = node.float_attribute("epsilon", 1e-5f);
  node.reject_outputs_from(1, "output 0 alone, without Mean and InvStdDev");
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

void rms_normalization(NodeContext& node) {
  node.expect_inputs(2, 2);
  check_stash_type(node);
  Normalize op;
  op.fn = NormFn::rms;
  op.axis = node.int_attribute("axis", -1);
  op.epsilon = node.float_attribute("epsilon", 1e-5f);
  node.emit(op, {node.input(0), node.input(1)});
}

// Scale and bias are one a group in opset 18, one a channel from 21 on.
void group_normalization(NodeContext& node) {
  node.expect_inputs(3, 3);
  if (node.opset() >= 21) check_stash_type(node);
  Normalize op;
  op.fn = NormFn::group;
  op.groups = node.required_int("num_groups");
  if (op.groups < 1) node.malformed(fmt::format("attribute num_groups = {}; accepted: from 1", op.groups));
  op.scale_by_group = node.opset() < 21;
  op.epsilon = node.float_attribute("epsilon", 1e-5f);
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

void instance_normalization(NodeContext& node) {
  node.expect_inputs(3, 3);
  Normalize op;
  op.fn = NormFn::group;
  op.epsilon = node.float_attribute("epsilon", 1e-5f);
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

constexpr std::array kOperators = {
    OperatorEntry{"LayerNormalization", 17, 17, layer_normalization},
    OperatorEntry{"RMSNormalization", 23, 23, rms_normalization},
    OperatorEntry{"GroupNormalization", 18, 21, group_normalization},
    OperatorEntry{"InstanceNormalization", 7, 22, instance_normalization},
};

}  // namespace

std::span<const OperatorEntry> normalization_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
