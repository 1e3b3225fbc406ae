// The spellings of global pooling: ReduceMean or ReduceMax over all spatial axes, and a pool as large as its input.
//
// Rank 3 is left alone: there a mean over the last axis is more often the start of a layer normalisation.
#include <algorithm>
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

std::optional<PoolFn> pool_of(ReduceFn fn) {
  if (fn == ReduceFn::mean) return PoolFn::average;
  if (fn == ReduceFn::max) return PoolFn::max;
  return std::nullopt;
}

bool is_spatial(const Ints& axes, size_t rank) {
  if (rank < 4 || axes.size() != rank - 2) return false;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != static_cast<int64_t>(i + 2)) return false;
  }
  return true;
}

bool covers_input(const Pool& pool, const Shape& x, const Shape& y) {
  const Window& w = pool.window;
  if (w.auto_pad != AutoPad::explicit_pads || w.kernel.size() + 2 != x.size() || w.pads_begin.size() != w.kernel.size()) return false;
  if (w.pads_end.size() != w.kernel.size() || w.dilations.size() != w.kernel.size()) return false;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    if (x[i + 2] != Dim(w.kernel[i]) || y[i + 2] != Dim(1) || w.dilations[i] != 1 || w.pads_begin[i] != 0 || w.pads_end[i] != 0)
      return false;
  }
  return true;
}

// GlobalPool, and a Reshape behind it where the reduced axes are dropped.
void replace_reduce(Rewriter& rewriter, NodeId n, PoolFn fn, bool keep_dims) {
  const Node& node = rewriter.node(n);
  const ValueId x = node.inputs[0];
  if (keep_dims) return rewriter.replace(n, GlobalPool{fn}, {x});
  const Value& result = rewriter.graph().value(node.outputs[0]);
  Shape pooled = *result.shape;
  pooled.resize(rewriter.graph().value(x).shape->size(), Dim(1));
  Reshape reshape;
  reshape.target = result.shape;
  Value value{result.name + ".pooled", result.dtype, pooled, nullptr};
  const ValueId y = rewriter.insert_before(n, GlobalPool{fn}, {x}, std::move(value));
  rewriter.replace(n, std::move(reshape), {y});
}

}  // namespace

int canonicalize_global_pool(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node& node = rewriter.node(n);
    if (node.inputs.size() != 1 || !graph.value(node.inputs[0]).shape || !is_float(graph.value(node.inputs[0]).dtype)) continue;
    const Shape& x = *graph.value(node.inputs[0]).shape;
    if (const auto* reduce = std::get_if<Reduce>(&node.op)) {
      const std::optional<PoolFn> fn = pool_of(reduce->fn);
      if (fn && reduce->axes && is_spatial(*reduce->axes, x.size())) replace_reduce(rewriter, n, *fn, reduce->keep_dims);
    } else if (const auto* pool = std::get_if<Pool>(&node.op)) {
      const std::optional<Shape>& y = graph.value(node.outputs[0]).shape;
      if (y && covers_input(*pool, x, *y)) rewriter.replace(n, GlobalPool{pool->fn}, {node.inputs[0]});
    }
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
