// Conv or Gemm followed by + - * / of a constant per channel: exporters write biases and scalings so.
#include <optional>

#include "runtime/passes/affine.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

namespace fcm::passes {
namespace {

// The elements of a constant that broadcasts along `axis` of an output of `rank` axes alone, repeated to `channels`; empty otherwise.
std::vector<double> per_channel(const Graph& graph, ValueId v, size_t rank, size_t axis, int64_t channels) {
  if (!graph.is_constant(v)) return {};
  const Tensor& t = *graph.value(v).constant;
  const Dims& dims = t.dims();
  if (!is_float(t.dtype()) || dims.size() > rank || t.count() == 0) return {};
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool on_axis = rank - dims.size() + i == axis;
    if (dims[i] != 1 && !(on_axis && dims[i] == channels)) return {};
  }
  std::vector<double> values = doubles_of(t);
  values.resize(static_cast<size_t>(channels), values.front());
  return values;
}

std::optional<Affine> affine_of(BinaryFn fn, const std::vector<double>& c) {
  Affine affine{std::vector<double>(c.size(), 1.0), std::vector<double>(c.size(), 0.0)};
  for (size_t i = 0; i < c.size(); ++i) {
    switch (fn) {
      case BinaryFn::add:
        affine.shift[i] = c[i];
        break;
      case BinaryFn::sub:
        affine.shift[i] = -c[i];
        break;
      case BinaryFn::mul:
        affine.scale[i] = c[i];
        break;
      case BinaryFn::div:
        affine.scale[i] = 1.0 / c[i];
        break;
      default:
        return std::nullopt;
    }
  }
  return affine;
}

}  // namespace

int fold_affine(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    const auto* binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || !binary->activation.is_identity()) continue;
    const ValueId x = node.inputs[0];  // `fold` puts a constant second
    const int64_t channels = foldable_channels(rewriter, x);
    if (channels == 0 || !same_shape(graph, x, node.outputs[0])) continue;
    const size_t rank = graph.value(x).shape->size(), axis = rewriter.made_by<Gemm>(x) != nullptr ? rank - 1 : 1;
    const std::vector<double> constant = per_channel(graph, node.inputs[1], rank, axis, channels);
    if (constant.empty()) continue;
    const std::optional<Affine> affine = affine_of(binary->fn, constant);
    if (affine) fold_affine_into(rewriter, rewriter.producer(x), n, *affine);
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
