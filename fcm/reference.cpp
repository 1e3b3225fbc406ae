// Loops of the reference. Values and their error bounds go through the same steps.
#include "fcm/reference.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr double kUnit32 = 0x1p-24;

double unit_of(DType t) {
  return t == DType::f16 ? 0x1p-11 : t == DType::bf16 ? 0x1p-8 : kUnit32;
}

float round_to(double x, DType t) {
  const auto f = static_cast<float>(x);
  if (t == DType::f16) return f16_to_f32(f32_to_f16(f));
  if (t == DType::bf16) return bf16_to_f32(f32_to_bf16(f));
  return f;
}

/// Activations [N][H][W][C] with a bound an element.
struct Map {
  int n = 1, h = 1, w = 1, c = 1;
  std::vector<float> value, bound;

  Map(int batch, Plane plane, int channels) : n(batch), h(plane.height), w(plane.width), c(channels) {
    value.resize(static_cast<size_t>(n) * static_cast<size_t>(h) * static_cast<size_t>(w) * static_cast<size_t>(c));
    bound.resize(value.size());
  }
  size_t at(int image, int y, int x, int channel) const {
    return ((static_cast<size_t>(image) * static_cast<size_t>(h) + static_cast<size_t>(y)) * static_cast<size_t>(w) +
            static_cast<size_t>(x)) *
               static_cast<size_t>(c) +
           static_cast<size_t>(channel);
  }
};

/// A sum of products in double with its magnitude and the bound that its inputs carry in.
struct Sum {
  double value = 0, magnitude = 0, carried = 0;
  int depth = 0;

  void add(float weight, float x, float x_bound) {
    value += static_cast<double>(weight) * x;
    magnitude += std::abs(static_cast<double>(weight) * x);
    carried += std::abs(static_cast<double>(weight)) * x_bound;
    ++depth;
  }
};

/// Steepest slope of an activation, rounded up.
double slope_of(const Unary& u) {
  switch (u.fn) {
    case UnaryFn::hard_swish:
      return 1.5;
    case UnaryFn::silu:
    case UnaryFn::gelu:
    case UnaryFn::gelu_tanh:
    case UnaryFn::mish:
      return 1.2;
    case UnaryFn::leaky_relu:
    case UnaryFn::elu:
    case UnaryFn::hard_sigmoid:
      return std::max(1.0, static_cast<double>(std::abs(u.a)));
    default:
      return 1.0;
  }
}
bool is_exact(const Unary& u) {
  return u.fn == UnaryFn::identity || u.fn == UnaryFn::relu || u.fn == UnaryFn::clip;
}

class Evaluator {
 public:
  Evaluator(const ModuleSpec& spec, const ModuleWeights& weights) : spec_(spec), weights_(weights), dtype_(dtype_of(spec)) {}

  /// Bound of a finished sum: what came in, and FP32 accumulation (bias included). Dense TF32 stages round both operands.
  double sum_bound(const Sum& s, double bias, bool dense) const {
    const double tf32 = dense && spec_.tf32 ? 0x1p-10 : 0.0;
    return s.carried + (2.0 * (s.depth + 2) * kUnit32 + tf32) * (s.magnitude + std::abs(bias));
  }
  /// Activation of a value with a bound; not yet rounded.
  static std::pair<double, double> activate(const Unary& u, double x, double bound) {
    const double y = apply(u, static_cast<float>(x));
    const double fast = is_exact(u) ? 0.0 : 0x1p-20 * (std::abs(x) + 1.0);
    return {y, bound * slope_of(u) + fast + kUnit32 * std::abs(x)};
  }
  /// Rounds to `dtype`, that of the module unless said otherwise.
  void store(Map& map, size_t at, double y, double bound) const { store(map, at, y, bound, dtype_); }
  static void store(Map& map, size_t at, double y, double bound, DType dtype) {
    map.value[at] = round_to(y, dtype);
    const double ulp = bound > 0 || dtype == DType::f32 ? 2.0 * unit_of(dtype) * (std::abs(y) + bound) + 0x1p-24 : 0.0;
    map.bound[at] = static_cast<float>(bound + ulp);
  }

  Map run_stage(size_t index, const Map& in, Plane out_plane) const;

 private:
  /// The residual belongs to the last stage: `before` the activation it must be added to the sum, so the last stage sees it here.
  bool takes_residual(size_t index) const { return index + 1 == spec_.stages.size() && spec_.residual != geometry::Residual::none; }

 public:
  const std::vector<float>* residual = nullptr;

 private:
  const ModuleSpec& spec_;
  const ModuleWeights& weights_;
  DType dtype_;
};

float weight_of(const StageSpec& s, const StageWeights& w, int f, int c, int ky, int kx) {
  const int inputs = s.op == StageOp::dw ? 1 : s.in_channels;
  const size_t at = ((static_cast<size_t>(f) * static_cast<size_t>(inputs) + static_cast<size_t>(c)) * static_cast<size_t>(s.kernel_h) +
                     static_cast<size_t>(ky)) *
                        static_cast<size_t>(s.kernel_w) +
                    static_cast<size_t>(kx);
  return w.weight[at];
}

Sum window_sum(const StageSpec& s, const StageWeights& w, const Map& in, int image, int y, int x, int f) {
  Sum sum;
  const bool depthwise = s.op == StageOp::dw;
  const int first = depthwise ? f / s.multiplier : 0, last = depthwise ? first + 1 : s.in_channels;
  for (int ky = 0; ky < s.kernel_h; ++ky) {
    const int iy = y * s.stride_h - s.pad_top + ky * s.dilation_h;
    if (iy < 0 || iy >= in.h) continue;
    for (int kx = 0; kx < s.kernel_w; ++kx) {
      const int ix = x * s.stride_w - s.pad_left + kx * s.dilation_w;
      if (ix < 0 || ix >= in.w) continue;
      for (int c = first; c < last; ++c) {
        const size_t at = in.at(image, iy, ix, c);
        sum.add(weight_of(s, w, f, depthwise ? 0 : c, ky, kx), in.value[at], in.bound[at]);
      }
    }
  }
  return sum;
}

/// Mean over the plane, rounded (the input of the dense stages of a head).
Map mean_of(const Map& in, const Evaluator& evaluator) {
  Map out(in.n, Plane{1, 1}, in.c);
  const double pixels = static_cast<double>(in.h) * in.w;
  for (int image = 0; image < in.n; ++image) {
    for (int c = 0; c < in.c; ++c) {
      Sum sum;
      for (int y = 0; y < in.h; ++y) {
        for (int x = 0; x < in.w; ++x) sum.add(1.0f, in.value[in.at(image, y, x, c)], in.bound[in.at(image, y, x, c)]);
      }
      const double bound = (sum.carried + 2.0 * (sum.depth + 2) * kUnit32 * sum.magnitude) / pixels;
      evaluator.store(out, out.at(image, 0, 0, c), sum.value / pixels, bound);
    }
  }
  return out;
}

Map Evaluator::run_stage(size_t index, const Map& in, Plane out_plane) const {
  const StageSpec& s = spec_.stages[index];
  if (s.op == StageOp::pool) return mean_of(in, *this);
  const StageWeights& w = weights_.stages[index];
  Map out(in.n, out_plane, s.out_channels);
  size_t at = 0;
  for (int image = 0; image < in.n; ++image) {
    for (int y = 0; y < out.h; ++y) {
      for (int x = 0; x < out.w; ++x) {
        for (int f = 0; f < out.c; ++f, ++at) {
          const double bias = w.bias.empty() ? 0.0 : w.bias[static_cast<size_t>(f)];
          const Sum sum = window_sum(s, w, in, image, y, x, f);
          double value = sum.value + bias, bound = sum_bound(sum, bias, s.op != StageOp::dw);
          const double added = takes_residual(index) ? (*residual)[at] : 0.0;
          if (spec_.residual == geometry::Residual::before_activation) {
            value += added;
            bound += kUnit32 * std::abs(added);
          }
          auto [activated, activated_bound] = activate(s.activation, value, bound);
          if (spec_.residual == geometry::Residual::after_activation) {
            activated += added;
            activated_bound += kUnit32 * std::abs(added);
          }
          store(out, at, activated, activated_bound, s.dtype);
        }
      }
    }
  }
  return out;
}

/// The module's input as [N][H][W][C], normalised or gated.
Map load_input(const ModuleSpec& spec, const ModuleInputs& inputs, const Evaluator& evaluator) {
  const int channels = spec.stages[0].in_channels;
  Map map(inputs.batch, Plane{spec.height, spec.width}, channels);
  const bool normalised = spec.input == InputTransform::nchw_f32 || spec.input == InputTransform::nhwc_u8;
  for (int n = 0; n < map.n; ++n) {
    for (int y = 0; y < map.h; ++y) {
      for (int x = 0; x < map.w; ++x) {
        for (int c = 0; c < channels; ++c) {
          const size_t at = map.at(n, y, x, c);
          const size_t planar =
              ((static_cast<size_t>(n) * static_cast<size_t>(channels) + static_cast<size_t>(c)) * static_cast<size_t>(map.h) +
               static_cast<size_t>(y)) *
                  static_cast<size_t>(map.w) +
              static_cast<size_t>(x);
          double value = inputs.input[spec.input == InputTransform::nchw_f32 ? planar : at];
          map.value[at] = static_cast<float>(value);
          if (normalised) {
            const auto channel = static_cast<size_t>(c);
            const double scale = inputs.scale.empty() ? 1.0 : inputs.scale[channel],
                         shift = inputs.shift.empty() ? 0.0 : inputs.shift[channel];
            evaluator.store(map, at, value * scale + shift, 2.0 * kUnit32 * (std::abs(value * scale) + std::abs(shift)));
          }
          if (spec.gate) {
            const double gate = inputs.gate[static_cast<size_t>(n) * static_cast<size_t>(channels) + static_cast<size_t>(c)];
            evaluator.store(map, at, value * gate, kUnit32 * std::abs(value * gate));
          }
        }
      }
    }
  }
  return map;
}

/// Each pixel's channels normalised in double, not rounded to the dtype: kernels correct the first stage's product instead (norm.cuh). The
/// bound of a channel holds what that costs: the product is summed over x and over the mean, and the statistics are FP32 sums.
void normalise(const ModuleSpec& spec, Map& map) {
  const auto channels = static_cast<size_t>(map.c);
  const double depth = map.c, sum_error = 2.0 * (depth + 4) * kUnit32;
  for (size_t first = 0; first < map.value.size(); first += channels) {
    const std::span<float> x(&map.value[first], channels);
    double mean = 0, size = 0, variance = 0;
    if (spec.norm == geometry::Norm::layer) {
      for (const float v : x) mean += v / depth, size += std::abs(v) / depth;
    }
    for (const float v : x) variance += (v - mean) * (v - mean) / depth;
    const double scale = 1.0 / std::sqrt(variance + static_cast<double>(spec.norm_epsilon)), mean_error = sum_error * size;
    const double scale_error = sum_error + mean_error * mean_error * scale * scale + 0x1p-21;
    for (size_t c = 0; c < channels; ++c) {
      const double y = (x[c] - mean) * scale, terms = (std::abs(x[c]) + std::abs(mean)) * scale;
      map.bound[first + c] = static_cast<float>(sum_error * terms + mean_error * scale + scale_error * std::abs(y));
      x[c] = static_cast<float>(y);
    }
  }
}

/// Sums over tiles as the mean's input: a plane of 1 x tiles pixels whose sum is divided by the real plane.
Map load_sums(const ModuleSpec& spec, const ModuleInputs& inputs, const Evaluator& evaluator) {
  const int channels = spec.stages[0].in_channels;
  Map tiles(inputs.batch, Plane{1, spec.sum_tiles}, channels), mean(inputs.batch, Plane{1, 1}, channels);
  const double pixels = static_cast<double>(spec.height) * spec.width;
  for (int n = 0; n < mean.n; ++n) {
    for (int c = 0; c < channels; ++c) {
      Sum sum;
      for (int t = 0; t < spec.sum_tiles; ++t) sum.add(1.0f, inputs.input[tiles.at(n, 0, t, c)], 0.0f);
      evaluator.store(mean, mean.at(n, 0, 0, c), sum.value / pixels, 2.0 * (sum.depth + 2) * kUnit32 * sum.magnitude / pixels);
    }
  }
  return mean;
}

void sum_planes(const Map& map, ModuleResult& result) {
  for (int n = 0; n < map.n; ++n) {
    for (int c = 0; c < map.c; ++c) {
      Sum sum;
      for (int y = 0; y < map.h; ++y) {
        for (int x = 0; x < map.w; ++x) sum.add(1.0f, map.value[map.at(n, y, x, c)], map.bound[map.at(n, y, x, c)]);
      }
      result.pool.push_back(static_cast<float>(sum.value));
      result.pool_bound.push_back(static_cast<float>(sum.carried + 2.0 * (sum.depth + 2) * kUnit32 * sum.magnitude));
    }
  }
}

}  // namespace

ModuleResult reference(const ModuleSpec& spec, const ModuleWeights& weights, const ModuleInputs& inputs) {
  if (weights.stages.size() != spec.stages.size())
    throw Error(ErrorCode::internal, "reference: the weights do not match " + to_string(spec));
  Evaluator evaluator(spec, weights);
  evaluator.residual = spec.residual_is_input ? &inputs.input : &inputs.residual;
  const std::vector<Plane> planes = planes_of(spec);
  const bool sums = spec.input == InputTransform::sums;
  Map map = sums ? load_sums(spec, inputs, evaluator) : load_input(spec, inputs, evaluator);
  if (spec.norm != geometry::Norm::none) normalise(spec, map);
  for (size_t i = sums ? 1 : 0; i < spec.stages.size(); ++i) map = evaluator.run_stage(i, map, planes[i + 1]);
  ModuleResult result;
  if (spec.pool != geometry::Pool::none) sum_planes(map, result);
  result.output = std::move(map.value);
  result.bound = std::move(map.bound);
  return result;
}

}  // namespace fcm
