// Builds single nodes and runs them through bind, infer and reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "ops/op.h"
#include "runtime/support/error.h"

namespace fcm::ops::testing {

inline const Dim B{1, true};

/// What is known of one input: owns what `Known` points to.
struct Input {
  DType dtype = DType::f32;
  Shape shape;
  std::optional<Tensor> constant;
  std::optional<std::vector<Dim>> terms;
  bool absent = false;

  static Input of(Shape shape, DType dtype = DType::f32) { return {dtype, std::move(shape), std::nullopt, std::nullopt, false}; }
  static Input value(Tensor t) {
    const DType dtype = t.dtype();
    Shape shape = to_shape(t.dims());
    return {dtype, std::move(shape), std::move(t), std::nullopt, false};
  }
  /// A constant list of i64.
  static Input list(std::vector<int64_t> values) { return value(Tensor::ints({static_cast<int64_t>(values.size())}, values)); }
  static Input scalar(int64_t v) { return value(Tensor::ints({}, std::span(&v, 1))); }
  /// A list of i64 with the batch in it.
  static Input symbolic(std::vector<Dim> terms) {
    return {DType::i64, {Dim(static_cast<int64_t>(terms.size()))}, std::nullopt, std::move(terms), false};
  }
  static Input none() {
    Input input;
    input.absent = true;
    return input;
  }

  Known known() const { return {dtype, shape, constant ? &*constant : nullptr, terms ? &*terms : nullptr}; }
};

/// A node over `inputs`, bound and inferred.
struct Checked {
  Node node;
  std::vector<Inferred> outputs;

  const Shape& shape(size_t i = 0) const { return outputs.at(i).shape; }
  std::optional<std::vector<Dim>> terms(size_t i = 0) const { return outputs.at(i).terms; }
};

inline Checked check(Op op, const std::vector<Input>& inputs, size_t outputs = 1) {
  Checked result;
  result.node.op = std::move(op);
  result.node.origin = {"the_node", std::string(op_kind(result.node.op)), 17, ""};
  std::deque<Known> storage;
  std::vector<const Known*> known;
  for (size_t i = 0; i < inputs.size(); ++i) {
    result.node.inputs.push_back(inputs[i].absent ? kNoValue : static_cast<ValueId>(i));
    known.push_back(inputs[i].absent ? nullptr : &storage.emplace_back(inputs[i].known()));
  }
  for (size_t i = 0; i < outputs; ++i) result.node.outputs.push_back(static_cast<ValueId>(100 + i));
  ops::bind(result.node, known);
  const std::string once = to_string(result.node.op);
  known.resize(result.node.inputs.size());
  ops::bind(result.node, known);  // binding a bound node changes nothing
  EXPECT_EQ(to_string(result.node.op), once);
  result.outputs = infer(result.node, known);
  return result;
}

/// The outputs of one node on concrete tensors (an empty optional: absent).
inline std::vector<Tensor> run(Op op, const std::vector<std::optional<Tensor>>& tensors, size_t outputs = 1) {
  std::vector<Input> inputs;
  for (const auto& t : tensors) inputs.push_back(t ? Input::value(*t) : Input::none());
  const Checked checked = check(std::move(op), inputs, outputs);
  std::vector<const Tensor*> arguments;
  for (const ValueId id : checked.node.inputs) arguments.push_back(id == kNoValue ? nullptr : &*tensors[static_cast<size_t>(id)]);
  std::vector<Tensor> results;
  for (const Inferred& y : checked.outputs) {
    results.emplace_back(y.dtype, at_batch(y.shape, 1));
    // Outputs come with whatever the memory held before.
    std::fill_n(results.back().raw(), results.back().bytes(), std::byte{0xA5});
  }
  reference(checked.node.op, arguments, results);
  return results;
}

/// The message of the Error that `f` throws, with its code checked.
template <class F>
std::string error_of(ErrorCode code, F&& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace fcm::ops::testing
