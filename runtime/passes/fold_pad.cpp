// A constant Pad of the spatial axes becomes the padding of the window that reads it.
//
// Conv pads with zeros, so a zero Pad fits. AveragePool that counts its padding does too. MaxPool never picks its padding (minus
// infinity): that equals a zero Pad only when its input is nowhere negative, and each window sees at least one element of it.
#include <algorithm>
#include <limits>
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

bool all_zero(const Ints& values) {
  return std::all_of(values.begin(), values.end(), [](int64_t v) { return v == 0; });
}

// The Pad that makes `v` when it only grows spatial axes by a constant.
const Pad* spatial_pad(const Rewriter& rewriter, ValueId v) {
  const Pad* pad = rewriter.made_by<Pad>(v);
  if (pad == nullptr || !pad->bound || pad->mode != PadMode::constant || pad->begin.size() < 3) return nullptr;
  if (pad->begin[0] != 0 || pad->begin[1] != 0 || pad->end[0] != 0 || pad->end[1] != 0) return nullptr;
  const auto negative = [](int64_t p) { return p < 0; };
  const bool crops = std::any_of(pad->begin.begin(), pad->begin.end(), negative) || std::any_of(pad->end.begin(), pad->end.end(), negative);
  return crops ? nullptr : pad;
}

// The window with the pads of `pad` added to its own; nullopt for a window that is not bound to explicit pads.
std::optional<Window> padded(const Window& window, const Pad& pad) {
  const size_t axes = pad.begin.size() - 2;
  if (window.auto_pad != AutoPad::explicit_pads || window.pads_begin.size() != axes || window.pads_end.size() != axes) return std::nullopt;
  Window result = window;
  for (size_t i = 0; i < axes; ++i) {
    result.pads_begin[i] += pad.begin[i + 2];
    result.pads_end[i] += pad.end[i + 2];
  }
  return result;
}

// Pools accept pads below the extent of their kernel.
bool pads_fit_kernel(const Window& w) {
  if (w.kernel.size() != w.pads_begin.size() || w.dilations.size() != w.kernel.size()) return false;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    if (w.dilations[i] != 1 || w.pads_begin[i] >= w.kernel[i] || w.pads_end[i] >= w.kernel[i]) return false;
  }
  return true;
}

bool never_negative(const Unary& u) {
  switch (u.fn) {
    case UnaryFn::relu:
    case UnaryFn::sigmoid:
    case UnaryFn::hard_sigmoid:
    case UnaryFn::softplus:
    case UnaryFn::abs:
    case UnaryFn::exp:
    case UnaryFn::sqrt:
      return true;
    case UnaryFn::clip:
      return u.a >= 0.0f;
    default:
      return false;
  }
}

bool never_negative(const Rewriter& rewriter, ValueId v) {
  if (const auto* unary = rewriter.made_by<UnaryOp>(v)) return never_negative(unary->u);
  if (const auto* conv = rewriter.made_by<Conv>(v)) return !conv->residual_after_activation && never_negative(conv->activation);
  if (const auto* gemm = rewriter.made_by<Gemm>(v)) return never_negative(gemm->activation);
  if (const auto* binary = rewriter.made_by<Binary>(v)) return never_negative(binary->activation);
  return false;
}

std::optional<Op> padded_conv(const Conv& conv, const Pad& pad) {
  const std::optional<Window> window = padded(conv.window, pad);
  if (!window || pad.value != 0.0f) return std::nullopt;
  Conv result = conv;
  result.window = *window;
  return result;
}

std::optional<Op> padded_pool(const Rewriter& rewriter, const Pool& pool, const Pad& pad, ValueId x) {
  const std::optional<Window> window = padded(pool.window, pad);
  // With ceil_mode a last window may start in the padding, and is dropped or kept depending on whose padding it is.
  if (!window || pool.ceil_mode || !pads_fit_kernel(*window)) return std::nullopt;
  Pool result = pool;
  result.window = *window;
  if (pool.fn == PoolFn::average) {
    const bool own_counts = pool.count_include_pad || (all_zero(pool.window.pads_begin) && all_zero(pool.window.pads_end));
    if (!own_counts || pad.value != 0.0f) return std::nullopt;
    result.count_include_pad = true;
    return result;
  }
  const bool lowest = pad.value == -std::numeric_limits<float>::infinity();
  if (!lowest && !(pad.value == 0.0f && never_negative(rewriter, x))) return std::nullopt;
  return result;
}

}  // namespace

int fold_pad(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    const Pad* pad = node.inputs.empty() ? nullptr : spatial_pad(rewriter, node.inputs[0]);
    if (pad == nullptr) continue;
    const ValueId x = rewriter.node(rewriter.producer(node.inputs[0])).inputs[0];
    std::optional<Op> op;
    if (const auto* conv = std::get_if<Conv>(&node.op)) op = padded_conv(*conv, *pad);
    if (const auto* pool = std::get_if<Pool>(&node.op)) op = padded_pool(rewriter, *pool, *pad, x);
    if (!op) continue;
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = x;
    rewriter.replace(n, std::move(*op), std::move(inputs));
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
