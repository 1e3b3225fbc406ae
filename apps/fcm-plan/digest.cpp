// Names are left out by numbering values in the order in which nodes first mention them.
#include "apps/fcm-plan/digest.h"

#include <fmt/format.h>

#include <map>

#include "runtime/jit/sha256.h"

namespace fcm::apps {
namespace {

std::string_view bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.raw()), tensor.bytes()};
}

class Digest {
 public:
  Digest(const Graph& graph, Weights weights) : graph_(graph), weights_(weights) {}

  std::string hex() {
    add(graph_.inputs);
    for (const Node& node : graph_.nodes) {
      hash_.update_field(to_string(node.op));
      if (const auto* fill = std::get_if<ConstantOfShape>(&node.op)) hash_.update_field(bytes_of(fill->value));
      add(node.inputs);
      add(node.outputs);
    }
    add(graph_.outputs);
    return hash_.hex();
  }

 private:
  void add(const std::vector<ValueId>& ids) {
    hash_.update_field(fmt::format("{} values", ids.size()));
    for (const ValueId id : ids) add(id);
  }

  void add(ValueId id) {
    if (id == kNoValue) return hash_.update_field("none");
    const auto [found, first] = numbers_.try_emplace(id, numbers_.size());
    hash_.update_field(fmt::format("%{}", found->second));
    if (!first) return;
    const Value& value = graph_.value(id);
    hash_.update_field(fmt::format("{}{}", dtype_name(value.dtype), value.shape ? to_string(*value.shape) : "[?]"));
    if (!value.constant) return hash_.update_field("computed");
    const bool whole = weights_ == Weights::bytes || !is_float(value.dtype) || value.constant->count() == 1;
    hash_.update_field(whole ? bytes_of(*value.constant) : "constant");
  }

  const Graph& graph_;
  Weights weights_;
  std::map<ValueId, size_t> numbers_;
  jit::Sha256 hash_;
};

}  // namespace

std::string graph_contents(const Graph& graph, Weights weights) {
  return Digest(graph, weights).hex();
}

}  // namespace fcm::apps
