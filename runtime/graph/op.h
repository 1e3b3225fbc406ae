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

#include "runtime/graph/shape.h"
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

/// ONNX ConvTranspose. Inputs: X [N,C,spatial], W [C,F/group,kernel], bias [F] or none. Y along a spatial axis has
/// stride * (X - 1) + output_padding + dilation * (kernel - 1) + 1 - pads elements. `ops::bind` turns `output_shape` and auto_pad into pads
/// (and, where those would be negative, output padding).
struct ConvTranspose {
  Window window;
  int64_t group = 1;
  Ints output_padding;  ///< empty: 0
  Ints output_shape;    ///< spatial extents of Y; empty: as the formula has it
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
  bool trans_a = false;  ///< A is a matrix; else all its axes but the last are rows (tokens [B,L,K]), of Y and the residual too
  bool trans_b = false;
  Unary activation;
};
/// numpy matmul, any rank. Inputs: A, B.
struct MatMul {};

/// Inference-mode BatchNormalization. Inputs: X, scale, bias, mean, variance.
struct BatchNorm {
  float epsilon = 1e-5f;
};

enum class NormFn : uint8_t {
  layer,  ///< over the axes from `axis` on
  rms,    ///< likewise, without the mean: x / sqrt(mean(x * x) + epsilon)
  group,  ///< over the channels of a group and all spatial axes
};
/// LayerNormalization, RMSNormalization, GroupNormalization and InstanceNormalization: y = (x - mean) / sqrt(variance + epsilon) * scale +
/// bias. Inputs: X, scale or none (1), bias or none (0). Scale and bias: for layer and rms, what broadcasts to the normalised axes; for
/// group [C].
struct Normalize {
  NormFn fn = NormFn::layer;
  int64_t axis = -1;            ///< layer, rms
  int64_t groups = 0;           ///< group; 0: one a channel
  bool scale_by_group = false;  ///< group: scale and bias are [groups], as in opset 18
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
/// Several functions of floating-point numbers one after the other, in one pass over memory. Inputs: any number, of one type; they
/// broadcast as Binary's do. Operand i is input i or, behind the inputs, what part i - inputs makes; the last part makes Y.
struct Elementwise {
  struct Part {
    std::optional<BinaryFn> fn;  ///< unset: the activation of `a` alone
    size_t a = 0, b = 0;         ///< operands
    Unary activation;
  };
  std::vector<Part> parts;
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
/// y[i,j,k] = x[i,index[i,j,k],k] for axis 1. Inputs: X, indices (of X's rank).
struct GatherElements {
  int64_t axis = 0;
};
/// Inputs: X, indices [..., r]: slices of X at index tuples, behind the first `batch_dims` axes, which both share.
struct GatherND {
  int64_t batch_dims = 0;
};
/// X with slices at index tuples replaced. Inputs: X, indices [..., r], updates. Where an index occurs twice, either update may stay.
struct ScatterND {};
/// Inputs: X, k or none; once bound only X. Keeps the triangle of the last two axes above (or below) diagonal k, zeros elsewhere.
struct Trilu {
  bool upper = true;
  std::optional<int64_t> k;
};
/// Inputs: X, axis; once bound only X.
struct CumSum {
  std::optional<int64_t> axis;
  bool exclusive = false;
  bool reverse = false;
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

enum class ResizeMode : uint8_t { nearest, linear, cubic };
/// Which coordinate of X an output position reads.
enum class ResizeCoordinates : uint8_t {
  half_pixel,
  half_pixel_symmetric,
  pytorch_half_pixel,
  align_corners,
  asymmetric,
  tf_half_pixel_for_nn,
};
enum class ResizeRounding : uint8_t {
  prefer_floor,  ///< to the nearest, half down
  prefer_ceil,   ///< to the nearest, half up
  floor,
  ceil,
  by_direction,  ///< floor where the axis grows, ceil where it shrinks: Resize of opset 10
};
enum class ResizeAspect : uint8_t { stretch, not_larger, not_smaller };
/// Resize and Upsample. Inputs: X, scales or none, sizes or none; once bound only X, and `axes`, `sizes`, `scales` are those of the axes
/// that change, in ascending order.
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoordinates coordinates = ResizeCoordinates::half_pixel;
  ResizeRounding rounding = ResizeRounding::prefer_floor;  ///< nearest
  float cubic_a = -0.75f;
  bool exclude_outside = false;  ///< cubic: weights outside of X count as 0, the others are scaled up
  ResizeAspect aspect = ResizeAspect::stretch;
  bool bound = false;
  std::optional<Ints> axes;
  Ints sizes;
  std::vector<float> scales;
};

enum class ReduceFn : uint8_t { mean, sum, max, min, prod, l1, l2, sum_square, log_sum, log_sum_exp };
/// Inputs: X, axes or none. `axes` unset means all (or none, when `noop_with_empty_axes`).
struct Reduce {
  ReduceFn fn = ReduceFn::mean;
  std::optional<Ints> axes;
  bool keep_dims = true;
  bool noop_with_empty_axes = false;
};
/// ArgMax and ArgMin: the index (i64) of the largest or smallest element along an axis, the first or the last of equals.
struct ArgReduce {
  bool largest = true;
  int64_t axis = 0;
  bool keep_dims = true;
  bool select_last = false;
};
/// The k largest or smallest elements along an axis, in order. Inputs: X, k; once bound only X. Outputs: values, indices (i64). Of equal
/// elements the one of lower index is first; NaN counts as larger than all numbers.
struct TopK {
  int64_t axis = -1;
  bool largest = true;
  std::optional<int64_t> k;
};
/// Softmax along one axis; `log`: LogSoftmax. `flatten_from_axis`: the 2-D form of opsets before 13.
struct Softmax {
  int64_t axis = -1;
  bool log = false;
  bool flatten_from_axis = false;
};

/// Where the elements of an operand of Attention lie in its dense tensor: channel c of token t of head h of item n is element
/// offset + n * item + h * head + t * token + c. So q, k and v may be parts of one row of a Gemm, in any order, or tensors of their own.
struct HeadView {
  int64_t offset = 0;
  int64_t item = 0;
  int64_t head = 0;
  int64_t token = 0;
  friend bool operator==(const HeadView&, const HeadView&) = default;
};
enum class AttentionFn : uint8_t {
  softmax,  ///< y = softmax(scale * q k' + bias) v (Vaswani et al., 2017)
  relu,     ///< y = (relu(q) relu(k)' v) / (relu(q) relu(k)' 1 + epsilon) (Cai et al., EfficientViT, 2022)
};
/// Multi-head attention. Inputs: Q; K or none (in Q's tensor); V or none (in K's tensor); bias or none; rows or none. Any shape holds the
/// operands: `q`, `k` and `v` say where.
///
/// An item's tokens fall into `windows` of `queries` queries and `keys` keys each, which see one another alone. Window w holds the tokens
/// from w * queries (w * keys) on or, with `rows` (integers [windows * queries], a permutation; queries and keys are then as many), those
/// that rows[w * queries ...] names.
/// Bias [A, 1 or heads, 1 or queries, keys] is added to the scores of window w of item n at index (n * windows + w) mod A; A is 1, a
/// divisor of items * windows for every batch, or as many. Output: [items, windows * queries, heads * v_size], rows in the order of Q's
/// tokens, each element through `activation`.
struct Attention {
  AttentionFn fn = AttentionFn::softmax;
  Dim items;
  int64_t heads = 1;
  int64_t windows = 1;
  int64_t queries = 1;
  int64_t keys = 1;
  int64_t qk_size = 1;  ///< channels of a head in Q and K
  int64_t v_size = 1;   ///< in V and the output
  HeadView q, k, v;
  float scale = 1.0f;
  float epsilon = 0.0f;  ///< relu
  Unary activation;
};

using AnyOp =
    std::variant<Conv, Pool, GlobalPool, Gemm, MatMul, BatchNorm, UnaryOp, Binary, Select, Cast, Identity, ShapeOf, SizeOf, ConstantOfShape,
                 Range, Reshape, Transpose, Concat, Slice, Split, Gather, Expand, Tile, Pad, Reduce, Softmax, ConvTranspose, Normalize,
                 Resize, ArgReduce, TopK, CumSum, GatherElements, GatherND, ScatterND, Trilu, Attention, Elementwise>;

/// One of the operators, read as a std::variant is. To copy, move and destroy so many alternatives takes a compiler seconds: op.cpp alone
/// does it.
struct Op : AnyOp {
  using AnyOp::AnyOp;
  Op();
  Op(const Op&);
  Op(Op&&) noexcept;
  Op& operator=(const Op&);
  Op& operator=(Op&&) noexcept;
  ~Op();
};

/// "Conv", "UnaryOp", ... ; the name of the struct.
std::string_view op_kind(const Op& op);

}  // namespace fcm
