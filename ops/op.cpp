// Dispatch of bind, infer and reference to the families, with the checks that are the same for all operators.
#include "ops/op.h"

#include <algorithm>

#include "ops/attention/attention.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/gemm.h"
#include "ops/index/index.h"
#include "ops/move/move.h"
#include "ops/normalize/normalize.h"
#include "ops/pool/pool.h"
#include "ops/reduce/reduce.h"
#include "ops/resize/resize.h"
#include "ops/shape/shape.h"
#include "ops/widen.h"

namespace fcm::ops {
namespace {

// How many inputs an operator takes; the first `least` must be present.
struct Arity {
  size_t least;
  size_t most;
};

constexpr size_t kAny = 1 << 20;

struct ArityOf {
  template <class T>
  Arity operator()(const T&) const {
    return {1, 1};
  }
  Arity operator()(const Conv&) const { return {2, 4}; }
  Arity operator()(const Gemm&) const { return {2, 4}; }
  Arity operator()(const MatMul&) const { return {2, 2}; }
  Arity operator()(const BatchNorm&) const { return {5, 5}; }
  Arity operator()(const UnaryOp& op) const { return {1, op.u.fn == UnaryFn::clip ? size_t{3} : size_t{1}}; }
  Arity operator()(const Binary&) const { return {2, 2}; }
  Arity operator()(const Elementwise&) const { return {1, kAny}; }
  Arity operator()(const Select&) const { return {3, 3}; }
  Arity operator()(const Range&) const { return {3, 3}; }
  Arity operator()(const Concat&) const { return {1, kAny}; }
  Arity operator()(const Gather&) const { return {2, 2}; }
  Arity operator()(const Reshape& op) const { return {op.form == Reshape::Form::target && !op.target ? size_t{2} : size_t{1}, 2}; }
  Arity operator()(const Expand& op) const { return {op.target ? size_t{1} : size_t{2}, 2}; }
  Arity operator()(const Tile& op) const { return {op.repeats ? size_t{1} : size_t{2}, 2}; }
  Arity operator()(const Slice& op) const { return {op.bound ? size_t{1} : size_t{3}, 5}; }
  Arity operator()(const Split&) const { return {1, 2}; }
  Arity operator()(const Pad& op) const { return {op.bound ? size_t{1} : size_t{2}, 4}; }
  Arity operator()(const Reduce&) const { return {1, 2}; }
  Arity operator()(const ConvTranspose&) const { return {2, 3}; }
  Arity operator()(const Normalize&) const { return {1, 3}; }
  Arity operator()(const Resize&) const { return {1, 3}; }
  Arity operator()(const TopK& op) const { return {op.k ? size_t{1} : size_t{2}, 2}; }
  Arity operator()(const CumSum& op) const { return {op.axis ? size_t{1} : size_t{2}, 2}; }
  Arity operator()(const GatherElements&) const { return {2, 2}; }
  Arity operator()(const GatherND&) const { return {2, 2}; }
  Arity operator()(const ScatterND&) const { return {3, 3}; }
  Arity operator()(const Trilu&) const { return {1, 2}; }
  Arity operator()(const Attention&) const { return {1, 5}; }
};

void check_arity(const Node& node) {
  const Arity arity = std::visit(ArityOf{}, node.op);
  const size_t given = node.inputs.size();
  if (given > arity.most) bad_input("{} has {} inputs; accepted are up to {}", op_kind(node.op), given, arity.most);
  const size_t required = arity.most == kAny ? std::max(given, arity.least) : arity.least;
  for (size_t i = 0; i < required; ++i) {
    if (node.input(i) == kNoValue) bad_input("input {} of {} is missing; it is required", i, op_kind(node.op));
  }
  const size_t outputs = node.outputs.size();
  if (std::holds_alternative<TopK>(node.op)) {
    if (outputs != 2) bad_input("TopK has {} outputs; accepted are 2", outputs);
  } else if (outputs == 0 || (outputs > 1 && !std::holds_alternative<Split>(node.op))) {
    bad_input("{} has {} outputs; accepted is 1", op_kind(node.op), outputs);
  }
}

// The tensors stay what they are: operators that only move or rename elements, or convert them.
bool works_on_raw_elements(const Op& op) {
  const size_t kind = op.index();
  const auto is = [kind]<class T>(const T&) { return kind == Op(T{}).index(); };
  return is(Cast{}) || is(Identity{}) || is(ShapeOf{}) || is(SizeOf{}) || is(ConstantOfShape{}) || is(Reshape{}) || is(Transpose{}) ||
         is(Concat{}) || is(Slice{}) || is(Split{}) || is(Gather{}) || is(Expand{}) || is(Tile{}) || is(Pad{}) || is(Select{}) ||
         is(GatherElements{}) || is(GatherND{}) || is(ScatterND{}) || is(Trilu{});
}

// A made-up target shape or pad must not reach the arithmetic of sizes: the same bound as for inputs and initializers.
void check_extent(const Shape& shape) {
  constexpr int64_t kLargestDim = INT32_MAX;
  constexpr int64_t kMostElements = int64_t{1} << 48;
  int64_t elements = 1;
  for (const Dim& dim : shape) {
    if (dim.factor < 0 || dim.factor > kLargestDim)
      bad_input("the result is {}; dimensions from 0 to {} are accepted", to_string(shape), kLargestDim);
    if (dim.factor > 0 && elements > kMostElements / dim.factor)
      bad_input("the result is {}; at most {} elements are accepted", to_string(shape), kMostElements);
    elements *= dim.factor;
  }
}

void run(const Op& op, Tensors inputs, std::span<Tensor> outputs) {
  std::visit([&](const auto& o) { compute(o, inputs, outputs); }, op);
}

bool is_half(const Tensor* t) {
  return t != nullptr && (t->dtype() == DType::f16 || t->dtype() == DType::bf16);
}

// f16 and bf16 operands as float32, the results rounded at the end.
void run_widened(const Op& op, Tensors inputs, std::span<Tensor> outputs) {
  std::vector<Tensor> wide;
  wide.reserve(inputs.size());
  std::vector<const Tensor*> arguments;
  for (const Tensor* x : inputs) arguments.push_back(is_half(x) ? &wide.emplace_back(widen(*x)) : x);
  std::vector<Tensor> results;
  for (const Tensor& y : outputs) results.push_back(is_half(&y) ? Tensor(DType::f32, y.dims()) : y);
  run(op, arguments, results);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (is_half(&outputs[i])) narrow(results[i], outputs[i]);
  }
}

}  // namespace

void bind(Node& node, std::span<const Known* const> inputs) {
  check_arity(node);
  std::visit([&](auto& op) { bind_op(op, node, inputs); }, node.op);
  while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
}

std::vector<Inferred> infer(const Node& node, std::span<const Known* const> inputs) {
  std::vector<Inferred> outputs = std::visit([&](const auto& op) { return infer_op(op, node, inputs); }, node.op);
  for (const Inferred& output : outputs) check_extent(output.shape);
  return outputs;
}

void reference(const Op& op, std::span<const Tensor* const> inputs, std::span<Tensor> outputs) {
  if (!works_on_raw_elements(op) && (std::any_of(inputs.begin(), inputs.end(), is_half) || is_half(&outputs[0]))) {
    run_widened(op, inputs, outputs);
  } else {
    run(op, inputs, outputs);
  }
}

}  // namespace fcm::ops
