// Operators that are written out in others: block rearrangements, Mean, OneHot.
#include <fmt/format.h>

#include <array>
#include <limits>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/dims.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

int64_t block_size(NodeContext& node) {
  const int64_t block = node.required_int("blocksize");
  if (block < 1 || block > 4096) node.malformed(fmt::format("attribute blocksize = {}; accepted: 1 to 4096", block));
  return block;
}

// [N, C, H, W] -> [N, b, b, C / b^2, H, W] (DCR) or [N, C / b^2, b, b, H, W] (CRD) -> [N, C / b^2, H, b, W, b].
void depth_to_space(NodeContext& node) {
  node.expect_inputs(1, 1);
  const int64_t block = block_size(node);
  const std::string mode = node.opset() >= 11 ? node.string_attribute("mode", "DCR") : "DCR";
  if (mode != "DCR" && mode != "CRD") node.malformed(fmt::format("attribute mode = \"{}\"; accepted: DCR, CRD", mode));
  const DimNodes dims(node);
  const ValueId x = node.input(0);
  const ValueId n = dims.of(x, 0);
  const ValueId depth = dims.divided(dims.of(x, 1), block * block);
  const ValueId h = dims.of(x, 2);
  const ValueId w = dims.of(x, 3);
  const ValueId b = dims.number(block);
  const bool depth_first = mode == "CRD";
  const std::vector<ValueId> split = depth_first ? std::vector{n, depth, b, b, h, w} : std::vector{n, b, b, depth, h, w};
  const ValueId parts = node.emit_step(Reshape{}, {x, dims.list(split)}, "parts");
  const Ints perm = depth_first ? Ints{0, 1, 4, 2, 5, 3} : Ints{0, 3, 4, 1, 5, 2};
  const ValueId turned = node.emit_step(Transpose{perm}, {parts}, "turned");
  node.emit(Reshape{}, {turned, dims.list({n, depth, dims.times(h, b), dims.times(w, b)})});
}

// [N, C, H, W] -> [N, C, H / b, b, W / b, b] -> [N, b, b, C, H / b, W / b] (DCR) or [N, C, b, b, H / b, W / b] (CRD).
void space_to_depth(NodeContext& node) {
  node.expect_inputs(1, 1);
  const int64_t block = block_size(node);
  const std::string mode = node.opset() >= 28 ? node.string_attribute("mode", "DCR") : "DCR";
  if (mode != "DCR" && mode != "CRD") node.malformed(fmt::format("attribute mode = \"{}\"; accepted: DCR, CRD", mode));
  const DimNodes dims(node);
  const ValueId x = node.input(0);
  const ValueId n = dims.of(x, 0);
  const ValueId c = dims.of(x, 1);
  const ValueId h = dims.divided(dims.of(x, 2), block);
  const ValueId w = dims.divided(dims.of(x, 3), block);
  const ValueId b = dims.number(block);
  const ValueId parts = node.emit_step(Reshape{}, {x, dims.list({n, c, h, b, w, b})}, "parts");
  const Ints perm = mode == "CRD" ? Ints{0, 1, 3, 5, 2, 4} : Ints{0, 3, 5, 1, 2, 4};
  const ValueId turned = node.emit_step(Transpose{perm}, {parts}, "turned");
  node.emit(Reshape{}, {turned, dims.list({n, dims.times(c, dims.number(block * block)), h, w})});
}

// A chain of additions and one division.
void mean(NodeContext& node) {
  const size_t count = node.input_count();
  node.expect_inputs(std::max<size_t>(count, 1), std::numeric_limits<int32_t>::max());
  if (count == 1) return node.emit(Identity{}, {node.input(0)});
  ValueId total = node.input(0);
  for (size_t i = 1; i < count; ++i) total = node.emit_step(Binary{BinaryFn::add, {}}, {total, node.input(i)}, fmt::format("{}", i));
  const Tensor divisor = Tensor::scalar(static_cast<float>(count)).cast(node.dtype(node.input(0)));
  node.emit(Binary{BinaryFn::div, {}}, {total, node.add_constant("count", divisor)});
}

// values[1] where an index is the element's number along the axis, counted from either end, values[0] elsewhere.
void one_hot(NodeContext& node) {
  node.expect_inputs(3, 3);
  const int64_t axis = node.int_attribute("axis", -1);
  const DimNodes dims(node);
  const ValueId indices = node.emit_step(Cast{DType::i64}, {node.input(0)}, "indices");
  const ValueId depth = node.emit_step(Cast{DType::i64}, {node.input(1)}, "depth");
  const ValueId size = node.emit_step(Reshape{}, {depth, node.add_ints("one", {1})}, "size");
  ValueId numbers = dims.numbers(size);
  ShapeOf behind;  // the axes of the result behind the new one
  behind.start = axis >= 0 ? axis : axis + 1;
  if (axis != -1) {
    const ValueId extents = node.emit_step(behind, {indices}, "behind");
    const ValueId ones = node.emit_step(Binary{BinaryFn::div, {}}, {extents, extents}, "ones");
    numbers = node.emit_step(Reshape{}, {numbers, dims.list({size, ones})}, "column");
  }
  const ValueId from_end = node.emit_step(Binary{BinaryFn::sub, {}}, {numbers, size}, "from_end");
  Reshape unsqueeze;
  unsqueeze.form = Reshape::Form::unsqueeze;
  const ValueId spread = node.emit_step(unsqueeze, {indices, node.add_ints("axis", {axis})}, "spread");
  const ValueId front = node.emit_step(Binary{BinaryFn::equal, {}}, {spread, numbers}, "front");
  const ValueId back = node.emit_step(Binary{BinaryFn::equal, {}}, {spread, from_end}, "back");
  const ValueId hit = node.emit_step(Binary{BinaryFn::logical_or, {}}, {front, back}, "hit");
  const ValueId off = node.emit_step(Slice{true, {0}, {1}, {0}, {1}}, {node.input(2)}, "off");
  const ValueId on = node.emit_step(Slice{true, {1}, {2}, {0}, {1}}, {node.input(2)}, "on");
  node.emit(Select{}, {hit, on, off});
}

constexpr std::array kOperators = {
    OperatorEntry{"DepthToSpace", 7, 28, depth_to_space},
    OperatorEntry{"SpaceToDepth", 7, 28, space_to_depth},
    OperatorEntry{"Mean", 7, 13, mean},
    OperatorEntry{"OneHot", 9, 28, one_hot},
};

}  // namespace

ValueId DimNodes::of(ValueId x, int64_t i) const {
  ShapeOf op;
  op.start = i;
  if (i != -1) op.end = i + 1;
  return node_.emit_step(op, {x}, "extent");
}

ValueId DimNodes::numbers(ValueId count) const {
  const auto scalar = [&](const char* label, float value) { return node_.add_constant(label, Tensor::scalar(value).cast(DType::i64)); };
  Reshape squeeze;
  squeeze.form = Reshape::Form::squeeze;
  const ValueId limit = node_.emit_step(squeeze, {count}, "limit");
  return node_.emit_step(Range{}, {scalar("first", 0), limit, scalar("step", 1)}, "numbers");
}

ValueId DimNodes::list(const std::vector<ValueId>& dims) const {
  return node_.emit_step(Concat{0}, dims, "target");
}

std::span<const OperatorEntry> composite_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
