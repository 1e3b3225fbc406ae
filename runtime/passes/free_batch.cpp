// A model exported with a fixed batch, rewritten for any batch where that is provably the same as running its items one by one.
//
// Every value gets an axis along which the items lie, or none when it is the same for all items. Inputs have it at axis 0; each operator
// either carries it on (an elementwise function, a product over another axis, a Reshape that keeps whole items together) or mixes items,
// and then the model stays as it is. Constants that hold the batch (targets of Reshape and Expand) follow from the axes alone, so nothing
// is guessed from numbers that happen to equal the batch.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "ops/check.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm::passes {
namespace {

using Axis = std::optional<size_t>;

class BatchFreer {
 public:
  BatchFreer(Graph& graph, int64_t batch) : graph_(graph), batch_(batch), axis_(graph.values.size()) {}

  void run() {
    for (const ValueId v : graph_.inputs) set(v, 0);
    std::vector<Node> nodes;
    nodes.swap(graph_.nodes);
    for (Node& node : nodes) {
      try {
        visit(node);
      } catch (const Error& e) {
        throw Error(e.code(), fmt::format("{}: the batch is fixed at {}: {}: {}", graph_.name, batch_, describe(node.origin), e.what()));
      }
      graph_.nodes.push_back(std::move(node));
    }
    for (const ValueId v : graph_.outputs) {
      if (!axis(v))
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: the batch is fixed at {}: output \"{}\" does not hold it", graph_.name, batch_, graph_.value(v).name));
    }
  }

 private:
  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }
  size_t rank(ValueId v) const { return shape(v).size(); }
  Axis axis(ValueId v) const { return v == kNoValue ? std::nullopt : axis_[static_cast<size_t>(v)]; }

  /// Items of `v` lie along axis `a` from now on.
  void set(ValueId v, size_t a) {
    Dim& dim = graph_.value(v).shape->at(a);
    if (dim.factor % batch_ != 0) mixes(fmt::format("axis {} of {} is no multiple of the batch", a, to_string(shape(v))));
    dim = Dim(dim.factor / batch_, true);
    axis_[static_cast<size_t>(v)] = a;
  }

  [[noreturn]] void mixes(const std::string& how) const { ops::bad_input("it mixes the items of a batch: {}", how); }

  /// The extent of axis `a` when every item is there, as in the model.
  int64_t whole(ValueId v, size_t a) const {
    const Dim& dim = shape(v)[a];
    return dim.batch ? dim.factor * batch_ : dim.factor;
  }

  void visit(Node& node) {
    const bool batched = std::any_of(node.inputs.begin(), node.inputs.end(), [this](ValueId v) { return axis(v).has_value(); });
    if (!batched) return;
    node_ = &node;
    std::visit([&](auto& op) { carry(op, node); }, node.op);
  }

  // ---- helpers of the rules

  void only_first(const Node& node) const {
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (axis(node.inputs[i])) mixes(fmt::format("input {} depends on the items", i));
    }
    if (!axis(node.input(0))) mixes("input 0 does not depend on the items");
  }
  size_t first_axis(const Node& node) const {
    only_first(node);
    return *axis(node.inputs[0]);
  }
  void needs_leading(Node& node) {
    if (first_axis(node) != 0) mixes(fmt::format("the items lie along axis {}", first_axis(node)));
    for (const ValueId y : node.outputs) set_if_used(y, 0);
  }
  void set_if_used(ValueId v, size_t a) {
    if (v != kNoValue) set(v, a);
  }
  // The operator works along one axis, which must not be that of the items; outputs have the input's axes.
  void along(Node& node, int64_t one) {
    const size_t items = first_axis(node);
    if (static_cast<size_t>(one < 0 ? one + static_cast<int64_t>(rank(node.inputs[0])) : one) == items)
      mixes(fmt::format("it works along axis {}", items));
    for (const ValueId y : node.outputs) set_if_used(y, items);
  }

  /// A value that is the same for all items, repeated for each along its axis `a`, whose extent is that of one item.
  ValueId repeated(ValueId v, size_t a) {
    if (batch_ != 1) mixes(fmt::format("\"{}\" holds {} items", graph_.value(v).name, batch_));
    const Shape one = shape(v);
    Shape wide = one;
    wide.insert(wide.begin() + static_cast<std::ptrdiff_t>(a), Dim(1, true));
    Shape thin = wide;
    thin[a] = Dim(1);
    Shape all = one;
    all[a] = Dim(one[a].factor, true);
    const ValueId spread = one[a] == Dim(1) ? v : insert(reshape(thin), v, thin);
    const ValueId expanded = one[a] == Dim(1) ? insert(Expand{all}, v, all) : insert(Expand{wide}, spread, wide);
    return one[a] == Dim(1) ? expanded : insert(reshape(all), expanded, all);
  }
  static Reshape reshape(const Shape& target) {
    Reshape op;
    op.target = target;
    return op;
  }
  ValueId insert(Op op, ValueId x, const Shape& result) {
    const ValueId y = graph_.add_value(graph_.value(x).name + ".items", graph_.value(x).dtype, result);
    axis_.emplace_back();
    for (size_t a = 0; a < result.size(); ++a) {
      if (result[a].batch) axis_.back() = a;
    }
    graph_.add_node(std::move(op), {x}, {y}, node_->origin);
    return y;
  }

  // Broadcast operands: items must lie along one axis of the result, and what is the same for all items must fit each.
  void broadcast(Node& node) {
    const ValueId y = node.outputs[0];
    Axis items;
    for (const ValueId v : node.inputs) {
      if (!axis(v)) continue;
      const size_t aligned = *axis(v) + rank(y) - rank(v);
      if (items && *items != aligned) mixes("the items lie along different axes of its operands");
      items = aligned;
      if (whole(v, *axis(v)) != whole(y, aligned)) mixes("the axis of the items is broadcast");
    }
    for (ValueId& v : node.inputs) {
      if (v == kNoValue || axis(v) || rank(v) + *items < rank(y)) continue;
      const size_t own = *items + rank(v) - rank(y);
      if (shape(v)[own] != Dim(1)) v = repeated(v, own);
    }
    set(y, *items);
  }

  // ---- rules by operator

  void carry(UnaryOp& /*op*/, Node& node) { same_axes(node); }
  void carry(Cast& /*op*/, Node& node) { same_axes(node); }
  void carry(Identity& /*op*/, Node& node) { same_axes(node); }
  void same_axes(Node& node) { set(node.outputs[0], first_axis(node)); }
  void carry(Binary& /*op*/, Node& node) { broadcast(node); }
  void carry(Elementwise& /*op*/, Node& node) { broadcast(node); }
  void carry(Select& /*op*/, Node& node) { broadcast(node); }

  void carry(Conv& /*op*/, Node& node) { needs_leading(node); }
  void carry(ConvTranspose& /*op*/, Node& node) { needs_leading(node); }
  void carry(Pool& /*op*/, Node& node) { needs_leading(node); }
  void carry(GlobalPool& /*op*/, Node& node) { needs_leading(node); }
  void carry(BatchNorm& /*op*/, Node& node) { needs_leading(node); }

  void carry(Normalize& op, Node& node) {
    if (op.fn == NormFn::group) return needs_leading(node);
    const size_t items = first_axis(node);
    const auto r = static_cast<int64_t>(rank(node.inputs[0]));
    if (static_cast<int64_t>(items) >= (op.axis < 0 ? op.axis + r : op.axis)) mixes(fmt::format("it normalises over axis {}", items));
    set(node.outputs[0], items);
  }

  void carry(Gemm& op, Node& node) {
    const size_t items = first_axis(node);
    if (items != (op.trans_a ? 1U : 0U)) mixes("it sums over the items");
    const ValueId c = node.input(2);
    if (c != kNoValue && rank(c) == 2 && shape(c)[0] != Dim(1)) node.inputs[2] = repeated(c, 0);
    set(node.outputs[0], 0);
  }

  void carry(MatMul& /*op*/, Node& node) {
    const ValueId a = node.inputs[0];
    const ValueId b = node.inputs[1];
    const ValueId y = node.outputs[0];
    if (rank(a) < 2 || rank(b) < 2) mixes("a vector takes part");
    if (axis(a) == rank(a) - 1 || axis(b) == rank(b) - 2) mixes("it sums over the items");
    const bool rows = axis(a) == rank(a) - 2;
    const bool columns = axis(b) == rank(b) - 1;
    if ((rows && axis(b)) || (columns && axis(a))) mixes("every item meets every other");
    if (rows) return set(y, rank(y) - 2);
    if (columns) return set(y, rank(y) - 1);
    broadcast(node);
  }

  void carry(Reduce& op, Node& node) {
    const size_t items = first_axis(node);
    const auto r = static_cast<int64_t>(rank(node.inputs[0]));
    const bool none = op.noop_with_empty_axes && (!op.axes || op.axes->empty());
    Ints axes;
    if (!none) axes = ops::normalize_axes(op.axes.value_or(Ints{}), r, "axes");
    const auto over = [&](int64_t a) { return std::find(axes.begin(), axes.end(), a) != axes.end(); };
    if ((!none && axes.empty()) || over(static_cast<int64_t>(items))) mixes(fmt::format("it reduces axis {}", items));
    const auto before = std::count_if(axes.begin(), axes.end(), [&](int64_t a) { return a < static_cast<int64_t>(items); });
    set(node.outputs[0], op.keep_dims ? items : items - static_cast<size_t>(before));
  }
  void carry(ArgReduce& op, Node& node) {
    const size_t items = first_axis(node);
    const size_t one = positive(op.axis, node.inputs[0]);
    if (one == items) mixes(fmt::format("it works along axis {}", items));
    set(node.outputs[0], !op.keep_dims && one < items ? items - 1 : items);
  }
  void carry(Softmax& op, Node& node) {
    if (op.flatten_from_axis && first_axis(node) >= positive(op.axis, node.inputs[0])) mixes("it works along the axis of the items");
    along(node, op.axis);
  }
  void carry(TopK& op, Node& node) { along(node, op.axis); }
  void carry(CumSum& op, Node& node) { along(node, op.axis.value_or(0)); }
  void carry(Trilu& /*op*/, Node& node) {
    if (first_axis(node) + 2 >= rank(node.inputs[0])) mixes("it works along the axis of the items");
    same_axes(node);
  }
  size_t positive(int64_t a, ValueId x) const { return static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(rank(x)) : a); }

  void carry(Transpose& op, Node& node) {
    const auto items = static_cast<int64_t>(first_axis(node));
    if (op.perm.empty()) return set(node.outputs[0], rank(node.inputs[0]) - 1 - static_cast<size_t>(items));
    set(node.outputs[0], static_cast<size_t>(std::find(op.perm.begin(), op.perm.end(), items) - op.perm.begin()));
  }

  void carry(Concat& op, Node& node) {
    Axis items;
    for (const ValueId v : node.inputs) {
      if (items && axis(v) && axis(v) != items) mixes("the items lie along different axes of its operands");
      if (axis(v)) items = axis(v);
    }
    if (*items == positive(op.axis, node.inputs[0])) mixes("it joins along the axis of the items");
    for (ValueId& v : node.inputs) {
      if (!axis(v)) v = repeated(v, *items);
    }
    set(node.outputs[0], *items);
  }
  // Untouched axes, by extent: a slice or pad along the items' axis must hand all of it on.
  void keeps_extent(Node& node) {
    const size_t items = first_axis(node);
    if (whole(node.inputs[0], items) != whole(node.outputs[0], items)) mixes(fmt::format("it takes a part of axis {}", items));
    set(node.outputs[0], items);
  }
  void carry(Slice& op, Node& node) {
    for (size_t i = 0; i < op.axes.size(); ++i) {
      if (positive(op.axes[i], node.inputs[0]) == first_axis(node) && op.steps[i] != 1) mixes("it takes steps along the axis of the items");
    }
    keeps_extent(node);
    // Bounds along the items' axis are numbers of the fixed batch; all of it is taken, so they go.
    for (size_t i = op.axes.size(); i-- > 0;) {
      if (positive(op.axes[i], node.inputs[0]) != first_axis(node)) continue;
      for (Ints* list : {&op.axes, &op.starts, &op.ends, &op.steps}) list->erase(list->begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  void carry(Pad& op, Node& node) {
    const size_t items = first_axis(node);
    if (op.begin.at(items) != 0 || op.end.at(items) != 0) mixes(fmt::format("it pads axis {}", items));
    set(node.outputs[0], items);
  }
  void carry(Resize& /*op*/, Node& node) { keeps_extent(node); }
  void carry(Tile& op, Node& node) {
    if (op.repeats->at(first_axis(node)) != 1) mixes(fmt::format("it repeats axis {}", first_axis(node)));
    same_axes(node);
  }
  void carry(Split& op, Node& node) { along(node, op.axis); }

  void carry(Gather& op, Node& node) {
    const ValueId x = node.inputs[0];
    const ValueId indices = node.inputs[1];
    const size_t one = positive(op.axis, x);
    if (axis(x) && axis(indices)) mixes("data and indices both depend on the items");
    if (axis(indices)) return set(node.outputs[0], one + *axis(indices));
    if (*axis(x) == one) mixes(fmt::format("it takes elements of axis {}", one));
    set(node.outputs[0], *axis(x) < one ? *axis(x) : *axis(x) - 1 + rank(indices));
  }

  void carry(Expand& op, Node& node) {
    const ValueId x = node.inputs[0];
    const ValueId y = node.outputs[0];
    const size_t items = first_axis(node) + rank(y) - rank(x);
    if (whole(x, *axis(x)) != whole(y, items)) mixes(fmt::format("it repeats axis {}", items));
    set(y, items);
    op.target = shape(y);
  }

  // Items stay whole where as many elements precede their axis as before: element (p, item, q) keeps its place.
  void carry(Reshape& op, Node& node) {
    const ValueId x = node.inputs[0];
    const ValueId y = node.outputs[0];
    const int64_t before = product(x, first_axis(node));
    int64_t passed = 1;
    for (size_t a = 0; a < rank(y); ++a) {
      if (passed == before && whole(y, a) % batch_ == 0) {
        set(y, a);
        op = reshape(shape(y));
        return;
      }
      passed *= whole(y, a);
    }
    ops::fail_baked_batch(node, batch_,
                          fmt::format("no axis of the target {} can hold the items that {} has along axis {}", to_string(shape(y)),
                                      to_string(shape(x)), *axis(x)));
  }
  int64_t product(ValueId v, size_t count) const {
    int64_t all = 1;
    for (size_t a = 0; a < count; ++a) all *= whole(v, a);
    return all;
  }

  template <class T>
  void carry(T& /*op*/, Node& /*node*/) {
    mixes("no rule says that it keeps them apart");
  }

  Graph& graph_;
  int64_t batch_;
  std::vector<Axis> axis_;
  Node* node_ = nullptr;
};

// The extent that all inputs have at axis 0; 0 when they differ, or one has none.
int64_t common_batch(const Graph& graph) {
  int64_t batch = 0;
  for (const ValueId v : graph.inputs) {
    const auto& shape = graph.value(v).shape;
    if (!shape || shape->empty() || has_batch(*shape) || (batch != 0 && (*shape)[0].factor != batch)) return 0;
    batch = (*shape)[0].factor;
  }
  return batch;
}

}  // namespace

bool free_batch(Graph& graph, int64_t wanted) {
  const bool free = std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId v) { return has_batch(*graph.value(v).shape); });
  if (free) return false;
  const int64_t batch = common_batch(graph);
  const bool required = wanted > 0 && wanted != batch;
  if (batch != 1 && !required) return false;
  if (batch == 0) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: batch {} is asked for, but the inputs have no common extent at axis 0 that would be one", graph.name, wanted));
  }
  Graph freed = graph;
  try {
    fold_constants(freed);
    BatchFreer(freed, batch).run();
    fold(freed);
  } catch (const Error& e) {
    if (required || (e.code() != ErrorCode::bad_input && e.code() != ErrorCode::unsupported)) throw;
    log(LogLevel::debug, "{}", e.what());
    return false;
  }
  graph = std::move(freed);
  return true;
}

}  // namespace fcm::passes
