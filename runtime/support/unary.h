// A function of one number. The same description serves as a graph node, as an activation fused into a convolution or GEMM,
// and as an epilogue of a fused module, so that every place computes the same thing.
#pragma once

#include <cstdint>
#include <string>

namespace fcm {

enum class UnaryFn : uint8_t {
  identity,
  // activations
  relu,
  clip,          ///< min(max(x, a), b); ReLU6 is clip(0, 6)
  leaky_relu,    ///< x < 0 ? a * x : x
  elu,           ///< x < 0 ? a * (exp(x) - 1) : x
  sigmoid,       ///< 1 / (1 + exp(-x))
  hard_sigmoid,  ///< min(max(a * x + b, 0), 1); ONNX defaults a = 0.2, b = 0.5
  silu,          ///< x * sigmoid(x)
  hard_swish,    ///< x * min(max(x / 6 + 0.5, 0), 1)
  gelu,          ///< 0.5 * x * (1 + erf(x / sqrt(2)))
  gelu_tanh,     ///< 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
  tanh,
  softplus,  ///< log(1 + exp(x))
  mish,      ///< x * tanh(softplus(x))
  softsign,  ///< x / (1 + |x|)
  // arithmetic
  abs,
  neg,
  ceil,
  floor,
  round,  ///< half to even
  sqrt,
  reciprocal,
  exp,
  log,
  erf,
  sin,
  cos,
  sign,
  logical_not,
  is_nan,
};

/// A unary function with its parameters `a` and `b` (meaning given beside each function above; unused ones are 0).
struct Unary {
  UnaryFn fn = UnaryFn::identity;
  float a = 0.0f;
  float b = 0.0f;

  bool is_identity() const { return fn == UnaryFn::identity; }
  friend bool operator==(const Unary&, const Unary&) = default;
};

/// True for the functions that convolutions, GEMMs and fused modules can apply in their epilogue.
bool is_activation(UnaryFn fn);

/// "relu", "clip(0,6)", ... : the canonical text used in plans, specs and logs. Floats print exactly (shortest round trip).
std::string to_string(const Unary& u);

/// The value of `u` at `x` in float arithmetic; NaN in, NaN out. The oracle for every device version.
float apply(const Unary& u, float x);

}  // namespace fcm
