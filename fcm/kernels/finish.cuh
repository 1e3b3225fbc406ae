// How results leave a block: sums over warps and cluster in a fixed order, bias, residual, activation, 16-byte stores, pool sums.
#pragma once

#include "fcm/kernels/project.cuh"

namespace fcm::kernel {

/// Index of an output pixel over the batch for row `r` of the `m`-th 16 pixels, or -1 where the tile or the plane ends.
template <class Cfg>
FCM_DEVICE long long output_pixel(const Tile& tile, int m, int r) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.flat) {
    const int p = tile.first + m * 16 + r;
    return p < tile.end ? p : -1;
  } else {
    const int pair = m / G.m_tiles_w, image = S.images > 1 ? pair / G.image_pairs : 0;
    const int ty = (pair - image * G.image_pairs) * 2 + r / 8, tx = (m % G.m_tiles_w) * 8 + r % 8;
    if (ty >= tile.rows || tx >= tile.columns || (S.images > 1 && image >= tile.images)) return -1;
    return tile.base + (S.images > 1 ? image * S.out_h + ty : ty) * S.out_w + tx;
  }
}

/// Sets channels from the real count up to the pitch to zero. `channel` is the vector's first.
template <class Cfg>
FCM_DEVICE void clear_pad(Vector<Of<Cfg>::S.math>& v, int channel) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.out_channels != G.out_pitch) {
#pragma unroll
    for (int i = 0; i < Vector<Of<Cfg>::S.math>::kCount; ++i) {
      if (channel + i >= G.out_channels) v.v[i] = 0.0f;
    }
  }
}

/// Where pool sums of this tile begin.
template <class Cfg>
FCM_DEVICE float* pool_row(const ModuleArgs& args, const Tile& tile) {
  constexpr Geometry G = Of<Cfg>::G;
  return args.pool + (static_cast<long long>(tile.image) * G.tiles + tile.index) * geometry::round_up(G.out_channels, 4);
}

/// Where a warp's `j`-th pixel group lies: its pair of rows of the tile (of several images below each other), and its eight columns.
struct GroupPlace {
  int pair, column;
};
template <class Cfg>
FCM_DEVICE GroupPlace group_place(int warp, int j) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.runs && !G.flat) return {warp / G.m_tiles_w * G.warp_m + j, warp % G.m_tiles_w};
  const int m = geometry::group_of(S, G, warp, j);
  return {m / G.m_tiles_w, m % G.m_tiles_w};
}

/// Bytes from a map's first pixel to the tile's first output pixel.
template <class Cfg>
FCM_DEVICE long long tile_offset(const Tile& tile) {
  constexpr Geometry G = Of<Cfg>::G;
  return (G.flat ? static_cast<long long>(tile.first) : tile.base) * (G.out_pitch * G.el);
}

/// Bytes from the tile's first output pixel to the row `r` of a pixel group, -1 where there is none. Tiles are small beside 2 GiB.
template <class Cfg>
FCM_DEVICE int output_offset(const Tile& tile, GroupPlace at, int r) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int pixel_bytes = G.out_pitch * G.el;
  if constexpr (G.flat) {
    const int px = at.pair * 16 + r;
    return px < tile.end - tile.first ? px * pixel_bytes : -1;
  } else {
    const int image = S.images > 1 ? at.pair / G.image_pairs : 0;
    const int ty = (at.pair - image * G.image_pairs) * 2 + r / 8, tx = at.column * 8 + r % 8;
    const bool exists = ty < tile.rows && tx < tile.columns && (S.images == 1 || image < tile.images);
    return exists ? ((image * S.out_h + ty) * S.out_w + tx) * pixel_bytes : -1;
  }
}

/// The two pixels of a group that a lane's registers hold: in column (of a run of pixels: place) lane / 4, of the upper row and the lower.
template <class Cfg>
struct LanePixels {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int pixel_bytes = G.out_pitch * G.el, kRow = (G.flat ? 8 : S.out_w) * pixel_bytes;  ///< from the upper to the lower one
  static constexpr bool kBelow = G.runs && !G.flat && S.images == 1;  ///< a warp's groups lie below each other in one image
  int offset;   ///< bytes from the tile's first output pixel to the upper one, whether it exists or not
  int y, rows;  ///< the upper one's row (place) in the tile, and how many of these exist
  bool column;  ///< it exists

  FCM_DEVICE LanePixels(const Tile& tile, GroupPlace at, int lane) {
    const int image = S.images > 1 ? at.pair / G.image_pairs : 0, x = at.column * 8 + (lane >> 2);
    if constexpr (G.flat) {
      y = at.pair * 16 + x;
      offset = y * pixel_bytes;
      rows = tile.end - tile.first;
      column = true;
    } else {
      y = (at.pair - image * G.image_pairs) * 2;
      offset = ((image * S.out_h + y) * S.out_w + x) * pixel_bytes;
      rows = tile.rows;
      column = x < tile.columns && (S.images == 1 || image < tile.images);
    }
  }
  FCM_DEVICE bool exists(int row) const { return column && y + row * (G.flat ? 8 : 1) < rows; }
  /// Those of the `n`-th group below. Their addresses differ by constants.
  FCM_DEVICE LanePixels below(int n) const {
    LanePixels p = *this;
    p.offset += n * 2 * kRow;
    p.y += n * 2;
    return p;
  }
};

/// Two neighbouring channels from `c` on, zero where they are beyond the module's.
template <class Cfg>
FCM_DEVICE u32 clear_pad2(u32 pair, int c) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.out_channels == G.out_pitch) return pair;
  return pair & (c + 1 < G.out_channels ? ~0u : c < G.out_channels ? 0xffffu : 0u);
}

/// Byte, in the warp's corner, of the `piece`-th 16 bytes of row `r`: those of 16-bit values trade places, so that neither way meets a bank
/// twice.
template <class Cfg>
FCM_DEVICE int corner_place(int r, int piece) {
  constexpr int pitch = Of<Cfg>::G.corner_pitch, width = kIs16<Of<Cfg>::S.math> ? geometry::trading_width(pitch) : 0;
  return r * pitch + geometry::traded_piece(width, r, piece) * 16;
}

// ---- modules that end with the depthwise stage ----------------------------------------------------------------------------------------

/// 16 channels of a pixel group, as the depthwise stage gives them, to the warp's corner.
template <class Cfg>
FCM_DEVICE void to_corner(unsigned char* corner, const Eight<Of<Cfg>::S.math>& lo, const Eight<Of<Cfg>::S.math>& hi, int lane) {
  constexpr Math M = Of<Cfg>::S.math;
  if constexpr (kIs16<M>) {
    const u32 v[4] = {lo.r[0], lo.r[1], hi.r[0], hi.r[1]}, to = shared_address(corner);
    if constexpr (kArch >= 900) {
      stmatrix_transposed(to + corner_place<Cfg>(lane & 15, lane >> 4), v);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) store_word(to + corner_place<Cfg>((lane >> 2) + i % 2 * 8, i / 2) + (lane & 3) * 4, transposed(v[i]));
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Eight<M>& from = i < 2 ? lo : hi;
      *reinterpret_cast<float2*>(corner + corner_place<Cfg>((lane >> 2) + i % 2 * 8, i / 2 * 2) + (lane & 3) * 8) =
          float2{from.v[i % 2 * 2], from.v[i % 2 * 2 + 1]};
    }
  }
}

/// A pixel group from the warp's corner into rows of the output; `to` is the tile's first pixel.
template <class Cfg>
FCM_DEVICE void store_corner(unsigned char* to, const Tile& tile, const unsigned char* corner, GroupPlace at, int first_channel, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int pieces = G.corner_pitch / 16;
#pragma unroll
  for (int first = 0; first < 16 * pieces; first += 32) {
    const int r = (first + lane) / pieces, piece = (first + lane) % pieces, channel = first_channel + piece * G.vec;
    const int offset = output_offset<Cfg>(tile, at, r);
    if (offset < 0 || channel >= G.out_pitch) continue;
    uint4 raw = *reinterpret_cast<const uint4*>(corner + corner_place<Cfg>(r, piece));
    if constexpr (G.out_channels != G.out_pitch) {
      Vector<S.math> v = Vector<S.math>::from(raw);
      clear_pad<Cfg>(v, channel);
      raw = v.raw();
    }
    *reinterpret_cast<uint4*>(to + offset + channel * G.el) = raw;
  }
}

/// Sums of a warp over its pixel groups, of sixteen channels. 16-bit: the accumulator of channels x pixels times ones, whose columns are
/// all the same. FP32: two neighbouring channels of either eight, of the pixels that the lane holds.
struct PoolSums {
  float v[4] = {};
};

/// Masks for the packed pixels of a lane in the upper and the lower row of a group: those that do not exist count nothing, whatever they
/// hold.
template <class Cfg>
FCM_DEVICE void pool_masks(u32 (&mask)[2], const Tile& tile, int m, int lane) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const int first = row * 8 + 2 * (lane & 3);
    mask[row] = (output_pixel<Cfg>(tile, m, first) >= 0 ? 0xffffu : 0u) | (output_pixel<Cfg>(tile, m, first + 1) >= 0 ? 0xffff0000u : 0u);
  }
}

/// Adds a pixel group where its pixels exist: both eights of channels.
template <class Cfg>
FCM_DEVICE void add_to_pool(PoolSums& sums, const Tile& tile, const Eight<Of<Cfg>::S.math>& low, const Eight<Of<Cfg>::S.math>& high, int m,
                            int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr bool whole = S.out_h % S.tile_h == 0 && S.out_w % S.tile_w == 0 && S.tile_h % 2 == 0 && S.tile_w % 8 == 0;
  if constexpr (kIs16<S.math>) {
    constexpr u32 ones = S.math == Math::f16 ? 0x3c003c00u : 0x3f803f80u;
    u32 mask[2] = {~0u, ~0u};
    if constexpr (!whole) pool_masks<Cfg>(mask, tile, m, lane);
    mma_k16<S.math>(sums.v, low.r[0] & mask[0], high.r[0] & mask[0], low.r[1] & mask[1], high.r[1] & mask[1], ones, ones);
  } else {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      if (output_pixel<Cfg>(tile, m, row * 8 + (lane >> 2)) < 0) continue;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        sums.v[i] += low.v[2 * row + i];
        sums.v[2 + i] += high.v[2 * row + i];
      }
    }
  }
}

/// Adds up what the lanes hold and writes the sixteen channels' sums.
template <class Cfg>
FCM_DEVICE void store_pool_sums(PoolSums& sums, float* to, int lane) {
  if constexpr (kIs16<Of<Cfg>::S.math>) {
    if ((lane & 3) != 0) return;
    const int row = lane >> 2, first = Of<Cfg>::G.paired ? row / 2 * 4 + row % 2 : row;
    to[first] = sums.v[0];
    to[first + (Of<Cfg>::G.paired ? 2 : 8)] = sums.v[2];
  } else {
#pragma unroll
    for (float& sum : sums.v) {
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    }
    if (lane >= 4) return;
    *reinterpret_cast<float2*>(to + 2 * lane) = float2{sums.v[0], sums.v[1]};
    *reinterpret_cast<float2*>(to + 8 + 2 * lane) = float2{sums.v[2], sums.v[3]};
  }
}

/// 16 channels of a pixel group from registers to the output: eight bytes a lane, a sector a pixel.
template <class Cfg>
FCM_DEVICE void store_eights(unsigned char* to, const LanePixels<Cfg>& at, int first_channel, const Eight<Of<Cfg>::S.math>& low,
                             const Eight<Of<Cfg>::S.math>& high, int lane) {
  const int channel = first_channel + (lane & 3) * 4;
  unsigned char* p = to + at.offset + channel * 2;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const u32 a = transposed(low.r[row]), b = transposed(high.r[row]);
    if (at.exists(row) && channel < Of<Cfg>::G.out_pitch)
      *reinterpret_cast<uint2*>(p + row * at.kRow) = uint2{clear_pad2<Cfg>(a, channel), clear_pad2<Cfg>(b, channel + 2)};
  }
}

/// Depthwise stage of a chunk, stored; a warp takes some pixel groups at a time so that they share the taps.
template <class Cfg>
FCM_DEVICE void store_chunk(const ModuleArgs& args, const Tile& tile, int chunk, const unsigned char* e, const unsigned char* weights,
                            unsigned char* corner, float* pool, WarpPlace at, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int kTiles = geometry::run_length(S, G);
  lane = anew<32>(lane);
  unsigned char* to = static_cast<unsigned char*>(args.output) + tile_offset<Cfg>(tile);
  constexpr int kTurns = geometry::ceil_div(S.chunk / 16, S.warps_k), kTogether = S.team > 0 ? 2 : 1;
#pragma unroll kTogether
  for (int turn = 0; turn < kTurns; ++turn) {
    const int k = at.k + turn * S.warps_k;
    if (S.chunk / 16 % S.warps_k != 0 && k >= S.chunk / 16) break;
    const int channel = chunk * S.chunk + k * 16;
    PoolSums sums;
    for (int j = 0; j < G.warp_m; j += kTiles) {
      int groups[kTiles];
      pixel_groups<Cfg>(groups, at.m, j);
      if (groups[0] >= G.m_tiles) break;
      Eight<S.math> v[2][kTiles];
#pragma unroll
      for (int half = 0; half < 2; ++half) depthwise<Cfg, kTiles>(v[half], e, weights, groups, k * 2 + half, lane);
      const LanePixels<Cfg> first(tile, group_place<Cfg>(at.m, j), lane);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        if (j + t >= G.warp_m || geometry::group_of(S, G, at.m, j + t) >= G.m_tiles) continue;
        if constexpr (S.pool != Pool::none) add_to_pool<Cfg>(sums, tile, v[0][t], v[1][t], groups[t], lane);
        if constexpr (S.pool == Pool::only) continue;
        if constexpr (G.paired) {
          store_eights<Cfg>(to, first.kBelow ? first.below(t) : LanePixels<Cfg>(tile, group_place<Cfg>(at.m, j + t), lane), channel,
                            v[0][t], v[1][t], lane);
        } else {
          to_corner<Cfg>(corner, v[0][t], v[1][t], lane);
          __syncwarp();
          store_corner<Cfg>(to, tile, corner, group_place<Cfg>(at.m, j + t), channel, lane);
          __syncwarp();
        }
      }
    }
    if constexpr (S.pool != Pool::none) store_pool_sums<Cfg>(sums, pool + at.m * S.chunk + k * 16, lane);
  }
}

/// Adds the warps' pool sums of a chunk in order of warps and writes them.
template <class Cfg>
FCM_DEVICE void store_chunk_pool(const ModuleArgs& args, const Tile& tile, int chunk, const float* pool, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  float* to = pool_row<Cfg>(args, tile);
  for (int c = thread; c < S.chunk && chunk * S.chunk + c < S.dw_c; c += Of<Cfg>::G.threads) {
    float sum = 0.0f;
    for (int w = 0; w < S.warps_m; ++w) sum += pool[w * S.chunk + c];
    to[chunk * S.chunk + c] = sum;
  }
}

// ---- modules that end with a projection -----------------------------------------------------------------------------------------------

/// Writes the warp's accumulators where the block (and the cluster) can read them: rows of pixels, one plane a K share.
template <class Cfg>
FCM_DEVICE void publish(const Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.warp_n], unsigned char* red, WarpPlace at, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  const int row = lane >> 2, q = lane & 3;
#pragma unroll
  for (int j = 0; j < G.warp_m; ++j) {
    const int m = geometry::group_of(S, G, at.m, j);
    if (m >= G.m_tiles) continue;
    unsigned char* p = red + ((at.k * G.m_tiles + m) * 16 + row) * G.red_pitch + (at.n * G.warp_n * 16 + 2 * q) * 4;
#pragma unroll
    for (int n = 0; n < G.warp_n; ++n) {
      *reinterpret_cast<float2*>(p + n * 64) = float2{acc[j][n].lo[0], acc[j][n].lo[1]};
      *reinterpret_cast<float2*>(p + n * 64 + 8 * G.red_pitch) = float2{acc[j][n].lo[2], acc[j][n].lo[3]};
      *reinterpret_cast<float2*>(p + n * 64 + 32) = float2{acc[j][n].hi[0], acc[j][n].hi[1]};
      *reinterpret_cast<float2*>(p + n * 64 + 32 + 8 * G.red_pitch) = float2{acc[j][n].hi[2], acc[j][n].hi[3]};
    }
  }
}

/// Four neighbouring channels from a 16 x 8 accumulator tile: lanes of a pair exchange halves, the even one gets its upper row, the odd
/// one its lower row.
FCM_DEVICE float4 pair_row(const float (&a)[4], bool odd) {
  const float x = __shfl_xor_sync(0xffffffffu, odd ? a[0] : a[2], 1), y = __shfl_xor_sync(0xffffffffu, odd ? a[1] : a[3], 1);
  return odd ? float4{x, y, a[2], a[3]} : float4{a[0], a[1], x, y};
}

/// The same for a cluster: sixteen channels of a pixel are an item, items are dealt to the blocks in turn, and every warp pushes its part
/// of an item to the owner's shared memory, whose barrier counts the bytes. A block waits for its own items alone.
template <class Cfg>
FCM_DEVICE void push(const Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.warp_n], u32 red, u32 barrier, int rank, WarpPlace at,
                     int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  const bool odd = (lane & 1) != 0;
  const u32 to = red + (rank * S.warps_k + at.k) * G.red_items * 32 + ((lane >> 1) & 1) * 16;
#pragma unroll
  for (int j = 0; j < G.warp_m; ++j) {
    const int m = geometry::group_of(S, G, at.m, j);
    if (m >= G.m_tiles) continue;
#pragma unroll
    for (int n = 0; n < G.warp_n; ++n) {
      const int item = (m * 16 + (odd ? 8 : 0) + (lane >> 2)) * (S.n_tile / 16) + at.n * G.warp_n + n;
      const u32 owner = static_cast<u32>(item % S.split);
      const u32 remote = remote_address(to + item / S.split * 64, owner), remote_barrier = remote_address(barrier, owner);
      const float4 lo = pair_row(acc[j][n].lo, odd), hi = pair_row(acc[j][n].hi, odd);
      push4(remote, lo.x, lo.y, lo.z, lo.w, remote_barrier);
      push4(remote + 32, hi.x, hi.y, hi.z, hi.w, remote_barrier);
    }
  }
}
/// Bytes that block `rank` receives for a tile.
template <class Cfg>
FCM_DEVICE u32 pushed_bytes(int rank) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr int items = Of<Cfg>::G.m_tiles * 16 * (S.n_tile / 16);
  return static_cast<u32>((items - rank + S.split - 1) / S.split * S.split * S.warps_k * 64);
}

/// Sum of a vector's partials: bias, then cluster ranks in order, and within each its warps' K shares in order. With a normalised input
/// the sum is what the input as it is gives; its pixel's statistics and the bias (followed by the column sums) come last.
template <class Cfg>
FCM_DEVICE Vector<Of<Cfg>::S.math> sum_partials(const unsigned char* red, const float* bias, const RowStat* stats, int r, int column) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  const int item = (r * (S.n_tile / 16) + column / 16) / S.split;
  const unsigned char* from = S.split > 1 ? red + item * 64 + (column % 16) * 4 : red + r * G.red_pitch + column * 4;
  constexpr int step = S.split > 1 ? G.red_items * 32 : G.m_tiles * 16 * G.red_pitch;
  constexpr bool normalised = S.norm != Norm::none && !S.expand;
  Vector<S.math> sum;
#pragma unroll
  for (int i = 0; i < G.vec; ++i) sum.v[i] = normalised ? 0.0f : bias[column + i];
#pragma unroll 8
  for (int part = 0; part < S.split * S.warps_k; ++part) {
#pragma unroll
    for (int i = 0; i < G.vec; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(from + part * step + i * 4);
      sum.v[i] += v.x;
      sum.v[i + 1] += v.y;
      sum.v[i + 2] += v.z;
      sum.v[i + 3] += v.w;
    }
  }
  if constexpr (normalised) {
    const RowStat s = stats[r];
    const float* sums = bias + (G.s_sums - G.s_bias) / 4;
#pragma unroll
    for (int i = 0; i < G.vec; ++i) sum.v[i] = s.apply(sum.v[i], sums[column + i], bias[column + i]);
  }
  return sum;
}

/// Row of the input tile under row `r` of a pixel group.
template <class Cfg>
FCM_DEVICE int input_row(GroupPlace at, int r) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.flat) return at.pair * 16 + r;
  const int image = S.images > 1 ? at.pair / G.image_pairs : 0;
  const int ty = (at.pair - image * G.image_pairs) * 2 + r / 8, tx = at.column * 8 + r % 8;
  return image * G.image_px + (ty + S.dw_window.top - G.ay.core_at) * G.ax.core + tx + S.dw_window.left - G.ax.core_at;
}

/// The residual operand in global memory.
template <class Cfg>
FCM_DEVICE const unsigned char* residual_map(const ModuleArgs& args) {
  return static_cast<const unsigned char*>(Of<Cfg>::S.residual_is_input ? args.input : args.residual);
}

/// The residual operand under an output pixel: from global memory, or from the input tile when the module adds its own input.
template <class Cfg>
FCM_DEVICE Vector<Of<Cfg>::S.math> load_residual(const ModuleArgs& args, const Tile& tile, const unsigned char* x, int r, long long p,
                                                 int channel) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (S.residual_is_input && S.expand && !S.conv && !S.streamed) {
    const int group = r / 16, row = input_row<Cfg>({group / G.m_tiles_w, group % G.m_tiles_w}, r % 16);
    return Vector<S.math>::from(*reinterpret_cast<const uint4*>(x + input_place<Cfg>(row, channel / G.vec)));
  } else {
    return Vector<S.math>::from(*reinterpret_cast<const uint4*>(residual_map<Cfg>(args) + (p * G.out_pitch + channel) * G.el));
  }
}

/// Residual and activation in the spec's order.
template <class Cfg>
FCM_DEVICE void apply_epilogue(Vector<Of<Cfg>::S.math>& v, const Vector<Of<Cfg>::S.math>& residual) {
  constexpr Shape S = Of<Cfg>::S;
#pragma unroll
  for (int i = 0; i < Vector<S.math>::kCount; i += 2) {
    if constexpr (S.residual == Residual::before_activation) v.v[i] += residual.v[i], v.v[i + 1] += residual.v[i + 1];
    const float2 y = activation2<S.math, S.out_act.fn>(v.v[i], v.v[i + 1], S.out_act.a, S.out_act.b);
    v.v[i] = y.x, v.v[i + 1] = y.y;
    if constexpr (S.residual == Residual::after_activation) v.v[i] += residual.v[i], v.v[i + 1] += residual.v[i + 1];
  }
}

/// A lane's part of a right operand, 16 x 8, of ones: channels to the places that they have in the first (or second) eight columns of sums
/// that leave 16 columns at a time (geometry::paired_place).
struct Ones {
  u32 b[2];

  template <Math M>
  FCM_DEVICE static Ones of(int half, int lane) {
    constexpr u32 one = M == Math::f16 ? 0x3c00u : 0x3f80u;
    const int column = lane >> 2, pair = column / 2 * 2 + half;  // of channels that the column's lies in
    const u32 value = column % 2 != 0 ? one << 16 : one;
    return {{pair == (lane & 3) ? value : 0u, pair == (lane & 3) + 4 ? value : 0u}};
  }
};

/// Adds the input tile's pixels under a pixel group to its sums, exactly: their product with ones. Rows without a pixel add another one's.
template <class Cfg>
FCM_DEVICE void add_input(Accumulator (&acc)[Of<Cfg>::G.own_n], const unsigned char* x, GroupPlace at, int first_channel, int lane) {
  constexpr Math M = Of<Cfg>::S.math;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr bool whole =
      G.n_blocks * Of<Cfg>::S.n_tile <= G.k1 && G.warp_n % G.parties == 0;  // else the last block's columns go on where the input has ended
  const Ones first = Ones::of<M>(0, lane), second = Ones::of<M>(1, lane);
  const int row = geometry::min_of(input_row<Cfg>(at, lane & 15), G.x_rows - 1);
  const u32 from = shared_address(x);
#pragma unroll
  for (int n = 0; n < G.own_n; ++n) {
    if (!whole && first_channel + n * 16 >= G.k1) break;
    u32 a[4];
    ldmatrix(a, from + input_place<Cfg>(row, first_channel / 8 + n * 2 + (lane >> 4)));
    mma_k16<M>(acc[n].lo, acc[n].lo, a, first.b[0], first.b[1]);
    mma_k16<M>(acc[n].hi, acc[n].hi, a, second.b[0], second.b[1]);
  }
}

/// What a lane stores of the columns that its warp keeps of a pixel group: eight neighbouring channels of 32 columns, or four of 16.
template <class Cfg>
struct SumsWay {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  int first, columns;  ///< channel of the first column; 16 columns that the warp keeps
  int q;

  FCM_DEVICE SumsWay(int n_block, WarpPlace at, int party, int lane)
      : first(n_block * S.n_tile + (at.n * G.warp_n + party * G.own_n) * 16), columns(G.warp_n - party * G.own_n), q(lane & 3) {}
  FCM_DEVICE bool keeps(int n) const { return n < G.own_n && (G.warp_n % G.parties == 0 || n < columns); }
  /// Whether the `n`-th 16 columns, and the next, are 32 that are stored together.
  FCM_DEVICE bool wide(int n) const { return G.wide && n % 2 == 0 && keeps(n + 1); }
  FCM_DEVICE int channel(int n, bool is_wide) const { return first + n * 16 + q * (is_wide ? 8 : 4); }
};

/// What global memory holds under the sums of a pixel group that a lane stores: all of it is asked for before any of it is used.
template <class Cfg>
struct ResidualRows {
  static constexpr Geometry G = Of<Cfg>::G;
  uint2 v[G.own_n][2];

  FCM_DEVICE void load(const unsigned char* map, const LanePixels<Cfg>& at, const SumsWay<Cfg>& way) {
#pragma unroll
    for (int i = 0; i < 2 * G.own_n; ++i) {
      const int n = i / 2, row = i % 2;
      const bool wide = way.wide(n / 2 * 2);
      const int channel = wide ? way.channel(n / 2 * 2, true) + n % 2 * 4 : way.channel(n, false);
      v[n][row] = uint2{0, 0};
      if (way.keeps(n) && at.exists(row) && channel < G.out_pitch)
        v[n][row] = *reinterpret_cast<const uint2*>(map + at.offset + row * at.kRow + channel * 2);
    }
  }
  FCM_DEVICE void add(Accumulator (&acc)[G.own_n]) const {
    constexpr Math M = Of<Cfg>::S.math;
#pragma unroll
    for (int i = 0; i < 2 * G.own_n; ++i) {
      const int n = i / 2, row = i % 2;
      const float2 low = unpack2<M>(v[n][row].x), high = unpack2<M>(v[n][row].y);
      acc[n].lo[2 * row] += low.x, acc[n].lo[2 * row + 1] += low.y;
      acc[n].hi[2 * row] += high.x, acc[n].hi[2 * row + 1] += high.y;
    }
  }
};

/// A row's four columns of 16 as they are stored: activated, rounded.
template <class Cfg>
FCM_DEVICE uint2 rounded_four(const Accumulator& acc, int row, int channel) {
  constexpr Math M = Of<Cfg>::S.math;
  constexpr Activation f = Of<Cfg>::S.out_act;
  constexpr bool exact = is_exact_bound<M>(f.b);
  return {clear_pad2<Cfg>(activate_pack2<M, f.fn>(acc.lo[2 * row], acc.lo[2 * row + 1], f.a, f.b, exact), channel),
          clear_pad2<Cfg>(activate_pack2<M, f.fn>(acc.hi[2 * row], acc.hi[2 * row + 1], f.a, f.b, exact), channel + 2)};
}

/// Sums that a warp keeps, to the output. `residual`: see ResidualRows, of each group.
template <class Cfg>
FCM_DEVICE void store_sums(const ModuleArgs& args, const Tile& tile, Accumulator (&acc)[Of<Cfg>::G.warp_m][Of<Cfg>::G.own_n],
                           const ResidualRows<Cfg> (&residual)[Of<Cfg>::G.warp_m], const unsigned char* x, int n_block, WarpPlace at,
                           int party, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  lane = anew<32>(lane);
  unsigned char* to = static_cast<unsigned char*>(args.output) + tile_offset<Cfg>(tile);
  const LanePixels<Cfg> first(tile, group_place<Cfg>(at.m, 0), lane);
  const SumsWay<Cfg> way(n_block, at, party, lane);
#pragma unroll
  for (int j = 0; j < G.warp_m; ++j) {
    const GroupPlace group = group_place<Cfg>(at.m, j);
    if (group.pair * G.m_tiles_w + group.column >= G.m_tiles) break;
    if constexpr (S.residual != Residual::none && S.team > 0) residual[j].add(acc[j]);
    if constexpr (S.residual != Residual::none && S.team == 0) add_input<Cfg>(acc[j], x, group, way.first, lane);
    const LanePixels<Cfg> pixels = first.kBelow ? first.below(j) : LanePixels<Cfg>(tile, group, lane);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      unsigned char* p = to + pixels.offset + row * pixels.kRow;
      const bool exists = pixels.exists(row);
#pragma unroll
      for (int n = 0; n < G.own_n; ++n) {
        if (!way.keeps(n)) break;
        if (n % 2 == 1 && way.wide(n - 1)) continue;
        const bool wide = way.wide(n);
        const int channel = way.channel(n, wide);
        const uint2 low = rounded_four<Cfg>(acc[j][n], row, channel);
        if (wide) {
          const uint2 high = rounded_four<Cfg>(acc[j][n + 1 < G.own_n ? n + 1 : n], row, channel + 4);
          if (exists && channel < G.out_pitch) *reinterpret_cast<uint4*>(p + channel * 2) = uint4{low.x, low.y, high.x, high.y};
        } else {
          if (exists && channel < G.out_pitch) *reinterpret_cast<uint2*>(p + channel * 2) = low;
        }
      }
    }
  }
}

/// Sums of which `parties` warps, of a block or of a cluster, have a part each: every one gives away all columns but those that it keeps,
/// as accumulators hold them, and adds what it is given in order of parties.
template <class Cfg>
struct Exchange {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  using All = Accumulator[G.warp_m][G.warp_n];
  using Own = Accumulator[G.warp_m][G.own_n];
  WarpPlace at;
  int party, lane;

  FCM_DEVICE Exchange(WarpPlace place, int rank, int of_lane) : at(place), party(rank * S.warps_k + place.k), lane(of_lane) {}

  /// How many 16 columns a party keeps: those from its number times `own_n` on.
  FCM_DEVICE static constexpr int kept(int of_party) {
    return geometry::min_of(geometry::max_of(G.warp_n - of_party * G.own_n, 0), G.own_n);
  }
  /// Bytes that block `rank` is given for a tile.
  FCM_DEVICE static u32 bytes(int rank) {
    int columns = 0;
    for (int k = 0; k < S.warps_k; ++k) columns += kept(rank * S.warps_k + k);
    return static_cast<u32>((G.parties - 1) * G.m_tiles * S.warps_n * columns * geometry::kSumsBytes);
  }
  /// Byte of what party `from` gives to party `to`: the first 16 columns of the warp's first pixel group; others follow.
  FCM_DEVICE int place(int from, int to) const {
    const int turn = (to % S.warps_k) * (G.parties - 1) + (from < to ? from : from - 1);
    return ((turn * S.warps_n + at.n) * S.warps_m + at.m) * G.warp_m * G.own_n * geometry::kSumsBytes + lane * 16;
  }
  FCM_DEVICE bool exists(int j) const { return geometry::group_of(S, G, at.m, j) < G.m_tiles; }

  /// `barrier`: of a cluster's blocks, counts the bytes. Parties are told apart by branches: sums are in registers, which have no index.
  FCM_DEVICE void give(Own& own, const All& acc, unsigned char* red, u32 barrier) const {
#pragma unroll
    for (int to = 0; to < G.parties; ++to) {
      const u32 rank = static_cast<u32>(to / S.warps_k);
      const u32 remote = S.split > 1 ? remote_address(shared_address(red), rank) : 0,
                counts = S.split > 1 ? remote_address(barrier, rank) : 0;
      const int first = place(party, to);
#pragma unroll
      for (int i = 0; i < G.warp_m * kept(to); ++i) {
        const int j = i / kept(to), n = i % kept(to), byte = first + (j * G.own_n + n) * geometry::kSumsBytes;
        const Accumulator& v = acc[j][to * G.own_n + n];
        if (to == party) {
          own[j][n] = v;
        } else if (!exists(j)) {
          continue;
        } else if constexpr (S.split > 1) {
          push4(remote + byte, v.lo[0], v.lo[1], v.lo[2], v.lo[3], counts);
          push4(remote + byte + geometry::kSumsBytes / 2, v.hi[0], v.hi[1], v.hi[2], v.hi[3], counts);
        } else {
          *reinterpret_cast<float4*>(red + byte) = float4{v.lo[0], v.lo[1], v.lo[2], v.lo[3]};
          *reinterpret_cast<float4*>(red + byte + geometry::kSumsBytes / 2) = float4{v.hi[0], v.hi[1], v.hi[2], v.hi[3]};
        }
      }
    }
  }
  FCM_DEVICE void take(Own& own, const unsigned char* red) const {
    const int columns = kept(party);
#pragma unroll
    for (int d = 0; d < G.parties - 1; ++d) {
      const unsigned char* given = red + place(d < party ? d : d + 1, party);
#pragma unroll
      for (int i = 0; i < G.warp_m * G.own_n; ++i) {
        const int j = i / G.own_n, n = i % G.own_n;
        if (!exists(j) || n >= columns) continue;
        const float4 lo = *reinterpret_cast<const float4*>(given + i * geometry::kSumsBytes),
                     hi = *reinterpret_cast<const float4*>(given + i * geometry::kSumsBytes + geometry::kSumsBytes / 2);
        Accumulator& a = own[j][n];
        a.lo[0] += lo.x, a.lo[1] += lo.y, a.lo[2] += lo.z, a.lo[3] += lo.w;
        a.hi[0] += hi.x, a.hi[1] += hi.y, a.hi[2] += hi.z, a.hi[3] += hi.w;
      }
    }
  }
};

/// Sums over the tile's pixels, one thread a channel, from the finished values that `finish_tile` left in the first plane.
template <class Cfg>
FCM_DEVICE void store_tile_pool(const ModuleArgs& args, const Tile& tile, int n_block, const unsigned char* red, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  __syncthreads();
  float* to = pool_row<Cfg>(args, tile);
  for (int c = thread; c < S.n_tile; c += G.threads) {
    float sum = 0.0f;
#pragma unroll 8
    for (int r = 0; r < G.m_tiles * 16; ++r) sum += *reinterpret_cast<const float*>(red + r * G.red_pitch + c * 4);
    if (n_block * S.n_tile + c < S.out_c) to[n_block * S.n_tile + c] = sum;
  }
}

/// From published accumulators to the output. Blocks of a cluster share the vectors of the tile.
template <class Cfg>
FCM_DEVICE void finish_tile(const ModuleArgs& args, const Tile& tile, unsigned char* red, const float* bias, const RowStat* stats,
                            const unsigned char* x, int n_block, int rank, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int vectors = S.n_tile / G.vec, sub = 16 / G.vec;  // vectors of an item of sixteen channels
  for (int t = thread;; t += G.warps * 32) {                   // a team does something else
    const int i = S.split == 1 ? t : ((t / sub) * S.split + rank) * sub + t % sub;
    if (i >= G.m_tiles * 16 * vectors) break;
    const int r = i / vectors, column = (i % vectors) * G.vec, channel = n_block * S.n_tile + column;
    const long long p = output_pixel<Cfg>(tile, r / 16, r % 16);
    const bool valid = p >= 0 && channel < G.out_pitch;
    Vector<S.math> v{};
    if (valid) {
      Vector<S.math> residual{};
      if constexpr (S.residual != Residual::none) residual = load_residual<Cfg>(args, tile, x, r, p, channel);
      v = sum_partials<Cfg>(red, bias, stats, r, column);
      apply_epilogue<Cfg>(v, residual);
      clear_pad<Cfg>(v, channel);
      if constexpr (S.pool != Pool::only) {
        *reinterpret_cast<uint4*>(static_cast<unsigned char*>(args.output) + (p * G.out_pitch + channel) * G.el) = v.raw();
      }
    }
    if constexpr (S.pool != Pool::none) {
      float* slot = reinterpret_cast<float*>(red + r * G.red_pitch + column * 4);
#pragma unroll
      for (int j = 0; j < G.vec; ++j) slot[j] = valid ? rounded<S.math>(v.v[j]) : 0.0f;
    }
  }
  if constexpr (S.pool != Pool::none) store_tile_pool<Cfg>(args, tile, n_block, red, thread);
}

}  // namespace fcm::kernel
