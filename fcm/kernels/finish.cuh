// How results leave a block: sums over warps and cluster in a fixed order, bias, residual, activation, 16-byte stores, pool sums.
#pragma once

#include "fcm/kernels/stages.cuh"

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
    const int ty = (m / G.m_tiles_w) * 2 + r / 8, tx = (m % G.m_tiles_w) * 8 + r % 8;
    const int y = tile.oy + ty, x = tile.ox + tx;
    if (ty >= S.tile_h || tx >= S.tile_w || y >= S.out_h || x >= S.out_w) return -1;
    return (static_cast<long long>(tile.image) * S.out_h + y) * S.out_w + x;
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

// ---- modules that end with the depthwise stage ----------------------------------------------------------------------------------------

/// Depthwise stage of a chunk, stored: a warp turns 16 pixels x 16 channels from fragments into rows in its own corner of shared memory.
template <class Cfg>
FCM_DEVICE void store_chunk(const ModuleArgs& args, const Tile& tile, int chunk, const unsigned char* e, const unsigned char* weights,
                            unsigned char* corner, float* pool, WarpPlace at, int lane) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int row_bytes = 16 * G.el, row_vectors = 16 / G.vec;
  const int row = lane >> 2, q = lane & 3;
  for (int k = at.k; k < S.chunk / 16; k += S.warps_k) {
    float sums[4] = {0, 0, 0, 0};
    for (int m = at.m; m < G.m_tiles; m += S.warps_m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float v[4];
        depthwise<Cfg>(v, e, weights, m, k * 2 + half, lane);
        store_pair<S.math>(corner + row * row_bytes + (half * 8 + 2 * q) * G.el, v[0], v[1]);
        store_pair<S.math>(corner + (row + 8) * row_bytes + (half * 8 + 2 * q) * G.el, v[2], v[3]);
        if constexpr (S.pool != Pool::none) {
          const bool top = output_pixel<Cfg>(tile, m, row) >= 0, bottom = output_pixel<Cfg>(tile, m, row + 8) >= 0;
#pragma unroll
          for (int i = 0; i < 2; ++i)
            sums[half * 2 + i] += (top ? rounded<S.math>(v[i]) : 0.0f) + (bottom ? rounded<S.math>(v[2 + i]) : 0.0f);
        }
      }
      __syncwarp();
      if constexpr (S.pool != Pool::only) {
#pragma unroll
        for (int i = lane; i < 16 * row_vectors; i += 32) {
          const int r = i / row_vectors, channel = chunk * S.chunk + k * 16 + (i % row_vectors) * G.vec;
          const long long p = output_pixel<Cfg>(tile, m, r);
          if (p < 0 || channel >= G.out_pitch) continue;
          Vector<S.math> v = Vector<S.math>::from(*reinterpret_cast<const uint4*>(corner + r * row_bytes + (i % row_vectors) * 16));
          clear_pad<Cfg>(v, channel);
          *reinterpret_cast<uint4*>(static_cast<unsigned char*>(args.output) + (p * G.out_pitch + channel) * G.el) = v.raw();
        }
      }
      __syncwarp();
    }
    if constexpr (S.pool != Pool::none) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int distance = 4; distance < 32; distance *= 2) sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], distance);
        if (row == 0) pool[at.m * S.chunk + k * 16 + (i / 2) * 8 + 2 * q + i % 2] = sums[i];
      }
    }
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
    const int m = at.m + j * S.warps_m;
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

/// Sum of a vector's partials: bias, then cluster ranks in order, and within each its warps' K shares in order.
template <class Cfg>
FCM_DEVICE Vector<Of<Cfg>::S.math> sum_partials(const unsigned char* red, const float* bias, int r, int column) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  Vector<S.math> sum;
#pragma unroll
  for (int i = 0; i < G.vec; ++i) sum.v[i] = bias[column + i];
#pragma unroll
  for (int rank = 0; rank < S.split; ++rank) {
#pragma unroll
    for (int k = 0; k < S.warps_k; ++k) {
#pragma unroll
      for (int i = 0; i < G.vec; i += 4) {
        const unsigned char* p = red + (k * G.m_tiles * 16 + r) * G.red_pitch + (column + i) * 4;
        const float4 v = S.split > 1 ? load_remote(p, rank) : *reinterpret_cast<const float4*>(p);
        sum.v[i] += v.x;
        sum.v[i + 1] += v.y;
        sum.v[i + 2] += v.z;
        sum.v[i + 3] += v.w;
      }
    }
  }
  return sum;
}

/// The residual operand under an output pixel: from global memory, or from the input tile when the module adds its own input.
template <class Cfg>
FCM_DEVICE Vector<Of<Cfg>::S.math> load_residual(const ModuleArgs& args, const Tile& tile, const unsigned char* x, int r, long long p,
                                                 int channel) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (S.residual_is_input && S.expand && !S.conv) {
    int row = r;
    if constexpr (!G.flat) {
      const int m = r / 16, ty = (m / G.m_tiles_w) * 2 + (r % 16) / 8, tx = (m % G.m_tiles_w) * 8 + r % 8;
      row = (ty + S.dw_window.top - G.ay.core_at) * G.ax.core + tx + S.dw_window.left - G.ax.core_at;
    }
    return Vector<S.math>::from(*reinterpret_cast<const uint4*>(x + row * G.x_pitch + channel * G.el));
  } else {
    const void* from = S.residual_is_input ? args.input : args.residual;
    return Vector<S.math>::from(
        *reinterpret_cast<const uint4*>(static_cast<const unsigned char*>(from) + (p * G.out_pitch + channel) * G.el));
  }
}

/// Residual and activation in the spec's order.
template <class Cfg>
FCM_DEVICE void apply_epilogue(Vector<Of<Cfg>::S.math>& v, const Vector<Of<Cfg>::S.math>& residual) {
  constexpr Shape S = Of<Cfg>::S;
#pragma unroll
  for (int i = 0; i < Vector<S.math>::kCount; ++i) {
    if constexpr (S.residual == Residual::before_activation) v.v[i] += residual.v[i];
    v.v[i] = activation<S.out_act.fn>(v.v[i], S.out_act.a, S.out_act.b);
    if constexpr (S.residual == Residual::after_activation) v.v[i] += residual.v[i];
  }
}

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
FCM_DEVICE void finish_tile(const ModuleArgs& args, const Tile& tile, unsigned char* red, const float* bias, const unsigned char* x,
                            int n_block, int rank, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int vectors = S.n_tile / G.vec;
  for (int i = rank * G.threads + thread; i < G.m_tiles * 16 * vectors; i += S.split * G.threads) {
    const int r = i / vectors, column = (i % vectors) * G.vec, channel = n_block * S.n_tile + column;
    const long long p = output_pixel<Cfg>(tile, r / 16, r % 16);
    const bool valid = p >= 0 && channel < G.out_pitch;
    Vector<S.math> v{};
    if (valid) {
      Vector<S.math> residual{};
      if constexpr (S.residual != Residual::none) residual = load_residual<Cfg>(args, tile, x, r, p, channel);
      v = sum_partials<Cfg>(red, bias, r, column);
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
