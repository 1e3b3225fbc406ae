// Sizes of the head kernels (global mean + fully connected; squeeze-and-excitation), for host and device; see geometry.h.
#pragma once

#include "fcm/geometry.h"

namespace fcm::geometry {

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
  int images = 1;  ///< pool_fc: images a block
  int split = 1;   ///< se: blocks of a cluster that share an image
  int warps = 8;
  bool wide_out = false;  ///< 16-bit arithmetic, FP32 output without padding
  bool jitter = false;
};

struct HeadGeometry {
  int el = 2, vec = 8, threads = 256;
  int c_pitch = 8, hidden_pitch = 8, out_pitch = 8;
  int hidden_slice = 0, out_slice = 8;  ///< rows of a block
  int hidden_bias_at = 0, out_bias_at = 0, hidden_at = 0, out_at = 0, blob_bytes = 0;
  int s_hidden_weights = 0, s_out_weights = 0, s_mean = 0, s_hidden = 0, shared_bytes = 0;
};

FCM_CONSTEXPR HeadGeometry derive(const HeadShape& s) {
  HeadGeometry g;
  g.el = s.math == Math::f16 || s.math == Math::bf16 ? 2 : 4;
  g.vec = 16 / g.el;
  g.threads = s.warps * 32;
  g.c_pitch = round_up(s.c, g.vec);
  g.hidden_pitch = round_up(s.hidden, g.vec);
  g.out_pitch = s.wide_out ? s.out_c : round_up(s.out_c, g.vec);
  const int depth = s.hidden > 0 ? g.hidden_pitch : g.c_pitch;
  g.hidden_slice = s.hidden > 0 ? ceil_div(s.hidden, s.split) : 0;
  g.out_slice = s.hidden > 0 ? ceil_div(s.out_c, s.split) : s.n_tile;
  g.hidden_bias_at = 0;
  g.out_bias_at = round_up(s.hidden, 4) * 4;
  g.hidden_at = g.out_bias_at + round_up(s.out_c, 4) * 4;
  g.out_at = g.hidden_at + s.hidden * g.c_pitch * g.el;
  g.blob_bytes = g.out_at + s.out_c * depth * g.el;
  g.s_hidden_weights = 0;
  g.s_out_weights = g.hidden_slice * g.c_pitch * g.el;
  g.s_mean = g.s_out_weights + g.out_slice * depth * g.el;
  g.s_hidden = g.s_mean + s.images * g.c_pitch * 4;
  g.shared_bytes = g.s_hidden + g.hidden_pitch * 4;
  return g;
}

}  // namespace fcm::geometry
