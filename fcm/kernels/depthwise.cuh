// The depthwise stage on one chunk of channels, out of the chunk buffer into registers.
//
// A warp computes groups of 2 rows x 8 columns of output pixels by eight channels: the accumulator layout of mma.cuh, so that a result is
// a left operand of the projection as it stands.
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

/// Eight channels of kTiles pixel groups with tensor cores: for each tap, pixels x diag(weights of the tap). Columns of the diagonal are
/// output channels, its rows the eight input channels that hold them. An 8 x 8 matrix (eight pixels of one row, eight channels), loaded
/// once, serves every tap and both output rows that it lies under. A single group adds up in one chain a window column, since nothing
/// else hides the latency of a chain.
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
  const int own_row = geometry::exchanges_rows(w) ? (lane >> 4) | ((lane >> 2) & 2) : lane >> 3;  // of the four that ldmatrix loads
  const u32 base = shared_address(e) + (own_row * G.e_slots + (lane & 7)) * G.e_pitch + channel * 2;
  float part[chains][kTiles][4] = {};
  constexpr bool exchange = geometry::exchanges_rows(w);
#pragma unroll
  for (int kx = 0; kx < w.kw; ++kx) {
    u32 diagonal[pairs][2];
#pragma unroll
    for (int pair = 0; pair < pairs; ++pair) {
      diagonal[pair][0] = __byte_perm(taps[kx * pairs + pair], 0, pick_first);
      diagonal[pair][1] = __byte_perm(taps[kx * pairs + pair], 0, pick_second);
    }
    constexpr int kLoads = G.runs ? 1 : kTiles, kShared = kTiles / kLoads;  // groups that one load of rows serves
    constexpr int rows = (kShared - 1) * 2 * w.sh + G.dw_rows;
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      u32 m[geometry::round_up(rows, 4)];
      const int slot = (tile[load] / G.m_tiles_w) * 2 * w.sh * G.e_slots + (tile[load] % G.m_tiles_w) * 8;
      load_window_rows<rows, G.e_slots * G.e_pitch>(m, base + (slot + column_offset<Cfg>(kx * w.dw)) * G.e_pitch);
      const auto row = [&m](int r) { return m[exchange && (r % 4 == 1 || r % 4 == 2) ? r ^ 3 : r]; };
#pragma unroll
      for (int t = 0; t < kShared; ++t) {
        float(&sum)[4] = kx % chains == 0 ? acc[load + t] : part[kx % chains][load + t];
        const int top = t * 2 * w.sh;
#pragma unroll
        for (int pair = 0; pair < pairs; ++pair) {
          const int first = top + geometry::tap_at(w, 2 * pair) * w.dh, tap = geometry::tap_at(w, 2 * pair + 1);
          const int second = top + tap * w.dh;
          if (tap >= 0) {
            mma_k16<S.math>(sum, row(first), row(first + w.sh), row(second), row(second + w.sh), diagonal[pair][0], diagonal[pair][1]);
          } else {
            mma_k8<S.math>(sum, row(first), row(first + w.sh), diagonal[pair][0]);
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

/// Depthwise stage with bias, before its activation, on the pixel groups `tile` and the `group`-th eight channels of the chunk.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise(float (&acc)[kTiles][4], const unsigned char* e, const unsigned char* weights, const int (&tile)[kTiles],
                          int group, int lane) {
  const float2 bias = *reinterpret_cast<const float2*>(weights + Of<Cfg>::G.dw_bias_at + (group * 8 + 2 * (lane & 3)) * 4);
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    acc[t][0] = acc[t][2] = bias.x;
    acc[t][1] = acc[t][3] = bias.y;
  }
  if constexpr (kIs16<Of<Cfg>::S.math>) {
    depthwise_mma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
  } else {
    depthwise_fma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
  }
}

}  // namespace fcm::kernel
