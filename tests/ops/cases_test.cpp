// The references against onnxruntime's answers (cases.txt, made by make_cases.py): one operator's semantics a case.
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "tests/ops/support.h"

namespace fcm::ops::testing {
namespace {

struct Case {
  std::vector<std::optional<Tensor>> inputs;
  std::vector<Tensor> outputs;
};

DType dtype_of(const std::string& name) {
  for (int t = 0; t <= static_cast<int>(DType::boolean); ++t) {
    if (dtype_name(static_cast<DType>(t)) == name) return static_cast<DType>(t);
  }
  throw std::runtime_error("unknown dtype " + name);
}

Tensor read_tensor(std::istringstream& line, const std::string& dtype) {
  std::string text;
  line >> text;
  Dims dims;
  if (text != "scalar") {
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, 'x');) dims.push_back(std::stoll(part));
  }
  Tensor values(DType::f64, dims);
  for (double& v : values.data<double>()) {
    line >> text;
    v = std::stod(text);
  }
  return values.cast(dtype_of(dtype));
}

std::map<std::string, Case> read_cases() {
  std::ifstream file(std::string(FCM_SOURCE_DIR) + "/tests/ops/cases.txt");
  std::map<std::string, Case> cases;
  Case* current = nullptr;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string tag, second;
    line >> tag >> second;
    if (tag == "case") {
      current = &cases[second];
    } else if (tag == "in" && second == "none") {
      current->inputs.emplace_back();
    } else if (tag == "in") {
      current->inputs.emplace_back(read_tensor(line, second));
    } else if (tag == "out") {
      current->outputs.push_back(read_tensor(line, second));
    }
  }
  return cases;
}

constexpr float kInf = INFINITY;

UnaryOp unary(UnaryFn fn, float a = 0.0f, float b = 0.0f) {
  return {{fn, a, b}};
}
Binary binary(BinaryFn fn) {
  return {fn, {}};
}
Reduce reduce(ReduceFn fn, std::optional<Ints> axes, bool keep = true) {
  return {fn, std::move(axes), keep, false};
}
Window window(Ints kernel, Ints strides = {}, Ints begin = {}, Ints end = {}, Ints dilations = {},
              AutoPad auto_pad = AutoPad::explicit_pads) {
  return {std::move(kernel), std::move(strides), std::move(dilations), std::move(begin), std::move(end), auto_pad};
}

std::map<std::string, Op> movement_operators() {
  return {{"pad_constant", Pad{}},
          {"pad_crop", Pad{}},
          {"pad_reflect", Pad{PadMode::reflect, false, {}, {}, 0.0f}},
          {"pad_edge", Pad{PadMode::edge, false, {}, {}, 0.0f}},
          {"pad_wrap", Pad{PadMode::wrap, false, {}, {}, 0.0f}},
          {"pad_axes", Pad{}},
          {"pad_i64", Pad{}},
          {"slice_negative_step", Slice{}},
          {"slice_clamped", Slice{}},
          {"slice_empty", Slice{}},
          {"slice_default_axes", Slice{}},
          {"gather_negative", Gather{1}},
          {"gather_matrix", Gather{0}},
          {"gather_scalar", Gather{0}},
          {"transpose", Transpose{{2, 0, 1}}},
          {"transpose_default", Transpose{}},
          {"concat", Concat{-2}},
          {"split_uneven", Split{0, {}}},
          {"split_sizes", Split{1, {}}},
          {"tile", Tile{}},
          {"expand", Expand{}},
          {"shape_part", ShapeOf{-2, 100}},
          {"range_f32", Range{}},
          {"range_down", Range{}},
          {"flatten_negative", Reshape{Reshape::Form::flatten, false, -1, std::nullopt, std::nullopt}},
          {"reshape_zero", Reshape{}}};
}

std::map<std::string, Op> unary_operators() {
  return {{"hardsigmoid", unary(UnaryFn::hard_sigmoid, 0.2f, 0.5f)},
          {"hardsigmoid_set", unary(UnaryFn::hard_sigmoid, 0.5f, 0.25f)},
          {"hardswish", unary(UnaryFn::hard_swish)},
          {"softplus", unary(UnaryFn::softplus)},
          {"softsign", unary(UnaryFn::softsign)},
          {"elu", unary(UnaryFn::elu, 1.5f)},
          {"leakyrelu", unary(UnaryFn::leaky_relu, 0.1f)},
          {"erf", unary(UnaryFn::erf)},
          {"sign", unary(UnaryFn::sign)},
          {"round", unary(UnaryFn::round)},
          {"floor", unary(UnaryFn::floor)},
          {"ceil", unary(UnaryFn::ceil)},
          {"sigmoid", unary(UnaryFn::sigmoid)},
          {"tanh", unary(UnaryFn::tanh)},
          {"relu", unary(UnaryFn::relu)},
          {"abs", unary(UnaryFn::abs)},
          {"reciprocal", unary(UnaryFn::reciprocal)},
          {"isnan", unary(UnaryFn::is_nan)},
          {"mish", unary(UnaryFn::mish)},
          {"gelu", unary(UnaryFn::gelu)},
          {"gelu_tanh", unary(UnaryFn::gelu_tanh)},
          {"exp_f64", unary(UnaryFn::exp)},
          {"clip", unary(UnaryFn::clip, -kInf, kInf)},
          {"clip_no_max", unary(UnaryFn::clip, -kInf, kInf)},
          {"clip_i64", unary(UnaryFn::clip, -kInf, kInf)},
          {"neg_i32", unary(UnaryFn::neg)},
          {"not", unary(UnaryFn::logical_not)},
          {"cast_f32_i32", Cast{DType::i32}},
          {"cast_f32_u8", Cast{DType::u8}},
          {"cast_f32_bool", Cast{DType::boolean}},
          {"cast_f32_f16", Cast{DType::f16}},
          {"cast_i32_i8", Cast{DType::i8}},
          {"cast_i64_f16", Cast{DType::f16}},
          {"cast_bool_f32", Cast{DType::f32}}};
}

std::map<std::string, Op> binary_operators() {
  return {{"mod", binary(BinaryFn::mod)},
          {"fmod_i64", binary(BinaryFn::fmod)},
          {"mod_i8", binary(BinaryFn::mod)},
          {"fmod", binary(BinaryFn::fmod)},
          {"div_i64", binary(BinaryFn::div)},
          {"div_zero", binary(BinaryFn::div)},
          {"add_wrap", binary(BinaryFn::add)},
          {"mul_f16", binary(BinaryFn::mul)},
          {"sub_f64", binary(BinaryFn::sub)},
          {"pow_mixed", binary(BinaryFn::pow)},
          {"pow_i64", binary(BinaryFn::pow)},
          {"min_nan", binary(BinaryFn::min)},
          {"max_broadcast", binary(BinaryFn::max)},
          {"prelu", binary(BinaryFn::prelu)},
          {"equal_bool", binary(BinaryFn::equal)},
          {"less", binary(BinaryFn::less)},
          {"greater_equal_i64", binary(BinaryFn::greater_equal)},
          {"xor", binary(BinaryFn::logical_xor)},
          {"where", Select{}},
          {"batch_norm", BatchNorm{1e-3f}},
          {"gemm", Gemm{0.5f, 2.0f, false, false, {}}},
          {"gemm_transposed", Gemm{1.0f, 1.0f, true, true, {}}},
          {"matmul", MatMul{}},
          {"matmul_vectors", MatMul{}},
          {"matmul_row", MatMul{}},
          {"matmul_column", MatMul{}},
          {"matmul_i64", MatMul{}}};
}

std::map<std::string, Op> reduction_operators() {
  const Ints ends = {-1, 0};
  return {{"reduce_mean", reduce(ReduceFn::mean, ends)},
          {"reduce_sum", reduce(ReduceFn::sum, std::nullopt)},
          {"reduce_max", reduce(ReduceFn::max, ends)},
          {"reduce_min", reduce(ReduceFn::min, ends)},
          {"reduce_prod", reduce(ReduceFn::prod, ends)},
          {"reduce_l1", reduce(ReduceFn::l1, ends)},
          {"reduce_l2", reduce(ReduceFn::l2, ends)},
          {"reduce_sumsquare", reduce(ReduceFn::sum_square, ends)},
          {"reduce_logsumexp", reduce(ReduceFn::log_sum_exp, ends)},
          {"reduce_log_sum", reduce(ReduceFn::log_sum, Ints{1}, false)},
          {"reduce_all", reduce(ReduceFn::mean, std::nullopt, false)},
          {"reduce_axes_input", reduce(ReduceFn::max, std::nullopt, false)},
          {"reduce_noop", Reduce{ReduceFn::sum, std::nullopt, true, true}},
          {"reduce_mean_i32", reduce(ReduceFn::mean, Ints{1})},
          {"reduce_prod_i64", reduce(ReduceFn::prod, std::nullopt, false)},
          {"reduce_lse_large", reduce(ReduceFn::log_sum_exp, std::nullopt)},
          {"softmax", Softmax{1, false, false}},
          {"softmax_old", Softmax{1, false, true}},
          {"log_softmax", Softmax{-1, true, false}},
          {"log_softmax_old", Softmax{2, true, true}},
          {"global_average", GlobalPool{PoolFn::average}},
          {"global_max", GlobalPool{PoolFn::max}}};
}

std::map<std::string, Op> window_operators() {
  const Window three = window({3, 3}, {2, 2}, {1, 1}, {1, 1});
  return {{"max_pool_ceil", Pool{PoolFn::max, window({3, 2}, {3, 4}, {1, 0}, {1, 1}), true, false}},
          {"max_pool_dilated", Pool{PoolFn::max, window({2, 3}, {1, 2}, {}, {}, {3, 2}), false, false}},
          {"max_pool_same_lower", Pool{PoolFn::max, window({3, 2}, {2, 2}, {}, {}, {}, AutoPad::same_lower), false, false}},
          {"max_pool_i8", Pool{PoolFn::max, window({2, 2}, {2, 2}), false, false}},
          {"average_pool", Pool{PoolFn::average, three, false, false}},
          {"average_pool_include", Pool{PoolFn::average, three, false, true}},
          {"average_pool_ceil", Pool{PoolFn::average, window({3, 3}, {2, 2}), true, false}},
          {"average_pool_same_upper", Pool{PoolFn::average, window({2, 3}, {2, 2}, {}, {}, {}, AutoPad::same_upper), false, false}},
          {"average_pool_1d", Pool{PoolFn::average, window({4}, {3}), false, false}},
          {"average_pool_3d", Pool{PoolFn::average, window({2, 2, 2}), false, false}},
          {"conv_same_upper", Conv{window({}, {2, 3}, {}, {}, {}, AutoPad::same_upper), 1, {}, false}},
          {"conv_same_lower", Conv{window({}, {2, 1}, {}, {}, {}, AutoPad::same_lower), 1, {}, false}},
          {"conv_valid", Conv{window({}, {}, {}, {}, {}, AutoPad::valid), 1, {}, false}},
          {"conv_asymmetric", Conv{window({}, {}, {0, 1}, {2, 0}, {1, 2}), 2, {}, false}},
          {"conv_1d", Conv{window({}, {2}, {2}, {1}), 2, {}, false}},
          {"conv_3d", Conv{window({}, {}, {1, 0, 0}, {0, 1, 1}), 1, {}, false}}};
}

Normalize normalize(NormFn fn, int64_t axis, float epsilon = 1e-5f, int64_t groups = 0) {
  return {fn, axis, groups, false, epsilon};
}
Resize resize(ResizeMode mode, ResizeCoordinates coordinates, ResizeRounding rounding = ResizeRounding::prefer_floor) {
  Resize op;
  op.mode = mode;
  op.coordinates = coordinates;
  op.rounding = rounding;
  return op;
}

std::map<std::string, Op> normalization_operators() {
  return {{"layer_norm", normalize(NormFn::layer, -1)},           {"layer_norm_axis_1", normalize(NormFn::layer, 1, 1e-3f)},
          {"layer_norm_broadcast", normalize(NormFn::layer, -2)}, {"rms_norm", normalize(NormFn::rms, -1)},
          {"group_norm", normalize(NormFn::group, -1, 1e-5f, 3)}, {"instance_norm", normalize(NormFn::group, -1, 1e-2f)}};
}

// Inputs of a Resize: X, scales or none, sizes or none; roi of the ONNX form is left out by `onnx_inputs`.
std::map<std::string, Op> resize_operators() {
  using C = ResizeCoordinates;
  using R = ResizeRounding;
  std::map<std::string, Op> ops;
  const std::map<std::string, C> coordinates = {{"half_pixel", C::half_pixel},
                                                {"asymmetric", C::asymmetric},
                                                {"align_corners", C::align_corners},
                                                {"pytorch_half_pixel", C::pytorch_half_pixel}};
  const std::map<std::string, R> roundings = {
      {"round_prefer_floor", R::prefer_floor}, {"round_prefer_ceil", R::prefer_ceil}, {"floor", R::floor}, {"ceil", R::ceil}};
  for (const auto& [name, c] : coordinates) {
    for (const auto& [rounding_name, r] : roundings) {
      if (c != C::pytorch_half_pixel) ops["resize_nearest_" + rounding_name + "_" + name] = resize(ResizeMode::nearest, c, r);
    }
    ops["resize_linear_" + name] = resize(ResizeMode::linear, c);
    ops["resize_cubic_" + name] = resize(ResizeMode::cubic, c);
  }
  ops["resize_linear_symmetric"] = resize(ResizeMode::linear, C::half_pixel_symmetric);
  Resize outside = resize(ResizeMode::cubic, C::half_pixel);
  outside.cubic_a = -0.5f;
  outside.exclude_outside = true;
  ops["resize_cubic_outside"] = outside;
  ops["resize_pytorch_one"] = resize(ResizeMode::linear, C::pytorch_half_pixel);
  Resize axes = resize(ResizeMode::linear, C::half_pixel);
  axes.axes = Ints{3, 2};
  ops["resize_axes"] = axes;
  axes.axes = Ints{2, 3};
  axes.aspect = ResizeAspect::not_larger;
  ops["resize_not_larger"] = axes;
  axes.mode = ResizeMode::nearest;
  axes.aspect = ResizeAspect::not_smaller;
  ops["resize_not_smaller"] = axes;
  ops["resize_old_nearest"] = resize(ResizeMode::nearest, C::asymmetric, R::by_direction);
  ops["resize_i32"] = resize(ResizeMode::nearest, C::half_pixel);
  ops["upsample"] = resize(ResizeMode::linear, C::asymmetric);
  return ops;
}

std::map<std::string, Op> transposed_operators() {
  return {{"conv_transpose", ConvTranspose{window({}, {2, 3}, {1, 0}, {0, 1}), 1, {1, 2}, {}}},
          {"conv_transpose_groups", ConvTranspose{window({}, {}, {}, {}, {2, 1}), 2, {}, {}}},
          {"conv_transpose_shape", ConvTranspose{window({}, {2, 2}), 1, {}, {6, 9}}},
          {"conv_transpose_same_upper", ConvTranspose{window({}, {2, 2}, {}, {}, {}, AutoPad::same_upper), 1, {}, {}}},
          {"conv_transpose_same_lower", ConvTranspose{window({}, {2, 1}, {}, {}, {}, AutoPad::same_lower), 1, {}, {}}},
          {"conv_transpose_1d", ConvTranspose{window({}, {3}, {2}, {1}), 1, {}, {}}},
          {"conv_transpose_3d", ConvTranspose{window({}, {2, 1, 2}), 1, {}, {}}}};
}

std::map<std::string, Op> index_operators() {
  return {{"arg_max", ArgReduce{true, 1, true, false}},
          {"arg_min_last", ArgReduce{false, -1, false, true}},
          {"arg_max_i32", ArgReduce{true, 0, true, false}},
          {"top_k", TopK{1, true, std::nullopt}},
          {"top_k_smallest", TopK{-1, false, std::nullopt}},
          {"top_k_i64", TopK{}},
          {"cum_sum", CumSum{}},
          {"cum_sum_reverse", CumSum{std::nullopt, true, true}},
          {"gather_elements", GatherElements{0}},
          {"gather_nd", GatherND{}},
          {"gather_nd_batch", GatherND{1}},
          {"scatter_nd", ScatterND{}},
          {"trilu", Trilu{}},
          {"trilu_lower", Trilu{false, std::nullopt}}};
}

// Input 1 of ONNX's Resize from opset 11 on (roi) is not one of ours; X and scales alone are the older forms.
std::vector<std::optional<Tensor>> inputs_of(const Op& op, std::vector<std::optional<Tensor>> inputs) {
  if (std::holds_alternative<Resize>(op) && !inputs.at(1)) inputs.erase(inputs.begin() + 1);
  return inputs;
}

std::map<std::string, Op> operators() {
  std::map<std::string, Op> all = movement_operators();
  for (auto part : {unary_operators(), binary_operators(), reduction_operators(), window_operators(), normalization_operators(),
                    resize_operators(), transposed_operators(), index_operators()})
    all.merge(part);
  return all;
}

void expect_equal(const Tensor& got, const Tensor& want) {
  ASSERT_EQ(dtype_name(got.dtype()), dtype_name(want.dtype()));
  ASSERT_EQ(got.dims(), want.dims());
  const Tensor a = got.cast(DType::f64);
  const Tensor b = want.cast(DType::f64);
  const double relative = got.dtype() == DType::f16 ? 0.0 : 1e-5;
  for (size_t i = 0; i < static_cast<size_t>(a.count()); ++i) {
    const double x = a.data<double>()[i];
    const double y = b.data<double>()[i];
    if (std::isnan(y)) {
      EXPECT_TRUE(std::isnan(x)) << "element " << i << " is " << x;
    } else if (!is_float(got.dtype()) || std::isinf(y)) {
      EXPECT_EQ(x, y) << "element " << i;
    } else {
      EXPECT_LE(std::fabs(x - y), 1e-6 + relative * std::fabs(y)) << "element " << i << ": " << x << " instead of " << y;
    }
  }
}

TEST(Cases, AgreeWithOnnxRuntime) {
  const std::map<std::string, Case> cases = read_cases();
  const std::map<std::string, Op> ops = operators();
  ASSERT_GT(cases.size(), 100u);
  EXPECT_EQ(cases.size(), ops.size());
  for (const auto& [name, c] : cases) {
    SCOPED_TRACE(name);
    const auto found = ops.find(name);
    if (found == ops.end()) {
      ADD_FAILURE() << "no operator is given for this case";
      continue;
    }
    const std::vector<Tensor> results = run(found->second, inputs_of(found->second, c.inputs), c.outputs.size());
    ASSERT_EQ(results.size(), c.outputs.size());
    for (size_t i = 0; i < results.size(); ++i) expect_equal(results[i], c.outputs[i]);
  }
}

}  // namespace
}  // namespace fcm::ops::testing
