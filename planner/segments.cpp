// From convolutions to module specs. A segment is refused with a sentence; a segment that is returned can run with some tile.
#include "planner/segments.h"

#include <fmt/format.h>

#include <algorithm>

#include "fcm/emit.h"
#include "runtime/graph/pointwise.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr size_t kLongestRun = 3;
constexpr size_t kLongestTokenRun = 2;

bool is_image_map(const Value& v) {
  return is_float(v.dtype) && v.shape && v.shape->size() == 4 && !(*v.shape)[1].batch && !(*v.shape)[2].batch && !(*v.shape)[3].batch;
}

int extent(const Value& v, size_t axis) {
  return static_cast<int>((*v.shape)[axis].factor);
}

const GlobalPool* as_mean(const Node& node) {
  const auto* pool = std::get_if<GlobalPool>(&node.op);
  return pool != nullptr && pool->fn == PoolFn::average ? pool : nullptr;
}

const Binary* as_product(const Node& node) {
  const auto* binary = std::get_if<Binary>(&node.op);
  return binary != nullptr && binary->fn == BinaryFn::mul && binary->activation.is_identity() ? binary : nullptr;
}

// The window must be what a stage holds: small positive numbers on two axes.
bool fits_stage(const Window& w) {
  const auto fine = [](const Ints& list, int64_t least) {
    return list.size() == 2 && std::all_of(list.begin(), list.end(), [&](int64_t x) { return x >= least && x < 4096; });
  };
  return fine(w.kernel, 1) && fine(w.strides, 1) && fine(w.dilations, 1) && fine(w.pads_begin, 0) && fine(w.pads_end, 0);
}

void set_window(const Window& w, StageSpec& s) {
  s.kernel_h = static_cast<int>(w.kernel[0]), s.kernel_w = static_cast<int>(w.kernel[1]);
  s.stride_h = static_cast<int>(w.strides[0]), s.stride_w = static_cast<int>(w.strides[1]);
  s.dilation_h = static_cast<int>(w.dilations[0]), s.dilation_w = static_cast<int>(w.dilations[1]);
  s.pad_top = static_cast<int>(w.pads_begin[0]), s.pad_left = static_cast<int>(w.pads_begin[1]);
  s.pad_bottom = static_cast<int>(w.pads_end[0]), s.pad_right = static_cast<int>(w.pads_end[1]);
}

std::string pattern_of(const Graph& graph, std::span<const NodeId> nodes) {
  std::string text;
  for (const NodeId n : nodes) {
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    text += fmt::format("{}{}", text.empty() ? "" : "-", op_kind(node.op));
  }
  return text;
}

std::vector<float> floats_of(const Tensor& t) {
  const Tensor f = t.dtype() == DType::f32 ? t : t.cast(DType::f32);
  const auto data = f.data<float>();
  return {data.begin(), data.end()};
}

// The four nodes that compute a gate from the map `v` and apply it: mean, two pointwise convolutions, product. Empty when there are none.
std::vector<NodeId> gate_of(const Graph& graph, const Uses& uses, ValueId v) {
  const auto& readers = uses.consumers[static_cast<size_t>(v)];
  if (readers.size() != 2 || graph.is_output(v)) return {};
  const auto node = [&](NodeId n) -> const Node& { return graph.nodes[static_cast<size_t>(n)]; };
  for (size_t i = 0; i < 2; ++i) {
    const NodeId pool = readers[i], product = readers[1 - i];
    if (as_mean(node(pool)) == nullptr || as_product(node(product)) == nullptr) continue;
    std::vector<NodeId> line = {pool};
    for (int step = 0; step < 3; ++step) {
      const NodeId next = uses.sole_consumer(graph, node(line.back()).outputs[0]);
      if (next == kNoNode) break;
      line.push_back(next);
    }
    if (line.size() != 4 || line[3] != product) continue;
    if (std::holds_alternative<Conv>(node(line[1]).op) && std::holds_alternative<Conv>(node(line[2]).op)) return line;
  }
  return {};
}

// The node that goes on from `n` in a line, or kNoNode.
NodeId next_in_line(const Graph& graph, const Uses& uses, NodeId n) {
  const Node& node = graph.nodes[static_cast<size_t>(n)];
  if (node.outputs.size() != 1) return kNoNode;
  const ValueId v = node.outputs[0];
  if (const std::vector<NodeId> gate = gate_of(graph, uses, v); !gate.empty()) return gate.front();
  const NodeId next = uses.sole_consumer(graph, v);
  if (next == kNoNode) return kNoNode;
  const Node& reader = graph.nodes[static_cast<size_t>(next)];
  const bool goes_on = reader.input(0) == v || std::holds_alternative<Binary>(reader.op);
  return goes_on ? next : kNoNode;
}

}  // namespace

std::vector<std::vector<NodeId>> find_chains(const Graph& graph) {
  const Uses uses(graph);
  const size_t count = graph.nodes.size();
  std::vector<NodeId> next(count, kNoNode);
  std::vector<bool> follows(count, false);
  for (size_t n = 0; n < count; ++n) {
    const NodeId to = next_in_line(graph, uses, static_cast<NodeId>(n));
    if (to == kNoNode || follows[static_cast<size_t>(to)]) continue;
    next[n] = to;
    follows[static_cast<size_t>(to)] = true;
  }
  std::vector<std::vector<NodeId>> chains;
  for (size_t n = 0; n < count; ++n) {
    if (follows[n]) continue;
    std::vector<NodeId>& chain = chains.emplace_back();
    for (auto at = static_cast<NodeId>(n); at != kNoNode; at = next[static_cast<size_t>(at)]) chain.push_back(at);
  }
  return chains;
}

SegmentFinder::SegmentFinder(const Graph& graph, const SegmentOptions& options) : graph_(graph), options_(options), uses_(graph) {}

std::string SegmentFinder::check_map(ValueId v) const {
  if (v == kNoValue || graph_.is_constant(v)) return "an operand is a constant";
  if (!is_image_map(graph_.value(v))) return fmt::format("%{} is no map of fixed channels and plane", graph_.value(v).name);
  return {};
}

// Rows of channels: each is whole 16-byte vectors, so that dense rows are what a module reads and writes.
std::string SegmentFinder::check_tokens(ValueId v) const {
  if (v == kNoValue || graph_.is_constant(v)) return "an operand is a constant";
  const Value& value = graph_.value(v);
  if (!is_float(value.dtype) || !value.shape || value.shape->size() < 2 || value.shape->back().batch)
    return fmt::format("%{} is no rows of fixed channels", value.name);
  const auto vector = static_cast<int64_t>(16 / dtype_size(options_.dtype));
  if (value.shape->back().factor % vector != 0)
    return fmt::format("%{}: {} channels do not fill 16-byte vectors", value.name, value.shape->back().factor);
  return {};
}

std::string SegmentFinder::check_private(ValueId v) const {
  if (graph_.is_output(v)) return fmt::format("%{} is an output of the model", graph_.value(v).name);
  const size_t readers = uses_.consumers[static_cast<size_t>(v)].size();
  if (readers != 1) return fmt::format("%{} has {} readers", graph_.value(v).name, readers);
  return {};
}

// An output of the model that a 16-bit module computes and FP32 callers read: it leaves with the precision of its sums.
bool SegmentFinder::wide_output(ValueId v) const {
  return options_.dtype != DType::f32 && graph_.value(v).dtype == DType::f32 && graph_.is_output(v) &&
         uses_.consumers[static_cast<size_t>(v)].empty();
}

std::string SegmentFinder::make_conv_stage(const Node& conv_node, const Conv& conv, StageSpec& stage) const {
  for (const ValueId v : {conv_node.input(0), conv_node.outputs[0]}) {
    if (std::string why = check_map(v); !why.empty()) return why;
  }
  const ValueId w = conv_node.input(1), b = conv_node.input(2);
  if (!graph_.is_constant(w) || (b != kNoValue && !graph_.is_constant(b))) return "weights or bias are no constants";
  if (!fits_stage(conv.window)) return "the window is not two-dimensional, or crops";
  const Value& x = graph_.value(conv_node.input(0));
  stage.in_channels = extent(x, 1);
  stage.out_channels = extent(graph_.value(conv_node.outputs[0]), 1);
  stage.activation = conv.activation;
  stage.dtype = options_.dtype;
  set_window(conv.window, stage);
  if (is_pointwise(conv)) {
    stage.op = StageOp::pw;
    stage.dilation_h = stage.dilation_w = 1;
  } else if (conv.group == stage.in_channels && stage.in_channels > 1) {
    stage.op = StageOp::dw;
    stage.multiplier = stage.out_channels / stage.in_channels;
  } else if (conv.group == 1) {
    if (stage.in_channels > 8)
      return fmt::format("a dense {}x{} convolution of {} channels", stage.kernel_h, stage.kernel_w, stage.in_channels);
    stage.op = StageOp::conv;
  } else {
    return fmt::format("{} groups over {} channels", conv.group, stage.in_channels);
  }
  return {};
}

// A fully connected layer as a pointwise stage on a plane of one pixel.
std::string SegmentFinder::make_gemm_stage(const Node& gemm_node, const Gemm& gemm, StageSpec& stage) const {
  const ValueId w = gemm_node.input(1), b = gemm_node.input(2);
  if (gemm.trans_a) return "a transposed Gemm";
  if (!graph_.is_constant(w) || (b != kNoValue && !graph_.is_constant(b))) return "weights or bias are no constants";
  const Dims dims = graph_.value(w).constant->dims();
  if (dims.size() != 2) return "weights that are no matrix";
  const int64_t rows = gemm.trans_b ? dims[0] : dims[1], depth = gemm.trans_b ? dims[1] : dims[0];
  if (b != kNoValue && graph_.value(b).constant->count() != rows) return "a bias that is not one number an output";
  const auto vector = static_cast<int64_t>(16 / dtype_size(options_.dtype));
  const bool wide = wide_output(gemm_node.outputs[0]);
  stage.dtype = wide ? DType::f32 : options_.dtype;
  if (!wide && rows % vector != 0) return fmt::format("{} outputs do not fill 16-byte vectors", rows);
  stage.op = StageOp::pw;
  stage.in_channels = static_cast<int>(depth);
  stage.out_channels = static_cast<int>(rows);
  stage.activation = gemm.activation;
  return {};
}

std::string SegmentFinder::make_stage(NodeId id, StageSpec& stage) const {
  const Node& n = node(id);
  if (const auto* conv = std::get_if<Conv>(&n.op)) return make_conv_stage(n, *conv, stage);
  if (const auto* gemm = std::get_if<Gemm>(&n.op)) return make_gemm_stage(n, *gemm, stage);
  return fmt::format("{} is no stage of a module", op_kind(n.op));
}

std::string SegmentFinder::check(const ModulePart& part) const {
  return refusal(part.spec, options_.target);
}

// A first convolution can read the user's floats itself: no conversion, no padded copy.
bool SegmentFinder::reads_user_tensor(const ModulePart& part) const {
  const auto& inputs = graph_.inputs;
  return part.spec.stages[0].op == StageOp::conv && part.spec.stages[0].in_channels <= 4 && graph_.value(part.input).dtype == DType::f32 &&
         std::count(inputs.begin(), inputs.end(), part.input) == 1;
}

// The last node's sum becomes the epilogue of the module; one in the middle cannot be fused over.
std::string SegmentFinder::add_residual(Nodes nodes, ModulePart& part) const {
  for (const NodeId n : nodes.first(nodes.size() - 1)) {
    if (node(n).input(3) != kNoValue) return fmt::format("\"{}\" ends in a sum", node(n).origin.name);
  }
  const Node& last = node(nodes.back());
  const ValueId r = last.input(3);
  if (r == kNoValue) return {};
  if (std::string why = part.tokens ? check_tokens(r) : check_map(r); !why.empty()) return why;
  part.residual = r;
  part.spec.input = InputTransform::nhwc;  // what reads the user's tensor has one operand
  const auto* conv = std::get_if<Conv>(&last.op);
  const bool after = conv != nullptr && conv->residual_after_activation;
  part.spec.residual = after ? geometry::Residual::after_activation : geometry::Residual::before_activation;
  part.spec.residual_is_input = r == part.input;
  if (part.spec.residual_is_input && !check(part).empty()) part.spec.residual_is_input = false;
  return {};
}

// A normalisation of each token's channels before the first layer. Its scale and bias are in the layer's weights (passes/fold_scale.cpp).
std::string SegmentFinder::add_norm(NodeId id, ModulePart& part) const {
  const auto& norm = std::get<Normalize>(node(id).op);
  const size_t rank = graph_.value(node(id).input(0)).shape->size();
  if (norm.fn == NormFn::group || norm.axis + 1 != static_cast<int64_t>(rank)) return "a normalisation over other axes than the last";
  if (node(id).input(1) != kNoValue || node(id).input(2) != kNoValue) return "a normalisation whose scale or bias other nodes read too";
  part.spec.norm = norm.fn == NormFn::rms ? geometry::Norm::rms : geometry::Norm::layer;
  part.spec.norm_epsilon = norm.epsilon;
  return {};
}

// One or two layers on tokens, the first perhaps behind a normalisation, as one module on planes of one pixel.
std::string SegmentFinder::make_token_run(Nodes nodes, ModulePart& part) const {
  part.tokens = true;
  part.spec.tf32 = options_.tf32;
  part.input = node(nodes.front()).input(0);
  part.output = node(nodes.back()).outputs[0];
  for (const ValueId v : {part.input, part.output}) {
    if (std::string why = check_tokens(v); !why.empty()) return why;
  }
  for (const NodeId n : nodes) {
    if (n == nodes.front() && std::holds_alternative<Normalize>(node(n).op)) {
      if (std::string why = add_norm(n, part); !why.empty()) return why;
      continue;
    }
    StageSpec stage;
    const auto* gemm = std::get_if<Gemm>(&node(n).op);
    if (gemm == nullptr) return fmt::format("{} stands between", op_kind(node(n).op));
    if (std::string why = make_gemm_stage(node(n), *gemm, stage); !why.empty()) return why;
    if (stage.dtype != options_.dtype) return "its scores leave in FP32";
    part.spec.stages.push_back(stage);
    part.stage_nodes.push_back(n);
  }
  if (kind_of(part.spec) == ModuleKind::unknown) return "no module has these stages";
  if (std::string why = add_residual(nodes, part); !why.empty()) return why;
  return check(part);
}

// One to three convolutions as one module.
std::string SegmentFinder::make_run(Nodes nodes, ModulePart& part) const {
  const Node& first = node(nodes.front());
  part.spec.tf32 = options_.tf32;
  for (const NodeId n : nodes) {
    StageSpec stage;
    if (!std::holds_alternative<Conv>(node(n).op)) return fmt::format("{} stands between", op_kind(node(n).op));
    if (std::string why = make_stage(n, stage); !why.empty()) return why;
    part.spec.stages.push_back(stage);
    part.stage_nodes.push_back(n);
  }
  part.input = first.input(0);
  part.output = node(nodes.back()).outputs[0];
  part.spec.height = extent(graph_.value(part.input), 2);
  part.spec.width = extent(graph_.value(part.input), 3);
  if (reads_user_tensor(part)) part.spec.input = InputTransform::nchw_f32;
  if (kind_of(part.spec) == ModuleKind::unknown) return "no module has these stages";
  if (std::string why = add_residual(nodes, part); !why.empty()) return why;
  if (std::string why = check(part); !why.empty()) return why;
  const Value& y = graph_.value(part.output);
  const Plane plane = output_plane(part.spec);
  if (plane.height != extent(y, 2) || plane.width != extent(y, 3)) return "the planes of the stages do not give the output's";
  return {};
}

// [GlobalPool, (Reshape), Gemm or pointwise Conv] or [GlobalPool, Conv, Conv] as one module over the map.
std::string SegmentFinder::make_head(Nodes nodes, ModulePart& part) const {
  const Node& pool = node(nodes.front());
  if (as_mean(pool) == nullptr) return "no global mean";
  part.input = pool.input(0);
  if (std::string why = check_map(part.input); !why.empty()) return why;
  const Value& x = graph_.value(part.input);
  part.spec.height = extent(x, 2), part.spec.width = extent(x, 3);
  StageSpec mean;
  mean.op = StageOp::pool;
  mean.in_channels = mean.out_channels = extent(x, 1);
  mean.dtype = options_.dtype;
  part.spec.stages = {mean};
  part.stage_nodes = {kNoNode};
  for (const NodeId n : nodes.subspan(1)) {
    if (const auto* reshape = std::get_if<Reshape>(&node(n).op)) {
      const Value& flat = graph_.value(node(n).outputs[0]);
      if (reshape->target == std::nullopt || !flat.shape || flat.shape->size() != 2 || (*flat.shape)[1] != Dim(mean.in_channels))
        return "a Reshape that is no flattening";
      continue;
    }
    StageSpec stage;
    if (std::string why = make_stage(n, stage); !why.empty()) return why;
    if (stage.op != StageOp::pw || node(n).input(3) != kNoValue) return "a head is pointwise and has no sum";
    part.spec.stages.push_back(stage);
    part.stage_nodes.push_back(n);
  }
  part.output = node(nodes.back()).outputs[0];
  const ModuleKind kind = kind_of(part.spec);
  if (kind != ModuleKind::pool_fc && kind != ModuleKind::se) return "no module has these stages";
  part.spec.tf32 = false;  // heads multiply on CUDA cores
  return check(part);
}

// Convolutions whose output plane is only averaged: they write sums, a second module reads them.
std::string SegmentFinder::make_pooled(Nodes run, Nodes head, Segment& segment) const {
  ModulePart body, tail;
  if (std::string why = make_run(run, body); !why.empty()) return why;
  if (std::string why = make_head(head, tail); !why.empty()) return why;
  body.spec.pool = geometry::Pool::only;
  body.spec.input = InputTransform::nhwc;  // what reads the user's tensor has one output
  if (std::string why = check(body); !why.empty()) return why;
  body.output = kNoValue;
  tail.input = kNoValue;
  tail.sums_from = 0;
  tail.spec.input = InputTransform::sums;
  if (std::string why = check(tail); !why.empty()) return why;
  segment.parts = {body, tail};
  return {};
}

// Convolutions, the gate from the mean of their output, and the pointwise convolution that reads the gated map.
std::string SegmentFinder::make_gated(Nodes run, Nodes tail, Segment& segment) const {
  ModulePart body, gate, last;
  if (std::string why = make_run(run, body); !why.empty()) return why;
  body.spec.pool = geometry::Pool::also;
  body.spec.input = InputTransform::nhwc;
  if (std::string why = check(body); !why.empty()) return why;
  const Nodes squeeze = tail.first(3);
  if (std::string why = make_head(squeeze, gate); !why.empty()) return why;
  if (gate.spec.stages.back().out_channels != gate.spec.stages.front().in_channels) return "the gate has other channels than the map";
  gate.input = kNoValue;
  gate.sums_from = 0;
  gate.output = kNoValue;
  gate.spec.input = InputTransform::sums;
  if (std::string why = check(gate); !why.empty()) return why;
  if (std::string why = make_run(tail.subspan(4, 1), last); !why.empty()) return why;
  last.input = body.output;
  last.gate_from = 1;
  last.spec.gate = true;
  last.spec.residual_is_input = false;
  if (std::string why = check(last); !why.empty()) return why;
  segment.parts = {body, gate, last};
  return {};
}

Dim SegmentFinder::images_of(const Segment& segment) const {
  const Shape& shape = *graph_.value(node(segment.nodes.front()).input(0)).shape;
  return segment.parts.front().tokens ? element_count(Shape(shape.begin(), shape.end() - 1)) : shape[0];
}

std::vector<Segment> SegmentFinder::starting_at(const std::vector<NodeId>& chain, size_t at, std::vector<Refusal>* refusals) const {
  std::vector<Segment> found;
  const Nodes rest = Nodes(chain).subspan(at);
  const auto keep = [&](size_t length, const std::string& why, Segment segment) {
    const Nodes nodes = rest.first(length);
    if (!why.empty()) {
      if (refusals != nullptr) refusals->push_back({{nodes.begin(), nodes.end()}, pattern_of(graph_, nodes), why});
      return;
    }
    segment.nodes.assign(nodes.begin(), nodes.end());
    segment.images = images_of(segment);
    found.push_back(std::move(segment));
  };
  const auto is_conv = [&](size_t i) { return i < rest.size() && std::holds_alternative<Conv>(node(rest[i]).op); };
  const auto is_gemm = [&](size_t i) { return i < rest.size() && std::holds_alternative<Gemm>(node(rest[i]).op); };
  // Everything up to `length` hands its output to the next alone.
  const auto line_reason = [&](size_t length) {
    for (size_t i = 0; i + 1 < length; ++i) {
      if (std::string why = check_private(node(rest[i]).outputs[0]); !why.empty()) return why;
    }
    return std::string();
  };
  const auto head_lengths = [&](size_t from) {
    std::vector<size_t> lengths;
    if (from >= rest.size() || as_mean(node(rest[from])) == nullptr) return lengths;
    for (size_t n = 2; n <= 3 && from + n <= rest.size(); ++n) {
      if (!std::holds_alternative<Reshape>(node(rest[from + n - 1]).op)) lengths.push_back(n);
    }
    return lengths;
  };
  // A segment of one module; whether it can be.
  const auto keep_module = [&](size_t length, auto make) {
    Segment segment;
    ModulePart part;
    std::string why = line_reason(length);
    if (why.empty()) why = (this->*make)(rest.first(length), part);
    segment.parts = {part};
    keep(length, why, std::move(segment));
    return why.empty();
  };
  for (const size_t head : head_lengths(0)) keep_module(head, &SegmentFinder::make_head);
  const size_t norms = std::holds_alternative<Normalize>(node(rest[0]).op) ? 1 : 0;
  for (size_t run = norms + 1; run <= norms + kLongestTokenRun && is_gemm(run - 1); ++run) keep_module(run, &SegmentFinder::make_token_run);
  for (size_t run = 1; run <= kLongestRun && is_conv(run - 1); ++run) {
    if (!keep_module(run, &SegmentFinder::make_run)) continue;
    const ValueId map = node(rest[run - 1]).outputs[0];
    for (const size_t head : head_lengths(run)) {
      Segment pooled;
      std::string why = line_reason(run + head);
      if (why.empty()) why = make_pooled(rest.first(run), rest.subspan(run, head), pooled);
      keep(run + head, why, std::move(pooled));
    }
    const std::vector<NodeId> gate = gate_of(graph_, uses_, map);
    if (gate.empty() || run + 5 > rest.size() || !std::equal(gate.begin(), gate.end(), rest.begin() + static_cast<ptrdiff_t>(run)))
      continue;
    Segment gated;
    std::string why = check_private(node(gate[3]).outputs[0]);
    if (why.empty()) why = make_gated(rest.first(run), rest.subspan(run, 5), gated);
    keep(run + 5, why, std::move(gated));
  }
  return found;
}

ModuleWeights weights_of(const Graph& graph, const ModuleSpec& spec, std::span<const NodeId> stage_nodes) {
  ModuleWeights weights;
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    StageWeights& to = weights.stages.emplace_back();
    if (stage_nodes[i] == kNoNode) continue;
    const Node& node = graph.nodes[static_cast<size_t>(stage_nodes[i])];
    const auto constant = [&](size_t input) -> const Tensor* {
      return graph.is_constant(node.input(input)) ? graph.value(node.input(input)).constant.get() : nullptr;
    };
    const Tensor* w = constant(1);
    if (w == nullptr) throw Error(ErrorCode::internal, describe(node.origin) + ": no weights");
    to.weight = floats_of(*w);
    if (const Tensor* b = constant(2)) to.bias = floats_of(*b);
    const auto* gemm = std::get_if<Gemm>(&node.op);
    if (gemm == nullptr) continue;
    if (!gemm->trans_b) {
      const auto rows = static_cast<size_t>(spec.stages[i].out_channels), depth = static_cast<size_t>(spec.stages[i].in_channels);
      std::vector<float> turned(to.weight.size());
      for (size_t f = 0; f < rows; ++f) {
        for (size_t c = 0; c < depth; ++c) turned[f * depth + c] = to.weight[c * rows + f];
      }
      to.weight = std::move(turned);
    }
    for (float& x : to.weight) x *= gemm->alpha;
    for (float& x : to.bias) x *= gemm->beta;
  }
  return weights;
}

}  // namespace fcm
