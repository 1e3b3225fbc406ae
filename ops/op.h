// What every operator provides, for all kinds of `Op`: binding of constant inputs, shape inference and a CPU reference.
// The implementations live in ops/<family>/; these functions dispatch on the variant.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/graph/graph.h"

namespace fcm::ops {

/// What is known of an input while folding.
struct Known {
  DType dtype = DType::f32;
  Shape shape;
  const Tensor* constant = nullptr;         ///< its contents, when fully known
  const std::vector<Dim>* terms = nullptr;  ///< contents of an integer tensor whose elements are `c` or `c*B`
};

struct Inferred {
  DType dtype;
  Shape shape;
  /// Set when the output is an integer or boolean tensor whose contents follow from symbolic inputs or shapes. They may all be
  /// plain constants (Shape of a static value); outputs of constant inputs alone are left to `reference`.
  std::optional<std::vector<Dim>> terms;
};

/// Moves inputs that must be constant into the operator's attributes and resolves defaults (auto_pad, empty axes, the
/// target of a Reshape), given what is known of the inputs (one `Known` an input, nullptr where absent or not yet inferred).
/// Throws Error(bad_input) for a malformed node, Error(unsupported) where a required constant is not known; messages state
/// attribute, value and what is accepted; the caller adds `describe(origin)`. Binding a bound node changes nothing. May replace
/// the operator (Tile by the batch becomes Expand). Call it as ops::bind: an unqualified call finds std::bind.
void bind(Node& node, std::span<const Known* const> inputs);

/// Output types and shapes of a bound node. Same errors as `bind`. `inputs` are those of the bound node.
std::vector<Inferred> infer(const Node& node, std::span<const Known* const> inputs);

/// The CPU reference: computes all outputs of a bound node from dense row-major inputs (nullptr where absent). `outputs` come
/// allocated (not necessarily zeroed, never overlapping an input), with the dtypes and dims that `infer` gave at the running batch.
/// Float arithmetic is done in float32 (f16, bf16 inputs are widened and the result rounded; f64 stays f64); sums of Reduce, of the
/// averages and of Softmax run in double. Throws Error(bad_input) for data out of range: an index of Gather, an integer division by 0.
/// Deterministic whatever the number of OpenMP threads.
void reference(const Op& op, std::span<const Tensor* const> inputs, std::span<Tensor> outputs);

}  // namespace fcm::ops
