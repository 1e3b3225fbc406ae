// The plan without fusion: one step a node. A first sweep decides which values lie in NHWC; a second emits the steps in graph order,
// with a conversion wherever a step wants a value in another layout than the one it has.
#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "planner/plan.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

bool is_float_rank4(const Value& v) {
  return is_float(v.dtype) && v.shape && v.shape->size() == 4;
}

// Operators whose rank-4 operands are images: their neighbourhood lies in NHWC.
bool is_spatial(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<Pool>(op) || std::holds_alternative<GlobalPool>(op) ||
         std::holds_alternative<BatchNorm>(op);
}

bool moves_nothing(const Op& op) {
  return std::holds_alternative<Reshape>(op) || std::holds_alternative<Identity>(op);
}

// True when the bytes are the same as those of dense row-major ones: rows, or one unpadded pixel.
bool lies_as_rows(const Layout& layout, const Shape& shape) {
  if (layout.order == Order::rows) return true;
  return shape[2] == Dim(1) && shape[3] == Dim(1) && shape[1] == Dim(layout.channel_pitch);
}

class UnfusedPlanner {
 public:
  UnfusedPlanner(const Graph& graph, const PlanOptions& options, const PlanBackend& backend)
      : graph_(graph), backend_(backend), compute_(compute_dtype(options.precision)), uses_(graph), buffers_of_(graph.values.size()) {}

  PlanVariant run() {
    check_support();
    find_nhwc_values();
    for (const ValueId v : graph_.inputs) variant_.inputs.push_back(add_buffer(v, border_layout(v), "input "));
    for (size_t i = 0; i < graph_.nodes.size(); ++i) add_node(static_cast<NodeId>(i));
    for (const ValueId v : graph_.outputs) variant_.outputs.push_back(output_buffer(v));
    return std::move(variant_);
  }

 private:
  void check_support() const;
  void find_nhwc_values();
  bool spread_nhwc(const Node& node);
  void add_node(NodeId id);
  bool add_alias(const Node& node);
  Layout natural_layout(ValueId v, Order order) const;
  Layout natural_layout(ValueId v) const { return natural_layout(v, nhwc_[static_cast<size_t>(v)] ? Order::nhwc : Order::rows); }
  Layout border_layout(ValueId v) const { return Layout{Order::rows, graph_.value(v).dtype, 0}; }
  BufferId add_buffer(ValueId v, const Layout& layout, const char* prefix = "");
  BufferId acquire(ValueId v, const Layout& layout);
  BufferId result_buffer(const Node& node, OrderNeed need, ValueId v);
  BufferId output_buffer(ValueId v);
  void add_convert(BufferId from, BufferId to);
  void add_step(PlanStep step);
  bool is_input(BufferId b) const { return static_cast<size_t>(b) < variant_.inputs.size(); }

  const Graph& graph_;
  const PlanBackend& backend_;
  const DType compute_;
  const Uses uses_;
  PlanVariant variant_;
  std::vector<bool> nhwc_;                         // by ValueId
  std::vector<std::vector<BufferId>> buffers_of_;  // by ValueId: what steps may read, the first one written being the original
  std::vector<int32_t> writer_;                    // by BufferId: the step that fills it, -1 for inputs
  std::vector<std::pair<ValueId, BufferId>> output_of_;
};

void UnfusedPlanner::check_support() const {
  std::string report;
  int count = 0;
  for (const Node& node : graph_.nodes) {
    const std::string reason = backend_.refusal ? backend_.refusal(graph_, node) : std::string();
    if (reason.empty()) continue;
    report += fmt::format("\n  {}: {}", describe(node.origin), reason);
    ++count;
  }
  if (count > 0) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: {} node{} cannot run on {}:{}", graph_.name, count, count == 1 ? "" : "s", backend_.device_model, report));
  }
}

// One step of the sweep: from a node's rank-4 values in NHWC to its others, and from its need. True when something changed.
bool UnfusedPlanner::spread_nhwc(const Node& node) {
  const OrderNeed need = backend_.order(graph_, node);
  if (need == OrderNeed::rows || (moves_nothing(node.op) && !std::holds_alternative<Identity>(node.op))) return false;
  if (std::holds_alternative<Transpose>(node.op)) return false;
  std::vector<ValueId> images;
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const ValueId v : *list) {
      if (v != kNoValue && !graph_.is_constant(v) && is_float_rank4(graph_.value(v))) images.push_back(v);
    }
  }
  const auto marked = [&](ValueId v) { return nhwc_[static_cast<size_t>(v)]; };
  if (need != OrderNeed::nhwc && !is_spatial(node.op) && std::none_of(images.begin(), images.end(), marked)) return false;
  bool changed = false;
  for (const ValueId v : images) {
    changed = changed || !marked(v);
    nhwc_[static_cast<size_t>(v)] = true;
  }
  return changed;
}

void UnfusedPlanner::find_nhwc_values() {
  nhwc_.assign(graph_.values.size(), false);
  for (bool changed = true; changed;) {  // forward then backward, so that a chain settles in one round
    changed = false;
    for (const Node& node : graph_.nodes) changed = spread_nhwc(node) || changed;
    for (const Node& node : std::views::reverse(graph_.nodes)) changed = spread_nhwc(node) || changed;
  }
}

Layout UnfusedPlanner::natural_layout(ValueId v, Order order) const {
  const Value& value = graph_.value(v);
  const DType dtype = is_float(value.dtype) ? compute_ : value.dtype;
  if (order == Order::rows || !is_float_rank4(value)) return Layout{Order::rows, dtype, 0};
  return Layout{Order::nhwc, dtype, channel_pitch((*value.shape)[1].factor, dtype)};
}

BufferId UnfusedPlanner::add_buffer(ValueId v, const Layout& layout, const char* prefix) {
  const Value& value = graph_.value(v);
  if (!value.shape) throw Error(ErrorCode::internal, fmt::format("{}: the shape of %{} is not known", graph_.name, value.name));
  if (layout.order == Order::nhwc && (*value.shape)[1].batch) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: %{} {} has the batch in its channel axis; accepted: a fixed number of channels",
                                                    graph_.name, value.name, to_string(*value.shape)));
  }
  const auto id = static_cast<BufferId>(variant_.buffers.size());
  variant_.buffers.push_back(PlanBuffer{prefix + value.name, v, *value.shape, layout, kNoBuffer});
  writer_.push_back(-1);
  buffers_of_[static_cast<size_t>(v)].push_back(id);
  return id;
}

void UnfusedPlanner::add_step(PlanStep step) {
  const auto position = static_cast<int32_t>(variant_.steps.size());
  for (const BufferId b : step.inputs) {
    if (b == kNoBuffer) continue;
    const int32_t writer = writer_[static_cast<size_t>(variant_.root(b))];
    if (writer >= 0) step.depends_on.push_back(writer);
  }
  std::sort(step.depends_on.begin(), step.depends_on.end());
  step.depends_on.erase(std::unique(step.depends_on.begin(), step.depends_on.end()), step.depends_on.end());
  for (const BufferId b : step.outputs) {
    if (b != kNoBuffer) writer_[static_cast<size_t>(b)] = position;
  }
  variant_.steps.push_back(std::move(step));
}

void UnfusedPlanner::add_convert(BufferId from, BufferId to) {
  PlanStep step;
  step.kind = PlanStep::Kind::convert;
  step.name = "convert " + graph_.value(variant_.buffer(from).value).name;
  step.op = "convert";
  step.inputs = {from};
  step.outputs = {to};
  add_step(std::move(step));
}

// The value in `layout`: a buffer that there is, an alias when the bytes are the same, or a conversion.
BufferId UnfusedPlanner::acquire(ValueId v, const Layout& layout) {
  const auto& have = buffers_of_[static_cast<size_t>(v)];
  if (have.empty()) throw Error(ErrorCode::internal, fmt::format("{}: %{} is read before it is made", graph_.name, graph_.value(v).name));
  for (const BufferId b : have) {
    if (!is_input(b) && variant_.buffer(b).layout == layout) return b;
  }
  const BufferId from = have.front();
  const PlanBuffer source = variant_.buffer(from);
  const BufferId to = add_buffer(v, layout);
  if (!is_input(from) && source.layout.dtype == layout.dtype && lies_as_rows(source.layout, source.shape) &&
      lies_as_rows(layout, source.shape)) {
    variant_.buffers[static_cast<size_t>(to)].alias_of = variant_.root(from);
  } else {
    add_convert(from, to);
  }
  return to;
}

bool UnfusedPlanner::add_alias(const Node& node) {
  if (!moves_nothing(node.op)) return false;
  const ValueId x = node.input(0);
  const ValueId y = node.outputs[0];
  if (x == kNoValue || graph_.is_constant(x)) return false;
  const Layout from = natural_layout(x);
  const Layout to = natural_layout(y);
  const bool same_bytes =
      (lies_as_rows(from, *graph_.value(x).shape) && lies_as_rows(to, *graph_.value(y).shape)) || std::holds_alternative<Identity>(node.op);
  if (from.dtype != to.dtype || !same_bytes) return false;
  const BufferId source = acquire(x, from);
  const BufferId alias = add_buffer(y, to);
  variant_.buffers[static_cast<size_t>(alias)].alias_of = variant_.root(source);
  return true;
}

// Where a node writes `v`: the graph output itself when the step can make it so, else the value's own layout.
BufferId UnfusedPlanner::result_buffer(const Node& node, OrderNeed need, ValueId v) {
  Layout layout = natural_layout(v, need == OrderNeed::rows ? Order::rows : natural_layout(v).order);
  if (!graph_.is_output(v)) return add_buffer(v, layout);
  const Layout border = border_layout(v);
  const bool only_output = uses_.consumers[static_cast<size_t>(v)].empty();
  const bool stores = border.dtype == layout.dtype || (backend_.stores_as && backend_.stores_as(node, compute_, border.dtype));
  const bool rows = layout.order == Order::rows || need != OrderNeed::nhwc;
  if (stores && rows && (only_output || border == layout)) {
    const BufferId b = add_buffer(v, border, "output ");
    output_of_.emplace_back(v, b);
    return b;
  }
  if (stores && only_output && layout.order == Order::nhwc) {  // keep the precision that the output will show
    layout = Layout{Order::nhwc, border.dtype, channel_pitch((*graph_.value(v).shape)[1].factor, border.dtype)};
  }
  return add_buffer(v, layout);
}

void UnfusedPlanner::add_node(NodeId id) {
  const Node& node = graph_.nodes[static_cast<size_t>(id)];
  if (add_alias(node)) return;
  const OrderNeed need = backend_.order(graph_, node);
  PlanStep step;
  step.name = node.origin.name;
  step.op = to_string(node.op);
  step.node = id;
  for (const ValueId v : node.inputs) {
    if (v == kNoValue || graph_.is_constant(v)) {
      step.inputs.push_back(kNoBuffer);
    } else {
      const Order order = need == OrderNeed::any ? natural_layout(v).order : (need == OrderNeed::rows ? Order::rows : Order::nhwc);
      step.inputs.push_back(acquire(v, natural_layout(v, order)));
    }
  }
  for (const ValueId v : node.outputs) step.outputs.push_back(v == kNoValue ? kNoBuffer : result_buffer(node, need, v));
  add_step(std::move(step));
}

// The border buffer of a graph output: written by its step already, or by a conversion from what there is.
BufferId UnfusedPlanner::output_buffer(ValueId v) {
  if (graph_.is_constant(v)) return kNoBuffer;
  for (const auto& [value, buffer] : output_of_) {
    if (value == v) return buffer;
  }
  const auto& have = buffers_of_[static_cast<size_t>(v)];
  if (have.empty()) throw Error(ErrorCode::internal, fmt::format("{}: output %{} is never made", graph_.name, graph_.value(v).name));
  const BufferId from = have.front();
  const BufferId to = add_buffer(v, border_layout(v), "output ");
  add_convert(from, to);
  output_of_.emplace_back(v, to);
  return to;
}

}  // namespace

Plan plan_unfused(const Graph& graph, const PlanOptions& options, const PlanBackend& backend) {
  Plan plan;
  plan.options = options;
  plan.device_model = backend.device_model;
  plan.variants.push_back(UnfusedPlanner(graph, options, backend).run());
  return plan;
}

}  // namespace fcm
