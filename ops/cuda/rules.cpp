#include "ops/cuda/rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace fcm::ops::cuda {
namespace {

bool is_weight(const Graph& graph, const Node& node, size_t i) {
  return node.input(i) == kNoValue || graph.is_constant(node.input(i));
}

const Shape& shape_of(const Graph& graph, ValueId v) {
  return *graph.value(v).shape;
}

DType dtype_of(const Graph& graph, ValueId v) {
  return graph.value(v).dtype;
}

bool is_image_conv(const Graph& graph, const Node& node) {
  if (!std::holds_alternative<Conv>(node.op)) return false;
  return shape_of(graph, node.input(0)).size() == 4 && graph.is_constant(node.input(1)) && is_weight(graph, node, 2);
}

// The refusals, one operator kind each; an empty text accepts.
struct Refusal {
  const Graph& graph;
  const Node& node;

  const Shape& in(size_t i) const { return shape_of(graph, node.input(i)); }
  DType in_dtype(size_t i) const { return dtype_of(graph, node.input(i)); }
  std::string need_float(const char* what) const {
    if (is_float(in_dtype(0))) return {};
    return fmt::format("{} of type {}; accepted are floats", what, dtype_name(in_dtype(0)));
  }

  std::string operator()(const Conv&) const {
    if (in(0).size() < 3 || in(0).size() > 5) return fmt::format("Conv of rank {}; accepted are 3 to 5", in(0).size());
    return need_float("Conv");
  }
  std::string operator()(const Pool&) const { return need_float("pooling"); }
  std::string operator()(const GlobalPool&) const { return need_float("pooling"); }
  std::string operator()(const Gemm&) const {
    if (graph.is_constant(node.input(0)) && graph.is_constant(node.input(1))) return "A and B are constants";
    return need_float("Gemm");
  }
  std::string operator()(const MatMul&) const;
  std::string operator()(const BatchNorm&) const {
    for (size_t i = 1; i < 5; ++i)
      if (!graph.is_constant(node.input(i))) return fmt::format("input {} is computed at run time; accepted are constants", i);
    return need_float("BatchNormalization");
  }
  std::string operator()(const UnaryOp& op) const {
    if (node.inputs.size() > 1) return "bounds that are computed at run time; accepted are constants";
    const bool integer_too = op.u.fn == UnaryFn::identity || op.u.fn == UnaryFn::relu || op.u.fn == UnaryFn::clip ||
                             op.u.fn == UnaryFn::abs || op.u.fn == UnaryFn::neg || op.u.fn == UnaryFn::sign ||
                             op.u.fn == UnaryFn::logical_not;
    return integer_too ? std::string() : need_float("this function");
  }
  std::string operator()(const Binary& op) const {
    const bool ordered = op.fn == BinaryFn::add || op.fn == BinaryFn::sub || op.fn == BinaryFn::mul || op.fn == BinaryFn::equal;
    if (in_dtype(0) == DType::u64 && !ordered) return "an ordering or division of u64; accepted are the other types";
    return {};
  }
  std::string operator()(const Elementwise&) const { return need_float("Elementwise"); }
  std::string operator()(const Softmax&) const { return need_float("Softmax"); }
  std::string operator()(const Reduce& op) const;
  std::string operator()(const Gather&) const { return {}; }
  std::string operator()(const ShapeOf&) const { return at_run_time(); }
  std::string operator()(const SizeOf&) const { return at_run_time(); }
  std::string operator()(const Range&) const { return at_run_time(); }
  std::string operator()(const Reshape& op) const {
    return op.target ? std::string() : "a target shape that is computed at run time; accepted are constants and multiples of the batch";
  }
  std::string operator()(const Slice& op) const { return op.bound ? std::string() : unbound(); }
  std::string operator()(const Pad& op) const { return op.bound ? std::string() : unbound(); }
  std::string operator()(const Expand& op) const { return op.target ? std::string() : unbound(); }
  std::string operator()(const Tile& op) const { return op.repeats ? std::string() : unbound(); }
  std::string operator()(const ConvTranspose&) const {
    return has_batch(in(1)) ? "weights whose shape holds the batch; accepted are static ones" : need_float("ConvTranspose");
  }
  std::string operator()(const Normalize& op) const;
  std::string operator()(const Attention& op) const;
  std::string operator()(const Resize& op) const {
    if (op.mode != ResizeMode::nearest && op.axes && op.axes->size() > 3) return "Resize of more than three axes; accepted are up to three";
    return op.bound ? std::string() : unbound();
  }
  std::string operator()(const ArgReduce&) const { return ordered_type("ArgMax and ArgMin"); }
  std::string operator()(const TopK& op) const { return op.k ? ordered_type("TopK") : unbound(); }
  std::string operator()(const CumSum& op) const { return op.axis ? std::string() : unbound(); }
  std::string operator()(const Trilu& op) const {
    if (in(0).back().batch || in(0)[in(0).size() - 2].batch) return "Trilu over an axis that holds the batch; accepted are static ones";
    return op.k ? std::string() : unbound();
  }
  std::string ordered_type(const char* what) const {
    return in_dtype(0) == DType::u64 ? fmt::format("{} of u64; accepted are the other numbers", what) : std::string();
  }
  template <class Other>
  std::string operator()(const Other&) const {
    return {};
  }

  static std::string at_run_time() { return "its result depends on the batch at run time; accepted is a form that folds into a constant"; }
  static std::string unbound() { return "parameters that are computed at run time; accepted are constants"; }
};

Shape batch_axes(const Shape& shape) {
  if (shape.size() <= 2) return {};
  Shape axes(shape.begin(), shape.end() - 2);
  while (!axes.empty() && axes.front() == Dim(1)) axes.erase(axes.begin());
  return axes;
}

std::string Refusal::operator()(const MatMul& /*op*/) const {
  const auto ones = [](const Shape& axes) { return std::all_of(axes.begin(), axes.end(), [](const Dim& d) { return d == Dim(1); }); };
  const Shape a = batch_axes(in(0));
  const Shape b = batch_axes(in(1));
  if (!ones(a) && !ones(b) && a != b)
    return fmt::format("MatMul of {} and {}: leading axes that broadcast in part; accepted are equal ones, or none on one side",
                       to_string(in(0)), to_string(in(1)));
  return need_float("MatMul");
}

std::string Refusal::operator()(const Normalize& op) const {
  for (size_t i = 1; i < 3; ++i) {
    if (is_weight(graph, node, i)) continue;
    // A parameter that the model computes is read as it lies: one element a normalised element, or a channel.
    const Shape axes(in(0).begin() + static_cast<std::ptrdiff_t>(op.fn == NormFn::group ? 0 : op.axis), in(0).end());
    const bool whole = op.fn == NormFn::group ? !op.scale_by_group : in(i) == axes;
    if (!whole) return fmt::format("a computed scale or bias of {}; accepted are constants and {}", to_string(in(i)), to_string(axes));
  }
  return need_float("normalisation");
}

std::string Refusal::operator()(const Attention& op) const {
  const int64_t most = op.fn == AttentionFn::relu ? 64 : 128;
  if (op.qk_size > most || op.v_size > most)
    return fmt::format("heads of {} and {} channels; accepted are up to {}", op.qk_size, op.v_size, most);
  if (node.input(4) != kNoValue && !graph.is_constant(node.input(4))) return "rows that are computed at run time; accepted are constants";
  return need_float("Attention");
}

std::string Refusal::operator()(const Reduce& op) const {
  const auto rank = static_cast<int64_t>(in(0).size());
  for (int64_t axis = 0; axis < rank; ++axis) {
    const bool listed = !op.axes || op.axes->empty() ||
                        std::any_of(op.axes->begin(), op.axes->end(), [&](int64_t a) { return (a < 0 ? a + rank : a) == axis; });
    const bool none = (!op.axes || op.axes->empty()) && op.noop_with_empty_axes;
    if (listed && !none && in(0)[static_cast<size_t>(axis)].batch)
      return fmt::format("a reduction over axis {} of {}, which holds the batch; accepted are the other axes", axis, to_string(in(0)));
  }
  const bool integer_too =
      op.fn == ReduceFn::sum || op.fn == ReduceFn::max || op.fn == ReduceFn::min || op.fn == ReduceFn::prod || op.fn == ReduceFn::mean;
  return integer_too ? std::string() : need_float("this reduction");
}

// Operators whose kernels know row-major tensors alone.
bool walks_rows(const Op& op) {
  return std::holds_alternative<ConvTranspose>(op) || std::holds_alternative<Normalize>(op) || std::holds_alternative<ArgReduce>(op) ||
         std::holds_alternative<TopK>(op) || std::holds_alternative<CumSum>(op) || std::holds_alternative<GatherND>(op) ||
         std::holds_alternative<ScatterND>(op) || std::holds_alternative<Attention>(op);
}

}  // namespace

OrderRule order_rule(const Graph& graph, const Node& node) {
  if (is_image_conv(graph, node)) return OrderRule::nhwc;
  if (std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op) ||
      std::holds_alternative<Reshape>(node.op) || std::holds_alternative<Tile>(node.op) || walks_rows(node.op))
    return OrderRule::rows;
  if (const auto* softmax = std::get_if<Softmax>(&node.op); softmax != nullptr && softmax->flatten_from_axis) return OrderRule::rows;
  return OrderRule::any;
}

bool supported(const Graph& graph, const Node& node, std::string* reason) {
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const ValueId v : *list) {
      if (v == kNoValue || graph.value(v).shape) continue;
      if (reason != nullptr) *reason = "the shape of %" + graph.value(v).name + " is not known";
      return false;
    }
  }
  const std::string refusal = std::visit(Refusal{graph, node}, node.op);
  if (reason != nullptr) *reason = refusal;
  return refusal.empty();
}

}  // namespace fcm::ops::cuda
