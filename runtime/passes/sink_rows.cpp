// A Gather that reorders the rows [items, rows, channels] of each item by a constant permutation moves behind what works row by row
// (linear layers, normalisation over channels, elementwise functions, sums of two values in the same order), until it meets its inverse or
// an Attention among windows of tokens. The Attention takes the permutation as its table of rows and reads and writes rows where they were.
#include <algorithm>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"
#include "runtime/passes/rows.h"

namespace fcm::passes {
namespace {

// What a value is: `x` [items, rows, channels] with its rows taken in the order of `table`.
struct Reordered {
  ValueId x = kNoValue;
  ValueId table = kNoValue;
  Dim items;
  int64_t rows = 0;
  Dim channels;
};

class Sinker {
 public:
  Sinker(Rewriter& rewriter, NodeId n) : rewriter_(rewriter), graph_(rewriter.graph()), n_(n), node_(rewriter.node(n)) {}

  void run() {
    if (std::holds_alternative<Attention>(node_.op)) return absorb();
    if (node_.outputs.size() != 1 || node_.inputs.empty() || !graph_.value(node_.outputs[0]).shape) return;
    std::optional<Reordered> order;
    ValueId first = kNoValue;
    std::vector<ValueId> inputs = node_.inputs;
    for (ValueId& v : inputs) {
      if (v == kNoValue || graph_.is_constant(v)) continue;
      const std::optional<Reordered> found = reordered(v);
      if (!found || (order && !same_order(*order, *found))) return;
      if (!order) {
        order = found;
        first = v;
      }
      v = kMoved;
    }
    if (order && (works_by_rows(graph_, node_, first) || joins_equal_rows())) move_behind(*order, std::move(inputs));
  }

 private:
  static constexpr ValueId kMoved = -2;

  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }

  std::optional<Reordered> reordered(ValueId v) const {
    if (!graph_.value(v).shape || shape(v).empty()) return std::nullopt;
    const Dim channels = shape(v).back();
    ValueId at = v;
    while (rewriter_.made_by<Reshape>(at) != nullptr) at = rewriter_.node(rewriter_.producer(at)).inputs[0];
    const auto* gather = rewriter_.made_by<Gather>(at);
    if (gather == nullptr || gather->axis != 1) return std::nullopt;
    const Node& node = rewriter_.node(rewriter_.producer(at));
    const std::optional<Shape>& from = graph_.value(node.inputs[0]).shape;
    if (!from || from->size() != 3 || from->back() != channels || (*from)[1].batch || !is_permutation(node.inputs[1], (*from)[1].factor))
      return std::nullopt;
    return Reordered{node.inputs[0], node.inputs[1], (*from)[0], (*from)[1].factor, channels};
  }

  Ints entries(ValueId table) const {
    const Tensor wide = graph_.value(table).constant->cast(DType::i64);
    const auto values = std::as_const(wide).data<int64_t>();
    return {values.begin(), values.end()};
  }

  bool is_permutation(ValueId table, int64_t rows) const {
    if (!graph_.is_constant(table) || graph_.value(table).constant->dims() != Dims{rows}) return false;
    Ints sorted = entries(table);
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < rows; ++i) {
      if (sorted[static_cast<size_t>(i)] != i) return false;
    }
    return true;
  }

  bool same_order(const Reordered& a, const Reordered& b) const {
    return a.items == b.items && a.rows == b.rows && (a.table == b.table || entries(a.table) == entries(b.table));
  }

  // Binary of two values of one shape, or a linear layer with a residual; all inputs that are not constant are known to be reordered alike.
  bool joins_equal_rows() const {
    if (std::holds_alternative<Binary>(node_.op)) return same_shape(graph_, node_.inputs[0], node_.inputs[1]);
    if (!std::holds_alternative<Gemm>(node_.op) || node_.input(3) == kNoValue) return false;
    Node without = node_;
    without.inputs.resize(3);
    return works_by_rows(graph_, without, node_.inputs[0]);
  }

  ValueId insert(Op op, std::vector<ValueId> inputs, const Shape& to, const char* label) {
    const Value& y = graph_.value(node_.outputs[0]);
    return rewriter_.insert_before(n_, std::move(op), std::move(inputs), {y.name + "/" + label, y.dtype, to, nullptr});
  }

  // [items, rows, channels] reordered, with the shape of the node's output.
  void replace_by_reordered(ValueId y, const Reordered& order, const Dim& channels) {
    const Shape result = shape(node_.outputs[0]);
    const Shape three = {order.items, Dim(order.rows), channels};
    const ValueId rows = shape(y) == three ? y : insert(reshape_to(three), {y}, three, "rows");
    const ValueId gathered = insert(Gather{1}, {rows, order.table}, three, "reordered");
    rewriter_.replace(n_, reshape_to(result), {gathered});
  }

  void move_behind(const Reordered& order, std::vector<ValueId> inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] != kMoved) continue;
      const ValueId v = node_.inputs[i];
      inputs[i] = insert(reshape_to(shape(v)), {reordered(v)->x}, shape(v), "in_order");
    }
    const Shape result = shape(node_.outputs[0]);
    const ValueId y = insert(node_.op, std::move(inputs), result, "in_order_result");
    replace_by_reordered(y, order, result.back());
  }

  void absorb() {
    Attention op = std::get<Attention>(node_.op);
    if (op.windows != 1 || op.queries != op.keys || node_.input(4) != kNoValue) return;
    std::optional<Reordered> order;
    std::vector<ValueId> inputs = node_.inputs;
    HeadView* const views[3] = {&op.q, &op.k, &op.v};
    for (size_t i = 0; i < 3; ++i) {
      size_t holder = i;
      while (node_.input(holder) == kNoValue) --holder;
      const std::optional<Reordered> found = reordered(node_.inputs[holder]);
      if (!found || (order && !same_order(*order, *found)) || found->channels.batch) return;
      if (!order) order = found;
      const int64_t channels = found->channels.factor;
      if (views[i]->token != channels || views[i]->item != op.queries * channels) return;
      views[i]->item = order->rows * channels;
      if (holder == i) inputs[i] = found->x;
    }
    op.windows = order->rows / op.queries;
    if (order->rows % op.queries != 0 || op.items != Dim(order->items.factor * op.windows, order->items.batch)) return;
    op.items = order->items;
    inputs.resize(5, kNoValue);
    inputs[4] = order->table;
    const Dim channels(op.heads * op.v_size);
    const ValueId y = insert(op, std::move(inputs), {op.items, Dim(order->rows), channels}, "in_order_result");
    replace_by_reordered(y, *order, channels);
  }

  Rewriter& rewriter_;
  const Graph& graph_;
  NodeId n_;
  const Node node_;
};

int sweep(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (!rewriter.removed(n)) Sinker(rewriter, n).run();
  }
  return rewriter.finish();
}

}  // namespace

int sink_rows(Graph& graph) {
  int total = 0;
  while (const int fired = sweep(graph)) total += fired;
  return total;
}

}  // namespace fcm::passes
