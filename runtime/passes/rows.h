// Operators that treat each row (the elements along the last axis) alone and alike, so that reordering rows before or after them is the
// same.
#pragma once

#include "runtime/graph/graph.h"

namespace fcm::passes {

/// Whether the node works row by row on `v`, one of its inputs, all others being constant and the same for every row.
bool works_by_rows(const Graph& graph, const Node& node, ValueId v);
/// Whether rows are what the operator is about: a linear layer or a normalisation over channels that works so on its first input, or
/// Attention. Functions of single elements are not: they work on anything.
bool is_about_rows(const Graph& graph, const Node& node);

}  // namespace fcm::passes
