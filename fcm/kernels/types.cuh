// Element types on the device: conversion, packing of two values, rounding, and the activations. No toolkit header is used, so the
// 16-bit formats are bit patterns moved by cvt instructions.
#pragma once

#include "fcm/geometry.h"
#include "fcm/kernels/gelu.cuh"

#define FCM_DEVICE __device__ __forceinline__

namespace fcm::kernel {

using geometry::Activation;
using geometry::Geometry;
using geometry::InputFormat;
using geometry::Math;
using geometry::Norm;
using geometry::Pool;
using geometry::Residual;
using geometry::Shape;
using geometry::Window;

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

#ifdef __CUDA_ARCH__
inline constexpr int kArch = __CUDA_ARCH__;
#else
inline constexpr int kArch = 0;
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kWarpgroups = true;
#else
inline constexpr bool kWarpgroups = false;
#endif

FCM_DEVICE float f16_to_float(u16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}
FCM_DEVICE u16 float_to_f16(float x) {
  u16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
FCM_DEVICE float bf16_to_float(u16 x) {
  return __uint_as_float(static_cast<u32>(x) << 16);
}

/// One 16-bit value to float.
template <Math M>
FCM_DEVICE float widen(u16 x) {
  if constexpr (M == Math::f16) return f16_to_float(x);
  return bf16_to_float(x);
}

/// Two floats to a 32-bit word of two 16-bit values, `lo` in the low half; round to nearest even.
template <Math M>
FCM_DEVICE u32 pack2(float lo, float hi) {
  if constexpr (M == Math::bf16) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
    return y;
  } else if constexpr (kArch >= 800) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
    return y;
  } else {
    return static_cast<u32>(float_to_f16(lo)) | (static_cast<u32>(float_to_f16(hi)) << 16);
  }
}
template <Math M>
FCM_DEVICE float2 unpack2(u32 x) {
  return float2{widen<M>(static_cast<u16>(x & 0xffffu)), widen<M>(static_cast<u16>(x >> 16))};
}
/// Product of two pairs, rounded once to the element type.
template <Math M>
FCM_DEVICE u32 multiply2(u32 x, u32 y) {
  u32 z;
  if constexpr (M == Math::f16) {
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(z) : "r"(x), "r"(y));
    return z;
  } else if constexpr (kArch >= 900) {
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(z) : "r"(x), "r"(y));
    return z;
  }
  const float2 a = unpack2<M>(x), b = unpack2<M>(y);
  return pack2<M>(a.x * b.x, a.y * b.y);
}

template <Math M>
inline constexpr bool kIs16 = M == Math::f16 || M == Math::bf16;

/// Sixteen bytes of elements as floats: 8 (16-bit) or 4 (FP32).
template <Math M>
struct Vector {
  static constexpr int kCount = kIs16<M> ? 8 : 4;
  float v[kCount];

  FCM_DEVICE static Vector from(uint4 raw) {
    Vector r;
    if constexpr (kIs16<M>) {
      const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 p = unpack2<M>(words[i]);
        r.v[2 * i] = p.x;
        r.v[2 * i + 1] = p.y;
      }
    } else {
      r.v[0] = __uint_as_float(raw.x);
      r.v[1] = __uint_as_float(raw.y);
      r.v[2] = __uint_as_float(raw.z);
      r.v[3] = __uint_as_float(raw.w);
    }
    return r;
  }
  FCM_DEVICE uint4 raw() const {
    if constexpr (kIs16<M>) {
      return uint4{pack2<M>(v[0], v[1]), pack2<M>(v[2], v[3]), pack2<M>(v[4], v[5]), pack2<M>(v[6], v[7])};
    } else {
      return uint4{__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3])};
    }
  }
};

/// The value as it is after a trip through the element type.
template <Math M>
FCM_DEVICE float rounded(float x) {
  if constexpr (kIs16<M>) return unpack2<M>(pack2<M>(x, 0.0f)).x;
  return x;
}

FCM_DEVICE float sigmoid(float x) {
  return reciprocal_approx(1.0f + exp2_approx(-1.44269504f * x));
}

/// SiLU of two values with one reciprocal, 1 / a = b / (a b): the special functions are what a stage of SiLU waits for. Up to 2^60 the
/// product stays finite, and beyond it the result is nothing in 16 bits.
FCM_DEVICE float2 silu2(float x, float y) {
  const float a = 1.0f + exp2_approx(fminf(-1.44269504f * x, 60.0f)), b = 1.0f + exp2_approx(fminf(-1.44269504f * y, 60.0f));
  const float r = reciprocal_approx(a * b);
  return float2{x * (b * r), y * (a * r)};
}

/// Larger and smaller of two; NaN passes.
FCM_DEVICE float max_nan(float x, float y) {
  if constexpr (kArch >= 800) {
    float z;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
  }
  return x < y ? y : x;
}
FCM_DEVICE float min_nan(float x, float y) {
  if constexpr (kArch >= 800) {
    float z;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
  }
  return x > y ? y : x;
}
FCM_DEVICE float clamp(float x, float lo, float hi) {
  return min_nan(max_nan(x, lo), hi);
}

/// log(1 + e^x) without overflow.
FCM_DEVICE float softplus(float x) {
  return (x > 0.0f ? x : 0.0f) + log1pf(__expf(x > 0.0f ? -x : x));
}

/// The activation `fn` (a value of fcm::UnaryFn) at x; NaN passes through each of them.
template <int fn>
FCM_DEVICE float activation(float x, float a, float b) {
  if constexpr (fn == 1) return max_nan(x, 0.0f);
  if constexpr (fn == 2) return clamp(x, a, b);
  if constexpr (fn == 3) return x < 0.0f ? a * x : x;
  if constexpr (fn == 4) return x < 0.0f ? a * expm1f(x) : x;
  if constexpr (fn == 5) return sigmoid(x);
  if constexpr (fn == 6) return clamp(a * x + b, 0.0f, 1.0f);
  if constexpr (fn == 7) return x * sigmoid(x);
  if constexpr (fn == 8) return x * __saturatef(x * (1.0f / 6.0f) + 0.5f);  // the factor of NaN is 0
  if constexpr (fn == 9) return gelu(x);
  if constexpr (fn == 10) return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
  if constexpr (fn == 11) return tanhf(x);
  if constexpr (fn == 12) return softplus(x);
  if constexpr (fn == 13) return x * tanhf(softplus(x));
  if constexpr (fn == 14) return x / (1.0f + fabsf(x));
  return x;
}

/// Whether an activation takes special functions: exponentials and reciprocals.
FCM_CONSTEXPR bool is_special(int fn) {
  return fn == 4 || fn == 5 || fn == 7 || fn >= 9;
}

/// The activation of two values.
template <Math M, int fn>
FCM_DEVICE float2 activation2(float x, float y, float a, float b) {
  if constexpr (kIs16<M> && fn == 7) return silu2(x, y);
  if constexpr (kIs16<M> && fn == 9) return gelu2(x, y);
  return float2{activation<fn>(x, a, b), activation<fn>(y, a, b)};
}

/// True when rounding to the element type and clipping at `x` commute: x is an integer that the type holds.
template <Math M>
FCM_CONSTEXPR bool is_exact_bound(float x) {
  const float most = M == Math::f16 ? 2048.0f : 256.0f;
  return x >= -most && x <= most && static_cast<float>(static_cast<int>(x)) == x;
}

template <Math M>
FCM_DEVICE u32 min2_nan(u32 x, u32 y) {
  u32 z;
  if constexpr (M == Math::f16) {
    asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(z) : "r"(x), "r"(y));
  } else {
    asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(z) : "r"(x), "r"(y));
  }
  return z;
}
/// pack2 of the positive parts, in one instruction.
template <Math M>
FCM_DEVICE u32 pack2_relu(float lo, float hi) {
  u32 y;
  if constexpr (M == Math::f16) {
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
  } else {
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
  }
  return y;
}

/// Activation of two values, packed. ReLU and ReLU-n are done in the conversion and on the packed pair where the target can.
template <Math M, int fn>
FCM_DEVICE u32 activate_pack2(float lo, float hi, float a, float b, bool exact_upper) {
  if constexpr (kArch >= 800 && fn == 1) return pack2_relu<M>(lo, hi);
  if constexpr (kArch >= 800 && fn == 2) {
    if (a == 0.0f && exact_upper) return min2_nan<M>(pack2_relu<M>(lo, hi), pack2<M>(b, b));
  }
  const float2 y = activation2<M, fn>(lo, hi, a, b);
  return pack2<M>(y.x, y.y);
}

}  // namespace fcm::kernel
