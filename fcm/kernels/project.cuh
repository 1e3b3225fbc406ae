// The last dense stage on one chunk of channels: left operands from the depthwise stage (in registers), or rows of the chunk buffer.
#pragma once

#include "fcm/kernels/depthwise.cuh"

namespace fcm::kernel {

/// Left operands: `k`-th ks channels of the chunk on groups of 16 pixels, computed in registers or read as they are.
template <class Cfg, int kTiles>
FCM_DEVICE void projection_operands(AFragment<Of<Cfg>::S.math> (&a)[kTiles], const unsigned char* e, const unsigned char* weights,
                                    const int (&tile)[kTiles], int k, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (!S.dw) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const unsigned char* rows = e + tile[t] * 16 * G.e_pitch;
      if constexpr (kIs16<S.math>) {
        a[t] = load_traded_rows<S.math, G.e_width>(rows, G.e_pitch, k, lane);
      } else {
        a[t] = load_rows<S.math>(rows, G.e_pitch, k * G.ks, lane);
      }
    }
  } else if constexpr (kIs16<S.math>) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Eight<S.math> v[kTiles];
      depthwise<Cfg, kTiles>(v, e, weights, tile, k * 2 + half, lane);
#pragma unroll
      for (int i = 0; i < kTiles * 2; ++i) a[i / 2].r[2 * half + i % 2] = transposed(v[i / 2].r[i % 2]);
    }
  } else {
    Eight<S.math> v[kTiles];
    depthwise<Cfg, kTiles>(v, e, weights, tile, k, lane);
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) a[i / 4].r[i % 4] = __float_as_uint(v[i / 4].v[i % 4]);
  }
}

/// Byte, in a chunk buffer, of the gate of the image that holds a lane's pixel: row `half` * 8 + lane / 4 of the `m`-th 16 pixels.
template <class Cfg>
FCM_DEVICE int gate_row(const Tile& tile, int m, int half, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int plane = S.out_h * S.out_w;
  const int last = tile.end - 1, p = tile.first + m * 16 + half * 8 + (lane >> 2);
  return G.gate_at + ((p < last ? p : last) / plane - tile.first / plane) * (G.e_chunk * G.el);
}

/// Multiplies a left operand, of the chunk's channels from `channel` on, by the gates of its images.
template <Math M>
FCM_DEVICE void apply_gate(AFragment<M>& a, const unsigned char* e, const int (&rows)[2], int channel, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int c = channel + 2 * (lane & 3);
    if constexpr (kIs16<M>) {
      const u32* pairs = reinterpret_cast<const u32*>(e + rows[half] + c * 2);
      a.r[half] = multiply2<M>(a.r[half], pairs[0]);
      a.r[2 + half] = multiply2<M>(a.r[2 + half], pairs[4]);
    } else {
      const float2 v = *reinterpret_cast<const float2*>(e + rows[half] + c * 4);
      a.r[2 * half] = __float_as_uint(__uint_as_float(a.r[2 * half]) * v.x);
      a.r[2 * half + 1] = __float_as_uint(__uint_as_float(a.r[2 * half + 1]) * v.y);
    }
  }
}

/// FP32 without a depthwise stage: rows of the chunk buffer are multiplied where they lie.
template <class Cfg, class UnitAt>
FCM_DEVICE void project_rows(Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.warp_n], const unsigned char* e,
                             const int (&groups)[Of<Cfg>::G.warp_m], const int (&gates)[Of<Cfg>::G.warp_m][2], int k, UnitAt unit,
                             int lane) {
  constexpr Geometry G = Of<Cfg>::G;
  const auto four = [&](int m, int half, int channel) {
    const float4 v = load_four(e + groups[m] * 16 * G.e_pitch, G.e_pitch, half, k * G.ks + channel, lane);
    if constexpr (Of<Cfg>::S.gate) {
      const float4 gate = *reinterpret_cast<const float4*>(e + gates[m][half] + (k * G.ks + channel) * 4);
      return float4{v.x * gate.x, v.y * gate.y, v.z * gate.z, v.w * gate.w};
    } else {
      return v;
    }
  };
  multiply_rows(acc, four, unit, lane);
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
FCM_DEVICE void project_chunk(Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.warp_n], const Tile& tile, int chunk, const unsigned char* e,
                              const unsigned char* weights, WarpPlace at, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int columns = S.n_tile / 16;
  if constexpr (S.dw) lane = anew<32>(lane);
  const u64 core = core_matrices(shared_address(weights + G.record_a) + at.n * G.warp_n * 256, S.n_tile * 16);
  const unsigned char* units = weights + G.record_a + at.n * G.warp_n * geometry::kUnitBytes;
  int groups[G.warp_m];
  pixel_groups<Cfg>(groups, at.m, 0);
  int gates[G.warp_m][2] = {};
  if constexpr (S.gate) {
#pragma unroll
    for (int i = 0; i < 2 * G.warp_m; ++i) gates[i / 2][i % 2] = gate_row<Cfg>(tile, groups[i / 2], i % 2, lane);
  }
  AFragment<S.math> operands[G.project_by_groups ? 2 : 1][G.warp_m];
  const auto end_step = [&] {
    warpgroup_wait();
#pragma unroll
    for (auto& row : acc) hold(row);
  };
  constexpr int groups_k = S.chunk / G.ks, kSteps = geometry::ceil_div(groups_k, S.warps_k),
                kUnroll = kIs16<S.math> && kSteps <= 4 ? kSteps : 2;
#pragma unroll kUnroll
  for (int step = 0; step < kSteps; ++step) {
    const int k = at.k + step * S.warps_k;
    if ((groups_k % S.warps_k != 0 && k >= groups_k) || (S.dw_c % S.chunk != 0 && chunk * S.chunk + k * G.ks >= S.dw_c)) break;
    const auto unit = [&](int n) { return units + (k * columns + n) * geometry::kUnitBytes; };
    if constexpr (S.math == Math::f32 && !S.dw) {
      project_rows<Cfg>(acc, e, groups, gates, k, unit, lane);
      continue;
    }
    AFragment<S.math>(&a)[G.warp_m] = operands[G.project_by_groups ? step % 2 : 0];
    projection_operands<Cfg, G.warp_m>(a, e, weights, groups, k, lane);
    if constexpr (S.gate) {
#pragma unroll
      for (int j = 0; j < G.warp_m; ++j) apply_gate<S.math>(a[j], e, gates[j], k * G.ks, lane);
    }
    if constexpr (G.project_by_groups) {  // beside the next step's depthwise stage
      end_step();
      warpgroup_begin();
#pragma unroll
      for (int j = 0; j < G.warp_m; ++j) wgmma_all<S.math, G.warp_n, 256>(acc[j], a[j].r, core + k * 2 * S.n_tile);
      warpgroup_commit();
    } else {
      multiply<S.math>(acc, a, unit, lane);
    }
  }
  if constexpr (G.project_by_groups) end_step();
}

}  // namespace fcm::kernel
