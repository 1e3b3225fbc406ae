// Operators with weights: convolution, matrix products, batch normalisation.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/operators/window.h"

namespace fcm::onnx {
namespace {

void conv(NodeContext& node) {
  node.expect_inputs(2, 3);
  Conv op;
  op.window = read_window(node, true);
  op.group = node.int_attribute("group", 1);
  if (op.group < 1 || op.group > (int64_t{1} << 31)) node.malformed(fmt::format("attribute group = {}; accepted: from 1", op.group));
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

// Pads follow from output_shape where that is given.
void conv_transpose(NodeContext& node) {
  node.expect_inputs(2, 3);
  ConvTranspose op;
  op.window = read_window(node, true);
  op.group = node.int_attribute("group", 1);
  if (op.group < 1 || op.group > (int64_t{1} << 31)) node.malformed(fmt::format("attribute group = {}; accepted: from 1", op.group));
  op.output_padding = node.ints_attribute("output_padding").value_or(Ints{});
  op.output_shape = node.ints_attribute("output_shape").value_or(Ints{});
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

// C is required before opset 11.
void gemm(NodeContext& node) {
  node.expect_inputs(node.opset() < 11 ? 3 : 2, 3);
  Gemm op;
  op.alpha = node.float_attribute("alpha", 1.0f);
  op.beta = node.float_attribute("beta", 1.0f);
  op.trans_a = node.int_attribute("transA", 0) != 0;
  op.trans_b = node.int_attribute("transB", 0) != 0;
  node.emit(op, {node.input(0), node.input(1), node.input(2)});
}

void matmul(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(MatMul{}, {node.input(0), node.input(1)});
}

// Inference only: training statistics come out as outputs 1 to 4 and may not be used.
void batch_normalization(NodeContext& node) {
  node.expect_inputs(5, 5);
  node.ignore("momentum");  // how the running statistics are updated in training
  if (node.opset() < 9) {
    const int64_t spatial = node.int_attribute("spatial", 1);
    if (spatial != 1) node.reject("spatial", fmt::format("{}", spatial), "1");
  }
  if (node.opset() >= 14) {
    const int64_t training = node.int_attribute("training_mode", 0);
    if (training != 0) node.reject("training_mode", fmt::format("{}", training), "0 (export the model in evaluation mode)");
  }
  node.reject_outputs_from(1, "output 0 alone; the others belong to training");
  node.emit(BatchNorm{node.float_attribute("epsilon", 1e-5f)}, {node.input(0), node.input(1), node.input(2), node.input(3), node.input(4)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Conv", 7, 22, conv},
    OperatorEntry{"ConvTranspose", 7, 22, conv_transpose},
    OperatorEntry{"Gemm", 7, 13, gemm},
    OperatorEntry{"MatMul", 7, 13, matmul},
    OperatorEntry{"BatchNormalization", 7, 15, batch_normalization},
};

AutoPad read_auto_pad(NodeContext& node) {
  const std::string text = node.string_attribute("auto_pad", "NOTSET");
  if (text == "NOTSET" || text.empty()) return AutoPad::explicit_pads;
  if (text == "SAME_UPPER") return AutoPad::same_upper;
  if (text == "SAME_LOWER") return AutoPad::same_lower;
  if (text == "VALID") return AutoPad::valid;
  node.malformed(fmt::format("attribute auto_pad = \"{}\"; accepted: NOTSET, SAME_UPPER, SAME_LOWER, VALID", text));
}

Ints read_bounded(NodeContext& node, std::string_view name, int64_t least) {
  constexpr int64_t kMost = int64_t{1} << 30;
  Ints values = node.ints_attribute(name).value_or(Ints{});
  for (const int64_t value : values) {
    if (value < least || value > kMost) {
      node.malformed(fmt::format("attribute {} = [{}]; accepted: {} to {}", name, fmt::join(values, ","), least, kMost));
    }
  }
  return values;
}

}  // namespace

Window read_window(NodeContext& node, bool has_dilations) {
  Window window;
  window.kernel = read_bounded(node, "kernel_shape", 1);
  window.strides = read_bounded(node, "strides", 1);
  if (has_dilations) window.dilations = read_bounded(node, "dilations", 1);
  window.auto_pad = read_auto_pad(node);
  const Ints pads = read_bounded(node, "pads", 0);

  size_t axes = 0;
  for (const size_t size : {window.kernel.size(), window.strides.size(), window.dilations.size(), pads.size() / 2}) {
    if (size == 0) continue;
    if (axes != 0 && size != axes) node.malformed("kernel_shape, strides, dilations and pads are for different numbers of axes");
    axes = size;
  }
  if (pads.size() % 2 != 0) node.malformed(fmt::format("attribute pads has {} values; accepted: two for each spatial axis", pads.size()));
  if (axes > 3) node.malformed(fmt::format("a window over {} spatial axes; accepted: 1 to 3", axes));
  const bool padded = pads != Ints(pads.size(), 0);
  if (padded && window.auto_pad != AutoPad::explicit_pads) node.malformed("attributes auto_pad and pads exclude each other");
  if (window.auto_pad == AutoPad::explicit_pads) {
    const auto middle = pads.begin() + static_cast<std::ptrdiff_t>(pads.size() / 2);
    window.pads_begin.assign(pads.begin(), middle);
    window.pads_end.assign(middle, pads.end());
  }
  return window;
}

std::span<const OperatorEntry> linear_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
