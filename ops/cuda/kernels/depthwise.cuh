// Depthwise convolution (channel multiplier 1) in NHWC. A thread owns kVector channels of kTile neighbouring pixels of one output row;
// for each kernel row it reads the input pixels that the tile touches once and keeps sums in float registers. Weights are float,
// [KH][KW][pitch]; bias float [pitch].
//
// P: T, TO, kVector, kTile, kC (real channels), kPitchIn, kPitchOut, kPitchResidual, kWeightPitch, kBatchFactor, kH, kW, kOutH, kOutW,
// kKernelH/W, kStrideH/W, kPadTop/Left, kDilationH/W, kResidual, TR, activate(x, residual).
#pragma once

#include "math.cuh"

template <class P>
__device__ __forceinline__ void depthwise_row(const typename P::T* row, const float* weights, int column,
                                              float (&acc)[P::kTile][P::kVector]) {
  constexpr int kSpan = (P::kTile - 1) * P::kStrideW + (P::kKernelW - 1) * P::kDilationW + 1;
  float taps[P::kKernelW][P::kVector];
#pragma unroll
  for (int k = 0; k < P::kKernelW; ++k) load_vector<float, P::kVector>(weights + k * P::kWeightPitch, taps[k]);
#pragma unroll
  for (int s = 0; s < kSpan; ++s) {
    const int ix = column + s;
    if (ix < 0 || ix >= P::kW) continue;
    float x[P::kVector];
    load_vector<typename P::T, P::kVector>(row + static_cast<int64>(ix) * P::kPitchIn, x);
#pragma unroll
    for (int t = 0; t < P::kTile; ++t) {
      const int k = s - t * P::kStrideW;  // constants after unrolling
      if (k < 0 || k % P::kDilationW != 0 || k / P::kDilationW >= P::kKernelW) continue;
#pragma unroll
      for (int i = 0; i < P::kVector; ++i) acc[t][i] += taps[k / P::kDilationW][i] * x[i];
    }
  }
}

template <class P>
__device__ __forceinline__ void depthwise_kernel(const void* x, const void* weights, const void* bias, const void* residual, void* y,
                                                 int64 batch) {
  constexpr int kGroups = P::kPitchOut / P::kVector;
  constexpr int kTiles = (P::kOutW + P::kTile - 1) / P::kTile;
  constexpr int kPerImage = P::kOutH * kTiles * kGroups;
  const int64 thread = global_thread();
  const int64 image = thread / kPerImage;
  if (image >= batch * P::kBatchFactor) return;
  const int rest = static_cast<int>(thread - image * kPerImage);
  const int channel = rest % kGroups * P::kVector;
  const int tile = rest / kGroups % kTiles;
  const int oy = rest / (kGroups * kTiles);
  float acc[P::kTile][P::kVector];
#pragma unroll
  for (int i = 0; i < P::kVector; ++i) acc[0][i] = 0.0f;
  if (bias != nullptr) load_vector<float, P::kVector>(static_cast<const float*>(bias) + channel, acc[0]);
#pragma unroll
  for (int t = 1; t < P::kTile; ++t)
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) acc[t][i] = acc[0][i];
  const auto* plane = static_cast<const typename P::T*>(x) + image * (static_cast<int64>(P::kH) * P::kW * P::kPitchIn) + channel;
  const auto* w = static_cast<const float*>(weights) + channel;
  const int column = tile * P::kTile * P::kStrideW - P::kPadLeft;
#pragma unroll
  for (int ky = 0; ky < P::kKernelH; ++ky) {
    if (channel >= P::kPitchIn) break;  // pad lanes that only the output has
    const int iy = oy * P::kStrideH - P::kPadTop + ky * P::kDilationH;
    if (iy < 0 || iy >= P::kH) continue;
    depthwise_row<P>(plane + static_cast<int64>(iy) * (P::kW * P::kPitchIn), w + ky * P::kKernelW * P::kWeightPitch, column, acc);
  }
  const int64 pixel = (image * P::kOutH + oy) * P::kOutW + tile * P::kTile;
#pragma unroll
  for (int t = 0; t < P::kTile; ++t) {
    if (tile * P::kTile + t >= P::kOutW) break;
    float added[P::kVector];
    if constexpr (P::kResidual)
      load_vector<typename P::TR, P::kVector>(static_cast<const typename P::TR*>(residual) + (pixel + t) * P::kPitchResidual + channel,
                                              added);
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) {
      const float value = P::activate(acc[t][i], P::kResidual ? added[i] : 0.0f);
      acc[t][i] = channel + i < P::kC ? value : 0.0f;
    }
    store_vector<typename P::TO, P::kVector>(static_cast<typename P::TO*>(y) + (pixel + t) * P::kPitchOut + channel, acc[t]);
  }
}
