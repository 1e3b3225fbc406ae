// The depthwise stage on one chunk of channels, out of the chunk buffer into registers.
//
// A warp computes groups of 2 rows x 8 columns of output pixels by eight channels.
#pragma once

#include "fcm/kernels/expand.cuh"

namespace fcm::kernel {

/// Slots from the first column's to that of column `x` of the halo'd region: columns of one residue modulo the stride lie together.
template <class Cfg>
FCM_CONSTEXPR int column_offset(int x) {
  return (x % Of<Cfg>::S.dw_window.sw) * Of<Cfg>::G.e_half + x / Of<Cfg>::S.dw_window.sw;
}

/// Matrices of `rows` consecutive rows of the halo'd region: four at a time (one too many where three are left), then two, then one.
template <int rows, int row_bytes>
FCM_DEVICE void load_window_rows(u32 (&m)[geometry::round_up(rows, 4)], u32 at) {
#pragma unroll
  for (int r = 0; r < rows; r += 4) {
    if (rows - r >= 3) {
      ldmatrix(*reinterpret_cast<u32(*)[4]>(&m[r]), at + r * row_bytes);
    } else if (rows - r == 2) {
      ldmatrix(*reinterpret_cast<u32(*)[2]>(&m[r]), at + r * row_bytes);
    } else {
      ldmatrix(*reinterpret_cast<u32(*)[1]>(&m[r]), at + r * row_bytes);
    }
  }
}

/// A warp's pixel groups from its `first` on. A spare group is computed, not kept: of a run it lies below, else it is the tile's last.
template <class Cfg, int kTiles>
FCM_DEVICE void pixel_groups(int (&groups)[kTiles], int warp, int first) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int group = geometry::group_of(S, G, warp, first + t);
    groups[t] = G.runs ? group : geometry::min_of(group, G.m_tiles - 1);
  }
}

/// Eight channels of kTiles pixel groups with tensor cores, transposed: diag(weights of the taps) x pixels. The sums of a group are a 16 x
/// 8 matrix, eight channels of the upper output row above those of the lower one, by eight columns of pixels. A step multiplies it by two
/// input rows at once: each of the four 8 x 8 quarters of the left operand is the diagonal of the tap under which that input row lies for
/// that output row, or zero. An 8 x 8 matrix of eight pixels of a row is loaded once for every tap and output row that it lies under, and
/// two neighbouring ones are a right operand as they were loaded. A single group adds up in one chain a window column, since nothing else
/// hides the latency of a chain.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise_mma(float (&acc)[kTiles][4], const unsigned char* e, const unsigned char* weights, const int (&tile)[kTiles],
                              int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  constexpr int pairs = (w.kh + 1) / 2, words = w.kw * pairs, chains = kTiles == 1 ? geometry::min_of(w.kw, 3) : 1;
  const int n = lane >> 2, k = ((group * 8 + n) / S.multiplier) & 7;
  const bool active = (lane & 3) == k >> 1;
  const u32 pick_first = !active ? 0x4444u : (k & 1) ? 0x1044u : 0x4410u;
  const u32 pick_second = !active ? 0x4444u : (k & 1) ? 0x3244u : 0x4432u;
  u32 taps[geometry::round_up(words, 4)];
  const uint4* packed = reinterpret_cast<const uint4*>(weights + G.dw_at + (group * 8 + n) * G.dw_channel_bytes);
#pragma unroll
  for (int i = 0; i < words; i += 4) {
    const uint4 v = packed[i / 4];
    taps[i] = v.x;
    taps[i + 1] = v.y;
    taps[i + 2] = v.z;
    taps[i + 3] = v.w;
  }
  const int channel = (group * 8 / S.multiplier) & ~7;
  const u32 base = shared_address(e) + ((lane >> 3) * G.e_slots + (lane & 7)) * G.e_pitch + channel * 2;
  float part[chains][kTiles][4] = {};
#pragma unroll
  for (int kx = 0; kx < w.kw; ++kx) {
    const auto diagonal = [&](int input_row, int output_row) {
      const int tap = geometry::tap_of(w, input_row, output_row);
      return tap < 0 ? 0u : __byte_perm(taps[kx * pairs + tap / 2], 0, tap % 2 == 0 ? pick_first : pick_second);
    };
    constexpr int kLoads = G.runs ? 1 : kTiles, kShared = kTiles / kLoads;  // groups that one load of rows serves
    constexpr int rows = (kShared - 1) * 2 * w.sh + G.dw_rows;
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      u32 m[geometry::round_up(rows, 4)];
      const int slot = (tile[load] / G.m_tiles_w) * 2 * w.sh * G.e_slots + (tile[load] % G.m_tiles_w) * 8;
      load_window_rows<rows, G.e_slots * G.e_pitch>(m, base + (slot + column_offset<Cfg>(kx * w.dw)) * G.e_pitch);
#pragma unroll
      for (int row = 0; row < G.dw_rows; row += 2) {
        const bool upper = geometry::tap_of(w, row, 0) >= 0 || geometry::tap_of(w, row, 1) >= 0;
        const bool lower = geometry::tap_of(w, row + 1, 0) >= 0 || geometry::tap_of(w, row + 1, 1) >= 0;
        const u32 q[4] = {diagonal(row, 0), diagonal(row, 1), diagonal(row + 1, 0), diagonal(row + 1, 1)};
#pragma unroll
        for (int t = 0; t < kShared; ++t) {
          float(&sum)[4] = kx % chains == 0 ? acc[load + t] : part[kx % chains][load + t];
          const int at = t * 2 * w.sh + row;
          if (upper && lower) {
            mma_k16<S.math>(sum, q[0], q[1], q[2], q[3], m[at], m[at + 1]);
          } else if (upper) {
            mma_k8<S.math>(sum, q[0], q[1], m[at]);
          } else if (lower) {
            mma_k8<S.math>(sum, q[2], q[3], m[at + 1]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int i = kTiles * 4; i < chains * kTiles * 4; ++i) acc[(i / 4) % kTiles][i % 4] += part[i / (kTiles * 4)][(i / 4) % kTiles][i % 4];
}

/// The same on CUDA cores in FP32: a lane computes two channels of one column in both rows; rows are read once for all taps.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise_fma(float (&acc)[kTiles][4], const unsigned char* e, const unsigned char* weights, const int (&tile)[kTiles],
                              int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  const int out = group * 8 + 2 * (lane & 3);
  const unsigned char* taps = weights + G.dw_at + out * 4;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int slot = (tile[t] / G.m_tiles_w) * 2 * w.sh * G.e_slots + (tile[t] % G.m_tiles_w) * 8 + (lane >> 2);
    constexpr int kColumns = kTiles * w.kh * w.kw <= 32 ? w.kw : 1;  // unrolled further, loads run ahead until registers are out
#pragma unroll kColumns
    for (int kx = 0; kx < w.kw; ++kx) {
      float2 v[G.dw_rows];
#pragma unroll
      for (int r = 0; r < G.dw_rows; ++r) {
        const float* p = reinterpret_cast<const float*>(e + (slot + r * G.e_slots + column_offset<Cfg>(kx * w.dw)) * G.e_pitch);
        v[r] = S.multiplier == 1 ? *reinterpret_cast<const float2*>(p + out) : float2{p[out / S.multiplier], p[(out + 1) / S.multiplier]};
      }
#pragma unroll
      for (int ky = 0; ky < w.kh; ++ky) {
        const float2 tap = *reinterpret_cast<const float2*>(taps + (kx * w.kh + ky) * S.chunk * 4);
        acc[t][0] += v[ky * w.dh].x * tap.x;
        acc[t][1] += v[ky * w.dh].y * tap.y;
        acc[t][2] += v[ky * w.dh + w.sh].x * tap.x;
        acc[t][3] += v[ky * w.dh + w.sh].y * tap.y;
      }
    }
  }
}

/// What the depthwise stage gives for a pixel group and eight channels, activated. 16-bit: `r` packs two neighbouring pixels, of columns
/// 2 (lane % 4) and the next in the upper and the lower row, of channel lane / 4. FP32: `v` holds channels 2 (lane % 4) and the next of
/// column lane / 4 in the upper row, then in the lower one.
template <Math M>
struct Eight {
  u32 r[2];
};
template <>
struct Eight<Math::f32> {
  float v[4];
};
template <>
struct Eight<Math::tf32> : Eight<Math::f32> {};

/// Depthwise stage with bias and activation, on the pixel groups `tile` and the `group`-th eight channels of the chunk.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise(Eight<Of<Cfg>::S.math> (&out)[kTiles], const unsigned char* e, const unsigned char* weights,
                          const int (&tile)[kTiles], int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  const float* bias = reinterpret_cast<const float*>(weights + Of<Cfg>::G.dw_bias_at) + group * 8;
  float acc[kTiles][4];
  if constexpr (kIs16<S.math>) {
    const float b = bias[lane >> 2];
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) acc[i / 4][i % 4] = b;
    depthwise_mma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
#pragma unroll
    for (int i = 0; i < kTiles * 2; ++i) out[i / 2].r[i % 2] = activate_pair<Cfg, false>(acc[i / 2][i % 2 * 2], acc[i / 2][i % 2 * 2 + 1]);
  } else {
    const float2 b = *reinterpret_cast<const float2*>(bias + 2 * (lane & 3));
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) acc[i / 4][i % 4] = i % 2 == 0 ? b.x : b.y;
    depthwise_fma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) out[i / 4].v[i % 4] = activation<S.dw_act.fn>(acc[i / 4][i % 4], S.dw_act.a, S.dw_act.b);
  }
}

}  // namespace fcm::kernel
