// Constants that are repeated for every item of the batch (positions, class tokens): what is computed from them alone is the same for all
// items. The Expand moves behind it, op(Expand(c)) -> Expand(op(c)), and op(c) is a constant.
#include <algorithm>
#include <utility>

#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 22;  // of a constant that is made

Shape one_item(Shape shape) {
  shape[0] = Dim(1);
  return shape;
}

bool leads_with_batch(const Shape& shape) {
  return !shape.empty() && shape[0].batch && std::none_of(shape.begin() + 1, shape.end(), [](const Dim& d) { return d.batch; });
}

// Whether an operator gives item i of its result from item i of its operands; as it is for a single item.
struct OfOneItem {
  const Shape& result;

  std::optional<Op> operator()(const UnaryOp& op) const { return op; }
  std::optional<Op> operator()(const Binary& op) const { return op; }
  std::optional<Op> operator()(const Cast& op) const { return op; }
  std::optional<Op> operator()(const Transpose& op) const {
    return op.perm.empty() || op.perm[0] != 0 ? std::nullopt : std::optional<Op>(op);
  }
  std::optional<Op> operator()(const Concat& op) const { return op.axis == 0 ? std::nullopt : std::optional<Op>(op); }
  std::optional<Op> operator()(const CumSum& op) const { return !op.axis || *op.axis == 0 ? std::nullopt : std::optional<Op>(op); }
  std::optional<Op> operator()(const Gemm& op) const { return op.trans_a ? std::nullopt : std::optional<Op>(op); }
  std::optional<Op> operator()(const Slice& op) const {
    const bool cuts_items = std::find(op.axes.begin(), op.axes.end(), 0) != op.axes.end();
    return cuts_items || !op.bound ? std::nullopt : std::optional<Op>(op);
  }
  std::optional<Op> operator()(const Reshape& op) const {
    if (!op.target) return std::nullopt;
    Reshape one = op;
    one.target = one_item(result);
    return one;
  }
  template <class T>
  std::optional<Op> operator()(const T&) const {
    return std::nullopt;
  }
};

class Sinker {
 public:
  explicit Sinker(Graph& graph) : graph_(graph), rewriter_(graph) {}

  int run() {
    for (size_t i = 0; i < rewriter_.node_count(); ++i) visit(static_cast<NodeId>(i));
    return rewriter_.finish();
  }

 private:
  // The constant that is repeated to `v`, or kNoValue.
  ValueId repeated(ValueId v) const {
    if (rewriter_.made_by<Expand>(v) == nullptr) return kNoValue;
    const Node& expand = rewriter_.node(rewriter_.producer(v));
    return expand.inputs.size() == 1 && graph_.is_constant(expand.inputs[0]) ? expand.inputs[0] : kNoValue;
  }

  // Whether each operand is a constant for all items or one repeated along the axis that is the first of the result too.
  bool is_uniform(const Node& node, const Shape& result) const {
    bool repeats = false;
    for (const ValueId v : node.inputs) {
      if (v == kNoValue || graph_.is_constant(v)) continue;
      const std::optional<Shape>& shape = graph_.value(v).shape;
      if (!shape || repeated(v) == kNoValue || !leads_with_batch(*shape) || (*shape)[0] != result[0]) return false;
      if (std::holds_alternative<Binary>(node.op) && shape->size() != result.size()) return false;
      if (element_count(one_item(*shape)).factor > kMostElements) return false;
      repeats = true;
    }
    return repeats && element_count(one_item(result)).factor <= kMostElements;
  }

  void visit(NodeId n) {
    Node node = rewriter_.node(n);
    if (node.outputs.size() != 1 || !graph_.value(node.outputs[0]).shape) return;
    const Value y = graph_.value(node.outputs[0]);
    if (!leads_with_batch(*y.shape)) return;
    const auto* gemm = std::get_if<Gemm>(&node.op);
    const ValueId residual = gemm == nullptr ? kNoValue : node.input(3);
    if (residual != kNoValue) {
      const Unary activation = std::exchange(std::get<Gemm>(node.op).activation, {});
      node.inputs.resize(3);
      if (!is_uniform(node, *y.shape)) return;
      const ValueId product = of_one_item(n, node, y);
      if (product != kNoValue) rewriter_.replace(n, Binary{BinaryFn::add, activation}, {residual, product});
    } else if (is_uniform(node, *y.shape)) {
      const ValueId one = of_one_item(n, node, y);
      if (one != kNoValue) rewriter_.replace(n, Expand{y.shape}, {one});
    }
  }

  // What `node`, in front of node `n`, makes of one item; kNoValue where the operator is no function of single items.
  ValueId of_one_item(NodeId n, const Node& node, const Value& y) {
    const std::optional<Op> op = std::visit(OfOneItem{*y.shape}, node.op);
    if (!op) return kNoValue;
    std::vector<ValueId> inputs;
    for (const ValueId v : node.inputs) inputs.push_back(v == kNoValue || graph_.is_constant(v) ? v : of_one_item(n, v));
    return rewriter_.insert_before(n, *op, std::move(inputs), {y.name + ".item", y.dtype, one_item(*y.shape), nullptr});
  }

  ValueId of_one_item(NodeId n, ValueId v) {
    const Value value = graph_.value(v);
    return rewriter_.insert_before(n, Expand{one_item(*value.shape)}, {repeated(v)},
                                   {value.name + ".item", value.dtype, one_item(*value.shape), nullptr});
  }

  Graph& graph_;
  Rewriter rewriter_;
};

}  // namespace

int sink_expand(Graph& graph) {
  return Sinker(graph).run();
}

}  // namespace fcm::passes
