// What every pass edits a graph through: one sweep over the nodes with producers and consumers that stay right while nodes are
// replaced and removed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/graph/graph.h"

namespace fcm::passes {

/// Nodes keep their positions until `finish`, so ids taken before a rewrite stay valid during the sweep.
class Rewriter {
 public:
  explicit Rewriter(Graph& graph);

  const Graph& graph() const { return graph_; }
  size_t node_count() const { return removed_.size(); }
  bool removed(NodeId n) const { return removed_[static_cast<size_t>(n)]; }
  const Node& node(NodeId n) const { return graph_.nodes[static_cast<size_t>(n)]; }

  /// The node that makes `v`; kNoNode for graph inputs, constants and absent inputs.
  NodeId producer(ValueId v) const;
  /// The only reader of `v`, or kNoNode when there are several, none, or `v` is a graph output.
  NodeId sole_consumer(ValueId v) const;
  /// All readers of `v` but the graph's outputs; a node that reads it twice stands twice.
  const std::vector<NodeId>& consumers(ValueId v) const { return uses_.consumers[static_cast<size_t>(v)]; }
  /// The operator that makes `v` when it is a `T`, else null.
  template <class T>
  const T* made_by(ValueId v) const {
    const NodeId n = producer(v);
    return n == kNoNode ? nullptr : std::get_if<T>(&node(n).op);
  }

  ValueId add_constant(std::string name, Tensor tensor);
  /// Gives node `n` another operator and inputs; outputs and origin stay.
  void replace(NodeId n, Op op, std::vector<ValueId> inputs);
  /// Moves node `early` to the place of node `late`, its sole consumer, with another operator and inputs; it makes the outputs of
  /// `late` from then on and keeps its own origin. Valid in topological order whatever the new inputs that `late` or `early` read.
  void merge(NodeId early, NodeId late, Op op, std::vector<ValueId> inputs);
  /// A new node right before `n` with the origin of `n`. Its output has no known producer until `finish`.
  ValueId insert_before(NodeId n, Op op, std::vector<ValueId> inputs, Value output);

  /// Applies removals and insertions. Returns how many rewrites were made: calls of `replace` and `merge`.
  int finish();

 private:
  void disconnect(NodeId n);
  void connect(NodeId n);

  Graph& graph_;
  Uses uses_;
  std::vector<bool> removed_;
  std::vector<std::pair<NodeId, Node>> insertions_;
  int rewrites_ = 0;
};

}  // namespace fcm::passes
