#include "ops/elementwise/activation.h"

#include <cmath>

namespace fcm::ops {
namespace {

double clamp_keep_nan(double x, double low, double high) {
  const double raised = x < low ? low : x;
  return raised > high ? high : raised;
}

double softplus(double x) {
  return x > 40.0 ? x : std::log1p(std::exp(x));
}

// Double counterparts of the functions in runtime/support/unary.h.
double activation(const Unary& u, double x) {
  switch (u.fn) {
    case UnaryFn::relu:
      return x < 0.0 ? 0.0 : x;
    case UnaryFn::clip:
      return clamp_keep_nan(x, u.a, u.b);
    case UnaryFn::leaky_relu:
      return x < 0.0 ? u.a * x : x;
    case UnaryFn::elu:
      return x < 0.0 ? u.a * std::expm1(x) : x;
    case UnaryFn::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case UnaryFn::hard_sigmoid:
      return clamp_keep_nan(u.a * x + u.b, 0.0, 1.0);
    case UnaryFn::silu:
      return x / (1.0 + std::exp(-x));
    case UnaryFn::hard_swish:
      return x * clamp_keep_nan(x / 6.0 + 0.5, 0.0, 1.0);
    case UnaryFn::gelu:
      return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752440));
    case UnaryFn::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case UnaryFn::tanh:
      return std::tanh(x);
    case UnaryFn::softplus:
      return softplus(x);
    case UnaryFn::mish:
      return x * std::tanh(softplus(x));
    case UnaryFn::softsign:
      return x / (1.0 + std::fabs(x));
    default:
      return x;
  }
}

double evaluate(const Unary& u, double x) {
  switch (u.fn) {
    case UnaryFn::abs:
      return std::fabs(x);
    case UnaryFn::neg:
      return -x;
    case UnaryFn::ceil:
      return std::ceil(x);
    case UnaryFn::floor:
      return std::floor(x);
    case UnaryFn::round:
      return std::nearbyint(x);
    case UnaryFn::sqrt:
      return std::sqrt(x);
    case UnaryFn::reciprocal:
      return 1.0 / x;
    case UnaryFn::exp:
      return std::exp(x);
    case UnaryFn::log:
      return std::log(x);
    case UnaryFn::erf:
      return std::erf(x);
    case UnaryFn::sin:
      return std::sin(x);
    case UnaryFn::cos:
      return std::cos(x);
    case UnaryFn::sign:
      return std::isnan(x) ? x : static_cast<double>((x > 0.0) - (x < 0.0));
    default:
      return activation(u, x);
  }
}

}  // namespace

void activate(const Unary& u, float* y, int64_t count) {
  switch (u.fn) {
    case UnaryFn::identity:
      return;
    case UnaryFn::relu:
      for (int64_t i = 0; i < count; ++i) y[i] = 0.0f > y[i] ? 0.0f : y[i];
      return;
    case UnaryFn::clip: {
      // Two selects that vectorise and let NaN through.
      const float low = u.a;
      const float high = u.b;
      for (int64_t i = 0; i < count; ++i) {
        const float raised = low > y[i] ? low : y[i];
        y[i] = high < raised ? high : raised;
      }
      return;
    }
    default:
      for (int64_t i = 0; i < count; ++i) y[i] = apply(u, y[i]);
  }
}

void activate(const Unary& u, double* y, int64_t count) {
  if (u.is_identity()) return;
  for (int64_t i = 0; i < count; ++i) y[i] = evaluate(u, y[i]);
}

}  // namespace fcm::ops
