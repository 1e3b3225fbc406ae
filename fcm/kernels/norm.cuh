// A normalised input without a normalised copy of it. With W the weights of the first stage, s_f the sum of the weights to channel f, and
// mean and scale = 1 / sqrt(variance + epsilon) of a pixel x,
//
//   sum_c W_fc (x_c - mean) scale + b_f  =  scale (sum_c W_fc x_c - mean s_f) + b_f
//
// so that the product with x as it is, which nothing waits for, is corrected where it leaves the accumulators. s_f sums the weights as they
// are rounded: the identity is exact but for FP32 rounding. The variance is taken about the mean, in a second pass.
#pragma once

#include "fcm/kernels/load.cuh"

namespace fcm::kernel {

/// Statistics of a pixel's channels.
struct RowStat {
  float mean, scale;

  /// The normalised form of a product with the pixel: `sum` is what its weights add up to.
  FCM_DEVICE float apply(float product, float sum, float bias) const { return scale * (product - mean * sum) + bias; }
};

inline constexpr int kStatLanes = 8;  ///< lanes that share a pixel: they read 128 neighbouring bytes

FCM_DEVICE float sum_of_lanes(float x) {
#pragma unroll
  for (int distance = 1; distance < kStatLanes; distance *= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

/// One of kStatLanes lanes: the statistics of a pixel's channels, of which the `piece`-th 16 bytes are at `row(piece)`. All lanes of the
/// warp take part.
template <class Cfg, class Row>
FCM_DEVICE RowStat row_stat(Row row, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr int vec = Of<Cfg>::G.vec, vectors = geometry::ceil_div(S.in_c, vec);
  RowStat s{0.0f, 0.0f};
#pragma unroll
  for (int moment = S.norm == Norm::layer ? 1 : 2; moment <= 2; ++moment) {  // the mean, then the mean square about it
    float sum = 0.0f;
#pragma unroll 4
    for (int v = lane % kStatLanes; v < vectors; v += kStatLanes) {
      const Vector<S.math> x = Vector<S.math>::from(*reinterpret_cast<const uint4*>(row(v)));
#pragma unroll
      for (int i = 0; i < vec; ++i) {
        const float d = x.v[i] - s.mean;
        if (S.in_c % vec == 0 || v * vec + i < S.in_c) sum += moment == 1 ? d : d * d;
      }
    }
    const float mean = sum_of_lanes(sum) * (1.0f / static_cast<float>(S.in_c));
    if (moment == 1) s.mean = mean;
    if (moment == 2) s.scale = rsqrtf(mean + S.norm_epsilon);
  }
  return s;
}

/// Calls row_stat on each of the tile's pixels, `row(px, piece)` being the address of 16 bytes of its channels.
template <class Cfg, class Row>
FCM_DEVICE void all_stats(RowStat* stats, int warp, int lane, Row row) {
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kPixels = 32 / kStatLanes;
  for (int first = warp * kPixels; first < G.stat_rows; first += G.warps * kPixels) {
    const int px = geometry::min_of(first + lane / kStatLanes, G.stat_rows - 1);  // a spare group repeats the last pixel
    const RowStat s = row_stat<Cfg>([&](int piece) { return row(px, piece); }, lane);
    if (lane % kStatLanes == 0 && first + lane / kStatLanes == px) stats[px] = s;
  }
}

/// Of the input tile in shared memory.
template <class Cfg>
FCM_DEVICE void tile_stats(const unsigned char* x, RowStat* stats, int warp, int lane) {
  all_stats<Cfg>(stats, warp, lane, [&](int px, int piece) { return x + input_place<Cfg>(px, piece); });
}

/// Of a run of pixels in global memory; places beyond the last pixel take that one's.
template <class Cfg>
FCM_DEVICE void input_stats(const ModuleArgs& args, const Tile& tile, RowStat* stats, int warp, int lane) {
  constexpr Geometry G = Of<Cfg>::G;
  all_stats<Cfg>(stats, warp, lane, [&](int px, int piece) {
    const long long p = geometry::min_of(tile.first + px, tile.end - 1);
    return static_cast<const unsigned char*>(args.input) + p * (G.in_pitch * G.el) + piece * 16;
  });
}

}  // namespace fcm::kernel
