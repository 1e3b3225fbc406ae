// Max and average pooling over up to three spatial axes, for any strides of input and output. One thread makes kVector outputs that
// are neighbours along the channel axis (NHWC) or one output (rows).
//
// `base` is the input offset of the image and channel, `origin` the first cell of the window (negative inside the padding).
//
// P: kVector, kMasked, kValid as in map.cuh; TI, kModeIn, kInner (inner stride of the input); by spatial axis kernel,
// pad_end, dilation, extent and in_stride; kMax; kCountPad.
#pragma once

#include "map.cuh"

template <class P>
__device__ __forceinline__ void pool_window(const void* x, int64 base, const int (&origin)[3], int inner, float (&acc)[P::kVector]) {
  int taps = 0;
#pragma unroll
  for (int i = 0; i < P::kVector; ++i) acc[i] = P::kMax ? -__int_as_float(0x7f800000) : 0.0f;
  for (int kz = 0; kz < P::kernel(0); ++kz) {
    const int iz = origin[0] + kz * P::dilation(0);
    if (iz < 0 || iz >= P::extent(0)) continue;
    for (int ky = 0; ky < P::kernel(1); ++ky) {
      const int iy = origin[1] + ky * P::dilation(1);
      if (iy < 0 || iy >= P::extent(1)) continue;
      for (int kx = 0; kx < P::kernel(2); ++kx) {
        const int ix = origin[2] + kx * P::dilation(2);
        if (ix < 0 || ix >= P::extent(2)) continue;
        float values[P::kVector];
        map_load<P, typename P::TI, P::kModeIn>(x, base + iz * P::in_stride(0) + iy * P::in_stride(1) + ix * P::in_stride(2), P::kInner,
                                                inner, values);
        ++taps;
#pragma unroll
        for (int i = 0; i < P::kVector; ++i) acc[i] = P::kMax ? fn::max(values[i], acc[i]) : acc[i] + values[i];
      }
    }
  }
  if constexpr (!P::kMax) {
    // With padding counted, a window's size is that of its part inside the padded input.
    if constexpr (P::kCountPad) {
      taps = 1;
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        int inside = 0;
        for (int k = 0; k < P::kernel(axis); ++k) inside += origin[axis] + k * P::dilation(axis) < P::extent(axis) + P::pad_end(axis);
        taps *= inside;
      }
    }
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) acc[i] = taps == 0 ? 0.0f : acc[i] / static_cast<float>(taps);
  }
}
