// Which kernel runs a convolution, and the own ones.
#include "ops/cuda/conv.h"

#include <algorithm>

#include "ops/cuda/gemm.h"
#include "runtime/graph/pointwise.h"

namespace fcm::ops::cuda {
namespace {

constexpr int64_t kFewChannels = 4;  // below this a GEMM would mostly multiply padding

std::string int_member(const char* name, int64_t value) {
  return fmt::format("  static constexpr int {} = {};\n", name, value);
}

// Largest power of two up to 16 bytes of the widest type and 8 lanes that divides all of `pitches`.
int vector_lanes(std::initializer_list<DType> dtypes, std::initializer_list<int64_t> pitches) {
  int64_t lanes = 8;
  for (const DType t : dtypes) lanes = std::min<int64_t>(lanes, static_cast<int64_t>(16 / dtype_size(t)));
  for (const int64_t pitch : pitches)
    while (pitch % lanes != 0) lanes /= 2;
  return static_cast<int>(lanes);
}

// Neighbouring pixels a thread computes: more reuse, as long as one image still fills many threads.
int pixel_tile(const ConvShape& s, int lanes) {
  const int64_t threads = s.out_height * s.out_width * (s.pitch_out / lanes);
  int tile = 4;
  while (tile > 1 && (threads / tile < 16384 || tile > s.out_width)) tile /= 2;
  return tile;
}

std::string shape_members(const ConvShape& s, int lanes, int tile, int64_t weight_pitch) {
  std::string text;
  text += int_member("kBatchFactor", s.batch_factor) + int_member("kVector", lanes) + int_member("kTile", tile);
  text += int_member("kC", s.channels) + int_member("kF", s.filters) + int_member("kGroupIn", s.group_in()) +
          int_member("kGroupOut", s.group_out());
  text += int_member("kPitchIn", s.pitch_in) + int_member("kPitchOut", s.pitch_out) + int_member("kWeightPitch", weight_pitch);
  text += int_member("kH", s.height) + int_member("kW", s.width) + int_member("kOutH", s.out_height) + int_member("kOutW", s.out_width);
  text += int_member("kKernelH", s.kernel[0]) + int_member("kKernelW", s.kernel[1]) + int_member("kStrideH", s.stride[0]) +
          int_member("kStrideW", s.stride[1]) + int_member("kPadTop", s.pad_begin[0]) + int_member("kPadLeft", s.pad_begin[1]) +
          int_member("kDilationH", s.dilation[0]) + int_member("kDilationW", s.dilation[1]);
  return text;
}

std::string type_members(const Request& r, const Conv& op) {
  const bool residual = r.has(3);
  return fmt::format(
      "  using T = {};\n  using TO = {};\n  using TR = {};\n  static constexpr bool kResidual = {};\n  static constexpr int kPitchResidual "
      "= {};\n"
      "  __device__ __forceinline__ static float activate(float x, float residual) {{ return {}; }}\n",
      device_type(r.inputs[0]->layout.dtype), device_type(r.outputs[0].layout.dtype),
      residual ? device_type(r.source(3).tensor.layout.dtype) : "float", residual, residual ? r.source(3).tensor.layout.channel_pitch : 0,
      epilogue_text(op, "x", residual ? "residual" : ""));
}

std::string conv_text(const Request& r, const char* what, const ConvShape& s) {
  return fmt::format("{} {}x{} s{} C={} F={} {}x{} {}", what, s.kernel[0], s.kernel[1], s.stride[0], s.channels, s.filters, s.out_height,
                     s.out_width, dtype_name(r.inputs[0]->layout.dtype));
}

// A single launch of an own kernel. With a fixed axis 0 the kernel's batch counts for nothing: it multiplies a factor per batch.
std::unique_ptr<Step> own_kernel(const Request& r, const char* name, const std::string& members, Place weights, Place bias,
                                 int64_t threads_per_image, const ConvShape& s) {
  const std::string call = s.batch ? "batch" : "1";
  const std::string body = fmt::format(
      "struct P {{\n{0}}};\n\nextern \"C\" __global__ void __launch_bounds__(128) {1}(const void* x, const void* weights, const void* "
      "bias,\n"
      "                                                                const void* residual, void* y, int64 batch) {{\n"
      "  {1}_kernel<P>(x, weights, bias, residual, y, {2});\n}}\n",
      members, name, call);
  auto kernel = r.build.kernels.add(kernel_program(name, std::string(name) + ".cuh", body), name);
  const Place residual = r.has(3) ? r.source(3).place : Place::none();
  Dim threads = s.images();
  threads.factor *= threads_per_image;
  return r.sequence({{std::move(kernel), {r.source(0).place, weights, bias, residual, Place::output(0)}, threads, 128}},
                    conv_text(r, name, s));
}

int64_t threads_per_image(const ConvShape& s, int lanes, int tile) {
  return s.out_height * ((s.out_width + tile - 1) / tile) * (s.pitch_out / lanes);
}

}  // namespace

ConvShape conv_shape(const Request& r, const Conv& op) {
  const DeviceTensor& x = *r.inputs[0];
  const DeviceTensor& y = r.outputs[0];
  if (x.layout.order != Order::nhwc || y.layout.order != Order::nhwc) throw Error(ErrorCode::internal, "a 2-D convolution outside NHWC");
  ConvShape s;
  s.batch_factor = x.shape[0].factor;
  s.batch = x.shape[0].batch;
  s.channels = x.shape[1].factor;
  s.height = x.shape[2].factor;
  s.width = x.shape[3].factor;
  s.filters = y.shape[1].factor;
  s.out_height = y.shape[2].factor;
  s.out_width = y.shape[3].factor;
  for (size_t axis = 0; axis < 2; ++axis) {
    s.kernel[axis] = op.window.kernel[axis];
    s.stride[axis] = op.window.strides[axis];
    s.dilation[axis] = op.window.dilations[axis];
    s.pad_begin[axis] = op.window.pads_begin[axis];
    s.pad_end[axis] = op.window.pads_end[axis];
  }
  s.group = op.group;
  s.pitch_in = x.layout.channel_pitch;
  s.pitch_out = y.layout.channel_pitch;
  return s;
}

std::string epilogue_text(const Conv& op, const std::string& x, const std::string& residual) {
  if (residual.empty()) return unary_text(op.activation, x);
  if (op.residual_after_activation) return unary_text(op.activation, x) + " + " + residual;
  return unary_text(op.activation, "(" + x + " + " + residual + ")");
}

Place pack_krsc(const Request& r, const ConvShape& s, int64_t in_pitch, int64_t out_rows, DType dtype) {
  const std::vector<float> w = float_values(r.constant(1));
  const int64_t taps = s.kernel[0] * s.kernel[1];
  std::vector<float> packed(static_cast<size_t>(out_rows * taps * in_pitch), 0.0f);
  for (int64_t f = 0; f < s.filters; ++f)
    for (int64_t c = 0; c < s.group_in(); ++c)
      for (int64_t t = 0; t < taps; ++t)
        packed[static_cast<size_t>((f * taps + t) * in_pitch + c)] = w[static_cast<size_t>((f * s.group_in() + c) * taps + t)];
  return Place::weight(r.build.weights.add(to_bytes(packed, dtype)));
}

Place pack_bias(const Request& r, int64_t length, DType dtype) {
  if (!r.has(2)) return Place::none();
  std::vector<float> bias = float_values(r.constant(2));
  bias.resize(static_cast<size_t>(length), 0.0f);
  return Place::weight(r.build.weights.add(to_bytes(bias, dtype)));
}

std::unique_ptr<Step> make_depthwise(const Request& r, const Conv& op, const ConvShape& s) {
  const int lanes = r.has(3) ? vector_lanes({r.inputs[0]->layout.dtype}, {s.pitch_in, s.pitch_out, r.source(3).tensor.layout.channel_pitch})
                             : vector_lanes({r.inputs[0]->layout.dtype}, {s.pitch_in, s.pitch_out});
  const int tile = pixel_tile(s, lanes);
  const std::vector<float> w = float_values(r.constant(1));
  const int64_t taps = s.kernel[0] * s.kernel[1];
  const int64_t pitch = std::max(s.pitch_in, s.pitch_out);
  std::vector<float> packed(static_cast<size_t>(taps * pitch), 0.0f);
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t t = 0; t < taps; ++t) packed[static_cast<size_t>(t * pitch + c)] = w[static_cast<size_t>(c * taps + t)];
  const Place weights = float_weights(packed, packed.size(), r.build.weights);
  const std::string members = shape_members(s, lanes, tile, pitch) + type_members(r, op);
  return own_kernel(r, "depthwise", members, weights, pack_bias(r, pitch, DType::f32), threads_per_image(s, lanes, tile), s);
}

std::unique_ptr<Step> make_direct(const Request& r, const Conv& op, const ConvShape& s) {
  int lanes = r.has(3) ? vector_lanes({DType::f16}, {s.pitch_out, r.source(3).tensor.layout.channel_pitch})
                       : vector_lanes({DType::f16}, {s.pitch_out});
  while (s.group > 1 && s.group_out() % lanes != 0) lanes /= 2;  // a thread's channels belong to one group
  const int tile = pixel_tile(s, lanes);
  const std::vector<float> w = float_values(r.constant(1));
  const int64_t taps = s.kernel[0] * s.kernel[1];
  const int64_t pitch = s.pitch_out;
  std::vector<float> packed(static_cast<size_t>(taps * s.group_in() * pitch), 0.0f);
  for (int64_t f = 0; f < s.filters; ++f)
    for (int64_t c = 0; c < s.group_in(); ++c)
      for (int64_t t = 0; t < taps; ++t)
        packed[static_cast<size_t>((t * s.group_in() + c) * pitch + f)] = w[static_cast<size_t>((f * s.group_in() + c) * taps + t)];
  const Place weights = float_weights(packed, packed.size(), r.build.weights);
  const std::string members = shape_members(s, lanes, tile, pitch) + type_members(r, op);
  return own_kernel(r, "direct", members, weights, pack_bias(r, pitch, DType::f32), threads_per_image(s, lanes, tile), s);
}

std::unique_ptr<Step> make_conv(const Request& r, const Conv& op) {
  const bool image = r.shape(0).size() == 4 && r.is_constant(1) && (!r.has(2) || r.is_constant(2));
  if (!image) return make_conv_rows(r, op);
  const ConvShape s = conv_shape(r, op);
  if (s.is_depthwise()) return make_depthwise(r, op, s);
  if (is_pointwise(op)) return make_pointwise(r, op, s);
  const bool wide_groups = s.group_in() % 8 == 0 && s.group_out() % 8 == 0 && s.pitch_in == s.channels && s.pitch_out == s.filters;
  if (s.group > 1 ? wide_groups : s.channels > kFewChannels) return make_cudnn_conv(r, op, s);
  return make_direct(r, op, s);
}

// Pixels are the rows of a matrix of C columns: Y [pixels, F] = X [pixels, C] W' [C, F].
std::unique_ptr<Step> make_pointwise(const Request& r, const Conv& op, const ConvShape& s) {
  const DType dtype = r.inputs[0]->layout.dtype;
  LtProblem p;
  p.in = dtype;
  p.out = r.outputs[0].layout.dtype;
  p.m = Dim(s.pitch_out);
  p.n = multiply(s.images(), Dim(s.out_height * s.out_width));
  p.k = Dim(s.pitch_in);
  p.trans_a = true;
  p.lda = p.ldb = Dim(s.pitch_in);
  p.ldc = p.ldd = Dim(s.pitch_out);
  p.tf32 = r.build.tf32 && dtype == DType::f32;
  p.bias = r.has(2);
  LtPlaces places{pack_krsc(r, s, s.pitch_in, s.pitch_out, dtype), r.source(0).place, Place::none(), Place::output(0),
                  pack_bias(r, s.pitch_out, p.out)};
  // The residual joins the product where it can; else, and any activation but ReLU, follows in place.
  const bool residual = r.has(3);
  const bool before = residual && (!op.residual_after_activation || op.activation.is_identity());
  bool joins = false;
  if (before) {
    const Layout& layout = r.source(3).tensor.layout;
    joins = layout.dtype == p.out && layout.channel_pitch == s.pitch_out;
  }
  if (joins) {
    p.add_c = true;
    places.c = r.source(3).place;
  }
  const bool left = residual && !joins;
  p.relu = op.activation.fn == UnaryFn::relu && !(left && before);
  std::vector<Launch> after;
  const Source y = r.result();
  Conv rest = op;
  if (p.relu) rest.activation = {};
  if (left) {
    after.push_back(map_launch("conv_epilogue", {y, r.source(3)}, y, epilogue_text(rest, "a0", "a1"), r.build));
  } else if (!rest.activation.is_identity()) {
    after.push_back(map_launch("conv_epilogue", {y}, y, epilogue_text(rest, "a0", ""), r.build));
  }
  return std::make_unique<LtStep>(p, places, std::vector<Launch>{}, std::move(after), conv_text(r, "pointwise", s));
}

}  // namespace fcm::ops::cuda
