// A view of a tensor by strides, as torch.export writes `as_strided`: a Gather from all elements in a row, at positions that arithmetic
// adds up from the batch's range and constants. Where the positions count all elements in their order, it is a Reshape.
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

/// Integers that grow evenly along every axis: offset + sum of stride * index. An axis of extent 1 has stride 0.
struct Positions {
  int64_t offset = 0;
  Ints strides;
};

std::optional<Positions> positions_of(const Tensor& tensor) {
  if (tensor.dtype() != DType::i64 || tensor.count() == 0) return std::nullopt;
  const auto values = tensor.data<int64_t>();
  Positions p{values[0], Ints(tensor.dims().size())};
  int64_t step = 1;  // elements from one index to the next
  for (size_t a = tensor.dims().size(); a-- > 0; step *= tensor.dims()[a]) {
    if (tensor.dims()[a] > 1) p.strides[a] = values[static_cast<size_t>(step)] - values[0];
  }
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t expected = p.offset;
    auto rest = static_cast<int64_t>(i);
    for (size_t a = tensor.dims().size(); a-- > 0; rest /= tensor.dims()[a]) expected += p.strides[a] * (rest % tensor.dims()[a]);
    if (values[i] != expected) return std::nullopt;
  }
  return p;
}

std::optional<int64_t> integer_constant(const Graph& graph, ValueId v) {
  if (!graph.is_constant(v) || graph.value(v).dtype != DType::i64 || graph.value(v).constant->count() != 1) return std::nullopt;
  return graph.value(v).constant->data<int64_t>()[0];
}

class Follower {
 public:
  explicit Follower(const Rewriter& rewriter) : rewriter_(rewriter), graph_(rewriter.graph()) {}

  std::optional<Positions> follow(ValueId v) const {
    if (v == kNoValue || !graph_.value(v).shape) return std::nullopt;
    if (graph_.is_constant(v)) return positions_of(*graph_.value(v).constant);
    const NodeId n = rewriter_.producer(v);
    if (n == kNoNode) return std::nullopt;
    const Node& node = rewriter_.node(n);
    if (std::holds_alternative<Range>(node.op)) return range(node);
    if (std::holds_alternative<Reshape>(node.op)) return reshaped(node);
    const auto* binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || !binary->activation.is_identity()) return std::nullopt;
    if (binary->fn == BinaryFn::add) return sum(node);
    return binary->fn == BinaryFn::mul ? product(node) : std::nullopt;
  }

 private:
  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }

  std::optional<Positions> range(const Node& node) const {
    const auto start = integer_constant(graph_, node.input(0)), step = integer_constant(graph_, node.input(2));
    if (!start || !step) return std::nullopt;
    return Positions{*start, {*step}};
  }

  /// Axes of extent 1 put in or taken out.
  std::optional<Positions> reshaped(const Node& node) const {
    const auto from = follow(node.inputs[0]);
    if (!from) return std::nullopt;
    const Shape& in = shape(node.inputs[0]);
    const Shape& out = shape(node.outputs[0]);
    Positions p{from->offset, Ints(out.size())};
    size_t a = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] == Dim(1)) continue;
      while (a < in.size() && in[a] == Dim(1)) ++a;
      if (a == in.size() || in[a] != out[i]) return std::nullopt;
      p.strides[i] = from->strides[a++];
    }
    return p;
  }

  std::optional<Positions> sum(const Node& node) const {
    const auto x = follow(node.inputs[0]), y = follow(node.inputs[1]);
    if (!x || !y) return std::nullopt;
    Positions p{x->offset + y->offset, Ints(shape(node.outputs[0]).size())};
    for (const Positions* part : {&*x, &*y}) {  // both lie at the last axes
      const size_t ahead = p.strides.size() - part->strides.size();
      for (size_t a = 0; a < part->strides.size(); ++a) p.strides[ahead + a] += part->strides[a];
    }
    return p;
  }

  std::optional<Positions> product(const Node& node) const {
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const auto factor = integer_constant(graph_, node.inputs[1 - i]);
      auto p = factor ? follow(node.inputs[i]) : std::nullopt;
      if (!p || p->strides.size() != shape(node.outputs[0]).size()) continue;
      p->offset *= *factor;
      for (int64_t& stride : p->strides) stride *= *factor;
      return p;
    }
    return std::nullopt;
  }

  const Rewriter& rewriter_;
  const Graph& graph_;
};

/// Whether the positions are 0, 1, 2, ... in the order of a tensor of this shape.
bool counts(const Positions& p, const Shape& shape) {
  int64_t step = 1;
  bool known = true;  // the step does not depend on the batch
  for (size_t a = shape.size(); a-- > 0;) {
    if (shape[a] == Dim(1)) continue;
    if (!known || p.strides[a] != step) return false;
    step *= shape[a].factor;
    known = !shape[a].batch;
  }
  return p.offset == 0;
}

}  // namespace

int recognize_view(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const auto* gather = std::get_if<Gather>(&rewriter.node(n).op);
    if (gather == nullptr || gather->axis != 0) continue;
    const ValueId data = rewriter.node(n).inputs[0], indices = rewriter.node(n).inputs[1];
    const std::optional<Shape>&from = graph.value(data).shape, &to = graph.value(indices).shape;
    if (!from || !to || from->size() != 1 || element_count(*to) != (*from)[0]) continue;
    const auto positions = Follower(rewriter).follow(indices);
    if (positions && counts(*positions, *to)) rewriter.replace(n, reshape_to(*to), {data});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
