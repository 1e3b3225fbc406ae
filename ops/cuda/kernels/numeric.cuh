// Element types, conversion to the type arithmetic is done in, and vector access. NVRTC finds no toolkit header, so half and bfloat16
// are ours: storage types of 16 bits that convert to and from float (round to nearest even).
#pragma once

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;

struct half_t {
  uint16 bits;
};
struct bf16_t {
  uint16 bits;
};
struct bool_t {
  uint8 bits;
};

// The protocol of programmatic launch, first in every kernel: the next kernel may start if it waits by itself; what the kernels before this
// one wrote is there.
__device__ __forceinline__ void follow(int next_waits) {
#if __CUDA_ARCH__ >= 900
  if (next_waits) asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ float to_float(half_t x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float to_float(bf16_t x) {
  return __uint_as_float(static_cast<uint32>(x.bits) << 16);
}
__device__ __forceinline__ half_t to_half(float x) {
  half_t y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ __forceinline__ bf16_t to_bf16(float x) {
  bf16_t y;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
  const uint32 bits = __float_as_uint(x);
  const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
  y.bits = nan ? static_cast<uint16>((bits >> 16) | 0x40U) : static_cast<uint16>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
#endif
  return y;
}

// The type in which elements of T are computed: float for the 16-bit floats, 64 bits for every integer (stored modulo the width).
template <class T>
struct Compute {
  using type = int64;
};
template <>
struct Compute<float> {
  using type = float;
};
template <>
struct Compute<half_t> {
  using type = float;
};
template <>
struct Compute<bf16_t> {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <class T>
using compute_t = typename Compute<T>::type;

template <class T>
__device__ __forceinline__ compute_t<T> widen(T x) {
  return static_cast<compute_t<T>>(x);
}
__device__ __forceinline__ float widen(half_t x) {
  return to_float(x);
}
__device__ __forceinline__ float widen(bf16_t x) {
  return to_float(x);
}
__device__ __forceinline__ int64 widen(bool_t x) {
  return x.bits != 0;
}

// Storing converts as ONNX Cast: floats truncate towards zero when they become integers, anything but zero is true.
template <class T>
struct Store {
  template <class A>
  __device__ __forceinline__ static T from(A x) {
    return static_cast<T>(static_cast<compute_t<T>>(x));
  }
};
template <>
struct Store<half_t> {
  template <class A>
  __device__ __forceinline__ static half_t from(A x) {
    return to_half(static_cast<float>(x));
  }
};
template <>
struct Store<bf16_t> {
  template <class A>
  __device__ __forceinline__ static bf16_t from(A x) {
    return to_bf16(static_cast<float>(x));
  }
};
template <>
struct Store<bool_t> {
  template <class A>
  __device__ __forceinline__ static bool_t from(A x) {
    return bool_t{static_cast<uint8>(x != A(0) ? 1 : 0)};
  }
};

// Elements that move together: one access when they are whole and aligned.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T item[N];
};

// N elements as V values, aligned to N * sizeof(T) (split into accesses of at most 16 bytes).
template <class T, int N>
__device__ __forceinline__ void load_vector(const T* from, compute_t<T> (&to)[N]) {
  constexpr int kPart = sizeof(T) * N > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
#pragma unroll
  for (int part = 0; part < N; part += kPart) {
    const Pack<T, kPart> pack = *reinterpret_cast<const Pack<T, kPart>*>(from + part);
#pragma unroll
    for (int i = 0; i < kPart; ++i) to[part + i] = widen(pack.item[i]);
  }
}
template <class T, int N, class A>
__device__ __forceinline__ void store_vector(T* to, const A (&from)[N]) {
  constexpr int kPart = sizeof(T) * N > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
#pragma unroll
  for (int part = 0; part < N; part += kPart) {
    Pack<T, kPart> pack;
#pragma unroll
    for (int i = 0; i < kPart; ++i) pack.item[i] = Store<T>::from(from[part + i]);
    *reinterpret_cast<Pack<T, kPart>*>(to + part) = pack;
  }
}

__device__ __forceinline__ int64 global_thread() {
  return static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
}
