// The arithmetic of a module on one chunk of channels: expansion into the chunk buffer, depthwise convolution out of it, projection.
#pragma once

#include "fcm/kernels/load.cuh"

namespace fcm::kernel {

/// Stores two neighbouring channels.
template <Math M>
FCM_DEVICE void store_pair(unsigned char* p, float lo, float hi) {
  if constexpr (kIs16<M>) {
    *reinterpret_cast<u32*>(p) = pack2<M>(lo, hi);
  } else {
    *reinterpret_cast<float2*>(p) = float2{lo, hi};
  }
}

/// Activation of two neighbouring channels of an expansion, zero outside the plane (it is the padding of the next stage).
template <class Cfg>
FCM_DEVICE void store_expanded(unsigned char* p, float lo, float hi, bool inside) {
  constexpr Activation f = Of<Cfg>::S.expand_act;
  lo = activation<f.fn>(lo, f.a, f.b);
  hi = activation<f.fn>(hi, f.a, f.b);
  store_pair<Of<Cfg>::S.math>(p, inside ? lo : 0.0f, inside ? hi : 0.0f);
}

/// Expansion of the whole core region to the chunk's channels: input tile x packed weights -> chunk buffer. Warps share the units.
template <class Cfg>
FCM_DEVICE void expand_chunk(const Tile& tile, const unsigned char* x, const unsigned char* weights, unsigned char* e, int warp, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kRows = S.expand_m, kCols = S.expand_n, kDepth = G.k1 / G.ks;
  constexpr int m_units = G.x_rows / (16 * kRows), n_units = G.e_chunk / (16 * kCols);
  const int row = lane >> 2, q = lane & 3;
  const float* bias = reinterpret_cast<const float*>(weights + G.expand_bias_at);
  for (int unit = warp; unit < m_units * n_units; unit += G.warps) {
    const int m0 = (unit % m_units) * kRows, n0 = (unit / m_units) * kCols;
    Accumulator acc[kRows][kCols];
#pragma unroll
    for (int n = 0; n < kCols; ++n) {
      const float2 lo = *reinterpret_cast<const float2*>(bias + (n0 + n) * 16 + 2 * q);
      const float2 hi = *reinterpret_cast<const float2*>(bias + (n0 + n) * 16 + 8 + 2 * q);
#pragma unroll
      for (int m = 0; m < kRows; ++m) acc[m][n] = Accumulator{{lo.x, lo.y, lo.x, lo.y}, {hi.x, hi.y, hi.x, hi.y}};
    }
#pragma unroll 4
    for (int k = 0; k < kDepth; ++k) {
      AFragment<S.math> a[kRows];
#pragma unroll
      for (int m = 0; m < kRows; ++m) a[m] = load_rows<S.math>(x + (m0 + m) * 16 * G.x_pitch, G.x_pitch, k * G.ks, lane);
      multiply<S.math>(
          acc, a, [&](int n) { return weights + ((n0 + n) * kDepth + k) * geometry::kUnitBytes; }, lane);
    }
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int px = (m0 + m) * 16 + half * 8 + row;
        if (px >= G.core_px) continue;
        const Site s = site_of<Cfg>(tile, px);
        unsigned char* to = e + s.slot * G.e_pitch + (n0 * 16 + 2 * q) * G.el;
#pragma unroll
        for (int n = 0; n < kCols; ++n) {
          store_expanded<Cfg>(to + n * 16 * G.el, acc[m][n].lo[2 * half], acc[m][n].lo[2 * half + 1], s.inside);
          store_expanded<Cfg>(to + (n * 16 + 8) * G.el, acc[m][n].hi[2 * half], acc[m][n].hi[2 * half + 1], s.inside);
        }
      }
    }
  }
}

/// Slots from the first column's to that of column `x` of the halo'd region: columns of one residue modulo the stride lie together.
template <class Cfg>
FCM_CONSTEXPR int column_offset(int x) {
  return (x % Of<Cfg>::S.dw_window.sw) * Of<Cfg>::G.e_half + x / Of<Cfg>::S.dw_window.sw;
}

/// Eight channels of the depthwise stage on 2 x 8 output pixels, with tensor cores: for each tap, pixels x diag(weights of the tap).
/// Columns of the diagonal are output channels; its rows the eight input channels that hold them. An 8 x 8 matrix of (eight pixels of one
/// row, eight channels), loaded once, serves every tap and both output rows that it lies under.
template <class Cfg>
FCM_DEVICE void depthwise_mma(float (&acc)[4], const unsigned char* e, const unsigned char* weights, int my, int mx, int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  constexpr int pairs = (w.kh + 1) / 2, words = w.kw * pairs, rows = G.dw_rows;
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
  const u32 base = shared_address(e) + ((my * 2 * w.sh + (lane >> 3)) * G.e_slots + mx * 8 + (lane & 7)) * G.e_pitch + channel * 2;
#pragma unroll
  for (int kx = 0; kx < w.kw; ++kx) {
    u32 m[geometry::round_up(rows, 4)];
#pragma unroll
    for (int r = 0; r < rows; r += 4) {
      const u32 at = base + (r * G.e_slots + column_offset<Cfg>(kx * w.dw)) * G.e_pitch;
      if (rows - r >= 3) {
        ldmatrix(*reinterpret_cast<u32(*)[4]>(&m[r]), at);
      } else if (rows - r == 2) {
        ldmatrix(*reinterpret_cast<u32(*)[2]>(&m[r]), at);
      } else {
        ldmatrix(*reinterpret_cast<u32(*)[1]>(&m[r]), at);
      }
    }
#pragma unroll
    for (int ky = 0; ky < w.kh; ky += 2) {
      const u32 tap = taps[kx * pairs + ky / 2];
      const u32 b0 = __byte_perm(tap, 0, pick_first);
      if (ky + 1 < w.kh) {
        const u32 b1 = __byte_perm(tap, 0, pick_second);
        mma_k16<S.math>(acc, m[ky * w.dh], m[ky * w.dh + w.sh], m[(ky + 1) * w.dh], m[(ky + 1) * w.dh + w.sh], b0, b1);
      } else {
        mma_k8<S.math>(acc, m[ky * w.dh], m[ky * w.dh + w.sh], b0);
      }
    }
  }
}

/// The same on CUDA cores in FP32: a lane computes two channels of one column in both rows; rows are read once for all taps.
template <class Cfg>
FCM_DEVICE void depthwise_fma(float (&acc)[4], const unsigned char* e, const unsigned char* weights, int my, int mx, int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  const int q = lane & 3, out = group * 8 + 2 * q;
  const unsigned char* at = e + (my * 2 * w.sh * G.e_slots + mx * 8 + (lane >> 2)) * G.e_pitch;
  const unsigned char* taps = weights + G.dw_at + out * 4;
#pragma unroll
  for (int kx = 0; kx < w.kw; ++kx) {
    float2 v[G.dw_rows];
#pragma unroll
    for (int r = 0; r < G.dw_rows; ++r) {
      const unsigned char* p = at + (r * G.e_slots + column_offset<Cfg>(kx * w.dw)) * G.e_pitch;
      if constexpr (S.multiplier == 1) {
        v[r] = *reinterpret_cast<const float2*>(p + out * 4);
      } else {
        const float* channels = reinterpret_cast<const float*>(p);
        v[r] = float2{channels[out / S.multiplier], channels[(out + 1) / S.multiplier]};
      }
    }
#pragma unroll
    for (int ky = 0; ky < w.kh; ++ky) {
      const float2 t = *reinterpret_cast<const float2*>(taps + (kx * w.kh + ky) * S.chunk * 4);
      acc[0] += v[ky * w.dh].x * t.x;
      acc[1] += v[ky * w.dh].y * t.y;
      acc[2] += v[ky * w.dh + w.sh].x * t.x;
      acc[3] += v[ky * w.dh + w.sh].y * t.y;
    }
  }
}

/// Depthwise stage with bias and activation on the `m`-th 2 x 8 output pixels and the `group`-th eight channels of the chunk.
template <class Cfg>
FCM_DEVICE void depthwise(float (&acc)[4], const unsigned char* e, const unsigned char* weights, int m, int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  const float2 bias = *reinterpret_cast<const float2*>(weights + G.dw_bias_at + (group * 8 + 2 * (lane & 3)) * 4);
  acc[0] = acc[2] = bias.x;
  acc[1] = acc[3] = bias.y;
  if constexpr (kIs16<S.math>) {
    depthwise_mma<Cfg>(acc, e, weights, m / G.m_tiles_w, m % G.m_tiles_w, group, lane);
  } else {
    depthwise_fma<Cfg>(acc, e, weights, m / G.m_tiles_w, m % G.m_tiles_w, group, lane);
  }
#pragma unroll
  for (float& v : acc) v = activation<S.dw_act.fn>(v, S.dw_act.a, S.dw_act.b);
}

/// Left operand of the projection: `k`-th ks channels of the chunk on the `m`-th 16 pixels, computed in registers or read as it is.
template <class Cfg>
FCM_DEVICE AFragment<Of<Cfg>::S.math> projection_operand(const unsigned char* e, const unsigned char* weights, int m, int k, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (!S.dw) return load_rows<S.math>(e + m * 16 * G.e_pitch, G.e_pitch, k * G.ks, lane);
  AFragment<S.math> a;
  if constexpr (kIs16<S.math>) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float v[4];
      depthwise<Cfg>(v, e, weights, m, k * 2 + half, lane);
      a.r[2 * half] = pack2<S.math>(v[0], v[1]);
      a.r[2 * half + 1] = pack2<S.math>(v[2], v[3]);
    }
  } else {
    float v[4];
    depthwise<Cfg>(v, e, weights, m, k, lane);
#pragma unroll
    for (int i = 0; i < 4; ++i) a.r[i] = __float_as_uint(v[i]);
  }
  return a;
}

/// Multiplies a left operand by the gate of its images. `channel` is the operand's first channel.
template <class Cfg>
FCM_DEVICE void apply_gate(AFragment<Of<Cfg>::S.math>& a, const ModuleArgs& args, const Tile& tile, int m, int channel, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int plane = S.out_h * S.out_w;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int last = tile.end - 1, p = tile.first + m * 16 + half * 8 + (lane >> 2);
    const int image = (p < last ? p : last) / plane;
    const unsigned char* g = static_cast<const unsigned char*>(args.gate) + static_cast<long long>(image) * G.in_pitch * G.el;
    const int c = channel + 2 * (lane & 3);
    if constexpr (kIs16<S.math>) {
      const u32* pairs = reinterpret_cast<const u32*>(g);
      if (c < G.in_pitch) a.r[half] = multiply2<S.math>(a.r[half], pairs[c / 2]);
      if (c + 8 < G.in_pitch) a.r[2 + half] = multiply2<S.math>(a.r[2 + half], pairs[c / 2 + 4]);
    } else if (c < G.in_pitch) {
      const float2 v = *reinterpret_cast<const float2*>(g + c * 4);
      a.r[2 * half] = __float_as_uint(__uint_as_float(a.r[2 * half]) * v.x);
      a.r[2 * half + 1] = __float_as_uint(__uint_as_float(a.r[2 * half + 1]) * v.y);
    }
  }
}

/// The part of the block's output that a warp accumulates.
struct WarpPlace {
  int m, k, n;
};
template <class Cfg>
FCM_DEVICE WarpPlace place_of(int warp) {
  constexpr Shape S = Of<Cfg>::S;
  return WarpPlace{warp % S.warps_m, (warp / S.warps_m) % S.warps_k, warp / (S.warps_m * S.warps_k)};
}

/// Adds a chunk's contribution to the warp's accumulators. `weights` is the chunk's stage in shared memory.
template <class Cfg>
FCM_DEVICE void project_chunk(Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.warp_n], const ModuleArgs& args, const Tile& tile, int chunk,
                              const unsigned char* e, const unsigned char* weights, WarpPlace at, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int columns = S.n_tile / 16;
  const unsigned char* units = weights + G.record_a + at.n * G.warp_n * geometry::kUnitBytes;
#pragma unroll 2
  for (int k = at.k; k < S.chunk / G.ks; k += S.warps_k) {
    if (chunk * S.chunk + k * G.ks >= S.dw_c) break;
    AFragment<S.math> a[G.warp_m];
#pragma unroll
    for (int j = 0; j < G.warp_m; ++j) {
      const int m = at.m + j * S.warps_m;
      if (m < G.m_tiles) {
        a[j] = projection_operand<Cfg>(e, weights, m, k, lane);
        if constexpr (S.gate) apply_gate<Cfg>(a[j], args, tile, m, chunk * S.chunk + k * G.ks, lane);
      } else {
        a[j] = AFragment<S.math>{};
      }
    }
    multiply<S.math>(
        acc, a, [&](int n) { return units + (k * columns + n) * geometry::kUnitBytes; }, lane);
  }
}

}  // namespace fcm::kernel
