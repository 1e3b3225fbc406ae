// The functions of fcm::UnaryFn and fcm::BinaryFn, in the type of their argument. The formulas are those of fcm::apply.
#pragma once

#include "fcm/kernels/gelu.cuh"
#include "numeric.cuh"

namespace fn {

__device__ __forceinline__ float exp_(float x) {
  return expf(x);
}
__device__ __forceinline__ double exp_(double x) {
  return exp(x);
}
__device__ __forceinline__ float expm1_(float x) {
  return expm1f(x);
}
__device__ __forceinline__ double expm1_(double x) {
  return expm1(x);
}
__device__ __forceinline__ float log1p_(float x) {
  return log1pf(x);
}
__device__ __forceinline__ double log1p_(double x) {
  return log1p(x);
}
__device__ __forceinline__ float log_(float x) {
  return logf(x);
}
__device__ __forceinline__ double log_(double x) {
  return log(x);
}
__device__ __forceinline__ float tanh_(float x) {
  return tanhf(x);
}
__device__ __forceinline__ double tanh_(double x) {
  return tanh(x);
}
__device__ __forceinline__ float erf_(float x) {
  return erff(x);
}
__device__ __forceinline__ double erf_(double x) {
  return erf(x);
}
__device__ __forceinline__ float sqrt_(float x) {
  return sqrtf(x);
}
__device__ __forceinline__ double sqrt_(double x) {
  return sqrt(x);
}

template <class T>
__device__ __forceinline__ T clamp_keep_nan(T x, T low, T high) {
  const T raised = x < low ? low : x;
  return raised > high ? high : raised;
}

template <class T>
__device__ __forceinline__ T identity(T x) {
  return x;
}
template <class T>
__device__ __forceinline__ T relu(T x) {
  return x < T(0) ? T(0) : x;
}
template <class T>
__device__ __forceinline__ T clip(T x, double a, double b) {
  return clamp_keep_nan(x, static_cast<T>(a), static_cast<T>(b));
}
// Bounds of an integer Clip may lie beyond the type: infinity stands for "none".
template <>
__device__ __forceinline__ int64 clip<int64>(int64 x, double a, double b) {
  if (static_cast<double>(x) < a) return static_cast<int64>(a);
  return static_cast<double>(x) > b ? static_cast<int64>(b) : x;
}
template <class T>
__device__ __forceinline__ T leaky_relu(T x, double a) {
  return x < T(0) ? static_cast<T>(a) * x : x;
}
template <class T>
__device__ __forceinline__ T elu(T x, double a) {
  return x < T(0) ? static_cast<T>(a) * expm1_(x) : x;
}
template <class T>
__device__ __forceinline__ T sigmoid(T x) {
  return T(1) / (T(1) + exp_(-x));
}
template <class T>
__device__ __forceinline__ T hard_sigmoid(T x, double a, double b) {
  return clamp_keep_nan(static_cast<T>(a) * x + static_cast<T>(b), T(0), T(1));
}
template <class T>
__device__ __forceinline__ T silu(T x) {
  return x / (T(1) + exp_(-x));
}
template <class T>
__device__ __forceinline__ T hard_swish(T x) {
  return x * clamp_keep_nan(x * T(1.0 / 6.0) + T(0.5), T(0), T(1));
}
template <class T>
__device__ __forceinline__ T gelu(T x) {
  return T(0.5) * x * (T(1) + erf_(x * T(0.70710678118654752)));
}
template <>
__device__ __forceinline__ float gelu<float>(float x) {
  return fcm::kernel::gelu(x);
}
template <class T>
__device__ __forceinline__ T gelu_tanh(T x) {
  return T(0.5) * x * (T(1) + tanh_(T(0.79788456080286536) * (x + T(0.044715) * x * x * x)));
}
template <class T>
__device__ __forceinline__ T tanh(T x) {
  return tanh_(x);
}
template <class T>
__device__ __forceinline__ T softplus(T x) {
  return x > T(20) ? x : log1p_(exp_(x));
}
template <class T>
__device__ __forceinline__ T mish(T x) {
  return x * tanh_(softplus(x));
}
template <class T>
__device__ __forceinline__ T abs(T x) {
  return x < T(0) ? -x : (x == T(0) ? T(0) : x);
}
template <class T>
__device__ __forceinline__ T softsign(T x) {
  return x / (T(1) + abs(x));
}
template <class T>
__device__ __forceinline__ T neg(T x) {
  return -x;
}
template <class T>
__device__ __forceinline__ T ceil(T x) {
  return ::ceil(x);
}
template <class T>
__device__ __forceinline__ T floor(T x) {
  return ::floor(x);
}
template <class T>
__device__ __forceinline__ T round(T x) {
  return ::rint(x);
}
template <class T>
__device__ __forceinline__ T sqrt(T x) {
  return sqrt_(x);
}
template <class T>
__device__ __forceinline__ T reciprocal(T x) {
  return T(1) / x;
}
template <class T>
__device__ __forceinline__ T exp(T x) {
  return exp_(x);
}
template <class T>
__device__ __forceinline__ T log(T x) {
  return log_(x);
}
template <class T>
__device__ __forceinline__ T erf(T x) {
  return erf_(x);
}
template <class T>
__device__ __forceinline__ T sin(T x) {
  return static_cast<T>(::sin(x));
}
template <class T>
__device__ __forceinline__ T cos(T x) {
  return static_cast<T>(::cos(x));
}
template <class T>
__device__ __forceinline__ T sign(T x) {
  return x != x ? x : static_cast<T>((x > T(0)) - (x < T(0)));
}
template <class T>
__device__ __forceinline__ T logical_not(T x) {
  return static_cast<T>(x == T(0));
}
template <class T>
__device__ __forceinline__ T is_nan(T x) {
  return static_cast<T>(x != x);
}

template <class T>
__device__ __forceinline__ T add(T a, T b) {
  return a + b;
}
template <class T>
__device__ __forceinline__ T sub(T a, T b) {
  return a - b;
}
template <class T>
__device__ __forceinline__ T mul(T a, T b) {
  return a * b;
}
// Integer division truncates; by zero it gives 0 (a device cannot refuse), the least value by -1 wraps.
template <class T>
__device__ __forceinline__ T div(T a, T b) {
  return a / b;
}
template <>
__device__ __forceinline__ int64 div<int64>(int64 a, int64 b) {
  if (b == 0) return 0;
  return b == -1 ? static_cast<int64>(0ULL - static_cast<uint64>(a)) : a / b;
}
__device__ __forceinline__ float remainder_(float a, float b) {
  return fmodf(a, b);
}
__device__ __forceinline__ double remainder_(double a, double b) {
  return ::fmod(a, b);
}
__device__ __forceinline__ int64 remainder_(int64 a, int64 b) {
  return b == 0 || b == -1 ? 0 : a % b;
}
template <class T>
__device__ __forceinline__ T fmod(T a, T b) {
  return remainder_(a, b);
}
template <class T>
__device__ __forceinline__ T mod(T a, T b) {
  const T r = remainder_(a, b);
  return r != T(0) && (r < T(0)) != (b < T(0)) ? r + b : r;
}
__device__ __forceinline__ float pow(float a, float b) {
  return powf(a, b);
}
__device__ __forceinline__ double pow(double a, double b) {
  return ::pow(a, b);
}
__device__ __forceinline__ int64 pow(int64 a, int64 b) {
  if (b < 1) return b == 0 || a == 1 ? 1 : 0;
  uint64 result = 1;
  uint64 base = static_cast<uint64>(a);
  for (uint64 n = static_cast<uint64>(b); n > 0; n >>= 1) {
    if (n & 1) result *= base;
    base *= base;
  }
  return static_cast<int64>(result);
}
// NaN wins.
template <class T>
__device__ __forceinline__ T min(T a, T b) {
  return a != a ? a : (a < b ? a : b);
}
template <class T>
__device__ __forceinline__ T max(T a, T b) {
  return a != a ? a : (a > b ? a : b);
}
template <class T>
__device__ __forceinline__ T equal(T a, T b) {
  return static_cast<T>(a == b);
}
template <class T>
__device__ __forceinline__ T less(T a, T b) {
  return static_cast<T>(a < b);
}
template <class T>
__device__ __forceinline__ T less_equal(T a, T b) {
  return static_cast<T>(a <= b);
}
template <class T>
__device__ __forceinline__ T greater(T a, T b) {
  return static_cast<T>(a > b);
}
template <class T>
__device__ __forceinline__ T greater_equal(T a, T b) {
  return static_cast<T>(a >= b);
}
template <class T>
__device__ __forceinline__ T logical_and(T a, T b) {
  return static_cast<T>(a != T(0) && b != T(0));
}
template <class T>
__device__ __forceinline__ T logical_or(T a, T b) {
  return static_cast<T>(a != T(0) || b != T(0));
}
template <class T>
__device__ __forceinline__ T logical_xor(T a, T b) {
  return static_cast<T>((a != T(0)) != (b != T(0)));
}
template <class T>
__device__ __forceinline__ T prelu(T a, T b) {
  return a < T(0) ? a * b : a;
}

}  // namespace fn
