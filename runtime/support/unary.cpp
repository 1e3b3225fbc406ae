#include "runtime/support/unary.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace fcm {
namespace {

struct Info {
  std::string_view name;
  int parameters;   // how many of a, b it uses
  bool activation;  // may stand in an epilogue
};

// By UnaryFn.
constexpr std::array kInfo = {
    Info{"identity", 0, true},     Info{"relu", 0, true},        Info{"clip", 2, true},         Info{"leaky_relu", 1, true},
    Info{"elu", 1, true},          Info{"sigmoid", 0, true},     Info{"hard_sigmoid", 2, true}, Info{"silu", 0, true},
    Info{"hard_swish", 0, true},   Info{"gelu", 0, true},        Info{"gelu_tanh", 0, true},    Info{"tanh", 0, true},
    Info{"softplus", 0, true},     Info{"mish", 0, true},        Info{"softsign", 0, true},     Info{"abs", 0, false},
    Info{"neg", 0, false},         Info{"ceil", 0, false},       Info{"floor", 0, false},       Info{"round", 0, false},
    Info{"sqrt", 0, false},        Info{"reciprocal", 0, false}, Info{"exp", 0, false},         Info{"log", 0, false},
    Info{"erf", 0, false},         Info{"sin", 0, false},        Info{"cos", 0, false},         Info{"sign", 0, false},
    Info{"logical_not", 0, false}, Info{"is_nan", 0, false},
};
static_assert(kInfo.size() == static_cast<size_t>(UnaryFn::is_nan) + 1);

// NaN must survive, as ONNX's Clip and Relu propagate it; std::min/max would drop it depending on argument order.
float clamp_keep_nan(float x, float low, float high) {
  const float raised = x < low ? low : x;
  return raised > high ? high : raised;  // the upper bound wins where they cross, as in ONNX
}

// log(1 + exp(x)) without overflow for large x.
float softplus(float x) {
  return x > 20.0f ? x : std::log1p(std::exp(x));
}

float apply_activation(const Unary& u, float x) {
  switch (u.fn) {
    case UnaryFn::relu:
      return x < 0.0f ? 0.0f : x;
    case UnaryFn::clip:
      return clamp_keep_nan(x, u.a, u.b);
    case UnaryFn::leaky_relu:
      return x < 0.0f ? u.a * x : x;
    case UnaryFn::elu:
      return x < 0.0f ? u.a * std::expm1(x) : x;
    case UnaryFn::sigmoid:
      return 1.0f / (1.0f + std::exp(-x));
    case UnaryFn::hard_sigmoid:
      return clamp_keep_nan(u.a * x + u.b, 0.0f, 1.0f);
    case UnaryFn::silu:
      return x / (1.0f + std::exp(-x));
    case UnaryFn::hard_swish:
      return x * clamp_keep_nan(x / 6.0f + 0.5f, 0.0f, 1.0f);
    case UnaryFn::gelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f));
    case UnaryFn::gelu_tanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case UnaryFn::tanh:
      return std::tanh(x);
    case UnaryFn::softplus:
      return softplus(x);
    case UnaryFn::mish:
      return x * std::tanh(softplus(x));
    case UnaryFn::softsign:
      return x / (1.0f + std::fabs(x));
    default:
      return x;
  }
}

}  // namespace

bool is_activation(UnaryFn fn) {
  return kInfo[static_cast<size_t>(fn)].activation;
}

std::string to_string(const Unary& u) {
  const Info& info = kInfo[static_cast<size_t>(u.fn)];
  if (info.parameters == 2) return fmt::format("{}({},{})", info.name, u.a, u.b);
  if (info.parameters == 1) return fmt::format("{}({})", info.name, u.a);
  return std::string(info.name);
}

float apply(const Unary& u, float x) {
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
      return 1.0f / x;
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
      return std::isnan(x) ? x : static_cast<float>((x > 0.0f) - (x < 0.0f));
    case UnaryFn::logical_not:
      return x == 0.0f ? 1.0f : 0.0f;
    case UnaryFn::is_nan:
      return std::isnan(x) ? 1.0f : 0.0f;
    default:
      return apply_activation(u, x);
  }
}

}  // namespace fcm
