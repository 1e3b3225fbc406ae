// A cyclic shift along an axis is written as a Concat of the two parts that change places: one Gather with constant indices.
#include <algorithm>
#include <numeric>

#include "ops/move/ranges.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

// The elements along `axis` of `x` that `v` consists of, when it is a Slice of x along that axis alone, in steps of 1.
std::vector<int64_t> sliced(const Rewriter& rewriter, ValueId v, int64_t axis, ValueId& x) {
  const auto* slice = rewriter.made_by<Slice>(v);
  if (slice == nullptr || !slice->bound || slice->axes != Ints{axis} || slice->steps != Ints{1}) return {};
  const ValueId source = rewriter.node(rewriter.producer(v)).inputs[0];
  const std::optional<Shape>& shape = rewriter.graph().value(source).shape;
  if ((x != kNoValue && x != source) || !shape || (*shape)[static_cast<size_t>(axis)].batch) return {};
  x = source;
  const ops::AxisRange range = ops::slice_range(slice->starts[0], slice->ends[0], 1, (*shape)[static_cast<size_t>(axis)].factor);
  std::vector<int64_t> elements(static_cast<size_t>(range.count));
  std::iota(elements.begin(), elements.end(), range.start);
  return elements;
}

}  // namespace

int recognize_roll(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* concat = std::get_if<Concat>(&rewriter.node(n).op);
    if (concat == nullptr || rewriter.node(n).inputs.size() < 2 || concat->axis < 0) continue;
    const int64_t axis = concat->axis;
    ValueId x = kNoValue;
    std::vector<int64_t> order;
    for (const ValueId v : rewriter.node(n).inputs) {
      const std::vector<int64_t> part = sliced(rewriter, v, axis, x);
      if (part.empty()) {
        order.clear();
        break;
      }
      order.insert(order.end(), part.begin(), part.end());
    }
    std::vector<int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    bool all = !order.empty() && static_cast<int64_t>(order.size()) == (*graph.value(x).shape)[static_cast<size_t>(axis)].factor;
    for (size_t k = 0; all && k < sorted.size(); ++k) all = sorted[k] == static_cast<int64_t>(k);
    if (!all) continue;
    const std::string name = graph.value(rewriter.node(n).outputs[0]).name + ".order";
    const ValueId indices = rewriter.add_constant(name, Tensor::ints({static_cast<int64_t>(order.size())}, order));
    rewriter.replace(n, Gather{axis}, {x, indices});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
