// uint8 [N,H,W,C] to a normalised float tensor in any layout: y = (x - mean[c]) / std[c], with pad lanes zero. One thread a pixel.
//
// P: TO, kC (at most 4), kWritten (channels and pad lanes), kPixels, kChannelStride, kPixelStride, kImageStride, kBatchFactor.
#pragma once

#include "math.cuh"

struct ImageScale {
  float mean[4];
  float std[4];
};

template <class P>
__device__ __forceinline__ void image_kernel(const void* x, void* y, int64 batch, const ImageScale& transform) {
  const int64 thread = global_thread();
  if (thread >= batch * (static_cast<int64>(P::kBatchFactor) * P::kPixels)) return;
  const int64 image = thread / P::kPixels;
  const int64 pixel = thread - image * P::kPixels;
  const uint8* from = static_cast<const uint8*>(x) + thread * P::kC;
  auto* to = static_cast<typename P::TO*>(y) + image * P::kImageStride + pixel * P::kPixelStride;
#pragma unroll
  for (int c = 0; c < P::kWritten; ++c) {
    float value = 0.0f;
    if (c < P::kC) value = (static_cast<float>(from[c]) - transform.mean[c]) / transform.std[c];
    to[c * P::kChannelStride] = Store<typename P::TO>::from(value);
  }
}
