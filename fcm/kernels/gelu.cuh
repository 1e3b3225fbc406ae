// GELU in float, for modules and operators alike.
#pragma once

namespace fcm::kernel {

/// 2^x and 1 / x within two units in the last place, one instruction each: numbers below the normal range count as zero.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// x Phi(x) = max(x, 0) - |x| / 2 erfc(|x| / sqrt 2), with erfc as Abramowitz and Stegun 7.1.26 has it: within 4e-7 of the true value,
/// where 1 + erf in float is within 5e-7, for half the instructions. NaN passes.
__device__ __forceinline__ float gelu(float x) {
  const float m = fminf(fabsf(x), 16.0f), t = reciprocal_approx(0.23164189f * m + 1.0f);
  const float e = exp2_approx(m * m * -0.72134752f);
  const float series = ((((0.53070271f * t - 0.72657601f) * t + 0.71070687f) * t - 0.14224837f) * t + 0.12741480f) * t;
  return (x < 0.0f ? 0.0f : x) - m * series * e;
}

/// 1 / Phi(x) - 1 = 2^(x P(x^2)) with P fitted so that x Phi(x) is within 1e-7 of the true value (and FP32 rounding) everywhere.
__device__ __forceinline__ float gelu_odds(float x) {
  const float s = x * x;
  float p = -5.209907616e-9f * s + 3.850449559e-7f;
  p = p * s - 1.145242913e-5f;
  p = p * s + 1.593894121e-4f;
  p = p * s + 9.559294995e-5f;
  p = p * s - 1.048385799e-1f;
  p = p * s - 2.302207232f;
  return exp2_approx(fminf(x * p, 60.0f));
}
/// GELU of two values that become 16 bits, with one reciprocal, 1 / a = b / (a b): three quarters of the instructions of two single ones.
/// Up to 2^60 the product stays finite, and beyond it the result is nothing in 16 bits.
__device__ __forceinline__ float2 gelu2(float x, float y) {
  const float a = 1.0f + gelu_odds(x), b = 1.0f + gelu_odds(y), r = reciprocal_approx(a * b);
  return float2{x * (b * r), y * (a * r)};
}

}  // namespace fcm::kernel
