// Attention of short sequences: a block holds a tile of queries of one head and walks over the keys, which lie in shared memory a chunk at
// a time. Scores never leave the registers: softmax runs online (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022), in FP32
// and base 2. Four kernels: 16-bit operands on tensor cores, any type in FP32 on the CUDA cores, and the ReLU form in the same two ways.
//
// P holds the constants of the layer (ops/cuda/attention.cpp writes it): the views q, k, v as offset + item, head and token strides; kRows
// (tokens are taken from a table); the bias and its strides; kScale and kBiasScale, which both carry log2(e).
//
// The tensor-core kernel's block has kQueryWarps x kKeyWarps warps. A query warp owns kRowTiles x 16 queries. Key warps share a chunk's
// keys out among them, each with a softmax of its own; the results meet in shared memory, in the order of the warps.
#pragma once

#include "fcm/kernels/async.cuh"
#include "math.cuh"

namespace attention {

using fcm::kernel::copy16;
using fcm::kernel::copy_commit;
using fcm::kernel::copy_wait;
using fcm::kernel::kArch;
using fcm::kernel::ldmatrix;
using fcm::kernel::Math;
using fcm::kernel::shared_address;
using fcm::kernel::u32;

// Below every score that counts: what a query without any has as its maximum.
constexpr float kNone = -3.402823466e38f;

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The score of a key that there is not.
__device__ __forceinline__ float no_score() {
  return __uint_as_float(0xff800000U);
}

__device__ constexpr int ceil_div(int x, int unit) {
  return (x + unit - 1) / unit;
}
__device__ constexpr int most_of(int a, int b) {
  return a > b ? a : b;
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

// Where a head's channels begin in a view, token 0.
template <class P, class View>
__device__ __forceinline__ const typename P::TE* view_base(const void* tensor, const Work<P>& work) {
  return static_cast<const typename P::TE*>(tensor) + View::kOffset + work.item * View::kItem + work.head * View::kHead;
}

// The bias of a head in the window's group; null without one.
template <class P>
__device__ __forceinline__ const typename P::TB* bias_base(const void* bias, const Work<P>& work, int64 batch) {
  if constexpr (!P::kBias) return nullptr;
  const int64 group = (work.item * P::kWindows + work.window) % P::bias_groups(batch);
  return static_cast<const typename P::TB*>(bias) + group * P::kBiasGroup + work.head * P::kBiasHead;
}

template <class P>
__device__ __forceinline__ typename P::TO* result_row(void* y, const Work<P>& work, int row) {
  const int64 at = (work.item * (P::kWindows * P::kQueries) + row) * P::kHeads + work.head;
  return static_cast<typename P::TO*>(y) + at * P::kVSize;
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
  constexpr int kAtOnce = most_of(P::kThreads / kPieces, 1);  // rows
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

// The query warp's left operand: by 16 queries and 8 channels, rows lane / 4 and lane / 4 + 8.
template <class P>
struct Queries {
  u32 r[P::kRowTiles][P::kQkPad / 8][2];

  __device__ __forceinline__ void load(u32 shared, int lane) {
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
      const u32 rows = shared + (t * 16 + lane % 16) * P::kQPitch * 2;
#pragma unroll
      for (int c = 0; c + 1 < P::kQkPad / 8; c += 2) {
        u32 a[4];
        ldmatrix(a, rows + (c * 8 + lane / 16 * 8) * 2);
        r[t][c][0] = a[0], r[t][c][1] = a[1], r[t][c + 1][0] = a[2], r[t][c + 1][1] = a[3];
      }
      if constexpr (P::kQkPad % 16 != 0) ldmatrix(r[t][P::kQkPad / 8 - 1], rows + (P::kQkPad - 8) * 2);
    }
  }
};

// Scores of a warp's queries and 16 x kBlocks keys: [16 queries][16 keys], elements 0-3 being keys 2q, 2q + 1 of rows lane / 4 and
// lane / 4 + 8, 4-7 those of keys 8-15.
template <class P, int kBlocks>
struct Scores {
  float s[P::kRowTiles][kBlocks][8];

  // Q K', without scale and bias. `keys`: the first one's row.
  __device__ __forceinline__ void multiply(const Queries<P>& q, u32 keys, int lane) {
    const u32 wide = keys + ((lane / 16 * 8 + lane % 8) * P::kQkPitch + lane / 8 % 2 * 8) * 2;
    const u32 narrow = keys + (lane % 16 * P::kQkPitch + P::kQkPad - 8) * 2;
    float c[P::kRowTiles][kBlocks][2][4] = {};
#pragma unroll
    for (int k = 0; k + 1 < P::kQkPad / 8; k += 2) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        u32 r[4];
        ldmatrix(r, wide + (b * 16 * P::kQkPitch + k * 8) * 2);
#pragma unroll
        for (int t = 0; t < P::kRowTiles; ++t) {
          const auto& a = q.r[t];
          fcm::kernel::mma_k16<P::kMath>(c[t][b][0], a[k][0], a[k][1], a[k + 1][0], a[k + 1][1], r[0], r[1]);
          fcm::kernel::mma_k16<P::kMath>(c[t][b][1], a[k][0], a[k][1], a[k + 1][0], a[k + 1][1], r[2], r[3]);
        }
      }
    }
    if constexpr (P::kQkPad % 16 != 0) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        u32 r[2];
        ldmatrix(r, narrow + b * 16 * P::kQkPitch * 2);
#pragma unroll
        for (int t = 0; t < P::kRowTiles; ++t) {
          const auto& a = q.r[t][P::kQkPad / 8 - 1];
          fcm::kernel::mma_k8<P::kMath>(c[t][b][0], a[0], a[1], r[0]);
          fcm::kernel::mma_k8<P::kMath>(c[t][b][1], a[0], a[1], r[1]);
        }
      }
    }
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 8; ++i) s[t][b][i] = c[t][b][i / 4][i % 4];
      }
    }
  }

  // Scale and bias. Scores whose only change is a positive factor get it with the exponential.
  __device__ __forceinline__ void shift(const float (&bias)[P::kRowTiles][kBlocks][8]) {
    if constexpr (!P::kShifted) return;
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 8; ++i) s[t][b][i] = P::kBias ? s[t][b][i] * P::kScale + bias[t][b][i] * P::kBiasScale : s[t][b][i] * P::kScale;
      }
    }
  }

  // Keys from P::kKeys on do not count; `first`: the first one here.
  __device__ __forceinline__ void mask(int first, int lane) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (first + b * 16 + i / 4 * 8 + 2 * (lane % 4) + i % 2 < P::kKeys) continue;
#pragma unroll
        for (int t = 0; t < P::kRowTiles; ++t) s[t][b][i] = no_score();
      }
    }
  }
};

// The bias of a warp's queries, 16 from `row` on in each tile.
template <class P>
struct Bias {
  const typename P::TB* base;
  int row;

  template <int kBlocks>
  __device__ __forceinline__ void load(float (&to)[P::kRowTiles][kBlocks][8], int first, int lane) const {
    if constexpr (!P::kBias) return;
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        if constexpr (P::kBiasPacked) {  // by 16 x 16 in the order of the lanes
          const int tile = min(row / 16 + t, ceil_div(P::kQueries, 16) - 1);
          const int block = min(first / 16 + b, ceil_div(P::kKeys, 16) - 1);
          load_vector(base + tile * P::kBiasQuery + (block * 32 + lane) * 8, to[t][b]);
        } else {
          load_rows(to[t][b], row + t * 16, first + b * 16, lane);
        }
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

// Softmax over the keys seen so far and the mixture of their values, for a warp's queries: this lane has rows lane / 4 and lane / 4 + 8 of
// every 16.
template <class P>
struct Mixture {
  static constexpr int kColumns = P::kVPad / 8;
  float most[P::kRowTiles][2];
  float sum[P::kRowTiles][2];  // of this lane's keys
  float y[P::kRowTiles][kColumns][4] = {};

  __device__ __forceinline__ Mixture() {
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
      most[t][0] = most[t][1] = kNone;
      sum[t][0] = sum[t][1] = 0.0f;
    }
  }

  // Scores become shares of the larger maximum, to which what there is already is scaled down. Rows without any finite score keep 0 as
  // their base.
  template <int kBlocks>
  __device__ __forceinline__ void raise(Scores<P, kBlocks>& scores) {
#pragma unroll
    for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = no_score();
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
          const auto& s = scores.s[t][b];
          top = fmaxf(top, fmaxf(fmaxf(s[2 * half], s[2 * half + 1]), fmaxf(s[4 + 2 * half], s[5 + 2 * half])));
        }
        top = quad_max(top);
        top = fmaxf(most[t][half], P::kShifted ? top : top * P::kScale);
        const float base = top == kNone ? 0.0f : top;
        const float shrink = exp2_fast(most[t][half] - base);
        most[t][half] = top;
        float total = 0.0f;
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float& s = scores.s[t][b][i / 2 * 4 + 2 * half + i % 2];
            s = exp2_fast(P::kShifted ? s - base : fmaf(s, P::kScale, -base));
            total += s;
          }
        }
        sum[t][half] = sum[t][half] * shrink + total;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          y[t][n][2 * half] *= shrink;
          y[t][n][2 * half + 1] *= shrink;
        }
      }
    }
  }

  // Adds the values in the shares of their keys.
  template <int kBlocks>
  __device__ __forceinline__ void mix(const Scores<P, kBlocks>& shares, u32 values, int lane) {
    const u32 rows = values + lane % 16 * P::kVPitch * 2;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      u32 a[P::kRowTiles][4];
#pragma unroll
      for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[t][i] = fcm::kernel::pack2<P::kMath>(shares.s[t][b][2 * i], shares.s[t][b][2 * i + 1]);
      }
      const u32 row = rows + b * 16 * P::kVPitch * 2;
#pragma unroll
      for (int n = 0; n + 1 < kColumns; n += 2) {
        u32 r[4];
        load_transposed(r, row + (n * 8 + lane / 16 * 8) * 2);
#pragma unroll
        for (int t = 0; t < P::kRowTiles; ++t) {
          fcm::kernel::mma_k16<P::kMath>(y[t][n], a[t][0], a[t][1], a[t][2], a[t][3], r[0], r[1]);
          fcm::kernel::mma_k16<P::kMath>(y[t][n + 1], a[t][0], a[t][1], a[t][2], a[t][3], r[2], r[3]);
        }
      }
      if constexpr (kColumns % 2 != 0) {
        u32 r[2];
        load_transposed(r, row + (P::kVPad - 8) * 2);
#pragma unroll
        for (int t = 0; t < P::kRowTiles; ++t)
          fcm::kernel::mma_k16<P::kMath>(y[t][kColumns - 1], a[t][0], a[t][1], a[t][2], a[t][3], r[0], r[1]);
      }
    }
  }
};

// Scores of 16 x kBlocks keys, ready for the softmax. `first`: the first one among all.
template <class P, int kBlocks, bool kMask>
__device__ __forceinline__ void score(Scores<P, kBlocks>& scores, const Queries<P>& q, u32 keys, const Bias<P>& bias, int first, int lane) {
  float add[P::kRowTiles][kBlocks][8];
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

// Two neighbouring channels of a result row.
template <class P>
__device__ __forceinline__ void store_pair(typename P::TO* row, int channel, float a, float b) {
  using T = typename P::TO;
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

// A warp's mixture as rows of the result. 16-bit ones pass through `staging` (this warp's rows of queries, no longer needed), so that whole
// vectors are written.
template <class P>
__device__ __forceinline__ void store_rows(const Mixture<P>& mixture, typename P::TE* staging, void* y, const int* rows,
                                           const Work<P>& work, int query, int lane) {
  constexpr bool kStaged = sizeof(typename P::TO) == 2 && P::kVSize % 4 == 0;
  if constexpr (kStaged) __syncwarp();
#pragma unroll
  for (int t = 0; t < P::kRowTiles; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = 1.0f / quad_sum(mixture.sum[t][half]);
      const int row = t * 16 + half * 8 + lane / 4;
      typename P::TO* to = nullptr;
      if constexpr (kStaged) {
        to = reinterpret_cast<typename P::TO*>(staging) + row * P::kQPitch;
      } else {
        if (query + row >= P::kQueries) continue;
        to = result_row<P>(y, work, row_of<P, P::kQueries>(rows, work.window, query + row));
      }
#pragma unroll
      for (int n = 0; n < P::kVPad / 8; ++n)
        store_pair<P>(to, n * 8 + 2 * (lane % 4), mixture.y[t][n][2 * half] * factor, mixture.y[t][n][2 * half + 1] * factor);
    }
  }
  if constexpr (kStaged) {
    constexpr int kWidth = P::kVSize % 8 == 0 ? 8 : 4;
    constexpr int kPieces = P::kVSize / kWidth;
    using Piece = Pack<u32, kWidth / 2>;
    __syncwarp();
#pragma unroll
    for (int i = lane; i < P::kRowTiles * 16 * kPieces; i += 32) {
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
    const float sum = quad_sum(mixture.sum[0][half]);
    if (lane % 4 == 0) {
      part.most[row] = mixture.most[0][half];
      part.sum[row] = sum;
    }
#pragma unroll
    for (int n = 0; n < P::kVPad / 8; ++n)
      *reinterpret_cast<float2*>(&part.y[row][n * 8 + 2 * (lane % 4)]) = float2{mixture.y[0][n][2 * half], mixture.y[0][n][2 * half + 1]};
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

// A chunk is kChunk keys, kSpan for each key warp; the last one has what is left, in whole 16s for each. Chunk i + 1 is on its way while
// the warps work on chunk i.
template <class P>
__device__ __forceinline__ void tensor_core_kernel(const void* q, const void* k, const void* v, const void* bias, const void* table,
                                                   void* y, int64 batch) {
  using T = typename P::TE;
  constexpr int kTileRows = P::kQueryWarps * P::kRowTiles * 16;
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

  const int query = query_warp * P::kRowTiles * 16;  // of the tile, this warp's first
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
