// The canonical text of operators and graphs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "runtime/graph/graph.h"

namespace fcm {
namespace {

std::string join(const Ints& values, const char* separator = ",") {
  return fmt::format("{}", fmt::join(values, separator));
}

std::string window_text(const Window& w) {
  std::string text = " k=" + join(w.kernel, "x");
  if (!w.strides.empty()) text += " s=" + join(w.strides, "x");
  if (!w.dilations.empty()) text += " d=" + join(w.dilations, "x");
  if (!w.pads_begin.empty() || !w.pads_end.empty()) text += " p=" + join(w.pads_begin) + ":" + join(w.pads_end);
  if (w.auto_pad != AutoPad::explicit_pads) {
    static constexpr std::array<const char*, 4> kNames = {"", "same_upper", "same_lower", "valid"};
    text += fmt::format(" auto_pad={}", kNames[static_cast<size_t>(w.auto_pad)]);
  }
  return text;
}

std::string activation_text(const Unary& u) {
  return u.is_identity() ? "" : " act=" + to_string(u);
}

std::string_view name_of(BinaryFn fn) {
  static constexpr std::array<std::string_view, 18> kNames = {
      "add",   "sub",  "mul",        "div",     "pow",           "mod",         "fmod",       "min",         "max",
      "equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "prelu"};
  return kNames[static_cast<size_t>(fn)];
}

std::string_view name_of(ReduceFn fn) {
  static constexpr std::array<std::string_view, 10> kNames = {"mean", "sum", "max",        "min",     "prod",
                                                              "l1",   "l2",  "sum_square", "log_sum", "log_sum_exp"};
  return kNames[static_cast<size_t>(fn)];
}

std::string_view name_of(PoolFn fn) {
  return fn == PoolFn::max ? "max" : "average";
}

std::string_view name_of(PadMode mode) {
  static constexpr std::array<std::string_view, 4> kNames = {"constant", "reflect", "edge", "wrap"};
  return kNames[static_cast<size_t>(mode)];
}

std::string resize_text(const Resize& r) {
  static constexpr std::array<const char*, 3> kModes = {"nearest", "linear", "cubic"};
  static constexpr std::array<const char*, 6> kCoordinates = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                                              "align_corners", "asymmetric",           "tf_half_pixel_for_nn"};
  static constexpr std::array<const char*, 5> kRoundings = {"prefer_floor", "prefer_ceil", "floor", "ceil", "by_direction"};
  std::string text = fmt::format(" {} {}", kModes[static_cast<size_t>(r.mode)], kCoordinates[static_cast<size_t>(r.coordinates)]);
  if (r.mode == ResizeMode::nearest) text += fmt::format(" {}", kRoundings[static_cast<size_t>(r.rounding)]);
  if (r.mode == ResizeMode::cubic) text += fmt::format(" a={}{}", r.cubic_a, r.exclude_outside ? " exclude_outside" : "");
  if (r.axes) text += " axes=" + join(*r.axes);
  if (r.bound) text += fmt::format(" sizes={} scales={}", join(r.sizes), fmt::join(r.scales, ","));
  return text;
}

// The attributes of each kind, with a leading space a field.
struct Attributes {
  std::string operator()(const Conv& c) const {
    return window_text(c.window) + fmt::format(" g={}", c.group) + activation_text(c.activation) +
           (c.residual_after_activation ? " residual_after_activation" : "");
  }
  std::string operator()(const Pool& p) const {
    return fmt::format(" {}", name_of(p.fn)) + window_text(p.window) + (p.ceil_mode ? " ceil" : "") +
           (p.count_include_pad ? " count_include_pad" : "");
  }
  std::string operator()(const GlobalPool& p) const { return fmt::format(" {}", name_of(p.fn)); }
  std::string operator()(const Gemm& g) const {
    return fmt::format(" alpha={} beta={}{}{}", g.alpha, g.beta, g.trans_a ? " trans_a" : "", g.trans_b ? " trans_b" : "") +
           activation_text(g.activation);
  }
  std::string operator()(const MatMul&) const { return ""; }
  std::string operator()(const BatchNorm& b) const { return fmt::format(" epsilon={}", b.epsilon); }
  std::string operator()(const UnaryOp& u) const { return " " + to_string(u.u); }
  std::string operator()(const Binary& b) const { return fmt::format(" {}", name_of(b.fn)) + activation_text(b.activation); }
  std::string operator()(const Elementwise& e) const {
    std::string text;
    for (const Elementwise::Part& p : e.parts)
      text += (p.fn ? fmt::format(" {}({},{})", name_of(*p.fn), p.a, p.b) : fmt::format(" ({})", p.a)) + activation_text(p.activation);
    return text;
  }
  std::string operator()(const Select&) const { return ""; }
  std::string operator()(const Cast& c) const { return fmt::format(" to={}", dtype_name(c.to)); }
  std::string operator()(const Identity&) const { return ""; }
  std::string operator()(const ShapeOf& s) const {
    return s.start == 0 && !s.end ? "" : fmt::format(" start={} end={}", s.start, s.end ? fmt::format("{}", *s.end) : "none");
  }
  std::string operator()(const SizeOf&) const { return ""; }
  std::string operator()(const ConstantOfShape& c) const { return fmt::format(" {}", dtype_name(c.value.dtype())); }
  std::string operator()(const Range&) const { return ""; }
  std::string operator()(const Reshape& r) const {
    if (r.target) return " " + to_string(*r.target);
    switch (r.form) {
      case Reshape::Form::flatten:
        return fmt::format(" flatten axis={}", r.axis);
      case Reshape::Form::squeeze:
        return " squeeze" + (r.axes ? " axes=" + join(*r.axes) : "");
      case Reshape::Form::unsqueeze:
        return " unsqueeze" + (r.axes ? " axes=" + join(*r.axes) : "");
      case Reshape::Form::target:
        break;
    }
    return r.allow_zero ? " allow_zero" : "";
  }
  std::string operator()(const Transpose& t) const { return " perm=" + join(t.perm); }
  std::string operator()(const Concat& c) const { return fmt::format(" axis={}", c.axis); }
  std::string operator()(const Slice& s) const {
    if (!s.bound) return "";
    return " starts=" + join(s.starts) + " ends=" + join(s.ends) + " axes=" + join(s.axes) + " steps=" + join(s.steps);
  }
  std::string operator()(const Split& s) const { return fmt::format(" axis={} sizes={}", s.axis, join(s.sizes)); }
  std::string operator()(const Gather& g) const { return fmt::format(" axis={}", g.axis); }
  std::string operator()(const Expand& e) const { return e.target ? " " + to_string(*e.target) : ""; }
  std::string operator()(const Tile& t) const { return t.repeats ? " " + join(*t.repeats) : ""; }
  std::string operator()(const Pad& p) const {
    std::string text = fmt::format(" {}", name_of(p.mode));
    if (p.bound) text += fmt::format(" begin={} end={} value={}", join(p.begin), join(p.end), p.value);
    return text;
  }
  std::string operator()(const Reduce& r) const {
    return fmt::format(" {}{}{}{}", name_of(r.fn), r.axes ? " axes=" + join(*r.axes) : "", r.keep_dims ? " keep_dims" : "",
                       r.noop_with_empty_axes ? " noop_with_empty_axes" : "");
  }
  std::string operator()(const Softmax& s) const {
    return fmt::format(" axis={}{}{}", s.axis, s.log ? " log" : "", s.flatten_from_axis ? " flatten" : "");
  }
  std::string operator()(const ConvTranspose& c) const {
    return window_text(c.window) + fmt::format(" g={}", c.group) + (c.output_padding.empty() ? "" : " op=" + join(c.output_padding)) +
           (c.output_shape.empty() ? "" : " shape=" + join(c.output_shape, "x"));
  }
  std::string operator()(const Normalize& n) const {
    if (n.fn == NormFn::group)
      return fmt::format(" group groups={}{} epsilon={}", n.groups, n.scale_by_group ? " scale_by_group" : "", n.epsilon);
    return fmt::format(" {} axis={} epsilon={}", n.fn == NormFn::layer ? "layer" : "rms", n.axis, n.epsilon);
  }
  std::string operator()(const Resize& r) const { return resize_text(r); }
  std::string operator()(const ArgReduce& a) const {
    return fmt::format(" {} axis={}{}{}", a.largest ? "max" : "min", a.axis, a.keep_dims ? " keep_dims" : "",
                       a.select_last ? " select_last" : "");
  }
  std::string operator()(const TopK& t) const {
    return fmt::format(" {} axis={}", t.largest ? "largest" : "smallest", t.axis) + (t.k ? fmt::format(" k={}", *t.k) : "");
  }
  std::string operator()(const CumSum& c) const {
    return (c.axis ? fmt::format(" axis={}", *c.axis) : "") + (c.exclusive ? " exclusive" : "") + (c.reverse ? " reverse" : "");
  }
  std::string operator()(const GatherElements& g) const { return fmt::format(" axis={}", g.axis); }
  std::string operator()(const GatherND& g) const { return fmt::format(" batch_dims={}", g.batch_dims); }
  std::string operator()(const ScatterND&) const { return ""; }
  std::string operator()(const Attention& a) const {
    const auto view = [](const HeadView& h) { return fmt::format("{}+{},{},{}", h.offset, h.item, h.head, h.token); };
    std::string text = fmt::format(" {} items={} heads={}", a.fn == AttentionFn::softmax ? "softmax" : "relu", to_string(a.items), a.heads);
    if (a.windows != 1) text += fmt::format(" windows={}", a.windows);
    text += fmt::format(" tokens={}x{} size={}x{} q={} k={} v={}", a.queries, a.keys, a.qk_size, a.v_size, view(a.q), view(a.k), view(a.v));
    text += a.fn == AttentionFn::softmax ? fmt::format(" scale={}", a.scale) : fmt::format(" epsilon={}", a.epsilon);
    return text + activation_text(a.activation);
  }
  std::string operator()(const Trilu& t) const { return (t.upper ? " upper" : " lower") + (t.k ? fmt::format(" k={}", *t.k) : ""); }
};

std::string value_text(const Graph& graph, ValueId id) {
  if (id == kNoValue) return "-";
  const Value& v = graph.value(id);
  return fmt::format("{}%{}:{}{}", v.constant ? "const " : "", v.name, dtype_name(v.dtype), v.shape ? to_string(*v.shape) : "[?]");
}

std::string list_text(const Graph& graph, const std::vector<ValueId>& ids) {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) text += (i == 0 ? "" : ", ") + value_text(graph, ids[i]);
  return text;
}

}  // namespace

std::string to_string(const Op& op) {
  return std::string(op_kind(op)) + std::visit(Attributes{}, op);
}

std::string to_string(const Graph& graph) {
  std::string text = fmt::format("graph {}({})\n", graph.name, list_text(graph, graph.inputs));
  for (const Node& node : graph.nodes) {
    text += fmt::format("  {} = {} ({})\n", list_text(graph, node.outputs), to_string(node.op), list_text(graph, node.inputs));
  }
  return text + fmt::format("  return {}\n", list_text(graph, graph.outputs));
}

}  // namespace fcm
