// Arithmetic on the contents of integer tensors whose elements are `c` or `c*B`, B >= 1: shape computations of a model with a
// symbolic batch. Whatever cannot be represented is "not known" (nullopt), never an approximation.
#pragma once

#include "ops/check.h"

namespace fcm::ops {

using Terms = std::vector<Dim>;

/// Larger tensors are not shape arithmetic and are not followed.
inline constexpr int64_t kMaxTerms = 4096;

/// The elements of an integer or boolean tensor (row-major), from its constant or its terms; nullopt when unknown or too large.
std::optional<Terms> contents(const Known& k);
/// True when `k` is followed symbolically: it has terms and is not plainly constant.
bool is_symbolic(const Known& k);

/// The contents of an integer input that must be known and free of the batch. `what` names it in messages.
/// Error(bad_input) for a float tensor or rank > 1, Error(unsupported) when it is computed at run time or depends on the batch.
Ints need_ints(const Known& k, std::string_view what);
/// The same, allowing the batch.
Terms need_terms(const Known& k, std::string_view what);

/// a fn b for integers; nullopt when the result is not `c` or `c*B`, or depends on B in another way.
std::optional<Dim> evaluate(BinaryFn fn, const Dim& a, const Dim& b);
std::optional<Dim> evaluate(UnaryFn fn, const Dim& a);

/// sum of all / product of all / largest / smallest.
std::optional<Dim> fold_terms(BinaryFn fn, const Terms& terms);

/// The number of elements when it is free of the batch and at most kMaxTerms.
std::optional<int64_t> small_count(const Shape& shape);

/// Terms of an operator that only moves elements: runs its reference on element numbers and looks those up. `data` are the
/// inputs whose elements move; `rest` are constant tensors passed on behind them (Gather's indices).
/// Sets `outputs[i].terms` when every data input has known contents, at least one of them symbolic, and shapes are static.
void move_terms(const Op& op, Inputs data, Tensors rest, std::span<Inferred> outputs);

}  // namespace fcm::ops
