// The depthwise stage on one chunk of channels, out of the chunk buffer into registers.
//
// A warp computes groups of 2 rows x 8 columns of output pixels by eight channels.
#pragma once

#include "fcm/kernels/expand.cuh"

namespace fcm::kernel {

/// Bytes from the first column's to column `x` of the halo'd region: columns of one residue modulo the stride lie together.
template <class Cfg>
FCM_CONSTEXPR int column_offset(int x) {
  constexpr Geometry G = Of<Cfg>::G;
  return (x % Of<Cfg>::S.dw_window.sw) * G.e_column + x / Of<Cfg>::S.dw_window.sw * G.e_pitch;
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

/// What a matrix step multiplies eight channels of: four input rows in a window column, or what is left of several columns.
struct WindowItem {
  int row, column;  // in the window, of the upper output row; a column beyond the window counts nothing
};

/// Matrix steps of the depthwise stage, in the order of columns. Four rows of a column are a step; one or two rows that are left wait for
/// those of the next columns, until there are four.
template <class Cfg>
struct WindowSteps {
  static constexpr Window w = Of<Cfg>::S.dw_window;
  static constexpr int rows = Of<Cfg>::G.dw_rows, rest = rows % 4 == 3 ? 0 : rows % 4, whole = geometry::ceil_div(rows - rest, 4);
  static constexpr int shared = rest == 0 ? w.kw : 4 / rest;  // columns whose rests are a step

  /// The `i`-th of a step's four items; `step` counts a column's steps, the last of them being that of the rests up to this column.
  FCM_DEVICE static constexpr WindowItem item(int column, int step, int i) {
    if (step < whole) return {step * 4 + i, column};
    return {whole * 4 + i % geometry::max_of(rest, 1), column / shared * shared + i / geometry::max_of(rest, 1)};
  }
  FCM_DEVICE static constexpr int steps(int column) {
    return whole + (rest > 0 && (column % shared == shared - 1 || column == w.kw - 1) ? 1 : 0);
  }
  FCM_DEVICE static constexpr bool exists(WindowItem at) { return at.column < w.kw && at.row < rows; }
  /// The tap of an item for an output row, counted over the window's columns; -1: none.
  FCM_DEVICE static constexpr int tap(WindowItem at, int output_row) {
    constexpr Window window = w;
    const int t = exists(at) ? geometry::tap_of(window, at.row, output_row) : -1;
    return t < 0 ? -1 : at.column * window.kh + t;
  }
  /// Byte of an item's first pixel in a chunk buffer. Where there is none it is that of another, whose values are finite if any are.
  FCM_DEVICE static constexpr int offset(WindowItem at) {
    const int row = geometry::min_of(at.row, rows - 1), column = geometry::min_of(at.column, w.kw - 1);
    return row * Of<Cfg>::G.e_line + column_offset<Cfg>(column * w.dw);
  }
  /// The same for the item that a lane gives the row addresses of, beside that of the step's first item.
  FCM_DEVICE static int lane_offset(int column, int step, int lane) {
    const int first = offset(item(column, step, 0)), i = lane >> 3;
    const int at[3] = {offset(item(column, step, 1)) - first, offset(item(column, step, 2)) - first, offset(item(column, step, 3)) - first};
    if (at[1] == 2 * at[0] && at[2] == 3 * at[0]) return i * at[0];
    return i == 0 ? 0 : i == 1 ? at[0] : i == 2 ? at[1] : at[2];
  }
};

/// Byte of a pixel group's first row and column in a chunk buffer.
template <class Cfg>
FCM_DEVICE int group_offset(int group) {
  constexpr Geometry G = Of<Cfg>::G;
  return (group / G.m_tiles_w) * 2 * Of<Cfg>::S.dw_window.sh * G.e_line + (group % G.m_tiles_w) * 8 * G.e_pitch;
}

/// The rows of eight pixels that a column of the window reads for kTiles pixel groups below each other: each loaded once, by fours.
template <class Cfg, int kTiles>
struct RunRows {
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int apart = 2 * Of<Cfg>::S.dw_window.sh, count = (kTiles - 1) * apart + G.dw_rows, pitch = G.e_line;

  u32 m[count];

  /// `from`: of the column's first pixel in the lane's row among four.
  FCM_DEVICE void load(u32 from) {
#pragma unroll
    for (int r = 0; r < count; r += 4) {
      if (count - r > 2) {
        load_some<4>(r, from);
      } else if (count - r == 2) {
        load_some<2>(r, from);
      } else {
        load_some<1>(r, from);
      }
    }
  }

 private:
  template <int N>
  FCM_DEVICE void load_some(int first, u32 from) {
    u32 some[N];
    ldmatrix(some, from + first * pitch);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (first + i < count) m[first + i] = some[i];
    }
  }
};

/// A channel's taps as the tensor cores' operand wants them, and its bias, in registers: loaded four words at a time, when a
/// column begins that needs them, the last with the bias first of all.
template <class Cfg>
struct Taps {
  static constexpr Window w = Of<Cfg>::S.dw_window;
  using Steps = WindowSteps<Cfg>;
  static constexpr int kWords = Of<Cfg>::G.dw_channel_bytes / 4;
  const uint4* packed;
  u32 word[kWords];
  float bias[4];  // as sums begin

  FCM_DEVICE explicit Taps(const unsigned char* from) : packed(reinterpret_cast<const uint4*>(from)) {
    load_four(kWords - 4);
#pragma unroll
    for (float& b : bias) b = __uint_as_float(word[kWords - 1]);
  }

  FCM_DEVICE void load(int column, int end) {
#pragma unroll
    for (int i = geometry::round_up(column * w.kh, 4); i < end * w.kh && i < kWords - 4; i += 4) load_four(i);
  }
  /// The left operand of a step of four items.
  FCM_DEVICE Diagonals diagonals(const WindowItem (&items)[4], const DiagonalPlace& place) const {
    u32 up[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      up[i] = of(Steps::tap(items[i], 0));
      low[i] = of(Steps::tap(items[i], 1));
    }
    return Diagonals(up, low, place);
  }

 private:
  FCM_DEVICE void load_four(int i) {
    const uint4 v = packed[i / 4];
    word[i] = v.x;
    word[i + 1] = v.y;
    word[i + 2] = v.z;
    word[i + 3] = v.w;
  }
  FCM_DEVICE u32 of(int tap) const {
    return tap < 0 ? 0u : word[tap];
  }
};

/// Steps of pixel groups below each other at stride one. Two rows of two neighbouring columns are a step: what the upper rows of a group
/// are multiplied from is, as it was loaded, what the lower rows of the group above are. Only a last column without a neighbour is read by
/// fours of its rows, which every other group finds in two registers' different places. `base`: of the lane's row of eight pixels.
template <class Cfg, int kTiles>
FCM_DEVICE void multiply_pairs(float (&acc)[kTiles][4], Taps<Cfg>& taps, const DiagonalPlace& place, u32 base, int lane) {
  constexpr Window w = Of<Cfg>::S.dw_window;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Math M = Of<Cfg>::S.math;
  using Steps = WindowSteps<Cfg>;
  constexpr int pairs = G.dw_rows / 2;  // of rows that a group needs
#pragma unroll
  for (int kx = 0; kx + 1 < w.kw; kx += 2) {
    taps.load(kx, kx + 2);
    const int first = Steps::offset({0, kx}), apart = Steps::offset({0, kx + 1}) - first;
    const u32 from = base + (lane >> 3 & 1) * G.e_line + (lane >> 4) * apart + first;
    u32 m[kTiles - 1 + pairs][4];
#pragma unroll
    for (int i = 0; i < kTiles - 1 + pairs; ++i) ldmatrix(m[i], from + i * 2 * G.e_line);
#pragma unroll
    for (int pair = 0; pair < pairs; ++pair) {
      const int row = 2 * pair;
      const WindowItem items[4] = {{row, kx}, {row + 1, kx}, {row, kx + 1}, {row + 1, kx + 1}};
      const Diagonals diagonals = taps.diagonals(items, place);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) multiply_diagonals<M>(acc[t], kx + pair == 0 ? taps.bias : acc[t], diagonals, m[t + pair]);
    }
  }
  if constexpr (w.kw % 2 == 1) {
    constexpr int kx = w.kw - 1;
    taps.load(kx, kx + 1);
    RunRows<Cfg, kTiles> rows;
    rows.load(base + (lane >> 3) * G.e_line + Steps::offset({0, kx}));
#pragma unroll
    for (int row = 0; row < G.dw_rows; row += 4) {
      const WindowItem items[4] = {{row, kx}, {row + 1, kx}, {row + 2, kx}, {row + 3, kx}};
      const Diagonals diagonals = taps.diagonals(items, place);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        u32 m[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) m[i] = rows.m[2 * t + (row + i < G.dw_rows ? row + i : row)];  // finite if any are
        multiply_diagonals<M>(acc[t], kx + row == 0 ? taps.bias : acc[t], diagonals, m);
      }
    }
  }
}

/// Eight channels of kTiles pixel groups with tensor cores, transposed: diag(weights of the taps) x pixels. The sums of a group are a 16 x
/// 8 matrix, eight channels of the upper output row above those of the lower one, by eight columns of pixels. A step multiplies it by four
/// input rows at once, each an 8 x 8 matrix of eight pixels, as it was loaded; the left operand, 16 x 32, is the diagonals of the taps
/// under which these rows lie for either output row, or zero. Of four neighbours in its rows at most one is not zero: the sparse form of
/// the matrix instruction takes two of four and is told which. A tap lies packed in the half of a word in which it stands there, zero
/// beside it. Groups below each other share rows (a window of three at stride one: half of them), which are loaded for all of them.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise_mma(float (&acc)[kTiles][4], const unsigned char* e, const unsigned char* weights, const int (&tile)[kTiles],
                              int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  using Steps = WindowSteps<Cfg>;
  using Rows = RunRows<Cfg, kTiles>;
  constexpr bool kShare = G.runs && kTiles > 1;
  const int n = lane >> 2, k = ((group * 8 + n) / S.multiplier) & 7;
  const DiagonalPlace place = DiagonalPlace::of(k, lane);
  Taps<Cfg> taps(weights + G.dw_at + (group * 8 + n) * G.dw_channel_bytes);
  const int channel = (group * 8 / S.multiplier) & ~7;
  const u32 base = shared_address(e) + (lane & 7) * G.e_pitch + channel * 2;
  if constexpr (kShare && w.sh == 1 && G.dw_rows % 2 == 0)
    return multiply_pairs<Cfg, kTiles>(acc, taps, place, base + group_offset<Cfg>(tile[0]), lane);
  Rows rows[kShare ? w.kw : 1];
  bool first = true;
#pragma unroll
  for (int kx = 0; kx < w.kw; ++kx) {
    taps.load(kx, kx + 1);
    if constexpr (kShare) rows[kx].load(base + (lane >> 3) * Rows::pitch + Steps::offset({0, kx}) + group_offset<Cfg>(tile[0]));
#pragma unroll
    for (int step = 0; step < Steps::steps(kx); ++step) {
      const WindowItem items[4] = {Steps::item(kx, step, 0), Steps::item(kx, step, 1), Steps::item(kx, step, 2), Steps::item(kx, step, 3)};
      const Diagonals diagonals = taps.diagonals(items, place);
      if constexpr (kShare) {
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          u32 m[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const WindowItem at = Steps::exists(items[i]) ? items[i] : items[0];  // finite if any are
            m[i] = rows[at.column].m[at.row + t * Rows::apart];
          }
          multiply_diagonals<S.math>(acc[t], first ? taps.bias : acc[t], diagonals, m);
        }
      } else {
        const u32 from = base + Steps::lane_offset(kx, step, lane) + Steps::offset(items[0]);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          u32 m[4];
          ldmatrix(m, from + group_offset<Cfg>(tile[t]));
          multiply_diagonals<S.math>(acc[t], first ? taps.bias : acc[t], diagonals, m);
        }
      }
      first = false;
    }
  }
}

/// The same on CUDA cores in FP32: a lane computes two channels of one column in both rows. A column's rows are read once for all taps,
/// those of groups below each other once for all of them.
template <class Cfg, int kTiles>
FCM_DEVICE void depthwise_fma(float (&acc)[kTiles][4], const unsigned char* e, const unsigned char* weights, const int (&tile)[kTiles],
                              int group, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  constexpr int kTogether = G.runs ? kTiles : 1, apart = 2 * w.sh, rows = (kTogether - 1) * apart + G.dw_rows;
  const int out = group * 8 + 2 * (lane & 3);
  const unsigned char* packed = weights + G.dw_at + out * 4;
  constexpr int kColumns = kTiles * w.kh * w.kw <= 32 ? w.kw : 1;  // unrolled further, loads run ahead until registers are out
#pragma unroll kColumns
  for (int kx = 0; kx < w.kw; ++kx) {
    float2 taps[w.kh];
#pragma unroll
    for (int ky = 0; ky < w.kh; ++ky) taps[ky] = *reinterpret_cast<const float2*>(packed + (kx * w.kh + ky) * S.chunk * 4);
#pragma unroll
    for (int first = 0; first < kTiles; first += kTogether) {
      const unsigned char* from = e + group_offset<Cfg>(tile[first]) + (lane >> 2) * G.e_pitch + column_offset<Cfg>(kx * w.dw);
      float2 v[rows];
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const float* p = reinterpret_cast<const float*>(from + r * G.e_line);
        v[r] = S.multiplier == 1 ? *reinterpret_cast<const float2*>(p + out) : float2{p[out / S.multiplier], p[(out + 1) / S.multiplier]};
      }
#pragma unroll
      for (int i = 0; i < kTogether * w.kh; ++i) {
        const int t = i / w.kh, ky = i % w.kh;
        const float2 up = v[t * apart + ky * w.dh], low = v[t * apart + ky * w.dh + w.sh];
        acc[first + t][0] += up.x * taps[ky].x;
        acc[first + t][1] += up.y * taps[ky].y;
        acc[first + t][2] += low.x * taps[ky].x;
        acc[first + t][3] += low.y * taps[ky].y;
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
  float acc[kTiles][4];
  if constexpr (kIs16<S.math>) {
    depthwise_mma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
#pragma unroll
    for (int i = 0; i < kTiles * 2; ++i) out[i / 2].r[i % 2] = activate_pair<Cfg, false>(acc[i / 2][i % 2 * 2], acc[i / 2][i % 2 * 2 + 1]);
  } else {
    const float2 b = *reinterpret_cast<const float2*>(weights + Of<Cfg>::G.dw_bias_at + (group * 8 + 2 * (lane & 3)) * 4);
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) acc[i / 4][i % 4] = i % 2 == 0 ? b.x : b.y;
    depthwise_fma<Cfg, kTiles>(acc, e, weights, tile, group, lane);
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) out[i / 4].v[i % 4] = activation<S.dw_act.fn>(acc[i / 4][i % 4], S.dw_act.a, S.dw_act.b);
  }
}

}  // namespace fcm::kernel
