#include "runtime/onnx/sort.h"

#include <fmt/format.h>

#include <functional>
#include <queue>
#include <unordered_map>

#include "onnx.pb.h"
#include "runtime/onnx/text.h"

namespace fcm::onnx {
namespace {

constexpr int kBeforeNodes = -1;  // the "producer" of inputs and initializers

std::string shown(const ::onnx::GraphProto& graph, int node) {
  return fmt::format("node \"{}\" ({})", printable(node_name(graph, node)), printable(graph.node(node).op_type()));
}

std::unordered_map<std::string, int> find_producers(const ::onnx::GraphProto& graph, const std::vector<std::string>& defined,
                                                    const std::string& file) {
  std::unordered_map<std::string, int> producers;
  for (const std::string& name : defined) {
    if (!producers.emplace(name, kBeforeNodes).second) malformed(file, fmt::format("\"{}\" is defined twice", printable(name)));
  }
  for (int n = 0; n < graph.node_size(); ++n) {
    for (const std::string& name : graph.node(n).output()) {
      if (name.empty()) continue;
      const auto [known, fresh] = producers.emplace(name, n);
      if (fresh) continue;
      const std::string first = known->second == kBeforeNodes ? "an input or initializer" : shown(graph, known->second);
      malformed(file, fmt::format("\"{}\" is defined twice: by {} and by {}", printable(name), first, shown(graph, n)));
    }
  }
  return producers;
}

// Walks back from a node that never became ready until a node repeats: that stretch is a cycle.
std::string describe_cycle(const ::onnx::GraphProto& graph, const std::vector<std::vector<int>>& sources, const std::vector<int>& waiting) {
  int node = 0;
  while (waiting[static_cast<size_t>(node)] == 0) ++node;
  std::vector<int> path;
  std::unordered_map<int, size_t> position;
  while (position.emplace(node, path.size()).second) {
    path.push_back(node);
    for (const int source : sources[static_cast<size_t>(node)]) {
      if (waiting[static_cast<size_t>(source)] > 0) {
        node = source;
        break;
      }
    }
  }
  constexpr size_t kMostShown = 10;
  std::string text = shown(graph, node);
  const size_t start = position[node];
  for (size_t i = path.size(); i-- > start;) {  // the path runs against the data flow
    if (path.size() - i > kMostShown) return text + fmt::format(" -> ... ({} nodes)", path.size() - start);
    text += " -> " + shown(graph, path[i]);
  }
  return text;
}

}  // namespace

std::string node_name(const ::onnx::GraphProto& graph, int node) {
  const auto& proto = graph.node(node);
  if (!proto.name().empty()) return proto.name();
  return proto.output_size() > 0 ? proto.output(0) : fmt::format("#{}", node);
}

std::vector<int> topological_order(const ::onnx::GraphProto& graph, const std::vector<std::string>& defined, const std::string& file) {
  const auto producers = find_producers(graph, defined, file);
  const auto count = static_cast<size_t>(graph.node_size());
  std::vector<std::vector<int>> sources(count);
  std::vector<std::vector<int>> readers(count);
  std::vector<int> waiting(count, 0);
  for (int n = 0; n < graph.node_size(); ++n) {
    for (const std::string& name : graph.node(n).input()) {
      if (name.empty()) continue;
      const auto producer = producers.find(name);
      if (producer == producers.end())
        malformed(file, fmt::format("{} reads \"{}\", which nothing defines", shown(graph, n), printable(name)));
      if (producer->second == kBeforeNodes) continue;
      sources[static_cast<size_t>(n)].push_back(producer->second);
      readers[static_cast<size_t>(producer->second)].push_back(n);
      ++waiting[static_cast<size_t>(n)];
    }
  }
  // The smallest ready position first: a sorted file keeps its order.
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (size_t n = 0; n < count; ++n) {
    if (waiting[n] == 0) ready.push(static_cast<int>(n));
  }
  std::vector<int> order;
  order.reserve(count);
  while (!ready.empty()) {
    const int n = ready.top();
    ready.pop();
    order.push_back(n);
    for (const int reader : readers[static_cast<size_t>(n)]) {
      if (--waiting[static_cast<size_t>(reader)] == 0) ready.push(reader);
    }
  }
  if (order.size() != count) malformed(file, "the graph has a cycle: " + describe_cycle(graph, sources, waiting));
  return order;
}

}  // namespace fcm::onnx
