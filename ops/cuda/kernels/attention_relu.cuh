// Attention with ReLU in place of softmax (linear attention, as in EfficientViT), in FP32 on the CUDA cores and on tensor cores.
#pragma once

#include "attention_views.cuh"

namespace attention {

// y = relu(q) (relu(k)' [v 1]), its last column being the divisor: FP32 throughout, so that sums beyond FP16's range do no harm. A block
// makes the product of K and V of one head and applies it to the queries. A thread owns four columns of one row of the product; where there
// are more threads than that, slices of them take every kSlices-th token and add up in their order.
template <class P>
__device__ __forceinline__ void relu_kernel(const void* q, const void* k, const void* v, const void* table, void* y) {
  using T = typename P::TO;
  constexpr int kChunk = P::kChunk;
  constexpr int kGroups = (P::kVSize + 3) / 4;
  constexpr int kPositions = P::kQkSize * kGroups;
  constexpr int kSlices = P::kThreads / kPositions > 1 ? P::kThreads / kPositions : 1;
  constexpr int kEach = (kPositions + P::kThreads - 1) / P::kThreads;
  constexpr int kQkPitch = P::kQkSize + 1;
  constexpr int kVPitch = 4 * kGroups;
  extern __shared__ __align__(16) unsigned char shared[];
  float* const values = reinterpret_cast<float*>(shared);
  float* const products = values + kChunk * kVPitch;        // [slice][row][group] of four
  float* const sums = products + kSlices * kPositions * 4;  // [slice][row]
  float* const left = sums + kSlices * P::kQkSize;          // keys, then queries
  const Work<P> work;
  const int* rows = static_cast<const int*>(table);
  const int thread = static_cast<int>(threadIdx.x);
  const int slice = thread / kPositions;
  for (int i = thread; i < kChunk * kVPitch; i += P::kThreads) values[i] = 0.0f;  // columns that fill up a group stay so
  float4 product[kEach] = {};
  float sum[kEach] = {};
  for (int first = 0; first < P::kKeys; first += kChunk) {
    __syncthreads();
    load_floats<P, typename P::K, P::kKeys, P::kThreads, kQkPitch, true>(left, k, rows, work, first, kChunk, P::kKeys);
    load_floats<P, typename P::V, P::kKeys, P::kThreads, kVPitch, false>(values, v, rows, work, first, kChunk, P::kKeys);
    __syncthreads();
    const int count = min(kChunk, P::kKeys - first);
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int position = kSlices > 1 ? thread % kPositions : thread + e * P::kThreads;
      if (slice >= kSlices || position >= kPositions) continue;
      const float* row = left + position / kGroups;
      const float* columns = values + position % kGroups * 4;
      float4 total = product[e];
      float ones = sum[e];
#pragma unroll 4
      for (int j = slice; j < count; j += kSlices) {
        const float x = row[j * kQkPitch];
        const float4 w = *reinterpret_cast<const float4*>(columns + j * kVPitch);
        total.x += x * w.x;
        total.y += x * w.y;
        total.z += x * w.z;
        total.w += x * w.w;
        ones += x;
      }
      product[e] = total;
      sum[e] = ones;
    }
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int position = kSlices > 1 ? thread % kPositions : thread + e * P::kThreads;
    if (slice >= kSlices || position >= kPositions) continue;
    *reinterpret_cast<float4*>(products + (slice * kPositions + position) * 4) = product[e];
    if (position % kGroups == 0) sums[slice * P::kQkSize + position / kGroups] = sum[e];
  }
  __syncthreads();
  if constexpr (kSlices > 1) {
    for (int i = thread; i < kPositions * 4 + P::kQkSize; i += P::kThreads) {
      float* const at = i < kPositions * 4 ? products + i : sums + i - kPositions * 4;
      const int apart = i < kPositions * 4 ? kPositions * 4 : P::kQkSize;
      float total = at[0];
#pragma unroll
      for (int s = 1; s < kSlices; ++s) total += at[s * apart];
      at[0] = total;
    }
  }
  for (int first = 0; first < P::kQueries; first += kChunk) {
    __syncthreads();
    load_floats<P, typename P::Q, P::kQueries, P::kThreads, kQkPitch, true>(left, q, rows, work, first, kChunk, P::kQueries);
    __syncthreads();
    const int count = min(kChunk, P::kQueries - first);
    for (int i = thread; i < count * kGroups; i += P::kThreads) {
      const int token = i / kGroups;
      const int group = i % kGroups;
      float4 total = {0.0f, 0.0f, 0.0f, 0.0f};
      float divisor = P::kEpsilon;
#pragma unroll 8
      for (int d = 0; d < P::kQkSize; ++d) {
        const float x = left[token * kQkPitch + d];
        const float4 w = *reinterpret_cast<const float4*>(products + (d * kGroups + group) * 4);
        total.x += x * w.x;
        total.y += x * w.y;
        total.z += x * w.z;
        total.w += x * w.w;
        divisor += x * sums[d];
      }
      T* row = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, first + token));
      const float part[4] = {total.x, total.y, total.z, total.w};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (group * 4 + c < P::kVSize) row[group * 4 + c] = Store<T>::from(P::activated(part[c] / divisor));
      }
    }
  }
}

// Two neighbouring elements of a row; zeros when !valid.
template <class P>
__device__ __forceinline__ u32 load_pair(const typename P::TE* from, bool valid) {
  return valid ? __ldg(reinterpret_cast<const unsigned int*>(from)) : 0U;
}

// The positive parts of two elements; NaN stays.
template <Math M>
__device__ __forceinline__ u32 positive2(u32 x) {
  u32 y = 0;
  if constexpr (kArch < 800) {
    y = x;  // no such kernel is made for it
  } else if constexpr (M == Math::f16) {
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(y) : "r"(x), "r"(0U));
  } else {
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(x), "r"(0U));
  }
  return y;
}

// The ReLU form on tensor cores, a block for a head. Its warps take every kWarps-th 16 tokens. relu(K)' [V 1] has exact operands and FP32
// sums, which meet in shared memory and are added in the order of the warps; they then are the right operand of relu(Q) as two TF32 terms
// each, so that neither range nor precision is lost.
template <class P>
__device__ __forceinline__ void relu_tensor_core_kernel(const void* q, const void* k, const void* v, const void* table, void* y) {
  using T = typename P::TE;
  constexpr int kWarps = P::kThreads / 32;
  constexpr int kRowTiles = P::kQkSize / 16;   // of the product of K and V
  constexpr int kColumns = P::kVSize / 8 + 1;  // the last eight are the sums of K, eight times
  constexpr int kPitch = kColumns * 8 + 4;
  constexpr int kKeyTiles = ceil_div(P::kKeys, 16);
  constexpr int kQueryTiles = ceil_div(P::kQueries, 16);
  constexpr u32 kOnes = P::kMath == Math::f16 ? 0x3c003c00U : 0x3f803f80U;
  __shared__ __align__(16) float parts[kWarps][P::kQkSize * kPitch];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = fcm::kernel::warp_index();
  const int row = lane / 4;
  const int pair = 2 * (lane % 4);
  const Work<P> work;
  const int* rows = static_cast<const int*>(table);
  const T* const q_base = view_base<P, typename P::Q>(q, work) + pair;
  const T* const k_base = view_base<P, typename P::K>(k, work) + pair;
  const T* const v_base = view_base<P, typename P::V>(v, work) + pair;
  float product[kRowTiles][kColumns][4] = {};
#pragma unroll 4
  for (int tile = warp; tile < kKeyTiles; tile += kWarps) {
    u32 a[kRowTiles][4];
    u32 b[kColumns][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // tokens 0-7 and 8-15
      const int token = tile * 16 + half * 8 + row;
      const bool valid = token < P::kKeys;
      const int64 at = row_of<P, P::kKeys>(rows, work.window, valid ? token : 0);
#pragma unroll
      for (int m = 0; m < kRowTiles * 2; ++m)
        a[m / 2][2 * half + m % 2] = positive2<P::kMath>(load_pair<P>(k_base + at * P::K::kToken + m * 8, valid));
#pragma unroll
      for (int n = 0; n < kColumns - 1; ++n) b[n][half] = load_pair<P>(v_base + at * P::V::kToken + n * 8, valid);
      b[kColumns - 1][half] = kOnes;
    }
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[m][i] = fcm::kernel::transposed(a[m][i]);
    }
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      if (n + 1 < kColumns) {
        b[n][0] = fcm::kernel::transposed(b[n][0]);
        b[n][1] = fcm::kernel::transposed(b[n][1]);
      }
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
        fcm::kernel::mma_k16<P::kMath>(product[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[n][0], b[n][1]);
    }
  }
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<float2*>(&parts[warp][(m * 16 + half * 8 + row) * kPitch + n * 8 + pair]) =
            float2{product[m][n][2 * half], product[m][n][2 * half + 1]};
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < P::kQkSize * kPitch / 4; i += P::kThreads) {
    float4 total = reinterpret_cast<const float4*>(parts[0])[i];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) {
      const float4 part = reinterpret_cast<const float4*>(parts[w])[i];
      total.x += part.x, total.y += part.y, total.z += part.z, total.w += part.w;
    }
    reinterpret_cast<float4*>(parts[0])[i] = total;
  }
  __syncthreads();
  // Channels 2q and 2q + 1 of Q are columns q and q + 4 of its operand: the rows of the product are taken in the same order.
  u32 high[P::kQkSize / 8][kColumns][2];
  u32 low[P::kQkSize / 8][kColumns][2];
#pragma unroll
  for (int c = 0; c < P::kQkSize / 8; ++c) {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float x = parts[0][(c * 8 + pair + i) * kPitch + n * 8 + row];
        high[c][n][i] = fcm::kernel::to_tf32(x);
        low[c][n][i] = fcm::kernel::to_tf32(x - __uint_as_float(high[c][n][i]));
      }
    }
  }
#pragma unroll 2
  for (int tile = warp; tile < kQueryTiles; tile += kWarps) {
    u32 a[P::kQkSize / 8][4];  // rows 0 and 8 of the even channel, then of the odd one
    int64 at[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = tile * 16 + half * 8 + row;
      const bool valid = token < P::kQueries;
      at[half] = row_of<P, P::kQueries>(rows, work.window, valid ? token : 0);
#pragma unroll
      for (int c = 0; c < P::kQkSize / 8; ++c) {
        const float2 x = fcm::kernel::unpack2<P::kMath>(positive2<P::kMath>(load_pair<P>(q_base + at[half] * P::Q::kToken + c * 8, valid)));
        a[c][half] = __float_as_uint(x.x);
        a[c][2 + half] = __float_as_uint(x.y);
      }
    }
    float mixed[kColumns][4] = {};
#pragma unroll
    for (int c = 0; c < P::kQkSize / 8; ++c) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        fcm::kernel::mma_tf32(mixed[n], a[c][0], a[c][1], a[c][2], a[c][3], low[c][n][0], low[c][n][1]);
        fcm::kernel::mma_tf32(mixed[n], a[c][0], a[c][1], a[c][2], a[c][3], high[c][n][0], high[c][n][1]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (tile * 16 + half * 8 + row >= P::kQueries) continue;
      const float factor = 1.0f / (mixed[kColumns - 1][2 * half] + P::kEpsilon);
      typename P::TO* to = result_row<P>(y, work, static_cast<int>(at[half]));
#pragma unroll
      for (int n = 0; n + 1 < kColumns; ++n) store_pair<P>(to, n * 8 + pair, mixed[n][2 * half] * factor, mixed[n][2 * half + 1] * factor);
    }
  }
}

}  // namespace attention
