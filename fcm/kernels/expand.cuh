// The first dense stage on one chunk of channels: input tile x packed weights -> activated rows of the chunk buffer.
#pragma once

#include "fcm/kernels/norm.cuh"

namespace fcm::kernel {

/// Four 8 x 8 matrices to shared memory: lane l gives the row address of row l % 8 of matrix l / 8.
FCM_DEVICE void stmatrix(u32 address, const u32 (&v)[4]) {
  if constexpr (kArch >= 900) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v[0]), "r"(v[1]), "r"(v[2]),
                 "r"(v[3])
                 : "memory");
  }
}

/// The same, each matrix transposed.
FCM_DEVICE void stmatrix_transposed(u32 address, const u32 (&v)[4]) {
  if constexpr (kArch >= 900) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v[0]), "r"(v[1]), "r"(v[2]),
                 "r"(v[3])
                 : "memory");
  }
}

/// One word to shared memory.
FCM_DEVICE void store_word(u32 address, u32 v) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}

/// Two neighbouring channels of a middle stage, activated and packed.
template <class Cfg, bool kExpansion>
FCM_DEVICE u32 activate_pair(float lo, float hi) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Activation f = kExpansion ? S.expand_act : S.dw_act;
  constexpr bool exact = is_exact_bound<S.math>(f.b);
  return activate_pack2<S.math, f.fn>(lo, hi, f.a, f.b, exact);
}

/// Byte of the `px`-th core pixel's row in a chunk buffer. Rows beyond the core have none: nothing of them is stored.
template <class Cfg>
FCM_DEVICE int row_offset(const Place* table, int px) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.flat) return px * G.e_pitch;
  return table[px].offset();
}

/// Masks of the rows lane / 4 and lane / 4 + 8 of 16 pixels: all bits where the pixel lies in the plane.
struct RowMasks {
  u32 row[2] = {~0u, ~0u};
};
/// Those of the `m`-th 16 pixels, of a tile at the plane's border.
FCM_DEVICE RowMasks row_masks(const Place* table, int m, int lane) {
  RowMasks masks;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const u32 place = reinterpret_cast<const u32&>(table[m * 16 + half * 8 + (lane >> 2)]);
    masks.row[half] = __byte_perm(place, 0, 0x3232);
  }
  return masks;
}

/// ReLU-n of 16-bit values: its upper bound and the mask are one operand of a minimum.
template <class Cfg>
FCM_CONSTEXPR bool bounds_are_masks() {
  constexpr Activation f = Of<Cfg>::S.expand_act;
  return kArch >= 800 && kIs16<Of<Cfg>::S.math> && f.fn == 2 && f.a == 0.0f && is_exact_bound<Of<Cfg>::S.math>(f.b);
}
/// Two neighbouring middle channels of a pixel, activated and packed, zero outside the plane.
template <class Cfg>
FCM_DEVICE u32 activate_masked(float lo, float hi, u32 mask) {
  constexpr Shape S = Of<Cfg>::S;
  if constexpr (!crosses_border<Cfg>()) {
    return activate_pair<Cfg, true>(lo, hi);
  } else if constexpr (bounds_are_masks<Cfg>()) {
    return min2_nan<S.math>(pack2_relu<S.math>(lo, hi), mask & pack2<S.math>(S.expand_act.b, S.expand_act.b));
  } else {
    return activate_pair<Cfg, true>(lo, hi) & mask;
  }
}

/// Whether all 16 pixels of the `m`-th tile of the expansion belong to the core region. Always so where the region fills its tiles.
template <class Cfg>
FCM_DEVICE bool is_whole(int m) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.core_px == G.x_rows) return true;
  return m < G.core_px / 16;
}

/// 16 pixels x 16 kCols channels of 16-bit results: matrix stores, or plain ones of the rows that exist, since every lane's row takes
/// part in a matrix store.
template <class Cfg, int kCols>
FCM_DEVICE void store_matrices(const Place* table, unsigned char* e, const Accumulator (&acc)[kCols], int m, int n0, const RowMasks& inside,
                               int lane) {
  const int px = m * 16 + (lane >> 4) * 8 + (lane & 7);
  const u32 to = shared_address(e) + row_offset<Cfg>(table, px) + (n0 * 16 + ((lane >> 3) & 1) * 8) * 2;
  u32 v[kCols][4];
#pragma unroll
  for (int n = 0; n < kCols; ++n) {
    v[n][0] = activate_masked<Cfg>(acc[n].lo[0], acc[n].lo[1], inside.row[0]);
    v[n][1] = activate_masked<Cfg>(acc[n].hi[0], acc[n].hi[1], inside.row[0]);
    v[n][2] = activate_masked<Cfg>(acc[n].lo[2], acc[n].lo[3], inside.row[1]);
    v[n][3] = activate_masked<Cfg>(acc[n].hi[2], acc[n].hi[3], inside.row[1]);
  }
  if (is_whole<Cfg>(m)) {
#pragma unroll
    for (int n = 0; n < kCols; ++n) stmatrix(to + n * 32, v[n]);
    return;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // the row's address is with the lane that gives it to a matrix store
    const u32 row = __shfl_sync(0xffffffffu, to, half * 16 + (lane >> 2)) + (lane & 3) * 4;
    if (m * 16 + half * 8 + (lane >> 2) >= Of<Cfg>::G.core_px) continue;
#pragma unroll
    for (int i = 0; i < 2 * kCols; ++i) store_word(row + i * 16, v[i / 2][2 * half + i % 2]);
  }
}

/// The same with plain stores: any target, FP32 too.
template <class Cfg, int kCols>
FCM_DEVICE void store_pairs(const Place* table, unsigned char* e, const Accumulator (&acc)[kCols], int m, int n0, const RowMasks& inside,
                            int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr int el = Of<Cfg>::G.el;
  constexpr Activation f = S.expand_act;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int px = m * 16 + half * 8 + (lane >> 2);
    if (!is_whole<Cfg>(m) && px >= Of<Cfg>::G.core_px) continue;
    unsigned char* to = e + row_offset<Cfg>(table, px) + (n0 * 16 + 2 * (lane & 3)) * el;
#pragma unroll
    for (int i = 0; i < 2 * kCols; ++i) {
      const float* v = (i % 2 == 0 ? acc[i / 2].lo : acc[i / 2].hi) + 2 * half;
      if constexpr (kIs16<S.math>) {
        *reinterpret_cast<u32*>(to + i * 8 * el) = activate_masked<Cfg>(v[0], v[1], inside.row[half]);
      } else {
        const float2 pair{activation<f.fn>(v[0], f.a, f.b), activation<f.fn>(v[1], f.a, f.b)};
        *reinterpret_cast<float2*>(to + i * 8 * el) = inside.row[half] != 0 ? pair : float2{0.0f, 0.0f};
      }
    }
  }
}

/// Sums begin with the bias: floats of 16 kCols channels.
template <int kRows, int kCols>
FCM_DEVICE void set_bias(Accumulator (&acc)[kRows][kCols], const unsigned char* bias, int lane) {
#pragma unroll
  for (int n = 0; n < kCols; ++n) {
    const float2 lo = *reinterpret_cast<const float2*>(bias + n * 64 + (lane & 3) * 8);
    const float2 hi = *reinterpret_cast<const float2*>(bias + n * 64 + 32 + (lane & 3) * 8);
#pragma unroll
    for (int m = 0; m < kRows; ++m) acc[m][n] = Accumulator{{lo.x, lo.y, lo.x, lo.y}, {hi.x, hi.y, hi.x, hi.y}};
  }
}

/// Activation and store of the `m`-th 16 pixels. Pixels outside the plane become zero: they are the padding of the depthwise stage.
template <class Cfg, int kCols>
FCM_DEVICE void store_expanded(const Place* table, unsigned char* e, const Accumulator (&acc)[kCols], int m, int n0, const RowMasks& inside,
                               int lane) {
  if constexpr (kIs16<Of<Cfg>::S.math> && kArch >= 900) {
    store_matrices<Cfg>(table, e, acc, m, n0, inside, lane);
  } else {
    store_pairs<Cfg>(table, e, acc, m, n0, inside, lane);
  }
}
/// The same with the marks of the table.
template <class Cfg, int kCols>
FCM_DEVICE void store_expanded(const Place* table, unsigned char* e, const Accumulator (&acc)[kCols], int m, int n0, int lane) {
  RowMasks inside;
  if constexpr (crosses_border<Cfg>()) inside = row_masks(table, m, lane);
  store_expanded<Cfg>(table, e, acc, m, n0, inside, lane);
}

/// The expansion by warpgroups: both operands come from shared memory without passing a warp, which leaves its ports to the depthwise
/// stage. Warpgroups share units of 64 pixels x expand_n tiles.
template <class Cfg>
FCM_DEVICE void expand_by_warpgroups(const Place* table, const unsigned char* x, const unsigned char* weights, unsigned char* e, int warp,
                                     int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kCols = S.expand_n, kDepth = G.k1 / G.ks;
  constexpr int m_units = G.x_rows / 64, n_units = G.e_chunk / (16 * kCols);
  constexpr int width = G.x_width;
  const u64 a = traded_rows(shared_address(x), width), b = core_matrices(shared_address(weights), G.e_chunk * 16);
  using Walk = Deal<m_units, G.warps / 4>;
  for (Walk unit = Walk::from(warp / 4); unit.row < n_units; unit.advance()) {
    const int m0 = unit.piece, n0 = unit.row * kCols;
    Accumulator acc[1][kCols];
    set_bias<1, kCols>(acc, weights + G.expand_bias_at + n0 * 64, lane);
    hold(acc[0]);
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < kDepth; ++k)  // addresses in units of 16 bytes
      wgmma<S.math>(acc[0], a + (m0 * 64 * width + k * 32 / width * G.x_band + k * 32 % width) / 16, b + n0 * 16 + k * 2 * G.e_chunk);
    warpgroup_end();
    hold(acc[0]);
    const int m = m0 * 4 + warp % 4;
    if (m * 16 < G.core_px) store_expanded<Cfg>(table, e, acc[0], m, n0, lane);
  }
}

/// What a warp (or warpgroup) adds up of a chunk while slices of the depth pass through shared memory: its units of the whole tile.
template <class Cfg>
struct StreamedExpansion {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int kRows = S.warpgroup ? 1 : S.expand_m, kCols = S.expand_n, kUnits = geometry::streamed_units(S, G);
  static constexpr int m_units = G.x_rows / (S.warpgroup ? 64 : 16 * kRows), units = m_units * (G.e_chunk / (16 * kCols));
  static constexpr int owners = S.warpgroup ? G.warps / 4 : G.warps, kSteps = G.slice / G.ks;
  static constexpr int kUnroll = kIs16<S.math> ? kSteps : 1;  // an FP32 step is long enough

  Accumulator acc[kUnits][kRows][kCols];
  int owner;

  FCM_DEVICE explicit StreamedExpansion(int warp) : acc{}, owner(S.warpgroup ? warp / 4 : warp) {}
  FCM_DEVICE int rows_of(int i) const { return (owner + i * owners) % m_units * kRows; }
  FCM_DEVICE int columns_of(int i) const { return (owner + i * owners) / m_units * kCols; }
  FCM_DEVICE bool exists(int i) const { return units % owners == 0 || owner + i * owners < units; }
  FCM_DEVICE void hold_all() {
#pragma unroll
    for (auto& unit : acc) hold(unit[0]);
  }

  /// Starts to add a slice, by warpgroups.
  FCM_DEVICE void begin_slice(const unsigned char* x, const unsigned char* weights) {
    const u64 a = slice_rows(shared_address(x)), b = slice_rows(shared_address(weights));
    hold_all();
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {  // addresses in units of 16 bytes
#pragma unroll
      for (int i = 0; i < kUnits; ++i)
        wgmma<S.math>(acc[i][0], a + rows_of(i) * (64 * geometry::kSliceBytes / 16) + k * 2,
                      b + columns_of(i) * (16 * geometry::kSliceBytes / 16) + k * 2);
    }
    warpgroup_commit();
  }
  /// It has been added.
  FCM_DEVICE void end_slice() {
    warpgroup_wait();
    hold_all();
  }

  /// Adds a slice, by warps.
  FCM_DEVICE void add_slice(const unsigned char* x, const unsigned char* weights, int lane) {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if (!exists(i)) break;
      const unsigned char* rows = x + rows_of(i) * 16 * geometry::kSliceBytes;
      const unsigned char* columns = weights + columns_of(i) * geometry::kUnitBytes;
#pragma unroll kUnroll
      for (int k = 0; k < kSteps; ++k) {
        const unsigned char* at = columns + k * (G.e_chunk / 16) * geometry::kUnitBytes;
        const auto unit = [&](int n) { return at + n * geometry::kUnitBytes; };
        if constexpr (S.math == Math::f32) {
          const auto four = [&](int m, int half, int channel) {
            return load_slice_four(rows + m * 16 * geometry::kSliceBytes, half, k * G.ks + channel, lane);
          };
          multiply_rows(acc[i], four, unit, lane);
        } else {
          AFragment<S.math> a[kRows];
#pragma unroll
          for (int m = 0; m < kRows; ++m) a[m] = load_slice_rows<S.math>(rows + m * 16 * geometry::kSliceBytes, k, lane);
          multiply<S.math>(acc[i], a, unit, lane);
        }
      }
    }
  }

  /// Bias, activation, and the way into the chunk buffer.
  FCM_DEVICE void store(const Place* table, const unsigned char* weights, unsigned char* e, int warp, int lane) {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if (!exists(i)) break;
      const int n0 = columns_of(i);
      Accumulator bias[1][kCols];
      set_bias<1, kCols>(bias, weights + G.expand_bias_at + n0 * 64, lane);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int n = 0; n < kCols * 4; ++n) {
          acc[i][m][n / 4].lo[n % 4] += bias[0][n / 4].lo[n % 4];
          acc[i][m][n / 4].hi[n % 4] += bias[0][n / 4].hi[n % 4];
        }
        const int m_tile = S.warpgroup ? rows_of(i) * 4 + warp % 4 : rows_of(i) + m;
        if (m_tile * 16 < G.core_px) store_expanded<Cfg>(table, e, acc[i][m], m_tile, n0, lane);
      }
    }
  }
};

/// What a unit of the expansion makes of a normalised input, from its product with the input as it is.
template <class Cfg, int kRows, int kCols>
FCM_DEVICE void normalise_unit(Accumulator (&acc)[kRows][kCols], const RowStat* stats, const float* bias, const float* sums, int m0, int n0,
                               int lane) {
  const int row = lane >> 2, q = lane & 3;
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    const RowStat top = stats[(m0 + m) * 16 + row], bottom = stats[(m0 + m) * 16 + 8 + row];
#pragma unroll
    for (int n = 0; n < kCols; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int lo = (n0 + n) * 16 + 2 * q + i % 2;
        const RowStat& s = i < 2 ? top : bottom;
        acc[m][n].lo[i] = s.apply(acc[m][n].lo[i], sums[lo], bias[lo]);
        acc[m][n].hi[i] = s.apply(acc[m][n].hi[i], sums[lo + 8], bias[lo + 8]);
      }
    }
  }
}

/// Registers that a thread may use, by the launch bound.
template <class Cfg>
FCM_CONSTEXPR int register_budget() {
  return geometry::min_of(255, 65536 / (Of<Cfg>::G.threads * Of<Cfg>::S.min_blocks));
}

/// Two floats, once for each row of an accumulator. The compiler is not told that they are equal (a grid has no third dimension): copies
/// would be made anew for every matrix product that begins with them.
FCM_DEVICE void load_twice(float (&v)[4], u32 address) {
  asm volatile("ld.volatile.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v[0]), "=f"(v[1]) : "r"(address) : "memory");
#pragma unroll
  for (int i = 0; i < 2; ++i) v[2 + i] = __uint_as_float(__float_as_uint(v[i]) | blockIdx.z);
}

/// What the units of the same middle channels share, in registers: a small depth's weights, and the bias as accumulators hold it.
template <class Cfg>
struct ExpansionColumns {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int kRows = S.expand_m, kCols = S.expand_n, kDepth = G.k1 / G.ks;
  static constexpr int kTaken = 40 + (S.project ? G.warp_m * G.warp_n * 8 : 0) + (kRows * kCols + kCols) * 8;  // sums, unit, bias
  /// There are units enough to share them, and registers to hold them.
  static constexpr bool kKeep = kIs16<S.math> && S.norm == Norm::none &&
                                G.x_rows / (16 * kRows) > G.warps&& kTaken + kDepth* kCols * 4 <= register_budget<Cfg>();

  uint4 weights[kDepth][kCols];
  Accumulator bias[kCols];

  FCM_DEVICE ExpansionColumns(const unsigned char* record, int n0, int lane) {
    const u32 from = shared_address(record + G.expand_bias_at + n0 * 64) + (lane & 3) * 8;
#pragma unroll
    for (int n = 0; n < kCols; ++n) {
      load_twice(bias[n].lo, from + n * 64);
      load_twice(bias[n].hi, from + n * 64 + 32);
    }
#pragma unroll
    for (int i = 0; i < kDepth * kCols; ++i)
      weights[i / kCols][i % kCols] =
          *reinterpret_cast<const uint4*>(record + ((n0 + i % kCols) * kDepth + i / kCols) * geometry::kUnitBytes + lane * 16);
  }
  /// acc := bias + rows of x times the weights; `row` is the lane's row of a matrix load from the unit's first rows, `first` its piece.
  FCM_DEVICE void multiply(Accumulator (&acc)[kRows][kCols], u32 row, u32 first) const {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        u32 a[4];
        ldmatrix(a, row + m * 16 * G.x_pitch + depth_offset<G.x_width>(first, k));
#pragma unroll
        for (int n = 0; n < kCols; ++n) {
          const Accumulator& from = k == 0 ? bias[n] : acc[m][n];
          mma_k16<S.math>(acc[m][n].lo, from.lo, a, weights[k][n].x, weights[k][n].y);
          mma_k16<S.math>(acc[m][n].hi, from.hi, a, weights[k][n].z, weights[k][n].w);
        }
      }
    }
  }
};

/// A unit of the expansion, whose weights pass through registers.
template <class Cfg>
FCM_DEVICE void expand_unit(Accumulator (&acc)[Of<Cfg>::S.expand_m][Of<Cfg>::S.expand_n], const unsigned char* x, const RowStat* stats,
                            const unsigned char* weights, int m0, int n0, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kRows = S.expand_m, kCols = S.expand_n, kDepth = G.k1 / G.ks;
  if constexpr (S.norm != Norm::none) {
#pragma unroll
    for (auto& row : acc) {
#pragma unroll
      for (Accumulator& a : row) a = Accumulator{};
    }
  } else {
    set_bias<kRows, kCols>(acc, weights + G.expand_bias_at + n0 * 64, lane);
  }
  constexpr int kUnroll = S.math != Math::f32 ? 4 : kRows * kCols <= 2 ? 2 : 1;  // an FP32 step is long enough
#pragma unroll kUnroll
  for (int k = 0; k < kDepth; ++k) {
    const unsigned char* units = weights + (n0 * kDepth + k) * geometry::kUnitBytes;
    const auto unit = [&](int n) { return units + n * kDepth * geometry::kUnitBytes; };
    if constexpr (S.math == Math::f32) {
      const auto four = [&](int m, int half, int channel) {
        return load_four(x + (m0 + m) * 16 * G.x_pitch, G.x_pitch, half, k * G.ks + channel, lane);
      };
      multiply_rows(acc, four, unit, lane);
    } else {
      AFragment<S.math> a[kRows];
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        const unsigned char* rows = x + (m0 + m) * 16 * G.x_pitch;
        if constexpr (kIs16<S.math>) {
          a[m] = load_traded_rows<S.math, G.x_width>(rows, G.x_pitch, k, lane);
        } else {
          a[m] = load_rows<S.math>(rows, G.x_pitch, k * G.ks, lane);
        }
      }
      multiply<S.math>(acc, a, unit, lane);
    }
  }
  if constexpr (S.norm != Norm::none) {
    normalise_unit<Cfg>(acc, stats, reinterpret_cast<const float*>(weights + G.expand_bias_at),
                        reinterpret_cast<const float*>(weights + G.expand_sums_at), m0, n0, lane);
  }
}

/// Expansion of the whole core region to the chunk's channels. Warps share units of expand_m x expand_n tiles, round robin, those of the
/// same channels behind each other.
template <class Cfg>
FCM_DEVICE void expand_chunk(const Place* table, const unsigned char* x, const RowStat* stats, const unsigned char* weights,
                             unsigned char* e, int warp, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kRows = S.expand_m, kCols = S.expand_n;
  constexpr int m_units = G.x_rows / (16 * kRows), n_units = G.e_chunk / (16 * kCols);
  Accumulator acc[kRows][kCols];
  const auto store = [&](int m0, int n0) {
#pragma unroll
    for (int m = 0; m < kRows; ++m) store_expanded<Cfg>(table, e, acc[m], m0 + m, n0, lane);
  };
  if constexpr (ExpansionColumns<Cfg>::kKeep) {
    const u32 rows = shared_address(x) + (lane & 15) * G.x_pitch, piece = first_piece<G.x_width>(lane);
    int first = warp;  // unit of these columns
    for (int n0 = 0; n0 < n_units * kCols; n0 += kCols) {
      const ExpansionColumns<Cfg> columns(weights, n0, lane);
      for (int unit = first; unit < m_units; unit += G.warps) {
        columns.multiply(acc, rows + unit * kRows * 16 * G.x_pitch, piece);
        store(unit * kRows, n0);
      }
      first -= m_units % G.warps;
      if (first < 0) first += G.warps;
    }
  } else {
    lane = anew<32>(lane);
    using Walk = Deal<m_units, G.warps>;
    for (Walk unit = Walk::from(warp); unit.row < n_units; unit.advance()) {
      expand_unit<Cfg>(acc, x, stats, weights, unit.piece * kRows, unit.row * kCols, lane);
      store(unit.piece * kRows, unit.row * kCols);
    }
  }
}

}  // namespace fcm::kernel
