// Attention of short sequences: a block holds a tile of queries of one head and walks over the keys, which lie in shared memory a chunk at
// a time. Scores never leave the registers: softmax runs online (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022), in FP32
// and base 2. Two kernels: 16-bit operands on tensor cores, and any type in FP32 on the CUDA cores.
//
// P, beside what attention_views.cuh says: the bias and its strides; kScale and kBiasScale, which both carry log2(e).
//
// The tensor-core kernel's block has kQueryWarps x kKeyWarps warps. A query warp owns 16 queries. Key warps share a chunk's
// keys out among them, each with a softmax of its own; the results meet in shared memory, in the order of the warps.
#pragma once

#include "attention_views.cuh"

namespace attention {

using fcm::geometry::max_of;
using fcm::kernel::copy16;
using fcm::kernel::copy_commit;
using fcm::kernel::copy_wait;
using fcm::kernel::exp2_approx;
using fcm::kernel::ldmatrix;
using fcm::kernel::shared_address;

// Below every score that counts: what a query without any has as its maximum.
constexpr float kNone = -3.402823466e38f;

// The score of a key that there is not.
__device__ __forceinline__ float no_score() {
  return __uint_as_float(0xff800000U);
}

// The bias of a head in the window's group; null without one.
template <class P>
__device__ __forceinline__ const typename P::TB* bias_base(const void* bias, const Work<P>& work, int64 batch) {
  if constexpr (!P::kBias) return nullptr;
  const int64 group = (work.item * P::kWindows + work.window) % P::bias_groups(batch);
  return static_cast<const typename P::TB*>(bias) + group * P::kBiasGroup + work.head * P::kBiasHead;
}

// kBytes (a power of two up to 16) from global to shared memory, zeros when !valid; asynchronous where the hardware copies so few.
template <int kBytes>
__device__ __forceinline__ void copy_bytes(u32 shared, const void* global, bool valid) {
  if constexpr (kBytes == 16) {
    copy16(shared, global, valid);
  } else if constexpr (kBytes == 8 && kArch >= 800) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(global), "r"(valid ? 8 : 0) : "memory");
  } else if constexpr (kBytes == 8) {
    const uint2 v = valid ? *static_cast<const uint2*>(global) : uint2{0, 0};
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(shared), "r"(v.x), "r"(v.y) : "memory");
  } else if constexpr (kBytes == 4 && kArch >= 800) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(valid ? 4 : 0) : "memory");
  } else if constexpr (kBytes == 4) {
    const u32 v = valid ? *static_cast<const u32*>(global) : 0U;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(shared), "r"(v) : "memory");
  } else {
    static_assert(kBytes == 2, "elements of 16 bits");
    const uint16 v = valid ? *static_cast<const uint16*>(global) : static_cast<uint16>(0);
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(shared), "h"(v) : "memory");
  }
}

// kCount tokens of a view from `first` on into shared rows kPitch apart; zeros beyond `limit` tokens, of which there are none when kWhole.
// A thread keeps its place in a row, so that nothing but the row changes from one copy to the next.
template <class P, class View, int kTokens, int kCount, int kPitch, bool kWhole>
__device__ __forceinline__ void load_tokens(u32 shared, const typename P::TE* base, const int* rows, const Work<P>& work, int first) {
  constexpr int kWidth = View::kWidth;
  constexpr int kPieces = View::kSize / kWidth;
  constexpr int kAtOnce = max_of(P::kThreads / kPieces, 1);  // rows
  constexpr int kActive = kPieces < P::kThreads ? kAtOnce * kPieces : P::kThreads;
  constexpr int kRounds = ceil_div(kCount, kAtOnce);
  const int thread = static_cast<int>(threadIdx.x);
  if (kActive < P::kThreads && thread >= kActive) return;
  for (int piece = thread % kPieces; piece < kPieces; piece += P::kThreads) {  // once, but for rows of more pieces than threads
    const int start = kPieces <= P::kThreads ? thread / kPieces : 0;
    const typename P::TE* const from = base + piece * kWidth;
    const u32 to = shared + (start * kPitch + piece * kWidth) * 2;
#pragma unroll(kRounds <= 32 ? kRounds : 4)
    for (int round = 0; round < kRounds; ++round) {
      const int token = start + round * kAtOnce;
      if (kCount % kAtOnce != 0 && token >= kCount) continue;
      const bool valid = kWhole || first + token < kTokens;
      const int row = row_of<P, kTokens>(rows, work.window, valid ? first + token : 0);
      copy_bytes<kWidth * 2>(to + round * kAtOnce * kPitch * 2, from + static_cast<int64>(row) * View::kToken, valid);
    }
  }
}

// Zeros in the channels that fill up kCount shared rows to whole eights.
template <class P, class View, int kCount, int kPad, int kPitch>
__device__ __forceinline__ void clear_pads(typename P::TE* shared) {
  if constexpr (View::kSize < kPad) {
    constexpr int kPads = kPad - View::kSize;
    for (int i = static_cast<int>(threadIdx.x); i < kCount * kPads; i += P::kThreads)
      shared[i / kPads * kPitch + View::kSize + i % kPads] = typename P::TE{};
  }
}

// Two (four) 8 x 8 matrices, transposed.
__device__ __forceinline__ void load_transposed(u32 (&r)[2], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(address) : "memory");
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

// The query warp's left operand: of 16 queries by 8 channels, rows lane / 4 and lane / 4 + 8.
template <class P>
struct Queries {
  u32 r[P::kQkPad / 8][2];

  __device__ __forceinline__ void load(u32 shared, int lane) {
    const u32 rows = shared + lane % 16 * P::kQPitch * 2;
#pragma unroll
    for (int c = 0; c + 1 < P::kQkPad / 8; c += 2) {
      u32 a[4];
      ldmatrix(a, rows + (c * 8 + lane / 16 * 8) * 2);
      r[c][0] = a[0], r[c][1] = a[1], r[c + 1][0] = a[2], r[c + 1][1] = a[3];
    }
    if constexpr (P::kQkPad % 16 != 0) ldmatrix(r[P::kQkPad / 8 - 1], rows + (P::kQkPad - 8) * 2);
  }
};

// Scores of a warp's queries and 16 x kBlocks keys: [16 queries][16 keys], elements 0-3 being keys 2q, 2q + 1 of rows lane / 4 and
// lane / 4 + 8, 4-7 those of keys 8-15.
template <class P, int kBlocks>
struct Scores {
  float s[kBlocks][8];

  // Q K', without scale and bias. `keys`: the first one's row.
  __device__ __forceinline__ void multiply(const Queries<P>& q, u32 keys, int lane) {
    const u32 wide = keys + ((lane / 16 * 8 + lane % 8) * P::kQkPitch + lane / 8 % 2 * 8) * 2;
    const u32 narrow = keys + (lane % 16 * P::kQkPitch + P::kQkPad - 8) * 2;
    float c[kBlocks][2][4] = {};
#pragma unroll
    for (int k = 0; k + 1 < P::kQkPad / 8; k += 2) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        u32 r[4];
        ldmatrix(r, wide + (b * 16 * P::kQkPitch + k * 8) * 2);
        const auto& a = q.r;
        fcm::kernel::mma_k16<P::kMath>(c[b][0], a[k][0], a[k][1], a[k + 1][0], a[k + 1][1], r[0], r[1]);
        fcm::kernel::mma_k16<P::kMath>(c[b][1], a[k][0], a[k][1], a[k + 1][0], a[k + 1][1], r[2], r[3]);
      }
    }
    if constexpr (P::kQkPad % 16 != 0) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        u32 r[2];
        ldmatrix(r, narrow + b * 16 * P::kQkPitch * 2);
        const auto& a = q.r[P::kQkPad / 8 - 1];
        fcm::kernel::mma_k8<P::kMath>(c[b][0], a[0], a[1], r[0]);
        fcm::kernel::mma_k8<P::kMath>(c[b][1], a[0], a[1], r[1]);
      }
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 8; ++i) s[b][i] = c[b][i / 4][i % 4];
    }
  }

  // Scale and bias. Scores whose only change is a positive factor get it with the exponential.
  __device__ __forceinline__ void shift(const float (&bias)[kBlocks][8]) {
    if constexpr (!P::kShifted) return;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 8; ++i) s[b][i] = P::kBias ? s[b][i] * P::kScale + bias[b][i] * P::kBiasScale : s[b][i] * P::kScale;
    }
  }

  // Keys from P::kKeys on do not count; `first`: the first one here.
  __device__ __forceinline__ void mask(int first, int lane) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (first + b * 16 + i / 4 * 8 + 2 * (lane % 4) + i % 2 < P::kKeys) continue;
        s[b][i] = no_score();
      }
    }
  }
};

// The bias of a warp's 16 queries, from `row` on.
template <class P>
struct Bias {
  const typename P::TB* base;
  int row;

  template <int kBlocks>
  __device__ __forceinline__ void load(float (&to)[kBlocks][8], int first, int lane) const {
    if constexpr (!P::kBias) return;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if constexpr (P::kBiasPacked) {  // by 16 x 16 in the order of the lanes
        const int tile = min(row / 16, ceil_div(P::kQueries, 16) - 1);
        const int block = min(first / 16 + b, ceil_div(P::kKeys, 16) - 1);
        load_vector(base + tile * P::kBiasQuery + (block * 32 + lane) * 8, to[b]);
      } else {
        load_rows(to[b], row, first + b * 16, lane);
      }
    }
  }

  __device__ __forceinline__ void load_rows(float (&to)[8], int query, int first, int lane) const {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {  // rows 0 and 8 of keys 0-7, then of keys 8-15
      const int key = first + pair / 2 * 8 + 2 * (lane % 4);
      const typename P::TB* from = base + min(query + lane / 4 + pair % 2 * 8, P::kQueries - 1) * P::kBiasQuery + key;
      to[2 * pair] = to[2 * pair + 1] = 0.0f;
      if constexpr (P::kBiasPairs) {
        if (key >= P::kKeys) continue;
        const Pack<typename P::TB, 2> pack = *reinterpret_cast<const Pack<typename P::TB, 2>*>(from);
        to[2 * pair] = widen(pack.item[0]);
        to[2 * pair + 1] = widen(pack.item[1]);
      } else {
        if (key < P::kKeys) to[2 * pair] = widen(from[0]);
        if (key + 1 < P::kKeys) to[2 * pair + 1] = widen(from[1]);
      }
    }
  }
};

// Softmax over the keys seen so far and the mixture of their values, for a warp's queries: this lane has rows lane / 4 and lane / 4 + 8.
template <class P>
struct Mixture {
  static constexpr int kColumns = P::kVPad / 8;
  float most[2];
  float sum[2];  // of this lane's keys
  float y[kColumns][4] = {};

  __device__ __forceinline__ Mixture() {
    most[0] = most[1] = kNone;
    sum[0] = sum[1] = 0.0f;
  }

  // Scores become shares of the larger maximum, to which what there is already is scaled down. Rows without any finite score keep 0 as
  // their base.
  template <int kBlocks>
  __device__ __forceinline__ void raise(Scores<P, kBlocks>& scores) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = no_score();
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const auto& s = scores.s[b];
        top = fmaxf(top, fmaxf(fmaxf(s[2 * half], s[2 * half + 1]), fmaxf(s[4 + 2 * half], s[5 + 2 * half])));
      }
      top = quad_max(top);
      top = fmaxf(most[half], P::kShifted ? top : top * P::kScale);
      const float base = top == kNone ? 0.0f : top;
      const float shrink = exp2_approx(most[half] - base);
      most[half] = top;
      float total = 0.0f;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& s = scores.s[b][i / 2 * 4 + 2 * half + i % 2];
          s = exp2_approx(P::kShifted ? s - base : fmaf(s, P::kScale, -base));
          total += s;
        }
      }
      sum[half] = sum[half] * shrink + total;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        y[n][2 * half] *= shrink;
        y[n][2 * half + 1] *= shrink;
      }
    }
  }

  // Adds the values in the shares of their keys.
  template <int kBlocks>
  __device__ __forceinline__ void mix(const Scores<P, kBlocks>& shares, u32 values, int lane) {
    const u32 rows = values + lane % 16 * P::kVPitch * 2;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      u32 a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = fcm::kernel::pack2<P::kMath>(shares.s[b][2 * i], shares.s[b][2 * i + 1]);
      const u32 row = rows + b * 16 * P::kVPitch * 2;
#pragma unroll
      for (int n = 0; n + 1 < kColumns; n += 2) {
        u32 r[4];
        load_transposed(r, row + (n * 8 + lane / 16 * 8) * 2);
        fcm::kernel::mma_k16<P::kMath>(y[n], a[0], a[1], a[2], a[3], r[0], r[1]);
        fcm::kernel::mma_k16<P::kMath>(y[n + 1], a[0], a[1], a[2], a[3], r[2], r[3]);
      }
      if constexpr (kColumns % 2 != 0) {
        u32 r[2];
        load_transposed(r, row + (P::kVPad - 8) * 2);
        fcm::kernel::mma_k16<P::kMath>(y[kColumns - 1], a[0], a[1], a[2], a[3], r[0], r[1]);
      }
    }
  }
};

// Scores of 16 x kBlocks keys, ready for the softmax. `first`: the first one among all.
template <class P, int kBlocks, bool kMask>
__device__ __forceinline__ void score(Scores<P, kBlocks>& scores, const Queries<P>& q, u32 keys, const Bias<P>& bias, int first, int lane) {
  float add[kBlocks][8];
  bias.template load<kBlocks>(add, first, lane);
  scores.multiply(q, keys, lane);
  scores.shift(add);
  if constexpr (kMask) scores.mask(first, lane);
}

// kCount keys, of which the first is number `first` of all; kMask: some may lie beyond the last one.
template <class P, int kCount, bool kMask>
__device__ __forceinline__ void attend(Mixture<P>& mixture, const Queries<P>& q, u32 keys, u32 values, const Bias<P>& bias, int first,
                                       int lane) {
  constexpr int kWhole = kCount / P::kStep;
  constexpr int kRest = kCount % P::kStep / 16;
#pragma unroll 1
  for (int i = 0; i < kWhole; ++i) {
    const int at = i * P::kStep;
    Scores<P, P::kStep / 16> scores;
    score<P, P::kStep / 16, kMask && (kRest == 0 || P::kKeyWarps > 1)>(scores, q, keys + at * P::kQkPitch * 2, bias, first + at, lane);
    mixture.raise(scores);
    mixture.mix(scores, values + at * P::kVPitch * 2, lane);
  }
  if constexpr (kRest > 0) {
    constexpr int kAt = kWhole * P::kStep;
    Scores<P, kRest> scores;
    score<P, kRest, kMask>(scores, q, keys + kAt * P::kQkPitch * 2, bias, first + kAt, lane);
    mixture.raise(scores);
    mixture.mix(scores, values + kAt * P::kVPitch * 2, lane);
  }
}

// A warp's mixture as rows of the result. 16-bit ones pass through `staging` (this warp's rows of queries, no longer needed), so that whole
// vectors are written.
template <class P>
__device__ __forceinline__ void store_rows(const Mixture<P>& mixture, typename P::TE* staging, void* y, const int* rows,
                                           const Work<P>& work, int query, int lane) {
  constexpr bool kStaged = sizeof(typename P::TO) == 2 && P::kVSize % 4 == 0;
  if constexpr (kStaged) __syncwarp();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float factor = 1.0f / quad_sum(mixture.sum[half]);
    const int row = half * 8 + lane / 4;
    typename P::TO* to = nullptr;
    if constexpr (kStaged) {
      to = reinterpret_cast<typename P::TO*>(staging) + row * P::kQPitch;
    } else {
      if (query + row >= P::kQueries) continue;
      to = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query + row));
    }
#pragma unroll
    for (int n = 0; n < P::kVPad / 8; ++n)
      store_pair<P>(to, n * 8 + 2 * (lane % 4), mixture.y[n][2 * half] * factor, mixture.y[n][2 * half + 1] * factor);
  }
  if constexpr (kStaged) {
    constexpr int kWidth = P::kVSize % 8 == 0 ? 8 : 4;
    constexpr int kPieces = P::kVSize / kWidth;
    using Piece = Pack<u32, kWidth / 2>;
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * kPieces; i += 32) {
      const int row = i / kPieces;
      const int channel = i % kPieces * kWidth;
      if (query + row >= P::kQueries) continue;
      typename P::TO* to = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query + row));
      *reinterpret_cast<Piece*>(to + channel) = *reinterpret_cast<const Piece*>(staging + row * P::kQPitch + channel);
    }
  }
}

// The key warps' mixtures, as they meet in shared memory.
template <class P>
struct Part {
  float most[16];
  float sum[16];
  float y[16][P::kVPad + 8];
};

template <class P>
__device__ __forceinline__ void put_part(Part<P>& part, const Mixture<P>& mixture, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const float sum = quad_sum(mixture.sum[half]);
    if (lane % 4 == 0) {
      part.most[row] = mixture.most[half];
      part.sum[row] = sum;
    }
#pragma unroll
    for (int n = 0; n < P::kVPad / 8; ++n)
      *reinterpret_cast<float2*>(&part.y[row][n * 8 + 2 * (lane % 4)]) = float2{mixture.y[n][2 * half], mixture.y[n][2 * half + 1]};
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
      const float share = exp2_approx(p.most[row % 16] - base);
      sum += p.sum[row % 16] * share;
      mixed.x += p.y[row % 16][channel] * share;
      mixed.y += p.y[row % 16][channel + 1] * share;
    }
    store_pair<P>(result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query)), channel, mixed.x / sum, mixed.y / sum);
  }
}

// A chunk is kChunk keys, kSpan for each key warp; the last one has what is left, in whole 16s for each. Chunk i + 1 is on its way while
// the warps work on chunk i.
template <class P>
__device__ __forceinline__ void tensor_core_kernel(const void* q, const void* k, const void* v, const void* bias, const void* table,
                                                   void* y, int64 batch) {
  using T = typename P::TE;
  constexpr int kTileRows = P::kQueryWarps * 16;
  constexpr int kFull = (P::kKeys - 1) / P::kChunk;  // chunks before the last
  constexpr int kLast = ceil_div(P::kKeys - kFull * P::kChunk, 16 * P::kKeyWarps) * 16 * P::kKeyWarps;
  constexpr int kStages = kFull > 0 ? 2 : 1;
  constexpr int kRows = kFull > 0 ? P::kChunk : kLast;  // of a stage
  constexpr bool kLastWhole = kFull * P::kChunk + kLast == P::kKeys;
  constexpr bool kTileWhole = P::kQueries % kTileRows == 0;
  extern __shared__ __align__(16) unsigned char shared[];
  T* const queries = reinterpret_cast<T*>(shared);
  T* const keys = queries + kTileRows * P::kQPitch;
  T* const values = keys + kStages * kRows * P::kQkPitch;
  const u32 key_rows = shared_address(keys);
  const u32 value_rows = shared_address(values);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = fcm::kernel::warp_index();
  const int query_warp = warp % P::kQueryWarps;
  const int key_warp = warp / P::kQueryWarps;
  const Work<P> work;
  const int* rows = static_cast<const int*>(table);
  const T* const q_base = view_base<P, typename P::Q>(q, work);
  const T* const k_base = view_base<P, typename P::K>(k, work);
  const T* const v_base = view_base<P, typename P::V>(v, work);
  const auto load_whole = [&](int chunk) {
    const u32 stage = static_cast<u32>(chunk % kStages * kRows * 2);
    load_tokens<P, typename P::K, P::kKeys, P::kChunk, P::kQkPitch, true>(key_rows + stage * P::kQkPitch, k_base, rows, work,
                                                                          chunk * P::kChunk);
    load_tokens<P, typename P::V, P::kKeys, P::kChunk, P::kVPitch, true>(value_rows + stage * P::kVPitch, v_base, rows, work,
                                                                         chunk * P::kChunk);
    copy_commit();
  };
  const auto load_last = [&](bool apart) {
    constexpr u32 kStage = static_cast<u32>(kFull % kStages * kRows * 2);
    constexpr int kFirst = kFull * P::kChunk;
    load_tokens<P, typename P::K, P::kKeys, kLast, P::kQkPitch, kLastWhole>(key_rows + kStage * P::kQkPitch, k_base, rows, work, kFirst);
    if (apart) copy_commit();
    load_tokens<P, typename P::V, P::kKeys, kLast, P::kVPitch, kLastWhole>(value_rows + kStage * P::kVPitch, v_base, rows, work, kFirst);
    copy_commit();
  };
  const int first_query = work.tile * kTileRows;
  load_tokens<P, typename P::Q, P::kQueries, kTileRows, P::kQPitch, kTileWhole>(shared_address(queries), q_base, rows, work, first_query);
  if constexpr (kFull > 0) {
    load_whole(0);
  } else {
    load_last(true);
  }
  clear_pads<P, typename P::Q, kTileRows, P::kQkPad, P::kQPitch>(queries);
  clear_pads<P, typename P::K, kStages * kRows, P::kQkPad, P::kQkPitch>(keys);
  clear_pads<P, typename P::V, kStages * kRows, P::kVPad, P::kVPitch>(values);

  const int query = query_warp * 16;  // of the tile, this warp's first
  T* const own_queries = queries + query * P::kQPitch;
  const Bias<P> warp_bias{bias_base<P>(bias, work, batch), first_query + query};
  Queries<P> left;
  Mixture<P> mixture;
#pragma unroll 1
  for (int chunk = 0; chunk < kFull; ++chunk) {
    copy_wait<0>();
    __syncthreads();
    if (chunk + 1 < kFull) {
      load_whole(chunk + 1);
    } else {
      load_last(false);
    }
    if (chunk == 0) left.load(shared_address(own_queries), lane);
    constexpr int kSpan = P::kChunk / P::kKeyWarps;
    const int at = key_warp * kSpan;
    const int row = chunk % kStages * kRows + at;
    attend<P, kSpan, false>(mixture, left, key_rows + row * P::kQkPitch * 2, value_rows + row * P::kVPitch * 2, warp_bias,
                            chunk * P::kChunk + at, lane);
  }
  constexpr int kSpan = kLast / P::kKeyWarps;
  const int at = key_warp * kSpan;
  const int row = kFull % kStages * kRows + at;
  const u32 own_keys = key_rows + row * P::kQkPitch * 2;
  const u32 own_values = value_rows + row * P::kVPitch * 2;
  constexpr bool kAtOnce = kFull == 0 && kSpan <= P::kStep;  // scores need no values: those may still be on their way
  copy_wait<kAtOnce ? 1 : 0>();
  __syncthreads();
  if constexpr (kFull == 0) left.load(shared_address(own_queries), lane);
  if constexpr (kAtOnce) {
    Scores<P, kSpan / 16> scores;
    score<P, kSpan / 16, !kLastWhole>(scores, left, own_keys, warp_bias, at, lane);
    mixture.raise(scores);
    copy_wait<0>();
    __syncthreads();
    mixture.mix(scores, own_values, lane);
  } else {
    attend<P, kSpan, !kLastWhole>(mixture, left, own_keys, own_values, warp_bias, kFull * P::kChunk + at, lane);
  }
  if constexpr (P::kKeyWarps > 1) {
    __syncthreads();
    Part<P>* parts = reinterpret_cast<Part<P>*>(shared);
    put_part<P>(parts[warp], mixture, lane);
    __syncthreads();
    join_parts<P>(parts, y, rows, work);
  } else {
    store_rows<P>(mixture, own_queries, y, rows, work, first_query + query, lane);
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
  const typename P::TB* bias_at = bias_base<P>(bias, work, batch);
  if constexpr (P::kBias) bias_at += min(query, P::kQueries - 1) * P::kBiasQuery;
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
      if (channel + i < P::kVSize) to[channel + i] = Store<T>::from(P::activated(part[i] / sum));
    }
  }
}

}  // namespace attention
