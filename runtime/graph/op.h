// The operators of the graph: one struct a kind, holding its typed attributes. ONNX spellings that mean the same thing
// (opset forms, attribute or input, Flatten/Squeeze/Unsqueeze/Reshape, Relu/Clip/...) become one kind here.
//
// Inputs are positional. An attribute that newer opsets pass as an input (Slice's starts, Clip's bounds, Reduce's axes, ...)
// is an input until `ops::bind` finds it constant and moves it into the struct; a node that still has such an input after
// folding cannot run and is reported.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/graph/tensor.h"
#include "runtime/support/unary.h"

namespace fcm {

using Ints = std::vector<int64_t>;

enum class AutoPad : uint8_t { explicit_pads, same_upper, same_lower, valid };

/// Kernel window over the spatial axes of NC[D]* tensors, as in ONNX Conv and pooling. Empty vectors mean the ONNX defaults
/// (stride 1, dilation 1, pad 0); `ops::bind` fills them, and resolves `auto_pad` into pads, from the input shapes.
struct Window {
  Ints kernel;
  Ints strides;
  Ints dilations;
  Ints pads_begin;
  Ints pads_end;
  AutoPad auto_pad = AutoPad::explicit_pads;
};

/// ONNX Conv with a fused epilogue. Inputs: X [N,C,spatial], W [F,C/group,kernel], bias [F] or none, residual (shape of Y) or none.
/// Y = activation(conv + bias + residual), or activation(conv + bias) + residual when `residual_after_activation`.
struct Conv {
  Window window;
  int64_t group = 1;
  Unary activation;
  bool residual_after_activation = false;
};

enum class PoolFn : uint8_t { max, average };
/// MaxPool and AveragePool. Input: X. Output: Y. (MaxPool's index output is not supported.)
struct Pool {
  PoolFn fn = PoolFn::max;
  Window window;
  bool ceil_mode = false;
  bool count_include_pad = false;
};
/// GlobalAveragePool / GlobalMaxPool over all spatial axes, kept as size 1. Input: X [N,C,spatial].
struct GlobalPool {
  PoolFn fn = PoolFn::average;
};

/// ONNX Gemm with a fused epilogue: Y = activation(alpha * A' * B' + beta * C + residual). Inputs: A, B, C or none, residual or none.
struct Gemm {
  float alpha = 1.0f;
  float beta = 1.0f;
  bool trans_a = false;
  bool trans_b = false;
  Unary activation;
};
/// numpy matmul, any rank. Inputs: A, B.
struct MatMul {};

/// Inference-mode BatchNormalization. Inputs: X, scale, bias, mean, variance.
struct BatchNorm {
  float epsilon = 1e-5f;
};

/// Inputs: X; `clip` also min or none, max or none until bound.
struct UnaryOp {
  Unary u;
};

enum class BinaryFn : uint8_t {
  add,
  sub,
  mul,
  div,
  pow,
  mod,   ///< sign of the divisor
  fmod,  ///< sign of the dividend
  min,
  max,
  equal,
  less,
  less_equal,
  greater,
  greater_equal,
  logical_and,
  logical_or,
  logical_xor,
  prelu,  ///< a < 0 ? a * b : a
};
/// numpy broadcasting. Inputs: A, B. (Min, Max, Sum of more inputs are imported as a chain.)
struct Binary {
  BinaryFn fn = BinaryFn::add;
  Unary activation;
};
/// ONNX Where. Inputs: condition, X, Y.
struct Select {};

struct Cast {
  DType to = DType::f32;
};
struct Identity {};

/// ONNX Shape; `start`/`end` as in opset 15.
struct ShapeOf {
  int64_t start = 0;
  std::optional<int64_t> end;
};
struct SizeOf {};
/// Input: shape. `value` has one element.
struct ConstantOfShape {
  Tensor value;
};
/// Inputs: start, limit, delta.
struct Range {};

/// Reshape, Flatten, Squeeze and Unsqueeze. After `ops::bind` the target is known and only X remains as input.
struct Reshape {
  enum class Form : uint8_t { target, flatten, squeeze, unsqueeze };
  Form form = Form::target;
  bool allow_zero = false;
  int64_t axis = 1;             ///< flatten
  std::optional<Ints> axes;     ///< squeeze, unsqueeze
  std::optional<Shape> target;  ///< the output shape, once known
};
struct Transpose {
  Ints perm;  ///< empty: reversed axes
};
struct Concat {
  int64_t axis = 0;
};
/// Inputs: X, starts, ends, axes or none, steps or none; once bound only X.
struct Slice {
  bool bound = false;
  Ints starts, ends, axes, steps;
};
/// Inputs: X, split or none. `sizes` empty: equal parts, one an output (the last may be smaller).
struct Split {
  int64_t axis = 0;
  Ints sizes;
};
/// Inputs: X, indices.
struct Gather {
  int64_t axis = 0;
};
/// Inputs: X, shape; once bound only X.
struct Expand {
  std::optional<Shape> target;
};
/// Inputs: X, repeats; once bound only X.
struct Tile {
  std::optional<Ints> repeats;
};

enum class PadMode : uint8_t { constant, reflect, edge, wrap };
/// Inputs: X, pads, value or none, axes or none; once bound only X. Negative pads crop.
struct Pad {
  PadMode mode = PadMode::constant;
  bool bound = false;
  Ints begin, end;  ///< one an axis of X
  float value = 0.0f;
};

enum class ReduceFn : uint8_t { mean, sum, max, min, prod, l1, l2, sum_square, log_sum, log_sum_exp };
/// Inputs: X, axes or none. `axes` unset means all (or none, when `noop_with_empty_axes`).
struct Reduce {
  ReduceFn fn = ReduceFn::mean;
  std::optional<Ints> axes;
  bool keep_dims = true;
  bool noop_with_empty_axes = false;
};
/// Softmax along one axis; `log`: LogSoftmax. `flatten_from_axis`: the 2-D form of opsets before 13.
struct Softmax {
  int64_t axis = -1;
  bool log = false;
  bool flatten_from_axis = false;
};

using Op = std::variant<Conv, Pool, GlobalPool, Gemm, MatMul, BatchNorm, UnaryOp, Binary, Select, Cast, Identity, ShapeOf, SizeOf,
                        ConstantOfShape, Range, Reshape, Transpose, Concat, Slice, Split, Gather, Expand, Tile, Pad, Reduce, Softmax>;

/// "Conv", "UnaryOp", ... ; the name of the struct.
std::string_view op_kind(const Op& op);

}  // namespace fcm
