// Incremental producers and consumers for passes.
#include "runtime/passes/rewriter.h"

#include <algorithm>

namespace fcm::passes {

Rewriter::Rewriter(Graph& graph) : graph_(graph), uses_(graph), removed_(graph.nodes.size(), false) {}

NodeId Rewriter::producer(ValueId v) const {
  return v == kNoValue ? kNoNode : uses_.producer[static_cast<size_t>(v)];
}

NodeId Rewriter::sole_consumer(ValueId v) const {
  return uses_.sole_consumer(graph_, v);
}

void Rewriter::disconnect(NodeId n) {
  for (const ValueId v : node(n).inputs) {
    if (v == kNoValue) continue;
    auto& readers = uses_.consumers[static_cast<size_t>(v)];
    const auto at = std::find(readers.begin(), readers.end(), n);
    if (at != readers.end()) readers.erase(at);
  }
}

void Rewriter::connect(NodeId n) {
  for (const ValueId v : node(n).inputs) {
    if (v != kNoValue) uses_.consumers[static_cast<size_t>(v)].push_back(n);
  }
}

ValueId Rewriter::add_constant(std::string name, Tensor tensor) {
  const ValueId id = graph_.add_constant(std::move(name), std::move(tensor));
  uses_.producer.push_back(kNoNode);
  uses_.consumers.emplace_back();
  return id;
}

void Rewriter::replace(NodeId n, Op op, std::vector<ValueId> inputs) {
  while (!inputs.empty() && inputs.back() == kNoValue) inputs.pop_back();
  disconnect(n);
  Node& target = graph_.nodes[static_cast<size_t>(n)];
  target.op = std::move(op);
  target.inputs = std::move(inputs);
  connect(n);
  ++rewrites_;
}

void Rewriter::merge(NodeId early, NodeId late, Op op, std::vector<ValueId> inputs) {
  disconnect(early);
  removed_[static_cast<size_t>(early)] = true;
  for (const ValueId v : node(early).outputs) {
    if (v != kNoValue) uses_.producer[static_cast<size_t>(v)] = kNoNode;
  }
  graph_.nodes[static_cast<size_t>(late)].origin = node(early).origin;
  replace(late, std::move(op), std::move(inputs));
}

ValueId Rewriter::insert_before(NodeId n, Op op, std::vector<ValueId> inputs, Value output) {
  const auto id = static_cast<ValueId>(graph_.values.size());
  graph_.values.push_back(std::move(output));
  uses_.producer.push_back(kNoNode);
  uses_.consumers.emplace_back();
  for (const ValueId v : inputs) {
    if (v != kNoValue) uses_.consumers[static_cast<size_t>(v)].push_back(n);
  }
  insertions_.emplace_back(n, Node{std::move(op), std::move(inputs), {id}, node(n).origin});
  return id;
}

int Rewriter::finish() {
  std::stable_sort(insertions_.begin(), insertions_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Node> nodes;
  nodes.reserve(graph_.nodes.size() + insertions_.size());
  auto next = insertions_.begin();
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    for (; next != insertions_.end() && static_cast<size_t>(next->first) == n; ++next) nodes.push_back(std::move(next->second));
    if (!removed_[n]) nodes.push_back(std::move(graph_.nodes[n]));
  }
  graph_.nodes = std::move(nodes);
  return rewrites_;
}

}  // namespace fcm::passes
