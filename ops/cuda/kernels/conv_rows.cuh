// Convolution of row-major tensors over one to three spatial axes, weights in row-major ONNX order and possibly computed by the model:
// the plain loops, one thread an output element. For what the NHWC kernels do not take.
//
// P: T, TW, TB, TR, TO, kC, kF, kGroup, extent(axis), out_extent(axis), kernel(axis), stride(axis), pad(axis), dilation(axis),
// kBias, kResidual, activate(x, residual).
#pragma once

#include "math.cuh"

template <class P>
__device__ __forceinline__ void conv_rows_kernel(const void* x, const void* weights, const void* bias, const void* residual, void* y,
                                                 int64 batch) {
  constexpr int kOut = P::out_extent(0) * P::out_extent(1) * P::out_extent(2);
  constexpr int64 kIn = static_cast<int64>(P::extent(0)) * P::extent(1) * P::extent(2);
  constexpr int kTaps = P::kernel(0) * P::kernel(1) * P::kernel(2);
  const int64 index = global_thread();
  if (index >= batch * P::kBatchFactor * P::kF * kOut) return;
  const int pixel = static_cast<int>(index % kOut);
  const int f = static_cast<int>(index / kOut % P::kF);
  const int64 image = index / kOut / P::kF;
  const int ox = pixel % P::out_extent(2);
  const int oy = pixel / P::out_extent(2) % P::out_extent(1);
  const int oz = pixel / (P::out_extent(2) * P::out_extent(1));
  constexpr int kGroupIn = P::kC / P::kGroup;
  const int first_channel = f / (P::kF / P::kGroup) * kGroupIn;
  const auto* plane = static_cast<const typename P::T*>(x) + (image * P::kC + first_channel) * kIn;
  const auto* w = static_cast<const typename P::TW*>(weights) + static_cast<int64>(f) * kGroupIn * kTaps;
  float acc = 0.0f;
  for (int c = 0; c < kGroupIn; ++c)
    for (int kz = 0; kz < P::kernel(0); ++kz)
      for (int ky = 0; ky < P::kernel(1); ++ky)
        for (int kx = 0; kx < P::kernel(2); ++kx) {
          const int iz = oz * P::stride(0) - P::pad(0) + kz * P::dilation(0);
          const int iy = oy * P::stride(1) - P::pad(1) + ky * P::dilation(1);
          const int ix = ox * P::stride(2) - P::pad(2) + kx * P::dilation(2);
          if (iz < 0 || iz >= P::extent(0) || iy < 0 || iy >= P::extent(1) || ix < 0 || ix >= P::extent(2)) continue;
          const int64 at = c * kIn + (static_cast<int64>(iz) * P::extent(1) + iy) * P::extent(2) + ix;
          acc += widen(plane[at]) * widen(w[c * kTaps + (kz * P::kernel(1) + ky) * P::kernel(2) + kx]);
        }
  if constexpr (P::kBias) acc += widen(static_cast<const typename P::TB*>(bias)[f]);
  float added = 0.0f;
  if constexpr (P::kResidual) added = widen(static_cast<const typename P::TR*>(residual)[index]);
  static_cast<typename P::TO*>(y)[index] = Store<typename P::TO>::from(P::activate(acc, added));
}
