// The order of execution. A file should hold its nodes in topological order, but not every writer does.
#pragma once

#include <string>
#include <vector>

namespace onnx {
class GraphProto;
}

namespace fcm::onnx {

/// Positions of the nodes in topological order, the file's own order where that is one. `defined` are the names that exist
/// before any node runs (inputs, initializers). Throws Error(bad_input): a value defined twice, a name that nobody defines, or a
/// cycle, which is named node by node.
std::vector<int> topological_order(const ::onnx::GraphProto& graph, const std::vector<std::string>& defined, const std::string& file);

/// How messages call a node: its name, or its first output's when it has none. Not made printable.
std::string node_name(const ::onnx::GraphProto& graph, int node);

}  // namespace fcm::onnx
