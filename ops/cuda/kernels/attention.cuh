// Attention of short sequences: a block holds a tile of queries of one head and walks over the keys, which lie in shared memory a chunk at
// a time. Scores never leave the registers: softmax runs online (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022), in FP32
// and base 2. Three kernels: 16-bit operands on tensor cores, any type in FP32 on the CUDA cores, and the ReLU form.
//
// P holds the constants of the layer (ops/cuda/attention.cpp writes it): the views q, k, v as offset + item, head and token strides; kRows
// (tokens are taken from a table); the bias and its strides; kScale and kBiasScale, which both carry log2(e).
//
// The tensor-core kernel's block has kQueryWarps x kKeyWarps warps. A query warp owns 16 queries. Key warps share a chunk's keys out among
// them, each with a softmax of its own; the results meet in shared memory, in the order of the warps.
#pragma once

#include "fcm/kernels/async.cuh"
#include "math.cuh"

namespace attention {

using fcm::kernel::copy16;
using fcm::kernel::copy_commit;
using fcm::kernel::copy_wait;
using fcm::kernel::Math;
using fcm::kernel::u32;

// Below every score that counts: what a query without any has as its maximum.
constexpr float kNone = -3.402823466e38f;

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

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

// The bias of a query's scores, by key; null without one.
template <class P>
__device__ __forceinline__ const typename P::TB* bias_row(const void* bias, const Work<P>& work, int query, int64 batch) {
  if constexpr (!P::kBias) return nullptr;
  const int64 group = (work.item * P::kWindows + work.window) % P::bias_groups(batch);
  return static_cast<const typename P::TB*>(bias) + group * P::kBiasGroup + work.head * P::kBiasHead + query * P::kBiasQuery;
}

template <class P>
__device__ __forceinline__ typename P::TO* result_row(void* y, const Work<P>& work, int row) {
  const int64 at = (work.item * (P::kWindows * P::kQueries) + row) * P::kHeads + work.head;
  return static_cast<typename P::TO*>(y) + at * P::kVSize;
}

// Tokens [first, first + kCount) of a view into shared rows of kPad elements, kPitch apart; zeros beyond the view's kSize channels and
// beyond `limit` tokens. kWidth elements move together.
template <class P, class View, int kTokens, int kThreads, int kPad, int kPitch>
__device__ __forceinline__ void load_tokens(typename P::TE* shared, const void* tensor, const int* rows, const Work<P>& work, int first,
                                            int count, int limit) {
  using T = typename P::TE;
  constexpr int kWidth = View::kWidth;
  constexpr int kPieces = kPad / kWidth;
  const T* base = static_cast<const T*>(tensor) + View::kOffset + work.item * View::kItem + work.head * View::kHead;
  for (int i = static_cast<int>(threadIdx.x); i < count * kPieces; i += kThreads) {
    const int token = i / kPieces;
    const int channel = i % kPieces * kWidth;
    const bool valid = first + token < limit && channel < View::kSize;
    const int row = row_of<P, kTokens>(rows, work.window, valid ? first + token : 0);
    const T* from = base + static_cast<int64>(row) * View::kToken + (valid ? channel : 0);
    T* to = shared + token * kPitch + channel;
    if constexpr (kWidth * sizeof(T) == 16) {
      copy16(fcm::kernel::shared_address(to), from, valid);
    } else {
      Pack<T, kWidth> pack{};
      if (valid) pack = *reinterpret_cast<const Pack<T, kWidth>*>(from);
      *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
    }
  }
}

__device__ __forceinline__ void load_transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Softmax over the keys seen so far and the mixture of their values, for 16 queries: this lane has rows lane / 4 and lane / 4 + 8.
template <class P>
struct Mixture {
  static constexpr int kColumns = P::kVPad / 8;
  float most[2] = {kNone, kNone};
  float sum[2] = {0.0f, 0.0f};  // of this lane's keys
  float y[kColumns][4] = {};

  // The larger maximum; what there is already is scaled down to it. Rows without any finite score keep 0 as their base.
  __device__ __forceinline__ void raise(const float (&scores)[P::kStep / 16][8], float (&base)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = kNone;
#pragma unroll
      for (int b = 0; b < P::kStep / 16; ++b) {
#pragma unroll
        for (int i = 0; i < 2; ++i) top = fmaxf(top, fmaxf(scores[b][2 * half + i], scores[b][4 + 2 * half + i]));
      }
      top = fmaxf(most[half], quad_max(top));
      base[half] = top == kNone ? 0.0f : top;
      const float shrink = exp2_fast(most[half] - base[half]);
      most[half] = top;
      if (!__any_sync(0xffffffffu, shrink != 1.0f)) continue;  // no row of the warp has a new maximum
      sum[half] *= shrink;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        y[n][2 * half] *= shrink;
        y[n][2 * half + 1] *= shrink;
      }
    }
  }
};

// Scores of 16 queries and the 16 keys from `keys` on, in base 2 without bias: elements 0-3 are keys 2q, 2q + 1 of both rows, 4-7 those of
// keys 8-15.
template <class P>
__device__ __forceinline__ void multiply_keys(float (&scores)[8], const fcm::kernel::AFragment<P::kMath> (&q)[P::kQkPad / 16],
                                              const typename P::TE* keys, int lane) {
  float lo[4] = {};
  float hi[4] = {};
  const int row = lane / 16 * 8 + lane % 8;
  const int half = lane / 8 % 2 * 8;
#pragma unroll
  for (int c = 0; c < P::kQkPad / 16; ++c) {
    u32 r[4];
    fcm::kernel::ldmatrix(r, fcm::kernel::shared_address(keys + row * P::kQkPitch + c * 16 + half));
    fcm::kernel::mma_k16<P::kMath>(lo, q[c].r[0], q[c].r[1], q[c].r[2], q[c].r[3], r[0], r[1]);
    fcm::kernel::mma_k16<P::kMath>(hi, q[c].r[0], q[c].r[1], q[c].r[2], q[c].r[3], r[2], r[3]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    scores[i] = lo[i];
    scores[4 + i] = hi[i];
  }
}

// Scale, bias and the end of the keys.
template <class P>
__device__ __forceinline__ void finish_scores(float (&scores)[8], const typename P::TB* const (&bias)[2], int key, int lane) {
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {  // rows 0 and 8 of keys 0-7, then of keys 8-15
    const int first = key + pair / 2 * 8 + 2 * (lane % 4);
    float add[2] = {0.0f, 0.0f};
    if constexpr (P::kBias) {
      const typename P::TB* from = bias[pair % 2] + first;
      if constexpr (P::kBiasPairs) {
        const Pack<typename P::TB, 2> pack = *reinterpret_cast<const Pack<typename P::TB, 2>*>(from);
        add[0] = widen(pack.item[0]);
        add[1] = widen(pack.item[1]);
      } else {
        if (first < P::kKeys) add[0] = widen(from[0]);
        if (first + 1 < P::kKeys) add[1] = widen(from[1]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float score = scores[2 * pair + i] * P::kScale;
      if constexpr (P::kBias) score += add[i] * P::kBiasScale;
      scores[2 * pair + i] = score;
    }
    if (P::kKeys % 16 != 0 && key + 16 > P::kKeys) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (first + i >= P::kKeys) scores[2 * pair + i] = kNone;
      }
    }
  }
}

// Keys [begin, end) of a chunk whose first key is `first`.
template <class P>
__device__ __forceinline__ void attend(Mixture<P>& mix, const fcm::kernel::AFragment<P::kMath> (&q)[P::kQkPad / 16],
                                       const typename P::TE* keys, const typename P::TE* values, const typename P::TB* const (&bias)[2],
                                       int first, int begin, int end, int lane) {
  constexpr int kBlocks = P::kStep / 16;
  for (int at = begin; at < end; at += P::kStep) {
    float scores[kBlocks][8];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (at + b * 16 < end) {
        multiply_keys<P>(scores[b], q, keys + (at + b * 16) * P::kQkPitch, lane);
        finish_scores<P>(scores[b], bias, first + at + b * 16, lane);
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) scores[b][i] = kNone;
      }
    }
    float base[2];
    mix.raise(scores, base);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (at + b * 16 >= end) continue;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        scores[b][i] = exp2_fast(scores[b][i] - base[i / 2 % 2]);
        mix.sum[i / 2 % 2] += scores[b][i];
      }
      u32 shares[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) shares[i] = fcm::kernel::pack2<P::kMath>(scores[b][2 * i], scores[b][2 * i + 1]);
      const typename P::TE* from = values + (at + b * 16 + lane % 16) * P::kVPitch + lane / 16 * 8;
#pragma unroll
      for (int n = 0; n < P::kVPad / 16; ++n) {
        u32 r[4];
        load_transposed(r, fcm::kernel::shared_address(from + n * 16));
        fcm::kernel::mma_k16<P::kMath>(mix.y[2 * n], shares[0], shares[1], shares[2], shares[3], r[0], r[1]);
        fcm::kernel::mma_k16<P::kMath>(mix.y[2 * n + 1], shares[0], shares[1], shares[2], shares[3], r[2], r[3]);
      }
    }
  }
}

// Two neighbouring channels of a result row.
template <class P>
__device__ __forceinline__ void store_pair(typename P::TO* row, int channel, float a, float b) {
  using T = typename P::TO;
  if constexpr (P::kVSize % 2 == 0) {
    if (channel < P::kVSize) *reinterpret_cast<Pack<T, 2>*>(row + channel) = Pack<T, 2>{{Store<T>::from(a), Store<T>::from(b)}};
  } else {
    if (channel < P::kVSize) row[channel] = Store<T>::from(a);
    if (channel + 1 < P::kVSize) row[channel + 1] = Store<T>::from(b);
  }
}

// The key warps' mixtures, as they meet in shared memory.
template <class P>
struct Part {
  float most[16];
  float sum[16];
  float y[16][P::kVPad];
};

template <class P>
__device__ __forceinline__ void put_part(Part<P>& part, const Mixture<P>& mix, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const float sum = quad_sum(mix.sum[half]);
    if (lane % 4 == 0) {
      part.most[row] = mix.most[half];
      part.sum[row] = sum;
    }
#pragma unroll
    for (int n = 0; n < P::kVPad / 8; ++n)
      *reinterpret_cast<float2*>(&part.y[row][n * 8 + 2 * (lane % 4)]) = float2{mix.y[n][2 * half], mix.y[n][2 * half + 1]};
  }
}

// parts[query warp + kQueryWarps * key warp] become rows of the result.
template <class P>
__device__ __forceinline__ void join_parts(const Part<P>* parts, void* y, const int* rows, const Work<P>& work) {
  constexpr int kPairs = P::kVPad / 2;
  for (int i = static_cast<int>(threadIdx.x); i < P::kQueryWarps * 16 * kPairs; i += P::kThreads) {
    const int row = i / kPairs;
    const int channel = i % kPairs * 2;
    const int query = work.tile * P::kQueryWarps * 16 + row;
    if (query >= P::kQueries || channel >= P::kVSize) continue;
    const Part<P>* part = parts + row / 16;
    float most = kNone;
#pragma unroll
    for (int w = 0; w < P::kKeyWarps; ++w) most = fmaxf(most, part[w * P::kQueryWarps].most[row % 16]);
    const float base = most == kNone ? 0.0f : most;
    float sum = 0.0f;
    float2 mixed = {0.0f, 0.0f};
#pragma unroll
    for (int w = 0; w < P::kKeyWarps; ++w) {
      const Part<P>& p = part[w * P::kQueryWarps];
      const float share = exp2_fast(p.most[row % 16] - base);
      sum += p.sum[row % 16] * share;
      mixed.x += p.y[row % 16][channel] * share;
      mixed.y += p.y[row % 16][channel + 1] * share;
    }
    store_pair<P>(result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query)), channel, mixed.x / sum, mixed.y / sum);
  }
}

template <class P>
__device__ __forceinline__ void tensor_core_kernel(const void* q, const void* k, const void* v, const void* bias, const void* table,
                                                   void* y, int64 batch) {
  using T = typename P::TE;
  constexpr int kRound = (P::kKeys + 15) / 16 * 16;
  constexpr int kChunks = (kRound + P::kChunk - 1) / P::kChunk;
  constexpr int kStages = kChunks > 1 ? 2 : 1;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const queries = reinterpret_cast<T*>(shared);
  T* const keys = queries + P::kQueryWarps * 16 * P::kQkPitch;
  T* const values = keys + kStages * P::kChunk * P::kQkPitch;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = fcm::kernel::warp_index();
  const int query_warp = warp % P::kQueryWarps;
  const int key_warp = warp / P::kQueryWarps;
  const Work<P> work;
  const int* rows = static_cast<const int*>(table);
  const int first_query = work.tile * P::kQueryWarps * 16;
  const auto load_chunk = [&](int chunk) {
    const int first = chunk * P::kChunk;
    const int count = min(P::kChunk, kRound - first);
    const int stage = chunk % kStages;
    load_tokens<P, typename P::K, P::kKeys, P::kThreads, P::kQkPad, P::kQkPitch>(keys + stage * P::kChunk * P::kQkPitch, k, rows, work,
                                                                                 first, count, P::kKeys);
    load_tokens<P, typename P::V, P::kKeys, P::kThreads, P::kVPad, P::kVPitch>(values + stage * P::kChunk * P::kVPitch, v, rows, work,
                                                                               first, count, P::kKeys);
    copy_commit();
  };
  load_tokens<P, typename P::Q, P::kQueries, P::kThreads, P::kQkPad, P::kQkPitch>(queries, q, rows, work, first_query, P::kQueryWarps * 16,
                                                                                  P::kQueries);
  load_chunk(0);
  const typename P::TB* bias_rows[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    bias_rows[half] = bias_row<P>(bias, work, min(first_query + query_warp * 16 + lane / 4 + 8 * half, P::kQueries - 1), batch);
  fcm::kernel::AFragment<P::kMath> fragments[P::kQkPad / 16];
  Mixture<P> mix;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    if (chunk + 1 < kChunks) {
      load_chunk(chunk + 1);
      copy_wait<1>();
    } else {
      copy_wait<0>();
    }
    __syncthreads();
    if (chunk == 0) {
#pragma unroll
      for (int c = 0; c < P::kQkPad / 16; ++c)
        fragments[c] = fcm::kernel::load_rows<P::kMath>(reinterpret_cast<const unsigned char*>(queries + query_warp * 16 * P::kQkPitch),
                                                        P::kQkPitch * 2, c * 16, lane);
    }
    const int stage = chunk % kStages;
    const int count = min(P::kChunk, kRound - chunk * P::kChunk);
    const int begin = min(key_warp * P::kSpan, count);
    attend<P>(mix, fragments, keys + stage * P::kChunk * P::kQkPitch, values + stage * P::kChunk * P::kVPitch, bias_rows, chunk * P::kChunk,
              begin, min(begin + P::kSpan, count), lane);
    if (chunk + 1 < kChunks || P::kKeyWarps > 1) __syncthreads();
  }
  if constexpr (P::kKeyWarps > 1) {
    Part<P>* parts = reinterpret_cast<Part<P>*>(shared);
    put_part<P>(parts[warp], mix, lane);
    __syncthreads();
    join_parts<P>(parts, y, rows, work);
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = 1.0f / quad_sum(mix.sum[half]);
      const int query = first_query + query_warp * 16 + lane / 4 + 8 * half;
      if (query >= P::kQueries) continue;
      typename P::TO* row = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query));
#pragma unroll
      for (int n = 0; n < P::kVPad / 8; ++n)
        store_pair<P>(row, n * 8 + 2 * (lane % 4), mix.y[n][2 * half] * factor, mix.y[n][2 * half + 1] * factor);
    }
  }
}

// Tokens of a view as floats, kSize channels of rows kPitch apart; zeros beyond `limit`. `positive`: their positive parts.
template <class P, class View, int kTokens, int kThreads, int kPitch, bool kPositive>
__device__ __forceinline__ void load_floats(float* shared, const void* tensor, const int* rows, const Work<P>& work, int first, int count,
                                            int limit) {
  using T = typename P::TE;
  constexpr int kWidth = View::kWidth;
  constexpr int kPieces = View::kSize / kWidth;
  const T* base = static_cast<const T*>(tensor) + View::kOffset + work.item * View::kItem + work.head * View::kHead;
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

// Sixteen queries a block of 128 threads: eight threads a query, each with every eighth key and every eighth group of four channels.
template <class P>
__device__ __forceinline__ void scalar_kernel(const void* q, const void* k, const void* v, const void* bias, const void* table, void* y,
                                              int64 batch) {
  using T = typename P::TO;
  constexpr int kChunk = 32;
  constexpr int kQkPitch = (P::kQkSize + 3) / 4 * 4 + 4;
  constexpr int kVPitch = (P::kVSize + 3) / 4 * 4 + 4;
  constexpr int kGroups = (P::kVSize + 31) / 32;  // of four channels, a thread
  __shared__ __align__(16) float queries[16 * kQkPitch];
  __shared__ __align__(16) float keys[kChunk * kQkPitch];
  __shared__ __align__(16) float values[kChunk * kVPitch];
  __shared__ float shares[16 * (kChunk + 1)];
  const Work<P> work;
  const int* rows = static_cast<const int*>(table);
  const int row = static_cast<int>(threadIdx.x) / 8;
  const int slot = static_cast<int>(threadIdx.x) % 8;
  const int query = work.tile * 16 + row;
  // The channels that fill up the last group of four stay zero.
  for (int i = static_cast<int>(threadIdx.x); i < 16 * kQkPitch; i += 128) queries[i] = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kQkPitch; i += 128) keys[i] = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kVPitch; i += 128) values[i] = 0.0f;
  __syncthreads();
  load_floats<P, typename P::Q, P::kQueries, 128, kQkPitch, false>(queries, q, rows, work, work.tile * 16, 16, P::kQueries);
  const typename P::TB* bias_at = bias_row<P>(bias, work, min(query, P::kQueries - 1), batch);
  float most = kNone;
  float sum = 0.0f;
  float4 mixed[kGroups] = {};
  for (int first = 0; first < P::kKeys; first += kChunk) {
    __syncthreads();
    load_floats<P, typename P::K, P::kKeys, 128, kQkPitch, false>(keys, k, rows, work, first, kChunk, P::kKeys);
    load_floats<P, typename P::V, P::kKeys, 128, kVPitch, false>(values, v, rows, work, first, kChunk, P::kKeys);
    __syncthreads();
    float score[kChunk / 8];
    float top = kNone;
#pragma unroll
    for (int i = 0; i < kChunk / 8; ++i) {
      const int key = slot + 8 * i;
      float dot = 0.0f;
      for (int c = 0; c < P::kQkSize; c += 4) {
        const float4 a = *reinterpret_cast<const float4*>(queries + row * kQkPitch + c);
        const float4 b = *reinterpret_cast<const float4*>(keys + key * kQkPitch + c);
        dot += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
      }
      score[i] = kNone;
      if (first + key < P::kKeys) {
        score[i] = dot * P::kScale;
        if constexpr (P::kBias) score[i] += widen(bias_at[first + key]) * P::kBiasScale;
      }
      top = fmaxf(top, score[i]);
    }
#pragma unroll
    for (int lanes = 1; lanes < 8; lanes *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, lanes));
    top = fmaxf(top, most);
    const float base = top == kNone ? 0.0f : top;
    const float shrink = exp2f(most - base);
    most = top;
    sum *= shrink;
#pragma unroll
    for (int i = 0; i < kChunk / 8; ++i) {
      const float share = exp2f(score[i] - base);
      sum += share;
      shares[row * (kChunk + 1) + slot + 8 * i] = share;
    }
    __syncwarp();  // a query's eight threads are in one warp
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      float4 total = mixed[g];
      total.x *= shrink;
      total.y *= shrink;
      total.z *= shrink;
      total.w *= shrink;
      const int channel = 4 * (slot + 8 * g);
      if (channel < P::kVSize) {
        for (int j = 0; j < kChunk; ++j) {
          const float share = shares[row * (kChunk + 1) + j];
          const float4 b = *reinterpret_cast<const float4*>(values + j * kVPitch + channel);
          total.x += share * b.x;
          total.y += share * b.y;
          total.z += share * b.z;
          total.w += share * b.w;
        }
      }
      mixed[g] = total;
    }
  }
#pragma unroll
  for (int lanes = 1; lanes < 8; lanes *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
  if (query >= P::kQueries) return;
  T* to = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query));
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const float part[4] = {mixed[g].x, mixed[g].y, mixed[g].z, mixed[g].w};
    const int channel = 4 * (slot + 8 * g);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (channel + i < P::kVSize) to[channel + i] = Store<T>::from(part[i] / sum);
    }
  }
}

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
  fcm::kernel::wait_for_predecessor();
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
        if (group * 4 + c < P::kVSize) row[group * 4 + c] = Store<T>::from(part[c] / divisor);
      }
    }
  }
}

}  // namespace attention
