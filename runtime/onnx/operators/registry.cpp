#include "runtime/onnx/operators/registry.h"

#include <algorithm>

namespace fcm::onnx {

const std::vector<const OperatorEntry*>& all_operators() {
  static const std::vector<const OperatorEntry*> kAll = [] {
    std::vector<const OperatorEntry*> all;
    for (const auto family : {elementwise_operators(), linear_operators(), pooling_operators(), shape_operators(), movement_operators(),
                              reduction_operators(), constant_operators(), normalization_operators(), resizing_operators(),
                              indexing_operators(), composite_operators(), einsum_operators(), attention_operators()}) {
      for (const OperatorEntry& entry : family) all.push_back(&entry);
    }
    std::sort(all.begin(), all.end(), [](const OperatorEntry* a, const OperatorEntry* b) { return a->type < b->type; });
    return all;
  }();
  return kAll;
}

const OperatorEntry* find_operator(std::string_view type) {
  const auto& all = all_operators();
  const auto found =
      std::lower_bound(all.begin(), all.end(), type, [](const OperatorEntry* entry, std::string_view name) { return entry->type < name; });
  return found != all.end() && (*found)->type == type ? *found : nullptr;
}

}  // namespace fcm::onnx
