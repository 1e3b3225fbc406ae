#include "runtime/graph/graph.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/support/error.h"

namespace fcm {

std::string describe(const Origin& origin) {
  std::string text = fmt::format("node \"{}\" ({}, opset {}", origin.name, origin.type, origin.opset);
  if (!origin.python.empty()) text += ", from " + origin.python;
  return text + ")";
}

ValueId Graph::add_value(std::string value_name, DType dtype, std::optional<Shape> shape) {
  values.push_back({std::move(value_name), dtype, std::move(shape), nullptr});
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Graph::add_constant(std::string value_name, Tensor tensor) {
  const ValueId id = add_value(std::move(value_name), tensor.dtype(), to_shape(tensor.dims()));
  value(id).constant = std::make_shared<const Tensor>(std::move(tensor));
  return id;
}

NodeId Graph::add_node(Op op, std::vector<ValueId> node_inputs, std::vector<ValueId> node_outputs, Origin origin) {
  while (!node_inputs.empty() && node_inputs.back() == kNoValue) node_inputs.pop_back();
  nodes.push_back({std::move(op), std::move(node_inputs), std::move(node_outputs), std::move(origin)});
  return static_cast<NodeId>(nodes.size() - 1);
}

bool Graph::is_output(ValueId id) const {
  return std::find(outputs.begin(), outputs.end(), id) != outputs.end();
}

void Graph::replace_uses(ValueId from, ValueId to) {
  for (Node& node : nodes) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  std::replace(outputs.begin(), outputs.end(), from, to);
}

namespace {

// Nodes whose results reach a graph output, found backwards.
std::vector<bool> live_nodes(const Graph& graph, std::vector<bool>& live_values) {
  std::vector<bool> live(graph.nodes.size(), false);
  for (const ValueId v : graph.outputs) live_values[static_cast<size_t>(v)] = true;
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    live[n] = std::any_of(node.outputs.begin(), node.outputs.end(),
                          [&](ValueId v) { return v != kNoValue && live_values[static_cast<size_t>(v)]; });
    if (!live[n]) continue;
    for (const ValueId v : node.inputs) {
      if (v != kNoValue) live_values[static_cast<size_t>(v)] = true;
    }
    for (const ValueId v : node.outputs) {
      if (v != kNoValue) live_values[static_cast<size_t>(v)] = true;
    }
  }
  return live;
}

}  // namespace

void Graph::compact() {
  std::vector<bool> live_values(values.size(), false);
  const std::vector<bool> live = live_nodes(*this, live_values);
  for (const ValueId v : inputs) live_values[static_cast<size_t>(v)] = true;

  std::vector<ValueId> renumbered(values.size(), kNoValue);
  std::vector<Value> kept_values;
  for (size_t v = 0; v < values.size(); ++v) {
    if (!live_values[v]) continue;
    renumbered[v] = static_cast<ValueId>(kept_values.size());
    kept_values.push_back(std::move(values[v]));
  }
  std::vector<Node> kept_nodes;
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (live[n]) kept_nodes.push_back(std::move(nodes[n]));
  }
  values = std::move(kept_values);
  nodes = std::move(kept_nodes);

  const auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) {
      if (id != kNoValue) id = renumbered[static_cast<size_t>(id)];
    }
  };
  for (Node& node : nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
  renumber(inputs);
  renumber(outputs);
}

void Graph::validate() const {
  const auto fail = [this](const std::string& what) { throw Error(ErrorCode::internal, fmt::format("graph \"{}\": {}", name, what)); };
  const auto in_range = [this](ValueId v) { return v >= 0 && static_cast<size_t>(v) < values.size(); };
  std::vector<bool> defined(values.size(), false);
  for (size_t v = 0; v < values.size(); ++v) defined[v] = values[v].constant != nullptr;
  for (const ValueId v : inputs) {
    if (!in_range(v)) fail("graph input out of range");
    if (defined[static_cast<size_t>(v)]) fail(fmt::format("input \"{}\" is defined twice", value(v).name));
    defined[static_cast<size_t>(v)] = true;
  }
  for (const Node& node : nodes) {
    for (const ValueId v : node.inputs) {
      if (v == kNoValue) continue;
      if (!in_range(v)) fail(describe(node.origin) + ": input out of range");
      if (!defined[static_cast<size_t>(v)]) fail(fmt::format("{} reads \"{}\" before it is defined", describe(node.origin), value(v).name));
    }
    for (const ValueId v : node.outputs) {
      if (v == kNoValue) continue;
      if (!in_range(v)) fail(describe(node.origin) + ": output out of range");
      if (defined[static_cast<size_t>(v)]) fail(fmt::format("{} defines \"{}\" again", describe(node.origin), value(v).name));
      defined[static_cast<size_t>(v)] = true;
    }
  }
  for (const ValueId v : outputs) {
    if (!in_range(v) || !defined[static_cast<size_t>(v)]) fail("a graph output is never defined");
  }
}

Uses::Uses(const Graph& graph) : producer(graph.values.size(), kNoNode), consumers(graph.values.size()) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId v : graph.nodes[n].outputs) {
      if (v != kNoValue) producer[static_cast<size_t>(v)] = static_cast<NodeId>(n);
    }
    for (const ValueId v : graph.nodes[n].inputs) {
      if (v != kNoValue) consumers[static_cast<size_t>(v)].push_back(static_cast<NodeId>(n));
    }
  }
}

NodeId Uses::sole_consumer(const Graph& graph, ValueId v) const {
  if (v == kNoValue || graph.is_output(v)) return kNoNode;
  const auto& readers = consumers[static_cast<size_t>(v)];
  return readers.size() == 1 ? readers.front() : kNoNode;
}

}  // namespace fcm
