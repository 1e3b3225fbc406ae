// The operators under test.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/ops_cuda/case.h"

namespace fcm::test {
namespace {

const Dim kB(1, true);

CaseInput in(Shape shape) {
  return {std::move(shape)};
}
CaseInput positive(Shape shape) {
  return {std::move(shape), false, Fill::positive};
}
CaseInput constant(Shape shape) {
  return {std::move(shape), true};
}
CaseInput absent() {
  CaseInput input;
  input.absent = true;
  return input;
}
CaseInput ints(Shape shape) {
  return {std::move(shape), false, Fill::any, DType::i64};
}

struct ConvParams {
  int64_t c, f, h, w;
  Ints kernel = {3, 3}, strides = {1, 1}, dilations = {1, 1}, begin = {1, 1}, end = {1, 1};
  int64_t group = 1;
  Unary activation = {};
  bool bias = true;
  int residual = 0;  // 0 none, 1 before, 2 after the activation
};

Case conv(const std::string& name, const ConvParams& p) {
  Conv op;
  op.window = {p.kernel, p.strides, p.dilations, p.begin, p.end, AutoPad::explicit_pads};
  op.group = p.group;
  op.activation = p.activation;
  op.residual_after_activation = p.residual == 2;
  Case c{name,
         op,
         {in({kB, p.c, p.h, p.w}), constant({p.f, p.c / p.group, p.kernel[0], p.kernel[1]}), p.bias ? constant({p.f}) : absent()},
         1,
         1.0};
  if (p.residual != 0) {
    Shape y = {kB, p.f};
    const Ints extent = {p.h, p.w};
    for (size_t i = 0; i < 2; ++i)
      y.emplace_back((extent[i] + p.begin[i] + p.end[i] - p.dilations[i] * (p.kernel[i] - 1) - 1) / p.strides[i] + 1);
    c.inputs.push_back(in(y));
  }
  return c;
}

const Unary kRelu6{UnaryFn::clip, 0.0f, 6.0f};
const Unary kRelu{UnaryFn::relu, 0.0f, 0.0f};
const Unary kSilu{UnaryFn::silu, 0.0f, 0.0f};
const Unary kSigmoid{UnaryFn::sigmoid, 0.0f, 0.0f};
const Unary kHardSigmoid{UnaryFn::hard_sigmoid, 0.2f, 0.5f};

void add_convolutions(std::vector<Case>& list) {
  // Depthwise: kernels, strides, uneven pads, maps smaller than the kernel, channels off the vector width.
  list.push_back(conv("depthwise_3x3", {32, 32, 14, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 32, kRelu6}));
  list.push_back(conv("depthwise_3x3_s2_uneven", {20, 20, 17, 12, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 20, kRelu6}));
  list.push_back(conv("depthwise_5x5_residual", {13, 13, 9, 9, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 13, kSigmoid, true, 1}));
  list.push_back(conv("depthwise_7x7_dilated", {8, 8, 16, 20, {7, 7}, {1, 1}, {2, 2}, {6, 6}, {6, 6}, 8, {}, false}));
  list.push_back(conv("depthwise_5x3_s1x2", {24, 24, 10, 11, {5, 3}, {1, 2}, {1, 1}, {2, 1}, {2, 0}, 24, kSilu, true, 2}));
  list.push_back(conv("depthwise_small_map", {40, 40, 2, 1, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 40, kRelu}));
  list.push_back(conv("depthwise_large", {16, 16, 112, 112, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 16, kRelu6}));
  list.push_back(conv("depthwise_one_channel", {1, 1, 6, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1}));
  // Direct: the first layer, groups, multipliers.
  list.push_back(conv("stem_3x3_s2", {3, 32, 33, 31, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 1, kRelu6}));
  list.push_back(conv("stem_7x7_s2", {3, 20, 30, 30, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}, 1, kRelu}));
  list.push_back(conv("stem_large", {3, 32, 224, 224, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 1, kRelu6}));
  list.push_back(conv("grey_stem", {1, 6, 12, 12, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 1, {}, true, 1}));
  list.push_back(conv("multiplier_2", {6, 12, 8, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 6, kSigmoid}));
  list.push_back(conv("groups_3", {12, 15, 7, 9, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {1, 1}, 3, kRelu, true, 2}));
  // Pointwise: channels off the pitch, every way of adding a residual, activations that cuBLASLt lacks.
  list.push_back(conv("pointwise", {32, 16, 7, 7, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1}));
  list.push_back(conv("pointwise_relu", {19, 21, 5, 6, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kRelu}));
  list.push_back(conv("pointwise_relu6_residual", {24, 30, 4, 4, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kRelu6, true, 1}));
  list.push_back(conv("pointwise_relu_residual", {24, 32, 4, 4, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kRelu, true, 1}));
  list.push_back(conv("pointwise_residual_after", {24, 32, 4, 4, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kRelu, true, 2}));
  list.push_back(conv("pointwise_sigmoid_no_bias", {24, 10, 3, 5, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kSigmoid, false}));
  list.push_back(conv("pointwise_1x1_map", {64, 100, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, kHardSigmoid}));
  // cuDNN: dense kernels, uneven pads, strided 1x1, groups of 8 and more.
  list.push_back(conv("dense_3x3", {16, 32, 9, 11, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, kRelu}));
  list.push_back(conv("dense_3x3_s2_uneven", {24, 17, 12, 13, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 1, kRelu6}));
  list.push_back(conv("dense_3x3_dilated_silu", {11, 16, 10, 10, {3, 3}, {1, 1}, {2, 2}, {2, 2}, {2, 2}, 1, kSilu}));
  list.push_back(conv("dense_3x3_sigmoid_padded", {16, 12, 10, 10, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, kSigmoid, true, 1}));
  list.push_back(conv("dense_1x7_hard_sigmoid", {16, 16, 8, 9, {1, 7}, {1, 1}, {1, 1}, {0, 3}, {0, 3}, 1, kHardSigmoid, false, 2}));
  list.push_back(conv("dense_1x1_s2_residual", {32, 16, 8, 8, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1, kRelu, true, 1}));
  list.push_back(conv("dense_groups_of_8", {32, 64, 8, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 4, kRelu}));
  // Rows: one and three axes, weights of the model.
  Conv line;
  line.window = {{3}, {2}, {1}, {1}, {0}, AutoPad::explicit_pads};
  line.activation = kRelu;
  list.push_back({"conv_1d", line, {in({kB, 6, 15}), constant({8, 6, 3}), constant({8})}, 1, 1.0});
  Conv volume;
  volume.window = {{2, 3, 2}, {1, 1, 2}, {1, 2, 1}, {0, 1, 1}, {1, 2, 0}, AutoPad::explicit_pads};
  volume.group = 2;
  list.push_back({"conv_3d", volume, {in({kB, 4, 5, 6, 7}), constant({6, 2, 2, 3, 2}), absent()}, 1, 1.0});
  Conv moving;
  moving.window = {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, AutoPad::explicit_pads};
  list.push_back({"conv_computed_weights", moving, {in({kB, 4, 6, 6}), in({5, 4, 3, 3}), in({5})}, 1, 1.0});
}

void add_products(std::vector<Case>& list) {
  Gemm plain;
  list.push_back({"gemm", plain, {in({kB, 40}), constant({40, 24}), constant({24})}, 1, 1.0});
  Gemm head;
  head.trans_b = true;
  head.alpha = 0.5f;
  head.beta = 2.0f;
  list.push_back({"gemm_trans_b_odd", head, {in({kB, 37}), constant({11, 37}), constant({1, 11})}, 1, 1.0});
  Gemm act = head;
  act.activation = kRelu;
  list.push_back({"gemm_relu_residual", act, {in({kB, 32}), constant({16, 32}), constant({16}), in({kB, 16})}, 1, 1.0});
  act.activation = {UnaryFn::gelu, 0, 0};
  list.push_back({"gemm_gelu_scalar_c", act, {in({{4, true}, 32}), constant({16, 32}), constant({1})}, 1, 1.0});
  Gemm turned;
  turned.trans_a = true;
  list.push_back({"gemm_trans_a_column_c", turned, {in({24, 8}), in({24, kB}), constant({8, 1})}, 1, 1.0});
  list.push_back({"gemm_matrix_c_residual", plain, {in({kB, 16}), in({16, 12}), in({kB, 12}), in({kB, 12})}, 1, 1.0});
  act.trans_b = false;
  list.push_back({"gemm_tokens", act, {in({kB, 5, 32}), constant({32, 16}), constant({16}), in({kB, 5, 16})}, 1, 1.0});
  list.push_back({"matmul", MatMul{}, {in({kB, 5, 16}), constant({16, 9})}, 1, 1.0});
  list.push_back({"matmul_batched", MatMul{}, {in({kB, 3, 5, 8}), in({kB, 3, 8, 7})}, 1, 1.0});
  list.push_back({"matmul_one_a", MatMul{}, {in({6, 8}), in({kB, 2, 8, 4})}, 1, 1.0});
  list.push_back({"matmul_vector", MatMul{}, {in({kB, 4, 8}), in({8})}, 1, 1.0});
  list.push_back({"matmul_row", MatMul{}, {in({8}), in({kB, 8, 3})}, 1, 1.0});
}

void add_elementwise(std::vector<Case>& list) {
  for (int f = 0; f <= static_cast<int>(UnaryFn::is_nan); ++f) {
    const Unary u{static_cast<UnaryFn>(f), f == static_cast<int>(UnaryFn::clip) ? -0.5f : 0.25f, 0.75f};
    if (u.fn == UnaryFn::is_nan || u.fn == UnaryFn::logical_not) continue;
    const bool domain = u.fn == UnaryFn::log || u.fn == UnaryFn::sqrt || u.fn == UnaryFn::reciprocal;
    const Shape shape = f % 2 == 0 ? Shape{kB, 13, 3, 5} : Shape{kB, 24, 4, 2};
    list.push_back({fmt::format("unary_{}", f), UnaryOp{u}, {domain ? positive(shape) : in(shape)}, 1, domain ? 8.0 : 1.0});
  }
  list.push_back({"relu_i64", UnaryOp{kRelu}, {ints({kB, 9})}, 1, 1.0});
  for (const BinaryFn fn : {BinaryFn::add, BinaryFn::sub, BinaryFn::mul, BinaryFn::min, BinaryFn::max, BinaryFn::prelu, BinaryFn::less,
                            BinaryFn::greater_equal, BinaryFn::equal})
    list.push_back({fmt::format("binary_{}", static_cast<int>(fn)), Binary{fn, {}}, {in({kB, 12, 5, 3}), in({kB, 12, 5, 3})}, 1, 1.0});
  list.push_back({"divide", Binary{BinaryFn::div, {}}, {in({kB, 16, 2, 3}), positive({kB, 16, 2, 3})}, 1, 8.0});
  list.push_back({"power", Binary{BinaryFn::pow, {}}, {positive({kB, 7}), in({kB, 7})}, 1, 8.0});
  list.push_back({"integer_powers", Binary{BinaryFn::pow, {}}, {{{kB, 7}, false, Fill::positive, DType::i64}, positive({kB, 7})}, 1, 1.0});
  list.push_back({"modulo_i64", Binary{BinaryFn::mod, {}}, {ints({kB, 7}), {{7}, true, Fill::positive, DType::i64}}, 1, 1.0});
  list.push_back({"add_relu6", Binary{BinaryFn::add, kRelu6}, {in({kB, 10, 6, 6}), in({kB, 10, 6, 6})}, 1, 1.0});
  list.push_back({"gate", Binary{BinaryFn::mul, {}}, {in({kB, 19, 6, 6}), in({kB, 19, 1, 1})}, 1, 1.0});
  list.push_back({"channel_scale", Binary{BinaryFn::mul, {}}, {in({kB, 11, 3, 4}), constant({11, 1, 1})}, 1, 1.0});
  list.push_back({"channel_scale_whole", Binary{BinaryFn::add, {}}, {in({kB, 16, 3, 4}), constant({1, 16, 1, 1})}, 1, 1.0});
  list.push_back({"scalar_first", Binary{BinaryFn::sub, {}}, {constant({}), in({kB, 16, 3, 4})}, 1, 1.0});
  list.push_back({"plane_constant", Binary{BinaryFn::add, {}}, {in({kB, 6, 3, 4}), constant({1, 6, 3, 4})}, 1, 1.0});
  list.push_back({"both_broadcast", Binary{BinaryFn::add, {}}, {in({kB, 1, 4}), in({5, 1})}, 1, 1.0});
  list.push_back({"batch_inside", Binary{BinaryFn::mul, {}}, {in({3, kB, 8}), in({kB, 1})}, 1, 1.0});
  list.push_back({"prelu_slope", Binary{BinaryFn::prelu, {}}, {in({kB, 5, 3, 3}), constant({5, 1, 1})}, 1, 1.0});
  list.push_back(
      {"select", Select{}, {{{kB, 1, 6, 4}, false, Fill::booleans, DType::boolean}, in({kB, 9, 6, 4}), in({kB, 9, 1, 1})}, 1, 1.0});
  using Part = Elementwise::Part;
  // a + scale * (b - a), of maps whose channels are whole vectors and of others.
  const Elementwise toward{{Part{BinaryFn::sub, 1, 0, {}}, Part{BinaryFn::mul, 3, 2, {}}, Part{BinaryFn::add, 0, 4, kRelu6}}};
  for (const int64_t channels : {16, 13})
    list.push_back({fmt::format("elementwise_{}", channels),
                    toward,
                    {in({kB, channels, 5, 3}), in({kB, channels, 5, 3}), constant({channels, 1, 1})},
                    1,
                    1.0});
  const Elementwise mixed{{Part{{}, 0, 0, {UnaryFn::sigmoid}}, Part{BinaryFn::mul, 0, 3, {UnaryFn::tanh}}, Part{BinaryFn::max, 4, 1, {}},
                           Part{BinaryFn::div, 5, 2, {}}}};
  list.push_back({"elementwise_broadcast", mixed, {in({kB, 7, 24}), in({7, 1}), {{1}, true, Fill::positive}}, 1, 4.0});
  list.push_back({"cast_to_i32", Cast{DType::i32}, {in({kB, 30})}, 1, 1.0});
  list.push_back({"cast_to_bool", Cast{DType::boolean}, {in({kB, 30})}, 1, 1.0});
  list.push_back({"cast_to_f32", Cast{DType::f32}, {ints({kB, 30})}, 1, 1.0});
  list.push_back({"batch_norm",
                  BatchNorm{1e-3f},
                  {in({kB, 10, 4, 4}), constant({10}), constant({10}), constant({10}), {{10}, true, Fill::positive}},
                  1,
                  4.0});
}

void add_movement(std::vector<Case>& list) {
  Reshape flat;
  flat.form = Reshape::Form::flatten;
  list.push_back({"flatten", flat, {in({kB, 6, 3, 5})}, 1, 1.0});
  list.push_back({"transpose_4", Transpose{{0, 2, 3, 1}}, {in({kB, 6, 3, 5})}, 1, 1.0});
  list.push_back({"transpose_batch_inside", Transpose{{1, 0, 2}}, {in({kB, 6, 5})}, 1, 1.0});
  list.push_back({"transpose_swap", Transpose{{0, 1, 3, 2}}, {in({kB, 8, 3, 5})}, 1, 1.0});
  list.push_back({"concat_channels", Concat{1}, {in({kB, 5, 3, 4}), in({kB, 16, 3, 4}), constant({1, 6, 3, 4})}, 1, 1.0});
  list.back().inputs.pop_back();
  list.push_back({"concat_channels_even", Concat{1}, {in({kB, 8, 3, 4}), in({kB, 16, 3, 4}), in({kB, 8, 3, 4})}, 1, 1.0});
  list.push_back({"concat_rows", Concat{2}, {in({kB, 5, 3, 4}), in({kB, 5, 1, 4})}, 1, 1.0});
  list.push_back({"concat_tokens", Concat{1}, {in({kB, 1, 16}), in({kB, 9, 16})}, 1, 1.0});
  list.push_back({"slice_channels", Slice{true, {3}, {11}, {1}, {1}}, {in({kB, 16, 3, 4})}, 1, 1.0});
  list.push_back({"slice_channels_even", Slice{true, {8}, {16}, {1}, {1}}, {in({kB, 24, 3, 4})}, 1, 1.0});
  list.push_back({"slice_steps", Slice{true, {-1, 0}, {-100, 5}, {2, 3}, {-2, 2}}, {in({kB, 6, 7, 8})}, 1, 1.0});
  list.push_back({"slice_last_item", Slice{true, {-1}, {std::numeric_limits<int64_t>::max()}, {0}, {1}}, {in({kB, 6})}, 1, 1.0});
  list.push_back({"split", Split{1, {5, 8, 3}}, {in({kB, 16, 3, 2})}, 3, 1.0});
  list.push_back({"gather_constant", Gather{1}, {in({kB, 6, 4}), {{3}, true, Fill::indices, DType::i64, 6}}, 1, 1.0});
  list.push_back({"gather_rows", Gather{1}, {in({kB, 6, 24}), {{6}, true, Fill::indices, DType::i64, 6}}, 1, 1.0});
  list.push_back({"gather_table", Gather{0}, {constant({7, 5}), {{kB, 2}, false, Fill::indices, DType::i64, 7}}, 1, 1.0});
  list.push_back({"gather_channels", Gather{1}, {in({kB, 6, 4, 3}), {{5}, true, Fill::indices, DType::i64, 6}}, 1, 1.0});
  list.push_back({"expand", Expand{Shape{kB, 5, 3, 4}}, {in({kB, 5, 1, 1})}, 1, 1.0});
  list.push_back({"tile", Tile{Ints{1, 2, 3}}, {in({kB, 3, 4})}, 1, 1.0});
  for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::edge, PadMode::wrap})
    list.push_back(
        {fmt::format("pad_{}", static_cast<int>(mode)), Pad{mode, true, {0, 0, 1, 2}, {0, 0, 2, 1}, 0.5f}, {in({kB, 5, 4, 6})}, 1, 1.0});
  list.push_back({"pad_channels", Pad{PadMode::constant, true, {0, 1, 0, 0}, {0, 2, 0, 0}, 0.0f}, {in({kB, 6, 3, 3})}, 1, 1.0});
  list.push_back({"pad_crop", Pad{PadMode::constant, true, {0, 0, -1, 1}, {0, 0, 0, -2}, 0.0f}, {in({kB, 6, 5, 5})}, 1, 1.0});
}

void add_reductions(std::vector<Case>& list) {
  const auto window = [](Ints k, Ints s, Ints d, Ints b, Ints e) {
    return Window{std::move(k), std::move(s), std::move(d), std::move(b), std::move(e), AutoPad::explicit_pads};
  };
  list.push_back(
      {"max_pool", Pool{PoolFn::max, window({3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}), false, false}, {in({kB, 13, 9, 8})}, 1, 1.0});
  list.push_back({"max_pool_dilated_ceil",
                  Pool{PoolFn::max, window({2, 3}, {2, 2}, {2, 1}, {0, 1}, {1, 0}), true, false},
                  {in({kB, 16, 10, 9})},
                  1,
                  1.0});
  list.push_back(
      {"average_pool", Pool{PoolFn::average, window({3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}), false, false}, {in({kB, 8, 6, 7})}, 1, 1.0});
  list.push_back({"average_pool_counting",
                  Pool{PoolFn::average, window({3, 2}, {2, 2}, {1, 1}, {1, 0}, {1, 1}), true, true},
                  {in({kB, 5, 8, 8})},
                  1,
                  1.0});
  list.push_back({"pool_1d", Pool{PoolFn::max, window({3}, {2}, {1}, {0}, {1}), false, false}, {in({kB, 5, 8})}, 1, 1.0});
  list.push_back({"pool_3d",
                  Pool{PoolFn::average, window({2, 2, 3}, {1, 2, 1}, {1, 1, 1}, {0, 0, 1}, {1, 0, 1}), false, false},
                  {in({kB, 3, 4, 5, 6})},
                  1,
                  1.0});
  list.push_back({"global_average", GlobalPool{PoolFn::average}, {in({kB, 37, 7, 7})}, 1, 1.0});
  list.push_back({"global_average_large", GlobalPool{PoolFn::average}, {in({kB, 16, 40, 40})}, 1, 1.0});
  list.push_back({"global_max", GlobalPool{PoolFn::max}, {in({kB, 24, 5, 3})}, 1, 1.0});
  for (int f = 0; f <= static_cast<int>(ReduceFn::log_sum_exp); ++f) {
    const auto fn = static_cast<ReduceFn>(f);
    const bool log_sum = fn == ReduceFn::log_sum;
    const Shape shape = {kB, 6, 9, 5};
    Ints axes = {1};
    if (f % 3 == 1) axes = {2, 3};
    if (f % 3 == 2) axes = {3};
    list.push_back({fmt::format("reduce_{}", f),
                    Reduce{fn, axes, f % 2 == 0, false},
                    {log_sum ? positive(shape) : in(shape)},
                    1,
                    fn == ReduceFn::prod ? 8.0 : 2.0});
  }
  list.push_back({"reduce_ahead_of_batch", Reduce{ReduceFn::mean, Ints{0}, false, false}, {in({2, kB, 40})}, 1, 1.0});
  list.push_back({"layer_norm_mean", Reduce{ReduceFn::mean, Ints{-1}, true, false}, {in({kB, 9, 200})}, 1, 1.0});
  list.push_back({"sum_i64", Reduce{ReduceFn::sum, Ints{1}, false, false}, {ints({kB, 9, 4})}, 1, 1.0});
  list.push_back({"softmax", Softmax{-1, false, false}, {in({kB, 1000})}, 1, 4.0});
  list.push_back({"softmax_channels", Softmax{1, false, false}, {in({kB, 13, 3, 4})}, 1, 4.0});
  list.push_back({"softmax_width", Softmax{3, true, false}, {in({kB, 6, 3, 11})}, 1, 4.0});
  list.push_back({"softmax_flat", Softmax{1, false, true}, {in({kB, 6, 3, 2})}, 1, 4.0});
}

CaseInput indices(Shape shape, int64_t most, bool fixed = false) {
  return {std::move(shape), fixed, Fill::indices, DType::i64, most};
}

void add_normalisations(std::vector<Case>& list) {
  const auto norm = [](NormFn fn, int64_t axis, int64_t groups = 0) { return Normalize{fn, axis, groups, false, 1e-5f}; };
  list.push_back({"layer_norm", norm(NormFn::layer, -1), {in({kB, 9, 192}), constant({192}), constant({192})}, 1, 4.0});
  list.push_back({"layer_norm_bare", norm(NormFn::layer, -1), {in({kB, 50})}, 1, 4.0});
  // Every way to cut a row: few and many lanes, idle lanes, accesses of one element, rows that registers do not hold.
  for (const int64_t c : {2, 24, 25, 96, 333, 768, 1024, 1500, 2048, 3000})
    list.push_back({fmt::format("layer_norm_{}", c), norm(NormFn::layer, -1), {in({kB, 37, c}), constant({c}), constant({c})}, 1, 4.0});
  for (const int64_t c : {40, 63, 1023})
    list.push_back({fmt::format("rms_norm_bare_{}", c), norm(NormFn::rms, -1), {in({kB, 5, c})}, 1, 4.0});
  list.push_back({"layer_norm_planes", norm(NormFn::layer, 1), {in({kB, 6, 3, 5}), constant({6, 1, 1}), constant({3, 5})}, 1, 4.0});
  list.push_back({"layer_norm_computed", norm(NormFn::layer, -1), {in({kB, 3, 24}), in({24}), in({24})}, 1, 4.0});
  list.push_back({"rms_norm", norm(NormFn::rms, -1), {in({kB, 4, 64}), constant({64})}, 1, 4.0});
  list.push_back({"group_norm", norm(NormFn::group, -1, 2), {in({kB, 8, 5, 3}), constant({8}), constant({8})}, 1, 4.0});
  list.push_back({"instance_norm", norm(NormFn::group, -1), {in({kB, 5, 7, 9}), in({5}), in({5})}, 1, 4.0});
  Normalize by_group = norm(NormFn::group, -1, 3);
  by_group.scale_by_group = true;
  list.push_back({"group_norm_by_group", by_group, {in({kB, 6, 11}), constant({3}), constant({3})}, 1, 4.0});
}

void add_resizing(std::vector<Case>& list) {
  Resize op;
  op.bound = true;
  op.axes = Ints{2, 3};
  op.sizes = {7, 5};
  op.scales = {1.75f, 0.5f};
  const auto push = [&](const char* name, ResizeMode mode, ResizeCoordinates coordinates) {
    op.mode = mode;
    op.coordinates = coordinates;
    list.push_back({name, op, {in({kB, 6, 4, 10})}, 1, 2.0});
  };
  push("resize_nearest", ResizeMode::nearest, ResizeCoordinates::asymmetric);
  push("resize_linear", ResizeMode::linear, ResizeCoordinates::half_pixel);
  push("resize_corners", ResizeMode::linear, ResizeCoordinates::align_corners);
  push("resize_cubic", ResizeMode::cubic, ResizeCoordinates::half_pixel);
  op.axes = Ints{2};
  op.sizes = {9};
  op.scales = {1.5f};
  op.mode = ResizeMode::linear;
  list.push_back({"resize_1d", op, {in({kB, 3, 6})}, 1, 2.0});
  op.mode = ResizeMode::nearest;
  list.push_back({"resize_i64", op, {ints({kB, 3, 6})}, 1, 1.0});
  const auto window = [](Ints s, Ints d, Ints b, Ints e) { return Window{{}, std::move(s), std::move(d), std::move(b), std::move(e), {}}; };
  list.push_back({"conv_transpose",
                  ConvTranspose{window({2, 2}, {}, {1, 1}, {1, 1}), 1, {1, 0}, {}},
                  {in({kB, 6, 5, 4}), constant({6, 8, 3, 3}), constant({8})},
                  1,
                  1.0});
  list.push_back({"conv_transpose_groups",
                  ConvTranspose{window({1, 3}, {2, 1}, {0, 0}, {0, 1}), 2, {}, {}},
                  {in({kB, 4, 5, 4}), constant({4, 3, 2, 3})},
                  1,
                  1.0});
  list.push_back(
      {"conv_transpose_1d", ConvTranspose{window({2}, {}, {}, {}), 1, {}, {}}, {in({kB, 4, 7}), in({4, 3, 2}), in({3})}, 1, 1.0});
}

void add_indexing(std::vector<Case>& list) {
  list.push_back({"arg_max", ArgReduce{true, 1, true, false}, {in({kB, 100})}, 1, 1.0});
  list.push_back({"arg_min_last", ArgReduce{false, 1, false, true}, {in({kB, 6, 3, 4})}, 1, 1.0});
  list.push_back({"top_k", TopK{-1, true, 5}, {in({kB, 100})}, 2, 1.0});
  list.push_back({"top_k_channels", TopK{1, false, 3}, {in({kB, 9, 4})}, 2, 1.0});
  list.push_back({"cum_sum", CumSum{1, false, false}, {in({kB, 6, 5})}, 1, 4.0});
  list.push_back({"cum_sum_i64", CumSum{1, true, true}, {ints({kB, 7})}, 1, 1.0});
  list.push_back({"gather_elements", GatherElements{2}, {in({kB, 4, 6}), indices({kB, 3, 8}, 6)}, 1, 1.0});
  list.push_back({"gather_elements_image", GatherElements{1}, {in({kB, 6, 3, 4}), indices({kB, 5, 3, 4}, 6, false)}, 1, 1.0});
  list.push_back({"gather_nd", GatherND{0}, {in({5, 4, 6}), indices({kB, 2}, 4)}, 1, 1.0});
  list.push_back({"gather_nd_batch", GatherND{1}, {in({kB, 4, 6}), indices({kB, 3, 1}, 4)}, 1, 1.0});
  list.push_back({"scatter_nd", ScatterND{}, {in({6, 3, kB}), indices({1, 2}, 3, true), in({1, kB})}, 1, 1.0});
  list.push_back({"trilu", Trilu{true, 1}, {in({kB, 5, 7})}, 1, 1.0});
  list.push_back({"trilu_image", Trilu{false, 0}, {in({kB, 6, 5, 4})}, 1, 1.0});
}

// Q, K and V side by side in rows of one tensor, each with its heads in order.
Attention packed(int64_t heads, int64_t tokens, int64_t size) {
  const int64_t width = heads * size;
  Attention op;
  op.items = kB;
  op.heads = heads;
  op.queries = op.keys = tokens;
  op.qk_size = op.v_size = size;
  op.q = {0, tokens * 3 * width, size, 3 * width};
  op.k = op.v = op.q;
  op.k.offset = width;
  op.v.offset = 2 * width;
  op.scale = 1.0f / std::sqrt(static_cast<float>(size));
  return op;
}

// Each head's q, k and v side by side, in rows of one tensor.
Attention interleaved(int64_t heads, int64_t tokens, int64_t qk, int64_t v) {
  const int64_t width = 2 * qk + v;
  Attention op = packed(heads, tokens, qk);
  op.v_size = v;
  op.q = op.k = op.v = {0, tokens * heads * width, width, heads * width};
  op.k.offset = qk;
  op.v.offset = 2 * qk;
  return op;
}

Shape rows_of(const Attention& op) {
  return {op.items, Dim(op.windows * op.queries), Dim(op.q.token)};
}

CaseInput permutation(int64_t count) {
  return {{Dim(count)}, true, Fill::permutation, DType::i64};
}

void add_attention(std::vector<Case>& list) {
  const auto plain = [&](const std::string& name, const Attention& op) { list.push_back({name, op, {in(rows_of(op))}, 1, 1.0}); };
  plain("attention_deit", packed(3, 197, 64));
  plain("attention_packed", packed(2, 37, 64));
  plain("attention_one_token", packed(2, 1, 16));
  plain("attention_two_blocks", packed(1, 32, 48));
  plain("attention_chunks", packed(2, 600, 32));
  plain("attention_head_128", packed(1, 70, 128));
  plain("attention_head_36", packed(4, 65, 36));
  plain("attention_head_5", packed(3, 20, 5));
  plain("attention_interleaved", interleaved(3, 50, 16, 32));
  plain("attention_1024_tokens", packed(1, 1024, 24));
  Attention mobile = packed(4, 256, 36);  // enough blocks for the wide form; rows of 72 bytes
  mobile.items = Dim(20, true);
  plain("attention_wide_head_36", mobile);
  Attention levit = interleaved(4, 196, 16, 32);
  levit.items = Dim(40, true);
  list.push_back({"attention_wide_bias", levit, {in(rows_of(levit)), absent(), absent(), constant({1, 4, 196, 196})}, 1, 1.0});
  Attention against = packed(2, 40, 32);  // a negative scale turns the order of the scores round
  against.scale = -0.25f;
  plain("attention_negative_scale", against);

  // K and V in one tensor, Q in another, with fewer tokens; a bias of the model's.
  Attention cross = interleaved(4, 196, 16, 64);
  cross.queries = 49;
  cross.q = {0, 49 * 64, 16, 64};
  cross.k = {0, 196 * 320, 80, 320};
  cross.v = {16, 196 * 320, 80, 320};
  const CaseInput q = in({kB, 49, 64});
  const CaseInput kv = in({kB, 196, 320});
  list.push_back({"attention_cross", cross, {q, kv, absent(), constant({1, 4, 49, 196})}, 1, 1.0});
  list.push_back({"attention_cross_row_bias", cross, {q, kv, absent(), constant({1, 1, 1, 196})}, 1, 1.0});
  list.push_back({"attention_computed_bias", packed(2, 33, 32), {in({kB, 33, 192}), absent(), absent(), in({kB, 1, 33, 33})}, 1, 1.0});
  list.push_back({"attention_computed_bias_even", packed(2, 34, 32), {in({kB, 34, 192}), absent(), absent(), in({1, 2, 1, 34})}, 1, 1.0});

  Attention windows = packed(3, 49, 32);
  windows.windows = 4;
  windows.q.item = windows.k.item = windows.v.item = 4 * 49 * 288;
  const CaseInput image = in(rows_of(windows));
  list.push_back({"attention_windows", windows, {image, absent(), absent(), constant({4, 3, 49, 49}), permutation(196)}, 1, 1.0});
  list.push_back({"attention_windows_in_order", windows, {image, absent(), absent(), constant({1, 3, 49, 49})}, 1, 1.0});
  windows.items = Dim(20, true);  // for the middle form
  list.push_back(
      {"attention_many_windows", windows, {in(rows_of(windows)), absent(), absent(), constant({1, 3, 49, 49}), permutation(196)}, 1, 1.0});
  Attention many = packed(2, 64, 32);  // enough blocks for the wide form
  many.items = Dim(150, true);
  list.push_back({"attention_wide", many, {in(rows_of(many)), absent(), absent(), constant({150, 2, 64, 64})}, 1, 1.0});
  Attention long_wide = packed(4, 200, 48);
  long_wide.items = Dim(17, true);
  plain("attention_wide_chunks", long_wide);

  Attention relu = interleaved(4, 196, 16, 16);
  relu.fn = AttentionFn::relu;
  relu.epsilon = 1e-5f;
  plain("attention_relu", relu);
  Attention uneven = interleaved(2, 21, 8, 24);
  uneven.fn = AttentionFn::relu;
  uneven.epsilon = 1e-5f;
  plain("attention_relu_uneven", uneven);
  Attention larger = interleaved(2, 100, 32, 32);
  larger.fn = AttentionFn::relu;
  larger.epsilon = 1e-5f;
  plain("attention_relu_32", larger);
  for (auto [name, op] : {std::pair{"packed", packed(2, 37, 64)},
                          {"head_5", packed(3, 20, 5)},
                          {"wide", long_wide},
                          {"relu", relu},
                          {"relu_uneven", uneven}}) {
    op.activation = {UnaryFn::hard_swish};
    plain(std::string("attention_hard_swish_") + name, op);
  }
}

}  // namespace

std::vector<Case> random_attentions(int count, unsigned seed) {
  std::mt19937 random(seed);
  const auto from = [&](int64_t low, int64_t high) { return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1)); };
  std::vector<Case> list;
  for (int i = 0; i < count; ++i) {
    const int64_t multiple = int64_t{1} << from(0, 4);  // heads of whole vectors and of odd channels
    const int64_t heads = from(1, 6), tokens = from(1, 300), qk = (from(1, 64) + multiple - 1) / multiple * multiple;
    const bool relu = from(0, 4) == 0, packs = !relu && from(0, 1) == 0;
    const int64_t v = packs ? qk : (from(1, 64) + multiple - 1) / multiple * multiple;
    Attention op = packs ? packed(heads, tokens, qk) : interleaved(heads, tokens, qk, v);
    op.items = Dim(from(0, 2) == 0 ? from(20, 60) : 1, true);
    if (relu) op.fn = AttentionFn::relu, op.epsilon = 1e-5f;
    if (from(0, 3) == 0) op.activation = {UnaryFn::hard_swish};
    Case c{fmt::format("random {}: {}", i, to_string(Op(op))), op, {in(rows_of(op))}, 1, 1.0};
    if (!relu && from(0, 1) == 0) {
      const Shape bias = {1, from(0, 1) == 0 ? 1 : heads, from(0, 3) == 0 ? 1 : tokens, tokens};
      c.inputs.insert(c.inputs.end(), {absent(), absent(), from(0, 1) == 0 ? in(bias) : constant(bias)});
    }
    list.push_back(std::move(c));
  }
  return list;
}

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> list;
    add_convolutions(list);
    add_products(list);
    add_elementwise(list);
    add_movement(list);
    add_reductions(list);
    add_normalisations(list);
    add_resizing(list);
    add_indexing(list);
    add_attention(list);
    return list;
  }();
  return cases;
}

const std::vector<Case>& kernel_cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> list;
    for (const Case& c : all_cases()) {
      for (const char* name : {"depthwise_3x3_s2_uneven", "stem_3x3_s2", "conv_1d", "add_relu6", "gather_constant", "pad_1", "max_pool",
                               "global_average", "softmax", "layer_norm", "resize_linear", "conv_transpose", "top_k", "gather_nd",
                               "attention_packed", "attention_windows", "attention_relu"})
        if (c.name == name) list.push_back(c);
    }
    return list;
  }();
  return cases;
}

}  // namespace fcm::test
