// The table of ONNX operators: from op_type to the function that writes it in canonical form.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace fcm::onnx {

class NodeContext;

/// The opsets of ai.onnx that are read. A model stamped newer than kNewestOpset (the newest released when this table was written,
/// onnx 1.23) is read as that one, with a warning: what a later opset changed shows as an unknown attribute or a wrong number of inputs.
inline constexpr int64_t kOldestOpset = 7;
inline constexpr int64_t kNewestOpset = 28;

struct OperatorEntry {
  std::string_view type;
  int64_t first;   ///< the oldest opset, from 7, that has the operator
  int64_t newest;  ///< since-version of its newest form that is implemented: none newer exists up to kNewestOpset
  void (*import)(NodeContext&);
};

/// The entry of an operator of the domain ai.onnx, or nullptr.
const OperatorEntry* find_operator(std::string_view type);
/// All entries, by name.
const std::vector<const OperatorEntry*>& all_operators();

// One function a file of this folder.
std::span<const OperatorEntry> elementwise_operators();
std::span<const OperatorEntry> linear_operators();
std::span<const OperatorEntry> pooling_operators();
std::span<const OperatorEntry> shape_operators();
std::span<const OperatorEntry> movement_operators();
std::span<const OperatorEntry> reduction_operators();
std::span<const OperatorEntry> constant_operators();
std::span<const OperatorEntry> normalization_operators();
std::span<const OperatorEntry> resizing_operators();
std::span<const OperatorEntry> indexing_operators();
std::span<const OperatorEntry> composite_operators();
std::span<const OperatorEntry> einsum_operators();
std::span<const OperatorEntry> attention_operators();

}  // namespace fcm::onnx
