// Heads: global mean + fully connected (the classifier), and squeeze-and-excitation (mean, two dense layers; its output is a gate).
//
// A warp computes one output as a dot product over a weight row in shared memory; rows are fetched before the kernel before has ended.
// pool_fc: a block owns some outputs of a few images. se: the blocks of a cluster share an image; each makes a slice of the hidden
// layer, all read the whole of it through distributed shared memory, then each makes a slice of the gate.
#pragma once

#include "fcm/head_geometry.h"
#include "fcm/kernels/args.h"
#include "fcm/kernels/async.cuh"

namespace fcm::kernel {

using geometry::HeadGeometry;
using geometry::HeadShape;

template <class Cfg>
struct Head {
  static constexpr HeadShape S = Cfg::shape;
  static constexpr HeadGeometry G = geometry::derive(S);
  static constexpr bool kSe = S.hidden > 0;
  static constexpr Math M = S.math;

  const ModuleArgs& args;
  unsigned char* shared;
  int thread = static_cast<int>(threadIdx.x);
  int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32;

  FCM_DEVICE float* means() const { return reinterpret_cast<float*>(shared + G.s_mean); }
  FCM_DEVICE float* hidden() const { return reinterpret_cast<float*>(shared + G.s_hidden); }
  FCM_DEVICE const float* bias(int at) const {
    return reinterpret_cast<const float*>(static_cast<const unsigned char*>(args.weights) + at);
  }

  /// Copies weight rows [first, first + count) of a matrix of `rows`.
  FCM_DEVICE void fetch_rows(int to, int at, int row_bytes, int first, int count, int rows) {
    const int here = geometry::max_of(0, geometry::min_of(count, rows - first));
    copy_linear<G.threads>(shared + to, static_cast<const unsigned char*>(args.weights) + at + static_cast<long long>(first) * row_bytes,
                           here * row_bytes, thread);
  }

  /// Means of one image to floats, rounded as the pooled tensor would be; pad channels are zero. Pixels are added in order.
  FCM_DEVICE void average(int image, float* to) {
    constexpr float scale = 1.0f / static_cast<float>(S.pixels);
    if constexpr (S.sums) {
      constexpr int pitch = geometry::round_up(S.c, 4);
      const float* from = static_cast<const float*>(args.input) + static_cast<long long>(image) * S.sum_tiles * pitch;
      for (int c = thread; c < G.c_pitch; c += G.threads) {
        float sum = 0.0f;
        if (c < S.c) {
          for (int t = 0; t < S.sum_tiles; ++t) sum += from[t * pitch + c];
        }
        to[c] = rounded<M>(sum * scale);
      }
    } else {
      const unsigned char* from =
          static_cast<const unsigned char*>(args.input) + static_cast<long long>(image) * S.pixels * G.c_pitch * G.el;
      for (int v = thread; v < G.c_pitch / G.vec; v += G.threads) {
        Vector<M> sum{};
#pragma unroll 4
        for (int p = 0; p < S.pixels; ++p) {
          const Vector<M> x = Vector<M>::from(*reinterpret_cast<const uint4*>(from + p * (G.c_pitch * G.el) + v * 16));
#pragma unroll
          for (int i = 0; i < G.vec; ++i) sum.v[i] += x.v[i];
        }
#pragma unroll
        for (int i = 0; i < G.vec; ++i) to[v * G.vec + i] = rounded<M>(sum.v[i] * scale);
      }
    }
  }

  /// A warp's dot product of a weight row with floats; the same sum in all lanes.
  FCM_DEVICE float dot(const unsigned char* row, const float* x, int count) const {
    float sum = 0.0f;
    for (int first = 0; first < count / G.vec; first += 32) {  // all lanes stay together
      const int v = first + lane;
      if (v >= count / G.vec) continue;
      const Vector<M> w = Vector<M>::from(*reinterpret_cast<const uint4*>(row + v * 16));
#pragma unroll
      for (int i = 0; i < G.vec; ++i) sum += w.v[i] * x[v * G.vec + i];
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }

  FCM_DEVICE void store(long long index, float x) {
    if constexpr (kIs16<M> && !S.wide_out) {
      static_cast<u16*>(args.output)[index] = static_cast<u16>(pack2<M>(x, 0.0f) & 0xffffu);
    } else {
      static_cast<float*>(args.output)[index] = x;
    }
  }

  FCM_DEVICE void run_pool_fc() {
    constexpr int n_blocks = geometry::ceil_div(G.out_pitch, S.n_tile);
    const int n0 = (static_cast<int>(blockIdx.x) % n_blocks) * S.n_tile;
    fetch_rows(G.s_out_weights, G.out_at, G.c_pitch * G.el, n0, S.n_tile, S.out_c);
    copy_commit();
    if constexpr (S.jitter) random_spin(args.jitter);
    wait_for_predecessor();
    const int groups = geometry::ceil_div(args.batch, S.images);
    const int step = static_cast<int>(gridDim.x) / n_blocks;
    for (int group = static_cast<int>(blockIdx.x) / n_blocks; group < groups; group += step) {
      const int first = group * S.images, count = geometry::min_of(S.images, args.batch - first);
      for (int i = 0; i < count; ++i) average(first + i, means() + i * G.c_pitch);
      copy_wait<0>();
      __syncthreads();
      for (int n = warp; n < S.n_tile && n0 + n < G.out_pitch; n += S.warps) {
        const bool real = n0 + n < S.out_c;
        for (int i = 0; i < count; ++i) {
          float y = 0.0f;
          if (real) {
            y = dot(shared + G.s_out_weights + n * G.c_pitch * G.el, means() + i * G.c_pitch, G.c_pitch) + bias(G.out_bias_at)[n0 + n];
            y = activation<S.out_act.fn>(y, S.out_act.a, S.out_act.b);
          }
          if (lane == 0) store(static_cast<long long>(first + i) * G.out_pitch + n0 + n, y);
        }
      }
      __syncthreads();
    }
  }

  /// This block's slice of the hidden layer into its own shared memory, then the whole of it from all blocks of the cluster.
  FCM_DEVICE void make_hidden(int rank) {
    const int h0 = rank * G.hidden_slice;
    for (int h = warp; h < G.hidden_slice && h0 + h < S.hidden; h += S.warps) {
      float y = dot(shared + G.s_hidden_weights + h * G.c_pitch * G.el, means(), G.c_pitch) + bias(G.hidden_bias_at)[h0 + h];
      y = rounded<M>(activation<S.hidden_act.fn>(y, S.hidden_act.a, S.hidden_act.b));
      if (lane == 0) hidden()[h0 + h] = y;
    }
    if constexpr (S.split > 1) {
      cluster_sync();
      for (int h = thread; h < S.hidden; h += G.threads) {
        const int owner = h / G.hidden_slice;
        if (owner != rank) hidden()[h] = load_remote_float(hidden() + h, static_cast<u32>(owner));
      }
    }
    for (int h = S.hidden + thread; h < G.hidden_pitch; h += G.threads) hidden()[h] = 0.0f;
    __syncthreads();
  }

  FCM_DEVICE void run_se() {
    const int rank = static_cast<int>(blockIdx.x) % S.split, n0 = rank * G.out_slice;
    fetch_rows(G.s_hidden_weights, G.hidden_at, G.c_pitch * G.el, rank * G.hidden_slice, G.hidden_slice, S.hidden);
    fetch_rows(G.s_out_weights, G.out_at, G.hidden_pitch * G.el, n0, G.out_slice, S.out_c);
    copy_commit();
    if constexpr (S.jitter) random_spin(args.jitter);
    wait_for_predecessor();
    const int step = static_cast<int>(gridDim.x) / S.split;
    for (int image = static_cast<int>(blockIdx.x) / S.split; image < args.batch; image += step) {
      average(image, means());
      copy_wait<0>();
      __syncthreads();
      make_hidden(rank);
      for (int n = warp; n < G.out_slice && n0 + n < S.out_c; n += S.warps) {
        float y = dot(shared + G.s_out_weights + n * G.hidden_pitch * G.el, hidden(), G.hidden_pitch) + bias(G.out_bias_at)[n0 + n];
        y = activation<S.out_act.fn>(y, S.out_act.a, S.out_act.b);
        if (lane == 0) store(static_cast<long long>(image) * G.out_pitch + n0 + n, y);
      }
      if (rank == 0) {
        for (int n = S.out_c + thread; n < G.out_pitch; n += G.threads) store(static_cast<long long>(image) * G.out_pitch + n, 0.0f);
      }
      if constexpr (S.split > 1) {
        cluster_sync();  // no block overwrites its hidden values, or leaves, while others read them
      } else {
        __syncthreads();
      }
    }
  }

  FCM_DEVICE void run() {
    launch_dependents();
    if constexpr (kSe) {
      run_se();
    } else {
      run_pool_fc();
    }
  }
};

/// The body of the kernel that emit names.
template <class Cfg>
FCM_DEVICE void run_head(const ModuleArgs& args) {
  extern __shared__ __align__(128) unsigned char head_shared[];
  Head<Cfg> head{args, head_shared};
  head.run();
}

}  // namespace fcm::kernel
