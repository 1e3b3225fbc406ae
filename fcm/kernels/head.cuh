// Heads: global mean + fully connected (the classifier), and squeeze-and-excitation (mean, two dense layers; its output is a gate).
//
// A block handles up to eight images at a time and some outputs of each dense stage, whose weight rows are fetched before the kernel
// before has ended. 16-bit: outputs x depth times depth x images on tensor cores, a warp 16 outputs at a time; FP32: a warp an output, as
// a dot product. pool_fc: blocks share the outputs. se: the blocks of a cluster do, and send their slices of the hidden layer to each
// other.
#pragma once

#include "fcm/head_geometry.h"
#include "fcm/kernels/args.h"
#include "fcm/kernels/async.cuh"

namespace fcm::kernel {

using geometry::HeadGeometry;
using geometry::HeadShape;
using geometry::kHeadImages;

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

  FCM_DEVICE const float* bias(int at) const {
    return reinterpret_cast<const float*>(static_cast<const unsigned char*>(args.weights) + at);
  }
  /// Element `i` of the row of an image in shared memory.
  template <int kDepth>
  FCM_DEVICE static int element_at(int image, int i) {
    return image * geometry::head_row_bytes(kDepth, G.el) + i * G.el;
  }

  /// Copies `count` weight rows from the `first`-th on into rows of kDepth elements, of which kPitch are in global memory, then zeros.
  template <int kDepth, int kPitch>
  FCM_DEVICE void fetch_rows(int to, int at, int first, int count) {
    constexpr int pieces = kDepth / G.vec, real = kPitch / G.vec;
    const unsigned char* from = static_cast<const unsigned char*>(args.weights) + at + static_cast<long long>(first) * (kPitch * G.el);
    const u32 rows = shared_address(shared + to);
    using Walk = Deal<pieces, G.threads>;
    for (Walk w = Walk::from(thread); w.row < count; w.advance()) {
      const bool valid = pieces == real || w.piece < real;
      copy16(rows + element_at<kDepth>(w.row, w.piece * G.vec), from + (valid ? w.row * (kPitch * G.el) + w.piece * 16 : 0), valid);
    }
  }

  /// A value as an element: 16 bits, or the float itself.
  FCM_DEVICE static auto element(float x) {
    if constexpr (kIs16<M>) {
      return static_cast<u16>(pack2<M>(x, 0.0f) & 0xffffu);
    } else {
      return x;
    }
  }
  FCM_DEVICE static void put(unsigned char* p, float x) { *reinterpret_cast<decltype(element(x))*>(p) = element(x); }

  static constexpr int kMeanWidth = S.sums ? 4 : G.vec;  ///< channels that a thread adds

  /// Adds every `step`-th addend of an image from the `begin`-th on, for the `piece`-th kMeanWidth channels.
  FCM_DEVICE void add_up(float (&sum)[kMeanWidth], int image, int piece, int begin, int step) const {
    if constexpr (S.sums) {
      constexpr int pitch = geometry::round_up(S.c, 4);
      if (piece * 4 >= pitch) return;
      const float* p = static_cast<const float*>(args.input) + static_cast<long long>(image) * S.sum_tiles * pitch + piece * 4;
#pragma unroll 8
      for (int t = begin; t < S.sum_tiles; t += step) {
        const float4 v = *reinterpret_cast<const float4*>(p + t * pitch);
        sum[0] += v.x, sum[1] += v.y, sum[2] += v.z, sum[3] += v.w;
      }
    } else {
      constexpr int row_bytes = G.c_pitch * G.el;
      if (piece * G.vec >= G.c_pitch) return;
      const unsigned char* p =
          static_cast<const unsigned char*>(args.input) + static_cast<long long>(image) * S.pixels * row_bytes + piece * 16;
#pragma unroll 16
      for (int pixel = begin; pixel < S.pixels; pixel += step) {
        const Vector<M> x = Vector<M>::from(*reinterpret_cast<const uint4*>(p + pixel * row_bytes));
#pragma unroll
        for (int i = 0; i < G.vec; ++i) sum[i] += x.v[i];
      }
    }
  }

  /// The means of kMeanWidth channels of an image, as elements; pad channels are zero.
  FCM_DEVICE void put_means(const float (&sum)[kMeanWidth], int image, int piece) {
    constexpr float scale = 1.0f / static_cast<float>(S.pixels);
    Vector<M> mean{};
#pragma unroll
    for (int i = 0; i < kMeanWidth; ++i) mean.v[i] = piece * kMeanWidth + i < S.c ? sum[i] * scale : 0.0f;
    const uint4 raw = mean.raw();
    unsigned char* to = shared + G.s_mean + element_at<G.c_depth>(image, piece * kMeanWidth);
    if constexpr (kMeanWidth == Vector<M>::kCount) {
      *reinterpret_cast<uint4*>(to) = raw;
    } else {
      *reinterpret_cast<uint2*>(to) = uint2{raw.x, raw.y};
    }
  }

  /// Means of `count` images from the `first`-th on. Tiles or pixels are added in order, or, where threads are left, by groups of threads
  /// that take turns, then group by group: the order is fixed either way.
  FCM_DEVICE void average(int first, int count) {
    constexpr int pieces = G.mean_lanes / S.images;
    if constexpr (G.mean_groups == 1) {
      using Walk = Deal<pieces, G.threads>;
      for (Walk w = Walk::from(thread); w.row < count; w.advance()) {
        float sum[kMeanWidth] = {};
        add_up(sum, first + w.row, w.piece, 0, 1);
        put_means(sum, w.row, w.piece);
      }
    } else {
      float* parts = reinterpret_cast<float*>(shared + G.s_parts);  // [group][image and piece][channel]
      const int group = thread / G.mean_lanes, sum_of = thread % G.mean_lanes, image = sum_of / pieces, piece = sum_of % pieces;
      float sum[kMeanWidth] = {};
      if (group < G.mean_groups) {
        if (image < count) add_up(sum, first + image, piece, group, G.mean_groups);
#pragma unroll
        for (int i = 0; i < kMeanWidth; i += 4)
          *reinterpret_cast<float4*>(parts + thread * kMeanWidth + i) = float4{sum[i], sum[i + 1], sum[i + 2], sum[i + 3]};
      }
      __syncthreads();
      if (group == 0 && image < count) {
        for (int g = 1; g < G.mean_groups; ++g) {
#pragma unroll
          for (int i = 0; i < kMeanWidth; i += 4) {
            const float4 v = *reinterpret_cast<const float4*>(parts + (g * G.mean_lanes + sum_of) * kMeanWidth + i);
            sum[i] += v.x, sum[i + 1] += v.y, sum[i + 2] += v.z, sum[i + 3] += v.w;
          }
        }
        put_means(sum, image, piece);
      }
    }
  }

  /// A warp's dot product of two FP32 rows; the same sum in all lanes.
  template <int kDepth>
  FCM_DEVICE float dot(const unsigned char* row, const unsigned char* x) const {
    float sum = 0.0f;
    for (int v = lane; v < kDepth / 4; v += 32) {
      const float4 a = *reinterpret_cast<const float4*>(row + v * 16), b = *reinterpret_cast<const float4*>(x + v * 16);
      sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    }
    __syncwarp();
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }

  /// Rows of kDepth weights times the images at `x`: use(row, image, product) once for each of `count` rows and `images` images, in some
  /// thread of the block. Ends with what `use` wrote to shared memory not yet visible to others.
  template <int kRows, int kDepth, int kShares, class Use>
  FCM_DEVICE void dense(int rows, int x, int count, int images, Use use) {
    if constexpr (kIs16<M>) {
      constexpr int tiles = geometry::ceil_div(kRows, 16), padded = tiles * 16, steps = kDepth / 16;
      float* parts = reinterpret_cast<float*>(shared + G.s_parts);  // [share][image][row]
      const u32 a_at = shared_address(shared + rows + element_at<kDepth>(lane & 15, (lane >> 4) * 8));
      const u32 b_at = shared_address(shared + x + element_at<kDepth>(lane & 7, ((lane >> 3) & 1) * 8));
      for (int unit = warp; unit < tiles * kShares; unit += S.warps) {
        const int tile = unit % tiles, share = unit / tiles;
        const int begin = share * steps / kShares, end = (share + 1) * steps / kShares;
        float sum[2][4] = {};  // two chains hide each other's latency
        const auto step = [&](float(&c)[4], int k) {
          u32 a[4], b[2];
          ldmatrix(a, a_at + element_at<kDepth>(tile * 16, k * 16));
          ldmatrix(b, b_at + k * 32);
          mma_k16<M>(c, a[0], a[1], a[2], a[3], b[0], b[1]);
        };
#pragma unroll 4
        for (int k = begin; k + 1 < end; k += 2) {
          step(sum[0], k);
          step(sum[1], k + 1);
        }
        if ((end - begin) % 2 != 0) step(sum[0], end - 1);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int image = 2 * (lane & 3) + i % 2, row = tile * 16 + (lane >> 2) + i / 2 * 8;
          parts[(share * kHeadImages + image) * padded + row] = sum[0][i] + sum[1][i];
        }
      }
      __syncthreads();
      for (int i = thread; i < images * padded; i += G.threads) {
        const int image = i / padded, row = i % padded;
        if (row >= count) continue;
        float sum = 0.0f;
#pragma unroll
        for (int share = 0; share < kShares; ++share) sum += parts[(share * kHeadImages + image) * padded + row];
        use(row, image, sum);
      }
    } else {
      for (int row = warp; row < count; row += S.warps) {
        for (int image = 0; image < images; ++image) {
          const float sum = dot<kDepth>(shared + rows + element_at<kDepth>(row, 0), shared + x + element_at<kDepth>(image, 0));
          if (lane == 0) use(row, image, sum);
        }
      }
    }
  }

  FCM_DEVICE void store(int image, int n, float x) {
    const long long index = static_cast<long long>(image) * G.out_pitch + n;
    if constexpr (kIs16<M> && !S.wide_out) {
      static_cast<u16*>(args.output)[index] = element(x);
    } else {
      static_cast<float*>(args.output)[index] = x;
    }
  }

  /// The last dense stage: outputs from the n0-th on, of `images` images from the `first`-th on.
  FCM_DEVICE void make_outputs(int x, int n0, int first, int images) {
    dense<G.out_slice, G.depth, G.out_shares>(G.s_out_weights, x, geometry::min_of(G.out_slice, S.out_c - n0), images,
                                              [&](int row, int image, float sum) {
                                                const float y = sum + bias(G.out_bias_at)[n0 + row];
                                                store(first + image, n0 + row, activation<S.out_act.fn>(y, S.out_act.a, S.out_act.b));
                                              });
  }
  /// Zeros behind the last output.
  FCM_DEVICE void clear_pad(int first, int images) {
    constexpr int pad = G.out_pitch - S.out_c;
    if constexpr (pad > 0) {
      for (int i = thread; i < images * pad; i += G.threads) store(first + i / pad, S.out_c + i % pad, 0.0f);
    }
  }

  FCM_DEVICE void run_pool_fc() {
    constexpr int n_blocks = geometry::ceil_div(G.out_pitch, S.n_tile);
    const int block = static_cast<int>(blockIdx.x) % n_blocks, n0 = block * S.n_tile;
    fetch_rows<G.c_depth, G.c_pitch>(G.s_out_weights, G.out_at, n0, geometry::min_of(S.n_tile, S.out_c - n0));
    copy_commit();
    if constexpr (S.jitter) random_spin(args.jitter);
    wait_for_predecessor();
    const int step = static_cast<int>(gridDim.x) / n_blocks * S.images;
    for (int first = static_cast<int>(blockIdx.x) / n_blocks * S.images; first < args.batch; first += step) {
      const int count = geometry::min_of(S.images, args.batch - first);
      average(first, count);
      copy_wait<0>();
      __syncthreads();
      make_outputs(G.s_mean, n0, first, count);
      if (block == 0) clear_pad(first, count);
      __syncthreads();
    }
  }

  /// This block's slice of the hidden layer, to the shared memory of all blocks of the cluster.
  FCM_DEVICE void make_hidden(int rank, int images) {
    const int h0 = rank * G.hidden_slice;
    dense<G.hidden_slice, G.c_depth, G.hidden_shares>(
        G.s_hidden_weights, G.s_mean, geometry::min_of(G.hidden_slice, S.hidden - h0), images, [&](int row, int image, float sum) {
          const float y = activation<S.hidden_act.fn>(sum + bias(G.hidden_bias_at)[h0 + row], S.hidden_act.a, S.hidden_act.b);
          unsigned char* own = shared + G.s_hidden + element_at<G.hidden_depth>(image, h0 + row);
          if constexpr (S.split == 1) {
            put(own, y);
          } else {
#pragma unroll 4
            for (int to = 0; to < S.split; ++to) store_remote(remote_address(shared_address(own), static_cast<u32>(to)), element(y));
          }
        });
  }

  FCM_DEVICE void run_se() {
    const int rank = static_cast<int>(blockIdx.x) % S.split, n0 = rank * G.out_slice;
    fetch_rows<G.c_depth, G.c_pitch>(G.s_hidden_weights, G.hidden_at, rank * G.hidden_slice,
                                     geometry::min_of(G.hidden_slice, S.hidden - rank * G.hidden_slice));
    fetch_rows<G.depth, G.hidden_pitch>(G.s_out_weights, G.out_at, n0, geometry::min_of(G.out_slice, S.out_c - n0));
    copy_commit();
    constexpr int hidden_bytes = G.s_parts - G.s_hidden;  // with the zeros behind the last hidden value of an image
    for (int i = thread * 4; i < hidden_bytes; i += G.threads * 4) *reinterpret_cast<u32*>(shared + G.s_hidden + i) = 0u;
    if constexpr (S.split > 1) cluster_arrive();  // other blocks may write hidden values here
    if constexpr (S.jitter) random_spin(args.jitter);
    wait_for_predecessor();
    const int step = static_cast<int>(gridDim.x) / S.split * S.images;
    for (int first = static_cast<int>(blockIdx.x) / S.split * S.images; first < args.batch; first += step) {
      const int count = geometry::min_of(S.images, args.batch - first);
      average(first, count);
      copy_wait<0>();
      __syncthreads();
      if constexpr (S.split > 1) cluster_wait();
      make_hidden(rank, count);
      if constexpr (S.split > 1) {
        cluster_sync();  // the hidden layer is whole
      } else {
        __syncthreads();
      }
      make_outputs(G.s_hidden, n0, first, count);
      if (rank == 0) clear_pad(first, count);
      if constexpr (S.split > 1) {
        if (first + step < args.batch) cluster_arrive();  // done with its values
      }
      __syncthreads();
    }
  }

  FCM_DEVICE void run() {
    release_next(args.next_waits);
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
