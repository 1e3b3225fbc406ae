// What both attentions share: which head of which window a block works on, and the way to its tokens.
//
// P holds the constants of the layer (ops/cuda/attention.cpp writes it): the views q, k, v as offset + item, head and token strides; kRows
// (tokens are taken from a table).
#pragma once

#include "fcm/kernels/async.cuh"
#include "math.cuh"

namespace attention {

using fcm::geometry::ceil_div;
using fcm::kernel::kArch;
using fcm::kernel::Math;
using fcm::kernel::u32;

// What a block works on.
template <class P>
struct Work {
  int64 item;
  int window, head, tile;

  __device__ __forceinline__ Work() {
    unsigned rest = blockIdx.x;
    tile = static_cast<int>(rest % P::kTiles);
    rest /= P::kTiles;
    head = static_cast<int>(rest % P::kHeads);
    rest /= P::kHeads;
    window = static_cast<int>(rest % P::kWindows);
    item = rest / P::kWindows;
  }
};

// The row of a window's token in its item.
template <class P, int kTokens>
__device__ __forceinline__ int row_of(const int* rows, int window, int token) {
  const int at = window * kTokens + token;
  if constexpr (P::kRows) return __ldg(rows + at);
  return at;
}

// Where a head's channels begin in a view, token 0.
template <class P, class View>
__device__ __forceinline__ const typename P::TE* view_base(const void* tensor, const Work<P>& work) {
  return static_cast<const typename P::TE*>(tensor) + View::kOffset + work.item * View::kItem + work.head * View::kHead;
}

template <class P>
__device__ __forceinline__ typename P::TO* result_row(void* y, const Work<P>& work, int row) {
  const int64 at = (work.item * (P::kWindows * P::kQueries) + row) * P::kHeads + work.head;
  return static_cast<typename P::TO*>(y) + at * P::kVSize;
}

// Two neighbouring channels of a result row, through the activation.
template <class P>
__device__ __forceinline__ void store_pair(typename P::TO* row, int channel, float a, float b) {
  using T = typename P::TO;
  a = P::activated(a), b = P::activated(b);
  if constexpr (P::kVSize % 2 == 0) {
    if (channel >= P::kVSize) return;
    if constexpr (sizeof(T) == 2) {
      *reinterpret_cast<u32*>(row + channel) = fcm::kernel::pack2<P::kMath>(a, b);
    } else {
      *reinterpret_cast<float2*>(row + channel) = float2{a, b};
    }
  } else {
    if (channel < P::kVSize) row[channel] = Store<T>::from(a);
    if (channel + 1 < P::kVSize) row[channel + 1] = Store<T>::from(b);
  }
}

// Tokens of a view as floats, kSize channels of rows kPitch apart; zeros beyond `limit`. `positive`: their positive parts.
template <class P, class View, int kTokens, int kThreads, int kPitch, bool kPositive>
__device__ __forceinline__ void load_floats(float* shared, const void* tensor, const int* rows, const Work<P>& work, int first, int count,
                                            int limit) {
  using T = typename P::TE;
  constexpr int kWidth = View::kWidth;
  constexpr int kPieces = View::kSize / kWidth;
  const T* base = view_base<P, View>(tensor, work);
  for (int i = static_cast<int>(threadIdx.x); i < count * kPieces; i += kThreads) {
    const int token = i / kPieces;
    const int channel = i % kPieces * kWidth;
    float x[kWidth] = {};
    if (first + token < limit) {
      const int row = row_of<P, kTokens>(rows, work.window, first + token);
      load_vector(base + static_cast<int64>(row) * View::kToken + channel, x);
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) shared[token * kPitch + channel + j] = kPositive ? fn::relu(x[j]) : x[j];
  }
}

}  // namespace attention
