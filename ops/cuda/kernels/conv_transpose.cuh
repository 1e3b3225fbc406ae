// ConvTranspose of row-major tensors over one to three spatial axes: one thread an output element, which gathers the inputs that reach
// it.
//
// P: T, TW, TB, TO, kC, kF, kGroup, extent(axis), out_extent(axis), kernel(axis), stride(axis), pad(axis), dilation(axis), kBias,
// kBatchFactor.
#pragma once

#include "math.cuh"

// The input coordinate that kernel position `k` brings to output `o`, or -1.
template <class P>
__device__ __forceinline__ int transpose_source(int axis, int o, int k) {
  const int at = o + P::pad(axis) - k * P::dilation(axis);
  if (at < 0 || at % P::stride(axis) != 0) return -1;
  const int i = at / P::stride(axis);
  return i < P::extent(axis) ? i : -1;
}

template <class P>
__device__ __forceinline__ void conv_transpose_kernel(const void* x, const void* weights, const void* bias, void* y, int64 batch) {
  constexpr int kOut = P::out_extent(0) * P::out_extent(1) * P::out_extent(2);
  constexpr int64 kIn = static_cast<int64>(P::extent(0)) * P::extent(1) * P::extent(2);
  constexpr int kTaps = P::kernel(0) * P::kernel(1) * P::kernel(2);
  constexpr int kGroupIn = P::kC / P::kGroup;
  constexpr int kGroupOut = P::kF / P::kGroup;
  const int64 index = global_thread();
  if (index >= batch * P::kBatchFactor * P::kF * kOut) return;
  const int pixel = static_cast<int>(index % kOut);
  const int f = static_cast<int>(index / kOut % P::kF);
  const int64 image = index / kOut / P::kF;
  const int ox = pixel % P::out_extent(2);
  const int oy = pixel / P::out_extent(2) % P::out_extent(1);
  const int oz = pixel / (P::out_extent(2) * P::out_extent(1));
  const int first_channel = f / kGroupOut * kGroupIn;
  const auto* plane = static_cast<const typename P::T*>(x) + (image * P::kC + first_channel) * kIn;
  const auto* w = static_cast<const typename P::TW*>(weights) + (static_cast<int64>(first_channel) * kGroupOut + f % kGroupOut) * kTaps;
  float acc = 0.0f;
  if constexpr (P::kBias) acc = widen(static_cast<const typename P::TB*>(bias)[f]);
  for (int kz = 0; kz < P::kernel(0); ++kz) {
    const int iz = transpose_source<P>(0, oz, kz);
    if (iz < 0) continue;
    for (int ky = 0; ky < P::kernel(1); ++ky) {
      const int iy = transpose_source<P>(1, oy, ky);
      if (iy < 0) continue;
      for (int kx = 0; kx < P::kernel(2); ++kx) {
        const int ix = transpose_source<P>(2, ox, kx);
        if (ix < 0) continue;
        const int64 at = (static_cast<int64>(iz) * P::extent(1) + iy) * P::extent(2) + ix;
        const int tap = (kz * P::kernel(1) + ky) * P::kernel(2) + kx;
        for (int c = 0; c < kGroupIn; ++c) acc += widen(plane[c * kIn + at]) * widen(w[static_cast<int64>(c) * kGroupOut * kTaps + tap]);
      }
    }
  }
  static_cast<typename P::TO*>(y)[index] = Store<typename P::TO>::from(acc);
}
