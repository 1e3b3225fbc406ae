// Layer and RMS normalisation of rows that fit the registers of a few lanes: a row is read once, in vectors, and its mean, its variance
// about that mean and its elements come from there. Sums in float, in a fixed order: those of a lane first, then over the lanes.
//
// P: TI, TS, TB, TO, kVector (elements of an access), kLanes (a power of two, at most a warp), kParts (accesses a lane), kInner, kRms,
// kScale, kBias, count(batch) -> rows, epsilon().
#pragma once

#include "math.cuh"

template <int kLanes>
__device__ __forceinline__ float sum_of_lanes(float x) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffU, x, apart);
  return x;
}

template <class P>
__device__ __forceinline__ void normalize_rows_kernel(const void* x, const void* scale, const void* bias, void* y, int64 batch) {
  constexpr int kVectors = P::kInner / P::kVector;
  const int64 row = global_thread() / P::kLanes;
  const int lane = static_cast<int>(threadIdx.x) % P::kLanes;
  const bool inside = row < P::count(batch);
  const auto has = [&](int part) { return inside && (part * P::kLanes + lane) < kVectors; };
  const auto* from = static_cast<const typename P::TI*>(x) + row * P::kInner;
  float value[P::kParts][P::kVector] = {};
#pragma unroll
  for (int part = 0; part < P::kParts; ++part)
    if (has(part)) load_vector<typename P::TI, P::kVector>(from + (part * P::kLanes + lane) * P::kVector, value[part]);
  float mean = 0.0f;
  if constexpr (!P::kRms) {
#pragma unroll
    for (int part = 0; part < P::kParts; ++part)
#pragma unroll
      for (int i = 0; i < P::kVector; ++i) mean += value[part][i];
    mean = sum_of_lanes<P::kLanes>(mean) / static_cast<float>(P::kInner);
  }
  float squares = 0.0f;
#pragma unroll
  for (int part = 0; part < P::kParts; ++part)
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) {
      value[part][i] -= mean;
      if (has(part)) squares += value[part][i] * value[part][i];
    }
  squares = sum_of_lanes<P::kLanes>(squares);
  const float factor = 1.0f / fn::sqrt_(squares / static_cast<float>(P::kInner) + static_cast<float>(P::epsilon()));
  auto* to = static_cast<typename P::TO*>(y) + row * P::kInner;
#pragma unroll
  for (int part = 0; part < P::kParts; ++part) {
    if (!has(part)) continue;
    const int at = (part * P::kLanes + lane) * P::kVector;
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) value[part][i] *= factor;
    if constexpr (P::kScale) {
      compute_t<typename P::TS> s[P::kVector];
      load_vector<typename P::TS, P::kVector>(static_cast<const typename P::TS*>(scale) + at, s);
#pragma unroll
      for (int i = 0; i < P::kVector; ++i) value[part][i] *= static_cast<float>(s[i]);
    }
    if constexpr (P::kBias) {
      compute_t<typename P::TB> b[P::kVector];
      load_vector<typename P::TB, P::kVector>(static_cast<const typename P::TB*>(bias) + at, b);
#pragma unroll
      for (int i = 0; i < P::kVector; ++i) value[part][i] += static_cast<float>(b[i]);
    }
    store_vector<typename P::TO, P::kVector>(to + at, value[part]);
  }
}
