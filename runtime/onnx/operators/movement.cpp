// Operators that move elements: permute, join, cut, repeat, pad.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

void transpose(NodeContext& node) {
  node.expect_inputs(1, 1);
  Transpose op;
  op.perm = node.ints_attribute("perm").value_or(Ints{});
  Ints sorted = op.perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<int64_t>(i))
      node.malformed(fmt::format("attribute perm = [{}] is no permutation", fmt::join(op.perm, ",")));
  }
  node.emit(op, {node.input(0)});
}

void concat(NodeContext& node) {
  const size_t count = node.input_count();
  node.expect_inputs(std::max<size_t>(count, 1), std::numeric_limits<int32_t>::max());
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < count; ++i) inputs.push_back(node.input(i));
  node.emit(Concat{node.required_int("axis")}, inputs);
}

// Attributes before opset 10, then inputs.
void slice(NodeContext& node) {
  if (node.opset() >= 10) {
    node.expect_inputs(3, 5);
    return node.emit(Slice{}, {node.input(0), node.input(1), node.input(2), node.input(3), node.input(4)});
  }
  node.expect_inputs(1, 1);
  const auto starts = node.ints_attribute("starts");
  const auto ends = node.ints_attribute("ends");
  const auto axes = node.ints_attribute("axes");
  if (!starts || !ends) node.malformed("required attributes starts and ends are missing");
  if (starts->size() != ends->size() || (axes && axes->size() != starts->size())) node.malformed("starts, ends and axes differ in length");
  const ValueId starts_id = node.add_ints("starts", *starts);
  const ValueId ends_id = node.add_ints("ends", *ends);
  node.emit(Slice{}, {node.input(0), starts_id, ends_id, axes ? node.add_ints("axes", *axes) : kNoValue});
}

// Sizes are an attribute before opset 13, then an input; num_outputs (opset 18) restates the number of outputs.
void split(NodeContext& node) {
  node.expect_inputs(1, node.opset() < 13 ? 1 : 2);
  const size_t count = node.output_count();
  Split op;
  op.axis = node.int_attribute("axis", 0);
  if (node.opset() < 13) op.sizes = node.ints_attribute("split").value_or(Ints{});
  if (!op.sizes.empty() && op.sizes.size() != count) {
    node.malformed(fmt::format("attribute split = [{}] for {} outputs", fmt::join(op.sizes, ","), count));
  }
  if (node.opset() >= 18 && node.has_attribute("num_outputs")) {
    const int64_t declared = node.required_int("num_outputs");
    if (declared != static_cast<int64_t>(count)) node.malformed(fmt::format("attribute num_outputs = {}, but {} outputs", declared, count));
    if (node.input(1) != kNoValue) node.malformed("attribute num_outputs and input split exclude each other");
  }
  node.emit(op, {node.input(0), node.input(1)}, count);
}

void gather(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(Gather{node.int_attribute("axis", 0)}, {node.input(0), node.input(1)});
}

void expand(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(Expand{}, {node.input(0), node.input(1)});
}

void tile(NodeContext& node) {
  node.expect_inputs(2, 2);
  node.emit(Tile{}, {node.input(0), node.input(1)});
}

PadMode pad_mode(NodeContext& node) {
  const std::string mode = node.string_attribute("mode", "constant");
  if (mode == "constant") return PadMode::constant;
  if (mode == "reflect") return PadMode::reflect;
  if (mode == "edge") return PadMode::edge;
  if (mode == "wrap" && node.opset() >= 19) return PadMode::wrap;
  node.malformed(fmt::format("attribute mode = \"{}\"; accepted at opset {}: constant, reflect, edge{}", mode, node.opset(),
                             node.opset() >= 19 ? ", wrap" : ""));
}

// Attributes before opset 11, then inputs; axes from opset 18.
void pad(NodeContext& node) {
  Pad op;
  op.mode = pad_mode(node);
  const ValueId x = node.input(0);
  if (node.opset() >= 11) {
    node.expect_inputs(2, node.opset() >= 18 ? 4 : 3);
    return node.emit(op, {x, node.input(1), node.input(2), node.input(3)});
  }
  node.expect_inputs(1, 1);
  const auto pads = node.ints_attribute("pads");
  if (!pads) node.malformed("required attribute pads is missing");
  const Tensor value = Tensor::scalar(node.float_attribute("value", 0.0f)).cast(node.dtype(x));
  const ValueId pads_id = node.add_ints("pads", *pads);
  node.emit(op, {x, pads_id, node.add_constant("value", value)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Transpose", 7, 25, transpose}, OperatorEntry{"Concat", 7, 13, concat}, OperatorEntry{"Slice", 7, 13, slice},
    OperatorEntry{"Split", 7, 18, split},         OperatorEntry{"Gather", 7, 13, gather}, OperatorEntry{"Expand", 8, 13, expand},
    OperatorEntry{"Tile", 7, 13, tile},           OperatorEntry{"Pad", 7, 25, pad},
};

}  // namespace

std::span<const OperatorEntry> movement_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
