// A layer norm over channels is written between two Transposes, to [N,H,W,C] and back; so are the linear layers of a ConvNeXt. Here the
// Transpose back, T, moves behind the layers that follow, op(T(t)) -> T(op(t)), until it meets its counterpart or a layer that needs the
// map. A pointwise convolution becomes the Gemm that it is. A run of layers on channels is thus on tokens whole; and since maps lie in NHWC
// on the device, the Transposes at its ends move nothing there.
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

const Ints kToMap = {0, 3, 1, 2};
const Ints kToTokens = {0, 2, 3, 1};

Shape tokens_shape(const Shape& map) {
  return {map[0], map[2], map[3], map[1]};
}

class Sinker {
 public:
  explicit Sinker(Graph& graph) : graph_(graph), rewriter_(graph) {}

  int run() {
    for (size_t i = 0; i < rewriter_.node_count(); ++i) visit(static_cast<NodeId>(i));
    return rewriter_.finish();
  }

 private:
  // The tokens that `v` is the map of, or kNoValue. Values made in this sweep have no producer yet: the next one goes on.
  ValueId tokens_of(ValueId v) const {
    const auto* transpose = v == kNoValue ? nullptr : rewriter_.made_by<Transpose>(v);
    return transpose != nullptr && transpose->perm == kToMap ? rewriter_.node(rewriter_.producer(v)).inputs[0] : kNoValue;
  }

  void visit(NodeId n) {
    const Node node = rewriter_.node(n);
    if (node.outputs.size() != 1 || !graph_.value(node.outputs[0]).shape || graph_.value(node.outputs[0]).shape->size() != 4) return;
    if (const auto* unary = std::get_if<UnaryOp>(&node.op)) {
      const ValueId t = node.inputs.size() == 1 ? tokens_of(node.inputs[0]) : kNoValue;
      if (t != kNoValue) sink(n, *unary, {t});
    } else if (const auto* conv = std::get_if<Conv>(&node.op)) {
      const ValueId t = tokens_of(node.input(0));
      if (t != kNoValue) sink_conv(n, node, *conv, t);
    } else if (const auto* binary = std::get_if<Binary>(&node.op)) {
      sink_binary(n, node, *binary);
    }
  }

  void sink(NodeId n, Op op, std::vector<ValueId> inputs) {
    const Value& y = graph_.value(rewriter_.node(n).outputs[0]);
    Value tokens{y.name + ".tokens", y.dtype, tokens_shape(*y.shape), nullptr};
    const ValueId made = rewriter_.insert_before(n, std::move(op), std::move(inputs), std::move(tokens));
    rewriter_.replace(n, Transpose{kToMap}, {made});
  }

  ValueId to_tokens(NodeId before, ValueId map) {
    if (const ValueId t = tokens_of(map); t != kNoValue) return t;
    const Value& value = graph_.value(map);
    Value tokens{value.name + ".tokens", value.dtype, tokens_shape(*value.shape), nullptr};
    return rewriter_.insert_before(before, Transpose{kToTokens}, {map}, std::move(tokens));
  }

  bool leads_to_depthwise(ValueId v) const {
    for (int step = 0; step < 4; ++step) {
      const NodeId next = rewriter_.sole_consumer(v);
      if (next == kNoNode) return false;
      const Node& node = rewriter_.node(next);
      if (const auto* conv = std::get_if<Conv>(&node.op)) return conv->group > 1;
      if (!std::holds_alternative<UnaryOp>(node.op) && !std::holds_alternative<BatchNorm>(node.op)) return false;
      v = node.outputs[0];
    }
    return false;
  }

  void sink_conv(NodeId n, const Node& node, const Conv& conv, ValueId t) {
    const Window& w = conv.window;
    const auto all = [](const Ints& list, int64_t x) { return list.size() == 2 && list[0] == x && list[1] == x; };
    const bool pointwise = conv.group == 1 && all(w.kernel, 1) && all(w.strides, 1) && all(w.pads_begin, 0) && all(w.pads_end, 0);
    if (leads_to_depthwise(node.outputs[0])) return;  // the two are one module on the map
    const ValueId bias = node.input(2), residual = node.input(3);
    if (!pointwise || !graph_.is_constant(node.input(1)) || (bias != kNoValue && !graph_.is_constant(bias))) return;
    if (residual != kNoValue && conv.residual_after_activation && !conv.activation.is_identity()) return;
    const Tensor& weights = *graph_.value(node.input(1)).constant;
    const ValueId matrix =
        rewriter_.add_constant(graph_.value(node.input(1)).name, weights.reshaped({weights.dims()[0], weights.dims()[1]}));
    Gemm gemm;
    gemm.trans_b = true;
    gemm.activation = conv.activation;
    sink(n, gemm, {t, matrix, bias, residual == kNoValue ? kNoValue : to_tokens(n, residual)});
  }

  // A constant that is one number, or one a channel of a map, as it broadcasts to tokens; kNoValue for others.
  ValueId channel_constant(ValueId v) {
    const Tensor& t = *graph_.value(v).constant;
    const Dims& dims = t.dims();
    if (t.count() == 1 && dims.size() <= 4) return rewriter_.add_constant(graph_.value(v).name, t.reshaped({1}));
    const bool on_channels = (dims.size() == 3 || dims.size() == 4) && dims[dims.size() - 3] == t.count();
    return on_channels ? rewriter_.add_constant(graph_.value(v).name, t.reshaped({t.count()})) : kNoValue;
  }

  void sink_binary(NodeId n, const Node& node, const Binary& binary) {
    const ValueId a = tokens_of(node.inputs[0]), b = tokens_of(node.inputs[1]);
    const ValueId y = node.outputs[0];
    if (a != kNoValue && graph_.is_constant(node.inputs[1])) {
      if (!same_shape(graph_, node.inputs[0], y)) return;
      if (const ValueId c = channel_constant(node.inputs[1]); c != kNoValue) sink(n, binary, {a, c});
    } else if (a != kNoValue && b != kNoValue) {
      if (same_shape(graph_, node.inputs[0], y) && same_shape(graph_, node.inputs[1], y)) sink(n, binary, {a, b});
    } else if (a != kNoValue || b != kNoValue) {
      // A residual: worth it where the sum will join the layer that makes the tokens.
      const ValueId other = node.inputs[a != kNoValue ? 1 : 0];
      const bool joins = binary.fn == BinaryFn::add && rewriter_.made_by<Gemm>(a != kNoValue ? a : b) != nullptr;
      if (!joins || graph_.is_constant(other) || !same_shape(graph_, node.inputs[0], node.inputs[1])) return;
      const ValueId t = to_tokens(n, other);
      sink(n, binary, a != kNoValue ? std::vector<ValueId>{a, t} : std::vector<ValueId>{t, b});
    }
  }

  Graph& graph_;
  Rewriter rewriter_;
};

}  // namespace

int sink_to_map(Graph& graph) {
  return Sinker(graph).run();
}

}  // namespace fcm::passes
