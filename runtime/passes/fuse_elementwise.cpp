// Functions of elements that follow one another and that no layer took (x + scale * (pool(x) - x), sums of several branches) read and write
// a map each: one Elementwise reads its inputs once and writes the result.
#include <algorithm>

#include "ops/elementwise/elementwise.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

constexpr size_t kMostInputs = 6;  // pointers, and vectors of 16 bytes in registers

struct Chain {
  Elementwise op;
  std::vector<ValueId> inputs;
};

class Fuser {
 public:
  explicit Fuser(Graph& graph) : graph_(graph), rewriter_(graph) {}

  int run() {
    for (size_t i = 0; i < rewriter_.node_count(); ++i) {
      const auto n = static_cast<NodeId>(i);
      while (fuse(n)) continue;
    }
    return rewriter_.finish();
  }

 private:
  // The gate of a squeeze and excitation: it belongs to the layers around it.
  bool is_gate(const Node& node) const {
    const auto one_pixel = [&](ValueId v) {
      const std::optional<Shape>& shape = graph_.value(v).shape;
      return rewriter_.made_by<Conv>(v) != nullptr && shape && shape->size() == 4 && (*shape)[2] == Dim(1) && (*shape)[3] == Dim(1);
    };
    const auto* binary = std::get_if<Binary>(&node.op);
    return binary != nullptr && binary->fn == BinaryFn::mul && std::any_of(node.inputs.begin(), node.inputs.end(), one_pixel);
  }

  // A node as a chain of one part or, fused before, of several.
  std::optional<Chain> chain_of(NodeId n) const {
    const Node& node = rewriter_.node(n);
    if (node.outputs.size() != 1 || !graph_.value(node.outputs[0]).shape || is_gate(node)) return std::nullopt;
    const DType dtype = graph_.value(node.outputs[0]).dtype;
    const auto same = [&](ValueId v) { return v != kNoValue && graph_.value(v).dtype == dtype && graph_.value(v).shape; };
    if (!is_float(dtype) || !std::all_of(node.inputs.begin(), node.inputs.end(), same)) return std::nullopt;
    if (const auto* chain = std::get_if<Elementwise>(&node.op)) return Chain{*chain, node.inputs};
    if (const auto* unary = std::get_if<UnaryOp>(&node.op)) {
      if (node.inputs.size() != 1 || !ops::is_part(unary->u.fn)) return std::nullopt;
      return Chain{{{{std::nullopt, 0, 0, unary->u}}}, node.inputs};
    }
    const auto* binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || !ops::is_part(binary->fn)) return std::nullopt;
    return Chain{{{{binary->fn, 0, 1, binary->activation}}}, node.inputs};
  }

  // `early` in front of `late`, which reads its result, `y`. Inputs that both read are one.
  static Chain joined(const Chain& early, const Chain& late, ValueId y) {
    Chain chain;
    const auto at = [&](ValueId v) {
      return static_cast<size_t>(std::find(chain.inputs.begin(), chain.inputs.end(), v) - chain.inputs.begin());
    };
    for (const std::vector<ValueId>* list : {&early.inputs, &late.inputs}) {
      for (const ValueId v : *list) {
        if (v != y && at(v) == chain.inputs.size()) chain.inputs.push_back(v);
      }
    }
    const size_t inputs = chain.inputs.size(), ahead = early.op.parts.size();
    const auto append = [&](const Chain& from, size_t first) {  // its parts begin at the `first`
      const auto operand = [&](size_t i) {
        if (i >= from.inputs.size()) return inputs + first + i - from.inputs.size();
        return from.inputs[i] == y ? inputs + ahead - 1 : at(from.inputs[i]);
      };
      for (const Elementwise::Part& part : from.op.parts)
        chain.op.parts.push_back({part.fn, operand(part.a), part.fn ? operand(part.b) : 0, part.activation});
    };
    append(early, 0);
    append(late, ahead);
    return chain;
  }

  // Joins one of the nodes before `n` with it.
  bool fuse(NodeId n) {
    if (rewriter_.removed(n)) return false;
    const std::optional<Chain> late = chain_of(n);
    if (!late) return false;
    for (const ValueId y : late->inputs) {
      const NodeId before = rewriter_.producer(y);
      const std::vector<NodeId>& readers = rewriter_.consumers(y);
      const bool alone = std::all_of(readers.begin(), readers.end(), [&](NodeId r) { return r == n; }) && !graph_.is_output(y);
      if (before == kNoNode || !alone || !same_shape(graph_, y, rewriter_.node(n).outputs[0])) continue;
      const std::optional<Chain> early = chain_of(before);
      if (!early) continue;
      Chain both = joined(*early, *late, y);
      if (both.inputs.size() > kMostInputs) continue;
      rewriter_.merge(before, n, std::move(both.op), std::move(both.inputs));
      return true;
    }
    return false;
  }

  Graph& graph_;
  Rewriter rewriter_;
};

}  // namespace

int fuse_elementwise(Graph& graph) {
  return Fuser(graph).run();
}

}  // namespace fcm::passes
