// Helpers that every family uses to read a node: errors, inputs, axes.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "ops/op.h"
#include "runtime/support/error.h"

namespace fcm::ops {

using Inputs = std::span<const Known* const>;
using Tensors = std::span<const Tensor* const>;

template <class... Args>
[[noreturn]] void bad_input(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::bad_input, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::unsupported, fmt::format(format, std::forward<Args>(args)...));
}

/// Input `i`, or nullptr when it is absent.
inline const Known* known(Inputs inputs, size_t i) {
  return i < inputs.size() ? inputs[i] : nullptr;
}

/// Input `i`; Error(bad_input) when there is none.
const Known& need(Inputs inputs, size_t i);

/// Tensor `i` of a running node, or nullptr when it is absent.
inline const Tensor* tensor(Tensors inputs, size_t i) {
  return i < inputs.size() ? inputs[i] : nullptr;
}

inline int64_t rank_of(const Known& k) {
  return static_cast<int64_t>(k.shape.size());
}

/// `axis` in [-rank, rank) as [0, rank); otherwise Error(bad_input) naming `attribute` and what is accepted.
int64_t normalize_axis(int64_t axis, int64_t rank, std::string_view attribute);
/// The same for a list, sorted; a repeated axis is Error(bad_input).
Ints normalize_axes(const Ints& axes, int64_t rank, std::string_view attribute);

/// Removes inputs `count` and after, now that they are attributes.
void keep_inputs(Node& node, size_t count);

/// Error(bad_input) unless the type of `what` is a float.
void need_float(DType t, std::string_view what);
/// Error(bad_input) unless both types are equal.
void need_same(DType a, DType b, std::string_view what);

/// 'batch is baked as 1 in Reshape "head/reshape" ...': the model holds a constant where the batch should stand.
[[noreturn]] void fail_baked_batch(const Node& node, int64_t baked, std::string_view detail);

}  // namespace fcm::ops
