// The steps of a plan. A first sweep decides which values lie in NHWC; a second emits the steps in graph order, with a conversion wherever
// a step wants a value in another layout than the one it has. Nodes inside modules have no step of their own.
#include "planner/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "fcm/emit.h"
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

// A Transpose from a map [N,C,H,W] to tokens [N,H,W,C], or back: of a map in NHWC whose pixels have no pad lanes, the same bytes.
enum class View : uint8_t { none, to_tokens, to_map };
View view_of(const Graph& graph, const Node& node, DType dtype) {
  const auto* transpose = std::get_if<Transpose>(&node.op);
  if (transpose == nullptr || !is_float_rank4(graph.value(node.outputs[0]))) return View::none;
  const View view = transpose->perm == Ints{0, 2, 3, 1} ? View::to_tokens : transpose->perm == Ints{0, 3, 1, 2} ? View::to_map : View::none;
  if (view == View::none) return view;
  const Shape& map = *graph.value(view == View::to_tokens ? node.input(0) : node.outputs[0]).shape;
  return map[1] == Dim(channel_pitch(map[1].factor, dtype)) ? view : View::none;
}

bool moves_nothing(const Op& op) {
  return std::holds_alternative<Reshape>(op) || std::holds_alternative<Identity>(op);
}

// True when the bytes are the same as those of dense row-major ones: rows, or one unpadded pixel.
bool lies_as_rows(const Layout& layout, const Shape& shape) {
  if (layout.order == Order::rows) return true;
  return shape[2] == Dim(1) && shape[3] == Dim(1) && shape[1] == Dim(layout.channel_pitch);
}

class StepPlanner {
 public:
  StepPlanner(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const std::vector<const Group*>& groups,
              const std::vector<NodeId>& full_precision)
      : graph_(graph),
        backend_(backend),
        compute_(compute_dtype(options.precision)),
        uses_(graph),
        group_of_(graph.nodes.size(), nullptr),
        full_precision_(graph.nodes.size(), false),
        buffers_of_(graph.values.size()) {
    for (const Group* g : groups) {
      for (const NodeId n : g->nodes) group_of_[static_cast<size_t>(n)] = g;
    }
    for (const NodeId n : full_precision) full_precision_[static_cast<size_t>(n)] = true;
    variant_.full_precision = full_precision;
  }

  PlanVariant run() {
    check_support();
    find_nhwc_values();
    for (const ValueId v : graph_.inputs) variant_.inputs.push_back(add_buffer(v, border_layout(v), "input "));
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Group* group = group_of_[i];
      if (group == nullptr) {
        add_node(static_cast<NodeId>(i));
      } else if (group->nodes.back() == static_cast<NodeId>(i)) {
        add_modules(*group);
      }
    }
    for (const ValueId v : graph_.outputs) variant_.outputs.push_back(output_buffer(v));
    return std::move(variant_);
  }

 private:
  void check_support() const;
  void find_nhwc_values();
  bool spread_nhwc(const Node& node);
  void add_node(NodeId id);
  void add_modules(const Group& group);
  BufferId module_output(const Group& group, const ModulePart& part);
  BufferId scratch(const std::string& name, Shape shape, const Layout& layout);
  bool add_alias(const Node& node);
  Layout natural_layout(ValueId v, Order order) const;
  Layout natural_layout(ValueId v) const { return natural_layout(v, nhwc_[static_cast<size_t>(v)] ? Order::nhwc : Order::rows); }
  Layout border_layout(ValueId v) const { return Layout{Order::rows, graph_.value(v).dtype, 0}; }
  BufferId add_buffer(ValueId v, const Layout& layout, const char* prefix = "");
  BufferId acquire(ValueId v, const Layout& layout);
  BufferId result_buffer(const Node& node, OrderNeed need, ValueId v, DType compute);
  Layout in_dtype(Layout layout, ValueId v, DType compute) const;
  BufferId output_buffer(ValueId v);
  BufferId input_buffer(ValueId v) const;
  void add_convert(BufferId from, BufferId to);
  void add_step(PlanStep step);
  bool is_input(BufferId b) const { return static_cast<size_t>(b) < variant_.inputs.size(); }

  const Graph& graph_;
  const PlanBackend& backend_;
  const DType compute_;
  const Uses uses_;
  std::vector<const Group*> group_of_;  // by NodeId; null: a step of its own
  std::vector<bool> full_precision_;    // by NodeId: computes in FP32
  PlanVariant variant_;
  std::vector<bool> nhwc_;                         // by ValueId
  std::vector<std::vector<BufferId>> buffers_of_;  // by ValueId: what steps may read, the first one written being the original
  std::vector<int32_t> writer_;                    // by BufferId: the step that fills it, -1 for inputs
  std::vector<std::pair<ValueId, BufferId>> output_of_;
};

void StepPlanner::check_support() const {
  std::string report;
  int count = 0;
  for (size_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    if (group_of_[i] != nullptr) continue;
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
bool StepPlanner::spread_nhwc(const Node& node) {
  const OrderNeed need = backend_.order(graph_, node);
  if (need == OrderNeed::rows || (moves_nothing(node.op) && !std::holds_alternative<Identity>(node.op))) return false;
  if (std::holds_alternative<Transpose>(node.op)) {
    const View view = view_of(graph_, node, compute_);
    if (view == View::none) return false;
    const auto map = static_cast<size_t>(view == View::to_tokens ? node.input(0) : node.outputs[0]);
    const bool changed = !nhwc_[map] && !graph_.is_constant(static_cast<ValueId>(map));
    nhwc_[map] = nhwc_[map] || changed;
    return changed;
  }
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

void StepPlanner::find_nhwc_values() {
  nhwc_.assign(graph_.values.size(), false);
  for (bool changed = true; changed;) {  // forward then backward, so that a chain settles in one round
    changed = false;
    for (const Node& node : graph_.nodes) changed = spread_nhwc(node) || changed;
    for (const Node& node : std::views::reverse(graph_.nodes)) changed = spread_nhwc(node) || changed;
  }
}

Layout StepPlanner::natural_layout(ValueId v, Order order) const {
  const Value& value = graph_.value(v);
  const DType dtype = is_float(value.dtype) ? compute_ : value.dtype;
  if (order == Order::rows || !is_float_rank4(value)) return Layout{Order::rows, dtype, 0};
  return Layout{Order::nhwc, dtype, channel_pitch((*value.shape)[1].factor, dtype)};
}

// The layout with float elements of `compute`, for a node that computes in another precision than the plan.
Layout StepPlanner::in_dtype(Layout layout, ValueId v, DType compute) const {
  const Value& value = graph_.value(v);
  if (!is_float(value.dtype) || layout.dtype == compute) return layout;
  layout.dtype = compute;
  if (layout.order == Order::nhwc) layout.channel_pitch = channel_pitch((*value.shape)[1].factor, compute);
  return layout;
}

BufferId StepPlanner::add_buffer(ValueId v, const Layout& layout, const char* prefix) {
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

void StepPlanner::add_step(PlanStep step) {
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

void StepPlanner::add_convert(BufferId from, BufferId to) {
  PlanStep step;
  step.kind = PlanStep::Kind::convert;
  step.name = "convert " + graph_.value(variant_.buffer(from).value).name;
  step.op = "convert";
  step.inputs = {from};
  step.outputs = {to};
  add_step(std::move(step));
}

// The value in `layout`: a buffer that there is, an alias when the bytes are the same, or a conversion.
BufferId StepPlanner::acquire(ValueId v, const Layout& layout) {
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

bool StepPlanner::add_alias(const Node& node) {
  const View view = view_of(graph_, node, compute_);
  if (!moves_nothing(node.op) && view == View::none) return false;
  const ValueId x = node.input(0);
  const ValueId y = node.outputs[0];
  if (x == kNoValue || graph_.is_constant(x)) return false;
  const Layout from = natural_layout(x);
  const Layout to = natural_layout(y);
  const bool same_bytes =
      view != View::none ? (from.order == Order::nhwc) == (view == View::to_tokens) && (to.order == Order::nhwc) == (view == View::to_map)
                         : (lies_as_rows(from, *graph_.value(x).shape) && lies_as_rows(to, *graph_.value(y).shape)) ||
                               std::holds_alternative<Identity>(node.op);
  if (from.dtype != to.dtype || !same_bytes) return false;
  const BufferId source = acquire(x, from);
  const BufferId alias = add_buffer(y, to);
  variant_.buffers[static_cast<size_t>(alias)].alias_of = variant_.root(source);
  return true;
}

// Where a node writes `v`: the graph output itself when the step can make it so, else the value's own layout.
BufferId StepPlanner::result_buffer(const Node& node, OrderNeed need, ValueId v, DType compute) {
  Layout layout = in_dtype(natural_layout(v, need == OrderNeed::rows ? Order::rows : natural_layout(v).order), v, compute);
  if (!graph_.is_output(v)) return add_buffer(v, layout);
  const Layout border = border_layout(v);
  const bool only_output = uses_.consumers[static_cast<size_t>(v)].empty();
  const bool stores = border.dtype == layout.dtype || (backend_.stores_as && backend_.stores_as(node, compute, border.dtype));
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

void StepPlanner::add_node(NodeId id) {
  const Node& node = graph_.nodes[static_cast<size_t>(id)];
  if (add_alias(node)) return;
  const OrderNeed need = backend_.order(graph_, node);
  PlanStep step;
  step.name = node.origin.name;
  step.op = to_string(node.op);
  step.node = id;
  const DType compute = full_precision_[static_cast<size_t>(id)] ? DType::f32 : compute_;
  for (const ValueId v : node.inputs) {
    if (v == kNoValue || graph_.is_constant(v)) {
      step.inputs.push_back(kNoBuffer);
    } else {
      const Order order = need == OrderNeed::any ? natural_layout(v).order : (need == OrderNeed::rows ? Order::rows : Order::nhwc);
      step.inputs.push_back(acquire(v, in_dtype(natural_layout(v, order), v, compute)));
    }
  }
  for (const ValueId v : node.outputs) step.outputs.push_back(v == kNoValue ? kNoBuffer : result_buffer(node, need, v, compute));
  add_step(std::move(step));
}

BufferId StepPlanner::scratch(const std::string& name, Shape shape, const Layout& layout) {
  const auto id = static_cast<BufferId>(variant_.buffers.size());
  variant_.buffers.push_back(PlanBuffer{name, kNoValue, std::move(shape), layout, kNoBuffer});
  writer_.push_back(-1);
  return id;
}

// Where a module writes its map: the value in NHWC, a fully connected layer's rows (those of an output itself where the module stores the
// model's dtype), or a gate between two modules of a segment.
BufferId StepPlanner::module_output(const Group& group, const ModulePart& part) {
  const int channels = output_channels(part.spec);
  const Layout nhwc{Order::nhwc, compute_, channel_pitch(channels, compute_)};
  if (part.output != kNoValue) {
    const bool rows = part.tokens || graph_.value(part.output).shape->size() != 4;
    if (output_dtype(part.spec) != compute_ && !(rows && border_layout(part.output).dtype == output_dtype(part.spec)))
      throw Error(ErrorCode::internal, fmt::format("{}: %{} leaves its module in {}", graph_.name, graph_.value(part.output).name,
                                                   dtype_name(output_dtype(part.spec))));
    if (rows && graph_.is_output(part.output) && border_layout(part.output).dtype == output_dtype(part.spec) &&
        uses_.consumers[static_cast<size_t>(part.output)].empty()) {
      const BufferId b = add_buffer(part.output, border_layout(part.output), "output ");
      output_of_.emplace_back(part.output, b);
      return b;
    }
    return add_buffer(part.output, rows ? Layout{Order::rows, compute_, 0} : nhwc);
  }
  if (part.spec.pool == geometry::Pool::only) return kNoBuffer;
  return scratch("gate of " + graph_.nodes[static_cast<size_t>(group.nodes.back())].origin.name,
                 Shape{group.segment.images, channels, 1, 1}, nhwc);
}

// The modules of a segment, one step each, handing each other sums and gates through scratch buffers.
void StepPlanner::add_modules(const Group& group) {
  struct Made {
    BufferId map = kNoBuffer, sums = kNoBuffer;
  };
  std::vector<Made> made;
  const std::string& name = graph_.nodes[static_cast<size_t>(group.nodes.back())].origin.name;
  for (size_t i = 0; i < group.segment.parts.size(); ++i) {
    const ModulePart& part = group.segment.parts[i];
    const Order order = part.tokens ? Order::rows : Order::nhwc;
    const auto read = [&](ValueId v) {
      if (v == kNoValue) return kNoBuffer;
      if (v == part.input && part.spec.input == InputTransform::nchw_f32) return input_buffer(v);
      return acquire(v, natural_layout(v, order));
    };
    PlanStep step;
    step.kind = PlanStep::Kind::module;
    step.name = name;
    step.op = fmt::format("{} {} {}", kind_name(kind_of(part.spec)), to_string(part.spec), to_string(group.tiles[i]));
    step.module = PlanModule{part.spec, group.tiles[i], group.segment.images, group.nodes, part.stage_nodes};
    const Cost& cost = group.part_costs[i];
    step.predicted = Prediction{cost.time_us, cost.l2_bytes(), cost.dram_bytes};
    const BufferId input = part.sums_from >= 0 ? made[static_cast<size_t>(part.sums_from)].sums : read(part.input);
    step.inputs = {input, read(part.residual), part.gate_from >= 0 ? made[static_cast<size_t>(part.gate_from)].map : kNoBuffer};
    Made& out = made.emplace_back();
    out.map = module_output(group, part);
    if (part.spec.pool != geometry::Pool::none) {
      const int tiles = geometry::derive(shape_of(part.spec, group.tiles[i])).tiles;
      const int channels = geometry::round_up(output_channels(part.spec), 4);
      out.sums = scratch("sums of " + name, Shape{group.segment.images, tiles, channels}, Layout{Order::rows, DType::f32, 0});
    }
    step.outputs = {out.map, out.sums};
    add_step(std::move(step));
  }
}

// The caller's tensor, for a module that reads it as it is.
BufferId StepPlanner::input_buffer(ValueId v) const {
  const auto at = std::find(graph_.inputs.begin(), graph_.inputs.end(), v);
  if (at == graph_.inputs.end()) throw Error(ErrorCode::internal, fmt::format("{}: %{} is no input", graph_.name, graph_.value(v).name));
  return variant_.inputs[static_cast<size_t>(at - graph_.inputs.begin())];
}

// The border buffer of a graph output: written by its step already, or by a conversion from what there is.
BufferId StepPlanner::output_buffer(ValueId v) {
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

PlanVariant plan_steps(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const std::vector<const Group*>& groups,
                       const std::vector<NodeId>& full_precision) {
  return StepPlanner(graph, options, backend, groups, full_precision).run();
}

Plan plan_unfused(const Graph& graph, const PlanOptions& options, const PlanBackend& backend, const std::vector<NodeId>& full_precision) {
  Plan plan;
  plan.options = options;
  plan.device_model = backend.device_model;
  plan.variants.push_back(plan_steps(graph, options, backend, {}, full_precision));
  return plan;
}

}  // namespace fcm
