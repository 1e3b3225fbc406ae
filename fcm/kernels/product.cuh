// A pointwise layer on many rows: warpgroups multiply pixels by weights, both out of shared memory, while slices of the depth come and go.
//
// A block owns a tile of pixels x n_tile output channels, a warpgroup every 64 rows of it that are its turn, a warp 16 of those with all
// columns, in registers. Weights that stay leave a warpgroup nothing to share with the others: each walks over the block's tiles at its own
// pace, and while one finishes a tile another multiplies. Weights that rotate are shared, and so is the barrier a slice.
// Barriers of the block: 0 all, then one a warpgroup, then one a warpgroup for its turn.
#pragma once

#include "fcm/kernels/finish.cuh"

namespace fcm::kernel {

/// Sums over the channels of 16 pixels and of their squares, on tensor cores: x times ones, and the diagonal of x times its transpose,
/// whose fragments are those of x.
template <Math M>
struct RowMoments {
  float sum[4] = {}, low[4] = {}, high[4] = {};

  FCM_DEVICE void add(const AFragment<M>& a) {
    constexpr u32 ones = M == Math::f16 ? 0x3c003c00u : 0x3f803f80u;
    mma_k16<M>(sum, a.r[0], a.r[1], a.r[2], a.r[3], ones, ones);
    mma_k16<M>(low, a.r[0], a.r[1], a.r[2], a.r[3], a.r[0], a.r[2]);
    mma_k16<M>(high, a.r[0], a.r[1], a.r[2], a.r[3], a.r[1], a.r[3]);
  }
  /// Statistics of the lane's pixels, rows lane / 4 and lane / 4 + 8. What FP32 loses of a variance that is small beside the squared mean
  /// is less than what 16 bits lost of the pixel.
  template <class Cfg>
  FCM_DEVICE void finish(RowStat (&stats)[2], int lane) const {
    constexpr Shape S = Of<Cfg>::S;
    constexpr float share = 1.0f / static_cast<float>(S.in_c);
    const int row = lane >> 2, holder = (lane & ~3) | row >> 1;
    const float squares[2] = {__shfl_sync(0xffffffffu, row % 2 == 0 ? low[0] : low[1], holder),
                              __shfl_sync(0xffffffffu, row % 2 == 0 ? high[2] : high[3], holder)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float mean = S.norm == Norm::layer ? sum[2 * half] * share : 0.0f;
      stats[half] = RowStat{mean, rsqrtf(fmaxf(squares[half] * share - mean * mean, 0.0f) + S.norm_epsilon)};
    }
  }
};

template <class Cfg>
struct Product {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int kUnits = G.warp_m, kColumns = G.warp_n, kGroups = G.warps / 4;
  /// Where all warpgroups wait at one barrier, matrix instructions of a slice may still run while those of the next are issued: worth a
  /// stage when three are left.
  static constexpr int kRunning = !S.resident && S.stages > 3 ? 1 : 0;
  static constexpr int kAhead = S.stages - 1 - kRunning;  ///< slices under way beside those that are multiplied
  static constexpr int kSteps = G.slice / G.ks, kLastSteps = geometry::ceil_div(S.in_c - (G.slices - 1) * G.slice, G.ks);
  static constexpr bool kResidual = S.residual != Residual::none, kNormalised = S.norm != Norm::none;
  /// Warpgroups multiply in turn, so that while one does others finish their tiles: where that takes long, and no turn waits for copies.
  static constexpr bool kTurns = S.resident && kGroups > 1 && (kAhead >= G.slices) && (kColumns >= 12) && is_special(S.out_act.fn);
  static constexpr int kRowBytes = geometry::kSliceBytes, kGroupBytes = 16 * kRowBytes;  // 64 channels of a warp's 16 pixels on their way

  const ModuleArgs& args;
  unsigned char* shared;
  int thread = static_cast<int>(threadIdx.x);
  int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32, group = warp / 4;
  int n_block = static_cast<int>(blockIdx.x) % G.n_blocks;
  int work = static_cast<int>(blockIdx.x) / G.n_blocks, work_step = static_cast<int>(gridDim.x) / G.n_blocks;
  int works = works_of<Cfg>(args.batch), end = args.batch * S.out_h * S.out_w;

  /// Position in the sequence of (tile, slice of the depth) that a warpgroup walks through.
  struct Cursor {
    int work, slice, stage;
  };
  FCM_DEVICE void advance(Cursor& c) const {
    if (++c.stage == S.stages) c.stage = 0;
    if (++c.slice < G.slices) return;
    c.slice = 0;
    c.work += work_step;
  }

  FCM_DEVICE unsigned char* rows(const Cursor& c, int unit) const {
    return shared + G.s_x + c.stage * G.x_slice + (group + unit * kGroups) * (64 * kRowBytes);
  }
  FCM_DEVICE unsigned char* columns(const Cursor& c) const {
    return shared + G.s_slices + (S.resident ? c.slice : c.stage) * G.weight_slice;
  }
  /// First pixel of the warpgroup's unit in a tile.
  FCM_DEVICE int first_pixel(int of_work, int unit) const { return of_work * S.tile_w + (group + unit * kGroups) * 64; }

  FCM_DEVICE void fetch_rows(const Cursor& c) const {
    constexpr int pixel_bytes = G.in_pitch * G.el;
    const int row = thread % 128 / 8, piece = thread % 8;
    const bool inside = c.slice * G.slice + piece * G.vec < G.in_pitch;
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      const u32 to = shared_address(rows(c, unit)) + row * kRowBytes + geometry::slice_piece(G.el, row, piece) * 16;
      const int first = first_pixel(c.work, unit) + row;
      const unsigned char* from =
          static_cast<const unsigned char*>(args.input) + static_cast<long long>(first) * pixel_bytes + c.slice * kRowBytes + piece * 16;
#pragma unroll
      for (int i = 0; i < 4; ++i) copy16(to + i * 16 * kRowBytes, from + i * 16 * pixel_bytes, inside && first + i * 16 < end);
    }
  }
  FCM_DEVICE void fetch_columns(int slice, unsigned char* to) const {
    const unsigned char* slices = static_cast<const unsigned char*>(args.weights) + G.slices_at;
    copy_linear<G.threads>(to, slices + (static_cast<long long>(n_block) * G.slices + slice) * G.weight_slice, G.weight_slice, thread);
  }
  FCM_DEVICE void fetch(const Cursor& c) const {
    if (c.work >= works) return;
    if constexpr (!S.resident) fetch_columns(c.slice, columns(c));
    fetch_rows(c);
  }

  /// Where 16 bytes lie that a warp keeps of its 16 pixels: groups of 64 channels, rows of 128 bytes.
  FCM_DEVICE unsigned char* corner(int unit, int channels) const {
    constexpr int groups = geometry::ceil_div(kColumns, 4);
    return shared + G.s_stage + (kResidual ? (warp * kUnits + unit) * groups + channels / 64 : warp) * kGroupBytes;
  }
  FCM_DEVICE static int corner_piece(int row, int piece) {
    return row * kRowBytes + geometry::slice_piece(2, row, piece) * 16;
  }

  /// Calls fn(byte of the corner, element of the output, whether it exists, channel) for what the lane moves of 64 channels from `channels`
  /// on: 16 bytes of four rows a step of the warp.
  template <class Fn>
  FCM_DEVICE void for_pieces(int of_work, int unit, int channels, Fn fn) const {
    const int first = first_pixel(of_work, unit) + warp % 4 * 16 + lane / 8, piece = lane % 8, own = n_block * S.n_tile + piece * 8;
    const long long element = static_cast<long long>(first) * G.out_pitch + own;
    const bool inside = channels + piece * 8 < S.n_tile && own + channels < G.out_pitch;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool exists = inside && first + i * 4 < end;
      fn(corner_piece(i * 4 + lane / 8, piece), element + i * 4 * G.out_pitch + channels, exists, own + channels);
    }
  }

  /// The residual of a tile, into the places that its sums will take.
  FCM_DEVICE void fetch_residual(int of_work) const {
    const auto* from = static_cast<const u16*>(S.residual_is_input ? args.input : args.residual);
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
#pragma unroll
      for (int channels = 0; channels < S.n_tile; channels += 64) {
        const u32 to = shared_address(corner(unit, channels));
        for_pieces(of_work, unit, channels, [&](int at, long long element, bool exists, int) { copy16(to + at, from + element, exists); });
      }
    }
  }

  FCM_DEVICE const float* bias() const {
    return reinterpret_cast<const float*>(shared + G.s_bias);
  }
  FCM_DEVICE const float* column_sums() const {
    return reinterpret_cast<const float*>(shared + G.s_sums);
  }

  /// All that does not depend on the kernel before.
  FCM_DEVICE void prologue() const {
    const unsigned char* from = static_cast<const unsigned char*>(args.weights) + G.bias_at + n_block * S.n_tile * 4;
    copy_linear<G.threads>(shared + G.s_bias, from, S.n_tile * 4, thread);
    if constexpr (kNormalised) copy_linear<G.threads>(shared + G.s_sums, from + G.sums_at - G.bias_at, S.n_tile * 4, thread);
    for (int slice = 0; slice < (S.resident ? G.slices : geometry::min_of(kAhead, G.slices)); ++slice)
      fetch_columns(slice, columns(Cursor{work, slice, slice}));
    copy_commit();
  }

  FCM_DEVICE void synchronise() const {
    if constexpr (S.resident) {
      named_barrier(1 + group, 128);
    } else {
      __syncthreads();
    }
  }

  // Warpgroups multiply in turn (kTurns): a barrier each, at which the one before arrives when it is done.
  FCM_DEVICE void take_turn() const {
    if constexpr (kTurns) {
      copy_wait<kAhead - G.slices>();  // the tile is here
      named_barrier(1 + kGroups + group, 256);
    }
  }
  FCM_DEVICE void pass_turn(bool more) const {
    if constexpr (kTurns) {
      const int next = group + 1 < kGroups ? group + 1 : 0;
      if (next > 0 || more) named_arrive(1 + kGroups + next, 256);
    }
  }

  using Sums = Accumulator[kUnits][kColumns];
  using Moments = RowMoments<S.math>[kUnits];
  FCM_DEVICE static void hold_all(Sums& acc) {
#pragma unroll
    for (auto& unit : acc) hold(unit);
  }

  /// Adds a slice of which `steps` steps exist. One barrier: what it brings is there, and the buffer that is filled next has been read.
  template <int steps>
  FCM_DEVICE void add_slice(Sums& acc, Moments& moments, const Cursor& now, Cursor& ahead) const {
    copy_wait<kAhead - 1>();
    publish_to_warpgroups();
    synchronise();
    const u64 b = slice_rows(shared_address(columns(now)));
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < steps; ++k) {  // addresses in units of 16 bytes
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) wgmma<S.math>(acc[unit], slice_rows(shared_address(rows(now, unit))) + k * 2, b + k * 2);
    }
    warpgroup_commit();
    if constexpr (kResidual) {
      if (now.slice == 0) fetch_residual(now.work);
    }
    fetch(ahead);
    copy_commit();
    advance(ahead);
    if constexpr (kNormalised) {
#pragma unroll
      for (int i = 0; i < kUnits * steps; ++i) {
        const unsigned char* own = rows(now, i / steps) + warp % 4 * (16 * kRowBytes);
        moments[i / steps].add(load_slice_rows<S.math>(own, i % steps, lane));
      }
    }
    warpgroup_wait<kRunning>();
  }

  /// Two neighbouring channels of a pixel with all that the spec adds, packed.
  FCM_DEVICE u32 finished(float lo, float hi, u32 residual) const {
    constexpr Activation f = S.out_act;
    const float2 r = kResidual ? unpack2<S.math>(residual) : float2{0.0f, 0.0f};
    if constexpr (S.residual == Residual::after_activation) {
      const float2 y = activation2<S.math, f.fn>(lo, hi, f.a, f.b);
      return pack2<S.math>(y.x + r.x, y.y + r.y);
    } else {
      return activate_pack2<S.math, f.fn>(lo + r.x, hi + r.y, f.a, f.b, is_exact_bound<S.math>(f.b));
    }
  }

  /// 16 channels of the warp's 16 pixels, from its sums to their place in the corner.
  FCM_DEVICE void to_corner(const Accumulator& sums, const RowStat (&stats)[2], int unit, int n) const {
    const int row = (lane >> 4) * 8 + (lane & 7), own = n * 16 + 2 * (lane & 3);
    const u32 to = shared_address(corner(unit, n * 16)) + corner_piece(row, n % 4 * 2 + ((lane >> 3) & 1));
    u32 residual[4] = {};
    if constexpr (kResidual) ldmatrix(residual, to);
    u32 v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // upper rows, lower and upper eight channels, then lower rows
      const float* from = (i % 2 == 0 ? sums.lo : sums.hi) + i / 2 * 2;
      float2 y{from[0], from[1]};
      if constexpr (kNormalised) {
        const float2 s = *reinterpret_cast<const float2*>(column_sums() + own + i % 2 * 8);
        const float2 b = *reinterpret_cast<const float2*>(bias() + own + i % 2 * 8);
        y = float2{stats[i / 2].apply(y.x, s.x, b.x), stats[i / 2].apply(y.y, s.y, b.y)};
      }
      v[i] = finished(y.x, y.y, residual[i]);
    }
    stmatrix(to, v);
  }

  /// From the corner to the output.
  FCM_DEVICE void store(int of_work, int unit, int channels) const {
    const unsigned char* from = corner(unit, channels);
    for_pieces(of_work, unit, channels, [&](int at, long long element, bool exists, int channel) {
      if (!exists) return;
      uint4 raw = *reinterpret_cast<const uint4*>(from + at);
      if constexpr (G.out_channels != G.out_pitch) {
        Vector<S.math> v = Vector<S.math>::from(raw);
        clear_pad<Cfg>(v, channel);
        raw = v.raw();
      }
      *reinterpret_cast<uint4*>(static_cast<u16*>(args.output) + element) = raw;
    });
  }

  FCM_DEVICE void finish(Sums& acc, const Moments& moments, int of_work) const {
    if constexpr (kResidual) {
      copy_wait<G.slices - 1>();  // it came with the first slice's copies
      __syncwarp();
    }
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      RowStat stats[2] = {};
      if constexpr (kNormalised) moments[unit].template finish<Cfg>(stats, lane);
#pragma unroll
      for (int first = 0; first < kColumns; first += 4) {
#pragma unroll
        for (int n = first; n < geometry::min_of(first + 4, kColumns); ++n) {
          hold(acc[unit][n]);  // a tile of 16 channels after the other: fewer registers
          to_corner(acc[unit][n], stats, unit, n);
        }
        __syncwarp();
        store(of_work, unit, first * 16);
        __syncwarp();  // the corner may be overwritten
      }
    }
  }

  FCM_DEVICE void run() {
    release_next(args.next_waits);
    prologue();
    wait_between_spins<S.jitter>(args.jitter);
    Cursor ahead{work, 0, 0}, now{work, 0, 0};
    for (int i = 0; i < kAhead; ++i) {
      if (S.resident || i < G.slices) {  // the prologue has asked for the weights
        if (ahead.work < works) fetch_rows(ahead);
      } else {
        fetch(ahead);
      }
      copy_commit();
      advance(ahead);
    }
    copy_wait<kAhead>();  // weights that stay, and the bias
    publish_to_warpgroups();
    __syncthreads();
    if (kTurns && group == kGroups - 1) named_arrive(1 + kGroups, 256);
    while (now.work < works) {
      const int of_work = now.work;
      Sums acc;
      Moments moments;
      begin(acc);
      take_turn();
      hold_all(acc);
      for (int slice = 0; slice < G.slices - (kLastSteps == kSteps ? 0 : 1); ++slice) {
        add_slice<kSteps>(acc, moments, now, ahead);
        advance(now);
      }
      if constexpr (kLastSteps != kSteps) {
        add_slice<kLastSteps>(acc, moments, now, ahead);
        advance(now);
      }
      warpgroup_wait();
      hold_all(acc);
      pass_turn(now.work < works);
      finish(acc, moments, of_work);
    }
  }

  /// Sums begin with the bias, where nothing is taken off them first.
  FCM_DEVICE void begin(Sums& acc) const {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      float2 lo{0.0f, 0.0f}, hi{0.0f, 0.0f};
      if constexpr (!kNormalised) {
        lo = *reinterpret_cast<const float2*>(bias() + n * 16 + 2 * (lane & 3));
        hi = *reinterpret_cast<const float2*>(bias() + n * 16 + 8 + 2 * (lane & 3));
      }
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) acc[unit][n] = Accumulator{{lo.x, lo.y, lo.x, lo.y}, {hi.x, hi.y, hi.x, hi.y}};
    }
  }
};

}  // namespace fcm::kernel
