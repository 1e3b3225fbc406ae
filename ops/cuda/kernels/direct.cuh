// Direct grouped convolution in NHWC for the shapes that GEMMs serve badly: a few input channels (the first layer), small groups,
// channel multipliers. A thread owns kVector output channels of one group for kTile neighbouring pixels. Weights are float,
// [KH][KW][C/group][F padded]; bias float [F padded].
//
// P: T, TO, kVector, kTile, kF, kGroupIn (C/group), kGroupOut (F/group), the extents, strides and pads of depthwise.cuh.
#pragma once

#include "math.cuh"

template <class P>
__device__ __forceinline__ void direct_tap(const typename P::T* pixel0, const float* weights, int column,
                                           float (&acc)[P::kTile][P::kVector]) {
  for (int c = 0; c < P::kGroupIn; ++c) {
    float w[P::kVector];
    load_vector<float, P::kVector>(weights + c * P::kWeightPitch, w);
#pragma unroll
    for (int t = 0; t < P::kTile; ++t) {
      const int ix = column + t * P::kStrideW;
      const float x = ix >= 0 && ix < P::kW ? widen(pixel0[static_cast<int64>(ix) * P::kPitchIn + c]) : 0.0f;
#pragma unroll
      for (int i = 0; i < P::kVector; ++i) acc[t][i] += w[i] * x;
    }
  }
}

template <class P>
__device__ __forceinline__ void direct_kernel(const void* x, const void* weights, const void* bias, const void* residual, void* y,
                                              int64 batch) {
  constexpr int kGroups = P::kPitchOut / P::kVector;
  constexpr int kTiles = (P::kOutW + P::kTile - 1) / P::kTile;
  constexpr int kPerImage = P::kOutH * kTiles * kGroups;
  const int64 thread = global_thread();
  const int64 image = thread / kPerImage;
  if (image >= batch * P::kBatchFactor) return;
  const int rest = static_cast<int>(thread - image * kPerImage);
  const int f = rest % kGroups * P::kVector;
  const int tile = rest / kGroups % kTiles;
  const int oy = rest / (kGroups * kTiles);
  float acc[P::kTile][P::kVector];
#pragma unroll
  for (int t = 0; t < P::kTile; ++t)
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) acc[t][i] = 0.0f;
  if (f < P::kF) {
    const int first_channel = f / P::kGroupOut * P::kGroupIn;
    const auto* plane = static_cast<const typename P::T*>(x) + image * (static_cast<int64>(P::kH) * P::kW * P::kPitchIn) + first_channel;
    const auto* w = static_cast<const float*>(weights) + f;
    for (int ky = 0; ky < P::kKernelH; ++ky) {
      const int iy = oy * P::kStrideH - P::kPadTop + ky * P::kDilationH;
      if (iy < 0 || iy >= P::kH) continue;
      const auto* row = plane + static_cast<int64>(iy) * (P::kW * P::kPitchIn);
      for (int kx = 0; kx < P::kKernelW; ++kx)
        direct_tap<P>(row, w + static_cast<int64>(ky * P::kKernelW + kx) * (P::kGroupIn * P::kWeightPitch),
                      tile * P::kTile * P::kStrideW - P::kPadLeft + kx * P::kDilationW, acc);
    }
  }
  float shift[P::kVector];
#pragma unroll
  for (int i = 0; i < P::kVector; ++i) shift[i] = 0.0f;
  if (bias != nullptr) load_vector<float, P::kVector>(static_cast<const float*>(bias) + f, shift);
  const int64 pixel = (image * P::kOutH + oy) * P::kOutW + tile * P::kTile;
#pragma unroll
  for (int t = 0; t < P::kTile; ++t) {
    if (tile * P::kTile + t >= P::kOutW) break;
    float added[P::kVector];
    if constexpr (P::kResidual)
      load_vector<typename P::TR, P::kVector>(static_cast<const typename P::TR*>(residual) + (pixel + t) * P::kPitchResidual + f, added);
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) {
      const float value = P::activate(acc[t][i] + shift[i], P::kResidual ? added[i] : 0.0f);
      acc[t][i] = f + i < P::kF ? value : 0.0f;
    }
    store_vector<typename P::TO, P::kVector>(static_cast<typename P::TO*>(y) + (pixel + t) * P::kPitchOut + f, acc[t]);
  }
}
