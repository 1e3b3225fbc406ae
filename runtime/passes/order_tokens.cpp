// Windowed attention (Swin) reorders its tokens for each block and puts them back: normalise, shift, cut into windows, attend, join, shift
// back, add. Layers on tokens do not care for the order, and Attention can be told which tokens a window holds:
//
//   Q(f(P(x)))            =  (Q P)(f'(x)) where f is such layers alone: two reorderings become one, or none where Q undoes P
//   x + Q(f(P(norm(x))))  =  Q(x' + f(norm(x')))  with x' = P(x), where Q undoes P and f is anything: the next P meets Q
//
// A reordering is a chain of Reshapes, Transposes and Gathers with constant indices that keeps the batch outermost and the last axis whole.
// Two or more moves of a chain become one Gather of rows.
#include <algorithm>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>

#include "ops/attention/attention.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

using Order = std::vector<int64_t>;  // out token j is in token order[j], within an image

struct Move {
  std::vector<NodeId> nodes;  // first to last
  ValueId x = kNoValue, y = kNoValue;
  Order order;
  int copies = 0;  // Transposes and Gathers
};

bool is_identity(const Order& order) {
  for (size_t j = 0; j < order.size(); ++j) {
    if (order[j] != static_cast<int64_t>(j)) return false;
  }
  return true;
}

// Whether q puts back what p reordered.
bool undoes(const Order& q, const Order& p) {
  if (q.size() != p.size()) return false;
  for (size_t j = 0; j < p.size(); ++j) {
    if (q[static_cast<size_t>(p[j])] != static_cast<int64_t>(j)) return false;
  }
  return true;
}

class Orderer {
 public:
  explicit Orderer(Graph& graph) : graph_(graph) {}

  int run() {
    int fired = 0;
    while (sink_behind_layers() || join_residual() || join_moves()) ++fired;
    return fired;
  }

 private:
  const Node& node(NodeId n) const { return graph_.nodes[static_cast<size_t>(n)]; }
  Node& node(NodeId n) { return graph_.nodes[static_cast<size_t>(n)]; }
  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }
  NodeId producer(ValueId v) const { return v == kNoValue ? kNoNode : uses_->producer[static_cast<size_t>(v)]; }
  const std::vector<NodeId>& readers(ValueId v) const { return uses_->consumers[static_cast<size_t>(v)]; }
  NodeId sole(ValueId v) const { return uses_->sole_consumer(graph_, v); }

  // Float rows; the batch, where it is free, on the outermost axis alone.
  bool is_tokens(ValueId v) const {
    const Value& value = graph_.value(v);
    if (!is_float(value.dtype) || !value.shape || value.shape->size() < 3 || value.constant) return false;
    return std::none_of(value.shape->begin() + 1, value.shape->end(), [](const Dim& d) { return d.batch || d.factor == 0; });
  }

  // Whether a node reorders tokens, or only names their axes anew.
  bool moves_tokens(NodeId n) const {
    const Node& m = node(n);
    if (m.outputs.size() != 1 || m.inputs.empty() || !is_tokens(m.inputs[0]) || !is_tokens(m.outputs[0])) return false;
    const Shape& in = shape(m.inputs[0]);
    if (std::holds_alternative<Reshape>(m.op)) return in.back() == shape(m.outputs[0]).back();
    const auto last = static_cast<int64_t>(in.size()) - 1;
    if (const auto* t = std::get_if<Transpose>(&m.op)) return t->perm.front() == 0 && t->perm.back() == last;
    const auto* gather = std::get_if<Gather>(&m.op);
    if (gather == nullptr || gather->axis < 1 || gather->axis >= last || !graph_.is_constant(m.inputs[1])) return false;
    const Tensor& indices = *graph_.value(m.inputs[1]).constant;
    return indices.dtype() == DType::i64 && indices.rank() == 1 && in == shape(m.outputs[0]);
  }

  static Order transposed(const Order& order, const Dims& dims, const Ints& perm) {
    Ints strides(dims.size(), 1);
    for (size_t i = dims.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * dims[i + 1];
    Order result;
    Dims at(dims.size(), 0);
    for (size_t count = 0; count < order.size(); ++count) {
      int64_t from = 0;
      for (size_t i = 0; i < perm.size(); ++i) from += at[i] * strides[static_cast<size_t>(perm[i])];
      result.push_back(order[static_cast<size_t>(from)]);
      for (size_t i = perm.size(); i-- > 0;) {
        if (++at[i] < dims[static_cast<size_t>(perm[i])]) break;
        at[i] = 0;
      }
    }
    return result;
  }

  static Order gathered(const Order& order, const Dims& dims, size_t axis, std::span<const int64_t> indices) {
    int64_t inner = 1, outer = 1;
    for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
    for (size_t i = 0; i < axis; ++i) outer *= dims[i];
    Order result;
    for (int64_t o = 0; o < outer; ++o) {
      for (const int64_t index : indices) {
        const int64_t k = index < 0 ? index + dims[axis] : index;
        for (int64_t i = 0; i < inner; ++i) result.push_back(order.at(static_cast<size_t>((o * dims[axis] + k) * inner + i)));
      }
    }
    return result;
  }

  // The chain of moves that ends with `last`; nullopt when it is none, or drops or repeats tokens.
  std::optional<Move> chain_to(NodeId last) const {
    if (!moves_tokens(last)) return std::nullopt;
    Move move;
    move.nodes = {last};
    while (true) {
      const NodeId before = producer(node(move.nodes.back()).inputs[0]);
      if (before == kNoNode || !moves_tokens(before) || sole(node(before).outputs[0]) == kNoNode) break;
      move.nodes.push_back(before);
    }
    std::reverse(move.nodes.begin(), move.nodes.end());
    move.x = node(move.nodes.front()).inputs[0];
    move.y = node(last).outputs[0];
    Dims dims = at_batch(shape(move.x), 1);
    dims.pop_back();
    Order order(static_cast<size_t>(element_count(dims)));
    std::iota(order.begin(), order.end(), 0);
    for (const NodeId n : move.nodes) {
      const Node& m = node(n);
      if (const auto* t = std::get_if<Transpose>(&m.op)) order = transposed(order, dims, Ints(t->perm.begin(), t->perm.end() - 1));
      if (const auto* g = std::get_if<Gather>(&m.op))
        order = gathered(order, dims, static_cast<size_t>(g->axis), graph_.value(m.inputs[1]).constant->data<int64_t>());
      move.copies += std::holds_alternative<Reshape>(m.op) ? 0 : 1;
      dims = at_batch(shape(m.outputs[0]), 1);
      dims.pop_back();
    }
    Order sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (!is_identity(sorted)) return std::nullopt;
    move.order = std::move(order);
    return move;
  }
  // Likewise, for the last move of a chain.
  std::optional<Move> whole_chain_to(NodeId last) const {
    if (!moves_tokens(last)) return std::nullopt;
    const NodeId next = sole(node(last).outputs[0]);
    if (next != kNoNode && moves_tokens(next)) return std::nullopt;
    return chain_to(last);
  }
  // The chain that starts with the only reader of `v`.
  std::optional<Move> chain_from(ValueId v) const {
    NodeId last = sole(v);
    if (last == kNoNode || !moves_tokens(last)) return std::nullopt;
    for (NodeId next = sole(node(last).outputs[0]); next != kNoNode && moves_tokens(next); next = sole(node(last).outputs[0])) last = next;
    std::optional<Move> move = chain_to(last);
    return move && move->x == v ? move : std::nullopt;
  }

  bool is_layer_norm(NodeId n) const {
    const auto* norm = std::get_if<Normalize>(&node(n).op);
    if (norm == nullptr || norm->fn == NormFn::group || norm->axis + 1 != static_cast<int64_t>(shape(node(n).inputs[0]).size()))
      return false;
    for (size_t i = 1; i < node(n).inputs.size(); ++i) {
      const ValueId p = node(n).inputs[i];
      if (p != kNoValue && (!graph_.is_constant(p) || graph_.value(p).constant->rank() > 1)) return false;
    }
    return true;
  }

  // A constant that is the same for every token.
  bool is_row(ValueId v) const {
    if (!graph_.is_constant(v)) return false;
    const Dims& dims = graph_.value(v).constant->dims();
    return dims.empty() || graph_.value(v).constant->count() == dims.back();
  }

  // Whether a node computes each token from the same token of its operands.
  bool is_by_token(NodeId n) const {
    const Node& m = node(n);
    if (m.outputs.size() != 1 || !is_tokens(m.outputs[0])) return false;
    if (std::holds_alternative<UnaryOp>(m.op)) return m.inputs.size() == 1;
    if (std::holds_alternative<Normalize>(m.op)) return is_layer_norm(n);
    if (const auto* gemm = std::get_if<Gemm>(&m.op))
      return !gemm->trans_a && graph_.is_constant(m.inputs[1]) && (m.input(2) == kNoValue || is_row(m.input(2)));
    if (!std::holds_alternative<Binary>(m.op)) return false;
    for (const ValueId v : m.inputs) {
      const bool by_channel = graph_.is_constant(v) && graph_.value(v).constant->rank() <= 1;
      if (!by_channel && (graph_.is_constant(v) || shape(v) != shape(m.outputs[0]))) return false;
    }
    return true;
  }

  // ---- editing: nodes are collected before a position and put in at the end of a rewrite ----------------------------------------------

  ValueId add(std::vector<Node>& made, Op op, std::vector<ValueId> inputs, const Shape& result, const Origin& origin, DType dtype) {
    const ValueId v = graph_.add_value(origin.name + ".tokens" + std::to_string(graph_.values.size()), dtype, result);
    made.push_back(Node{std::move(op), std::move(inputs), {v}, origin});
    return v;
  }

  // The moves of a chain on another value of the same tokens, whose last axis may be of another length.
  ValueId repeat(std::vector<Node>& made, const Move& move, ValueId v) {
    for (const NodeId n : move.nodes) {
      const Node m = node(n);
      Shape result = shape(m.outputs[0]);
      result.back() = shape(v).back();
      Op op = m.op;
      if (auto* reshape = std::get_if<Reshape>(&op)) reshape->target = result;
      std::vector<ValueId> inputs = m.inputs;
      inputs[0] = v;
      v = add(made, std::move(op), std::move(inputs), result, m.origin, graph_.value(v).dtype);
    }
    return v;
  }

  void insert(NodeId before, std::vector<Node> made) {
    graph_.nodes.insert(graph_.nodes.begin() + before, std::make_move_iterator(made.begin()), std::make_move_iterator(made.end()));
  }

  // ---- x + Q(f(P(norm(x)))) ------------------------------------------------------------------------------------------------------------

  bool join_residual() {
    const Uses uses(graph_);
    uses_ = &uses;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto n = static_cast<NodeId>(i);
      const auto* add_op = std::get_if<Binary>(&node(n).op);
      if (add_op == nullptr || add_op->fn != BinaryFn::add || !is_tokens(node(n).outputs[0])) continue;
      for (size_t side = 0; side < 2; ++side) {
        const ValueId back = node(n).inputs[side], x = node(n).inputs[1 - side];
        if (graph_.is_constant(back) || graph_.is_constant(x) || sole(back) == kNoNode || shape(back) != shape(x)) continue;
        const NodeId last = producer(back);
        const std::optional<Move> q = last == kNoNode ? std::nullopt : chain_to(last);
        if (q && !is_identity(q->order) && join_residual(n, x, *q)) return true;
      }
    }
    return false;
  }

  bool join_residual(NodeId sum, ValueId x, const Move& q) {
    if (readers(x).size() != 2 || graph_.is_output(x)) return false;
    const NodeId norm = readers(x)[readers(x)[0] == sum ? 1 : 0];
    if (norm == sum || !is_layer_norm(norm) || node(norm).inputs[0] != x) return false;
    const std::optional<Move> p = chain_from(node(norm).outputs[0]);
    if (!p || !undoes(q.order, p->order)) return false;
    // x' = P(x); the norm of x' takes the place of P's last node.
    std::vector<Node> front;
    const ValueId moved = repeat(front, *p, x);
    Node inner = node(norm);
    std::get<Normalize>(inner.op).axis = static_cast<int64_t>(shape(p->y).size()) - 1;
    inner.inputs[0] = moved;
    inner.outputs = {p->y};
    // Q takes the place of the sum.
    std::vector<Node> behind;
    Node added = node(sum);
    ValueId same = moved;  // as Q's input names its axes
    if (shape(q.x) != shape(moved)) {
      same = add(behind, reshape_to(shape(q.x)), {moved}, shape(q.x), added.origin, graph_.value(x).dtype);
    }
    const ValueId total = add(behind, added.op, {q.x, same}, shape(q.x), added.origin, graph_.value(x).dtype);
    repeat(behind, q, total);
    behind.back().outputs = node(sum).outputs;
    const NodeId p_last = p->nodes.back();
    node(p_last) = inner;
    graph_.nodes.erase(graph_.nodes.begin() + sum);
    insert(sum, std::move(behind));
    insert(norm, std::move(front));
    finish();
    return true;
  }

  // ---- moves(layers(P(x))) -------------------------------------------------------------------------------------------------------------

  // What stands between P and the moves behind it: all values in P's order, with the nodes that make and those that move them.
  struct Region {
    std::vector<NodeId> layers, exits;
    std::set<ValueId> values;
  };

  // Whether an Attention sees tokens of the region alone, each as one row of its operands, and all of an image.
  bool attends_within(NodeId n, const Region& region, const Move& p) const {
    const Node& m = node(n);
    const auto* op = std::get_if<Attention>(&m.op);
    if (op == nullptr || op->queries != op->keys || region.values.contains(m.input(ops::kBias))) return false;
    const int64_t tokens = op->windows * op->queries;
    const auto in_rows = [&](ops::AttentionInput input, const HeadView& view, int64_t size) {
      const ValueId holder = m.input(ops::holder_of(m, input));
      if (!region.values.contains(holder)) return false;
      const int64_t row = shape(holder).back().factor;
      return view.token == row && view.item == tokens * row && view.offset + (op->heads - 1) * view.head + size <= row;
    };
    return op->items.batch == shape(p.x)[0].batch && op->items.factor * tokens == static_cast<int64_t>(p.order.size()) &&
           in_rows(ops::kQuery, op->q, op->qk_size) && in_rows(ops::kKey, op->k, op->qk_size) && in_rows(ops::kValue, op->v, op->v_size);
  }

  // Whether all operands of a layer that are not constant belong to the region.
  bool reads_within(const Node& m, const Region& region) const {
    return std::all_of(m.inputs.begin(), m.inputs.end(),
                       [&](ValueId v) { return v == kNoValue || graph_.is_constant(v) || region.values.contains(v); });
  }

  // The region behind P, when it ends in moves on all sides.
  std::optional<Region> region_behind(const Move& p) const {
    Region region;
    region.values = {p.y};
    if (graph_.is_output(p.y)) return std::nullopt;
    for (NodeId n = p.nodes.back() + 1; n < static_cast<NodeId>(graph_.nodes.size()); ++n) {
      const Node& m = node(n);
      if (std::none_of(m.inputs.begin(), m.inputs.end(), [&](ValueId v) { return region.values.contains(v); })) continue;
      const bool renames = moves_tokens(n) && std::holds_alternative<Reshape>(m.op);
      if (renames || (is_by_token(n) && reads_within(m, region)) || attends_within(n, region, p)) {
        region.layers.push_back(n);
        region.values.insert(m.outputs[0]);
        if (graph_.is_output(m.outputs[0])) return std::nullopt;
      } else if (moves_tokens(n)) {
        region.exits.push_back(n);
      } else {
        return std::nullopt;
      }
    }
    return region.exits.empty() ? std::nullopt : std::optional(std::move(region));
  }

  bool sink_behind_layers() {
    const Uses uses(graph_);
    uses_ = &uses;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const std::optional<Move> p = whole_chain_to(static_cast<NodeId>(i));
      if (!p || is_identity(p->order)) continue;
      const std::optional<Region> region = region_behind(*p);
      if (!region) continue;
      sink(*p, *region);
      return true;
    }
    return false;
  }

  // The region in the order of x, as [items, tokens, channels], with P in front of each of its exits.
  void sink(const Move& p, const Region& region) {
    const Dim items(1, shape(p.x)[0].batch);
    const auto flat = [&](ValueId v) { return Shape{items, static_cast<int64_t>(p.order.size()), shape(v).back()}; };
    std::vector<std::vector<Node>> moved;
    for (const NodeId exit : region.exits) moved.push_back(moved_before(exit, p));
    for (const NodeId n : region.layers) {
      Node& m = node(n);
      if (auto* norm = std::get_if<Normalize>(&m.op)) norm->axis = 2;
      if (auto* reshape = std::get_if<Reshape>(&m.op)) reshape->target = flat(m.outputs[0]);
      if (std::holds_alternative<Attention>(m.op)) attend_in_order(n, p);
    }
    Node& front = node(p.nodes.back());
    front.op = reshape_to(flat(p.x));
    front.inputs = {p.x};
    for (const ValueId v : region.values) graph_.value(v).shape = flat(v);
    for (size_t e = region.exits.size(); e-- > 0;) insert(region.exits[e], std::move(moved[e]));
    finish();
  }

  // P on what `exit` reads, which has the shape of the region's other values by then.
  std::vector<Node> moved_before(NodeId exit, const Move& p) {
    std::vector<Node> made;
    const ValueId v = node(exit).inputs[0];
    const Origin origin = node(exit).origin;
    const Shape own = shape(v);
    Shape first = shape(p.x), last = shape(p.y);
    first.back() = last.back() = own.back();
    ValueId at = repeat(made, p, add(made, reshape_to(first), {v}, first, origin, graph_.value(v).dtype));
    if (own != last) at = add(made, reshape_to(own), {at}, own, origin, graph_.value(v).dtype);
    node(exit).inputs[0] = at;
    return made;
  }

  // An Attention in P's order as one of windows in the order of x.
  void attend_in_order(NodeId n, const Move& p) {
    Node& m = node(n);
    auto& op = std::get<Attention>(m.op);
    const auto tokens = static_cast<int64_t>(p.order.size()), each = op.windows * op.queries;
    Ints rows(p.order);
    if (const ValueId within = m.input(ops::kRows); within != kNoValue) {
      const Tensor table = graph_.value(within).constant->cast(DType::i64);
      for (int64_t j = 0; j < tokens; ++j)
        rows[static_cast<size_t>(j)] =
            p.order[static_cast<size_t>(j / each * each + std::as_const(table).data<int64_t>()[static_cast<size_t>(j % each)])];
    }
    op.items = Dim(1, op.items.batch);
    op.windows = tokens / op.queries;
    for (HeadView* view : {&op.q, &op.k, &op.v}) view->item = tokens * view->token;
    m.inputs.resize(ops::kRows, kNoValue);
    if (!is_identity(rows)) m.inputs.push_back(graph_.add_constant(m.origin.name + ".order", Tensor::ints({tokens}, rows)));
    while (m.inputs.back() == kNoValue) m.inputs.pop_back();
  }

  // ---- several moves as one ------------------------------------------------------------------------------------------------------------

  bool join_moves() {
    const Uses uses(graph_);
    uses_ = &uses;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const std::optional<Move> move = whole_chain_to(static_cast<NodeId>(i));
      if (!move || move->copies < 2) continue;
      const Node last = node(move->nodes.back());
      const DType dtype = graph_.value(move->x).dtype;
      const Shape flat = {Dim(1, shape(move->x)[0].batch), static_cast<int64_t>(move->order.size()), shape(move->x).back()};
      std::vector<Node> made;
      Reshape to_rows, back;
      to_rows.target = flat;
      back.target = shape(move->y);
      ValueId v = add(made, to_rows, {move->x}, flat, last.origin, dtype);
      if (!is_identity(move->order)) {
        const ValueId indices =
            graph_.add_constant(last.origin.name + ".order", Tensor::ints({static_cast<int64_t>(move->order.size())}, move->order));
        v = add(made, Gather{1}, {v, indices}, flat, last.origin, dtype);
      }
      made.push_back(Node{back, {v}, {move->y}, last.origin});
      const NodeId at = move->nodes.front();
      for (const NodeId n : std::views::reverse(move->nodes)) graph_.nodes.erase(graph_.nodes.begin() + n);
      insert(at, std::move(made));
      finish();
      return true;
    }
    return false;
  }

  void finish() {
    uses_ = nullptr;
    graph_.compact();
    graph_.validate();
  }

  Graph& graph_;
  const Uses* uses_ = nullptr;
};

}  // namespace

int order_tokens(Graph& graph) {
  return Orderer(graph).run();
}

}  // namespace fcm::passes
