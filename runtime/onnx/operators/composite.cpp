// Operators that are written out in others: block rearrangements, Mean, attention, OneHot.
#include <fmt/format.h>

#include <algorithm>
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

// [N, C, H, W] -> [N, C, H / b, b, W / b, b] -> [N, b, b, C, H / b, W / b].
void space_to_depth(NodeContext& node) {
  node.expect_inputs(1, 1);
  const int64_t block = block_size(node);
  if (node.opset() >= 28) {
    const std::string mode = node.string_attribute("mode", "DCR");
    if (mode != "DCR") node.reject("mode", fmt::format("\"{}\"", mode), "DCR");
  }
  const DimNodes dims(node);
  const ValueId x = node.input(0);
  const ValueId n = dims.of(x, 0);
  const ValueId c = dims.of(x, 1);
  const ValueId h = dims.divided(dims.of(x, 2), block);
  const ValueId w = dims.divided(dims.of(x, 3), block);
  const ValueId b = dims.number(block);
  const ValueId parts = node.emit_step(Reshape{}, {x, dims.list({n, c, h, b, w, b})}, "parts");
  const ValueId turned = node.emit_step(Transpose{{0, 3, 5, 1, 2, 4}}, {parts}, "turned");
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

// [B, L, heads * D] -> [B, heads, L, D].
ValueId split_heads(NodeContext& node, ValueId x, int64_t heads, std::string_view label) {
  const ValueId target = node.add_ints("heads", {0, 0, heads, -1});
  const ValueId parts = node.emit_step(Reshape{}, {x, target}, label);
  return node.emit_step(Transpose{{0, 2, 1, 3}}, {parts}, label);
}

// q times the attribute scale, or 1 / sqrt of the head size.
ValueId scaled_query(NodeContext& node, ValueId q) {
  const DType dtype = node.dtype(q);
  if (node.has_attribute("scale")) {
    const Tensor scale = Tensor::scalar(node.float_attribute("scale", 1.0f)).cast(dtype);
    return node.emit_step(Binary{BinaryFn::mul, {}}, {q, node.add_constant("scale", scale)}, "scaled");
  }
  const ValueId size = node.emit_step(Cast{dtype}, {DimNodes(node).of(q, -1)}, "head_size");
  const ValueId root = node.emit_step(UnaryOp{{UnaryFn::sqrt}}, {size}, "root");
  return node.emit_step(Binary{BinaryFn::div, {}}, {q, root}, "scaled");
}

ValueId masked(NodeContext& node, ValueId scores, ValueId mask) {
  if (mask == kNoValue) return scores;
  if (node.dtype(mask) != DType::boolean) return node.emit_step(Binary{BinaryFn::add, {}}, {scores, mask}, "masked");
  const Tensor out = Tensor::scalar(-std::numeric_limits<float>::infinity()).cast(node.dtype(scores));
  return node.emit_step(Select{}, {mask, scores, node.add_constant("minus_infinity", out)}, "masked");
}

void reject_unless_zero(NodeContext& node, const char* name, int64_t fallback = 0) {
  const int64_t value = node.int_attribute(name, fallback);
  if (value != fallback) node.reject(name, fmt::format("{}", value), fmt::format("{}", fallback));
}

// softmax(scale * Q * K' + mask) * V for Q, K, V of [B, heads, L, D], or [B, L, heads * D] where the numbers of heads are given.
void attention(NodeContext& node) {
  node.expect_inputs(3, node.opset() >= 24 ? 7 : 6);
  for (size_t i = 4; i < 7; ++i) {
    if (node.input(i) != kNoValue) node.reject(fmt::format("input {}", i), "a key or value cache", "none");
  }
  reject_unless_zero(node, "is_causal");
  if (node.opset() >= 25) {
    reject_unless_zero(node, "left_window_size", -1);
    reject_unless_zero(node, "right_window_size", -1);
  }
  if (const float cap = node.float_attribute("softcap", 0.0f); cap != 0.0f) node.reject("softcap", fmt::format("{}", cap), "0");
  node.ignore("softmax_precision");  // float32 or wider always
  node.ignore("qk_matmul_output_mode");
  node.reject_outputs_from(1, "output 0 alone");
  const int64_t heads = node.int_attribute("q_num_heads", 0);
  const int64_t shared = node.int_attribute("kv_num_heads", heads);
  if (heads < 0 || heads > 65536) node.malformed(fmt::format("attribute q_num_heads = {}; accepted: from 1", heads));
  if (shared != heads) node.reject("kv_num_heads", fmt::format("{}", shared), fmt::format("q_num_heads = {}", heads));
  ValueId q = node.input(0);
  ValueId k = node.input(1);
  ValueId v = node.input(2);
  if (heads > 0) {
    q = split_heads(node, q, heads, "q");
    k = split_heads(node, k, heads, "k");
    v = split_heads(node, v, heads, "v");
  }
  const ValueId turned = node.emit_step(Transpose{{0, 1, 3, 2}}, {k}, "k_turned");
  const ValueId scores = node.emit_step(MatMul{}, {scaled_query(node, q), turned}, "scores");
  const ValueId weights = node.emit_step(Softmax{-1, false, false}, {masked(node, scores, node.input(3))}, "weights");
  if (heads == 0) return node.emit(MatMul{}, {weights, v});
  const ValueId mixed = node.emit_step(MatMul{}, {weights, v}, "mixed");
  const ValueId joined = node.emit_step(Transpose{{0, 2, 1, 3}}, {mixed}, "joined");
  node.emit(Reshape{}, {joined, node.add_ints("merged", {0, 0, -1})});
}

// values[1] where an index is the element's number along the axis, counted from either end, values[0] elsewhere.
void one_hot(NodeContext& node) {
  node.expect_inputs(3, 3);
  const int64_t axis = node.int_attribute("axis", -1);
  if (axis >= 0) node.reject("axis", fmt::format("{}", axis), "negative numbers");
  const ValueId indices = node.emit_step(Cast{DType::i64}, {node.input(0)}, "indices");
  const ValueId depth = node.emit_step(Cast{DType::i64}, {node.input(1)}, "depth");
  const ValueId size = node.emit_step(Reshape{}, {depth, node.add_ints("one", {1})}, "size");
  const ValueId limit = node.emit_step(Reshape{Reshape::Form::squeeze}, {size}, "limit");
  const auto scalar = [&](const char* label, int64_t value) { return node.add_constant(label, Tensor::scalar(static_cast<float>(value)).cast(DType::i64)); };
  ValueId numbers = node.emit_step(Range{}, {scalar("first", 0), limit, scalar("step", 1)}, "numbers");
  Ints column(static_cast<size_t>(std::clamp<int64_t>(-axis, 1, 8)), 1);
  column[0] = -1;
  numbers = node.emit_step(Reshape{}, {numbers, node.add_ints("column", column)}, "numbers");
  const ValueId from_end = node.emit_step(Binary{BinaryFn::sub, {}}, {numbers, size}, "from_end");
  const ValueId spread = node.emit_step(Reshape{Reshape::Form::unsqueeze}, {indices, node.add_ints("axis", {axis})}, "spread");
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
    OperatorEntry{"Attention", 23, 25, attention},
    OperatorEntry{"OneHot", 9, 11, one_hot},
};

}  // namespace

ValueId DimNodes::of(ValueId x, int64_t i) const {
  ShapeOf op;
  op.start = i;
  if (i != -1) op.end = i + 1;
  return node_.emit_step(op, {x}, "extent");
}

ValueId DimNodes::list(const std::vector<ValueId>& dims) const {
  return node_.emit_step(Concat{0}, dims, "target");
}

std::span<const OperatorEntry> composite_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
