// Sizes of the head kernels (global mean + fully connected; squeeze-and-excitation), for host and device; see geometry.h.
#pragma once

#include "fcm/geometry.h"

namespace fcm::geometry {

inline constexpr int kHeadImages = 8;    ///< the columns of one matrix step
inline constexpr int kLeastAddends = 4;  ///< fewer are not worth a thread of their own, nor up to 16 a barrier

struct HeadShape {
  Math math = Math::f16;
  bool sums = false;  ///< the input is float sums over tiles
  int sum_tiles = 1;
  int pixels = 1;  ///< of the plane that is averaged
  int c = 1;
  int hidden = 0;  ///< outputs of the first dense stage of squeeze-and-excitation; 0: there is one dense stage
  int out_c = 1;
  Activation hidden_act{}, out_act{};
  int n_tile = 8;  ///< pool_fc: outputs a block
  int images = 1;  ///< handled together, at most kHeadImages: what a weight is read for
  int split = 1;   ///< se: blocks of a cluster that share these images
  int warps = 8;
  bool wide_out = false;  ///< 16-bit arithmetic, FP32 output without padding
  bool jitter = false;
};

struct HeadGeometry {
  int el = 2, vec = 8, threads = 256;
  int c_pitch = 8, hidden_pitch = 8, out_pitch = 8;
  int hidden_slice = 0, out_slice = 8;             ///< rows of a block
  int c_depth = 16, hidden_depth = 0, depth = 16;  ///< of a row in shared memory, padded with zeros; `depth`: of the last stage
  int hidden_shares = 1, out_shares = 1;           ///< warps that share the depth of a dense stage (16-bit)
  int addends = 1;                                 ///< of a mean: tiles, or pixels
  int mean_lanes = 1, mean_groups = 1;             ///< threads that add side by side for `images` images, and how many share the addends
  int hidden_bias_at = 0, out_bias_at = 0, hidden_at = 0, out_at = 0, blob_bytes = 0;
  int s_hidden_weights = 0, s_out_weights = 0, s_mean = 0, s_hidden = 0, s_parts = 0, shared_bytes = 0;
};

/// Bytes of a row in shared memory: eight of them meet different banks in a matrix load.
FCM_CONSTEXPR int head_row_bytes(int depth, int el) {
  return el == 2 ? bank_pitch(depth, el) : depth * el;
}
/// Warps that share the depth of a dense stage of `rows` outputs, since there are more of them than tiles of 16 outputs.
FCM_CONSTEXPR int depth_shares(int rows, int depth, int warps) {
  return max_of(1, min_of(depth / 16, warps / max_of(1, ceil_div(rows, 16))));
}

FCM_CONSTEXPR HeadGeometry derive(const HeadShape& s) {
  HeadGeometry g;
  const bool se = s.hidden > 0;
  g.el = s.math == Math::f16 || s.math == Math::bf16 ? 2 : 4;
  g.vec = 16 / g.el;
  g.threads = s.warps * 32;
  g.c_pitch = round_up(s.c, g.vec);
  g.hidden_pitch = round_up(s.hidden, g.vec);
  g.out_pitch = s.wide_out ? s.out_c : round_up(s.out_c, g.vec);
  g.hidden_slice = se ? ceil_div(s.hidden, s.split) : 0;
  g.out_slice = se ? ceil_div(s.out_c, s.split) : s.n_tile;
  g.c_depth = g.el == 2 ? round_up(s.c, 16) : g.c_pitch;
  g.hidden_depth = g.el == 2 ? round_up(s.hidden, 16) : g.hidden_pitch;
  g.depth = se ? g.hidden_depth : g.c_depth;
  g.hidden_bias_at = 0;
  g.out_bias_at = round_up(s.hidden, 4) * 4;
  g.hidden_at = g.out_bias_at + round_up(s.out_c, 4) * 4;
  g.out_at = g.hidden_at + s.hidden * g.c_pitch * g.el;
  g.blob_bytes = g.out_at + s.out_c * (se ? g.hidden_pitch : g.c_pitch) * g.el;
  g.addends = s.sums ? s.sum_tiles : s.pixels;
  g.mean_lanes = s.images * (g.c_depth / (s.sums ? 4 : g.vec));
  g.mean_groups = g.addends <= 16 ? 1 : max_of(1, min_of(g.addends / kLeastAddends, g.threads / g.mean_lanes));
  const int granule = g.el == 2 ? 16 : 1;  // matrix loads read whole tiles of rows
  const int hidden_rows = round_up(g.hidden_slice, granule), out_rows = round_up(g.out_slice, granule);
  const int images = g.el == 2 ? kHeadImages : s.images;
  g.s_hidden_weights = 0;
  g.s_out_weights = hidden_rows * head_row_bytes(g.c_depth, g.el);
  g.s_mean = g.s_out_weights + out_rows * head_row_bytes(g.depth, g.el);
  g.s_hidden = g.s_mean + images * head_row_bytes(g.c_depth, g.el);
  g.s_parts = g.s_hidden + (se ? images * head_row_bytes(g.hidden_depth, g.el) : 0);
  g.shared_bytes = g.s_parts;
  if (g.el == 2) {
    g.hidden_shares = se ? depth_shares(g.hidden_slice, g.c_depth, s.warps) : 0;
    g.out_shares = depth_shares(g.out_slice, g.depth, s.warps);
    g.shared_bytes += max_of(g.hidden_shares * hidden_rows, g.out_shares * out_rows) * kHeadImages * 4;
  }
  if (g.mean_groups > 1) {  // dense stages come after the means
    const int partial = g.mean_groups * g.mean_lanes * (s.sums ? 4 : g.vec) * 4;
    g.shared_bytes = max_of(g.shared_bytes, g.s_parts + partial);
  }
  return g;
}

}  // namespace fcm::geometry
