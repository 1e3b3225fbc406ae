// The kernel skeleton of every module: [PW or first convolution] -> [DW] -> [PW], the middle never leaving the block.
//
// A block owns one output tile (x one range of output channels x one share of the middle channels) at a time and walks over chunks of
// middle channels: chunk buffer <- expansion of the input tile, or a copy from global memory; depthwise from the chunk buffer into
// registers; registers are the left operand of the projection. Stages that a module lacks vanish at compile time.
#pragma once

#include "fcm/kernels/finish.cuh"

namespace fcm::kernel {

template <class Cfg>
struct Block {
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static_assert(G.shared_bytes <= geometry::kMaxSharedBytes, "the tile does not fit shared memory");
  static_assert(S.chunk % (16 * S.multiplier) == 0, "a chunk holds whole 16-channel groups before and after the depthwise stage");
  static_assert(!S.project || S.n_tile % (16 * S.warps_n) == 0, "each warp owns whole 16-column tiles");
  static constexpr bool kRing = G.weight_stages < G.block_chunks;
  /// Weights that rotate, or are a cluster's, are copied by the copy engine. Few bytes that stay are here sooner by all threads.
  static constexpr bool kAsked = kBulkCopies && G.counts_weights;
  static constexpr bool kGroups = S.warpgroup || G.project_by_groups;  ///< matrix instructions of warpgroups read what threads copied
  /// The input tile is free when the last chunk has been made of it, unless the residual is read from it: then the next tile's follows it
  /// beside the depthwise stage and the stores.
  static constexpr int kFilterBarrier = 15;          ///< of a block with a team: its other warps
  static constexpr int kSlicesAhead = S.stages - 1;  ///< of a streamed expansion: under way beside the one that is added
  static constexpr bool kEarlyInput = S.expand && !S.conv && !(S.residual != Residual::none && S.residual_is_input);

  const ModuleArgs& args;
  unsigned char* shared;
  int thread = static_cast<int>(threadIdx.x);
  int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32;
  int rank = static_cast<int>(blockIdx.x) % S.split;
  int n_block = (static_cast<int>(blockIdx.x) / S.split) % G.n_blocks;
  int work = static_cast<int>(blockIdx.x) / (S.split * G.n_blocks);
  int work_step = static_cast<int>(gridDim.x) / (S.split * G.n_blocks);
  int works = works_of<Cfg>(args.batch);
  int my_chunks = (G.chunks - rank + S.split - 1) / S.split;
  WarpPlace at = place_of<Cfg>(warp);

  u32 phase = 0;          // of the barrier that counts pushed sums
  bool bordered = false;  // some pixels of the table are marked as outside the plane

  FCM_DEVICE RowStat* stats() const { return reinterpret_cast<RowStat*>(shared + G.s_stats); }
  FCM_DEVICE Place* places() const { return reinterpret_cast<Place*>(shared + G.s_sites); }
  FCM_DEVICE unsigned char* corner() const { return shared + G.s_stage + warp * 16 * G.corner_pitch; }
  FCM_DEVICE u32 barrier() const { return shared_address(shared + G.s_barrier); }
  FCM_DEVICE int chunk_of(int i) const { return rank + i * S.split; }
  FCM_DEVICE unsigned char* weights_of(int step, int i) const {
    return shared + G.s_weights + stage_of(step, i) * (G.record_a + G.record_b);
  }
  FCM_DEVICE unsigned char* buffer_of(int step) const { return shared + G.s_e + (step % G.e_buffers) * G.e_bytes; }
  /// Stage of the weights of the `step`-th chunk that this block handles (its `i`-th of the tile).
  FCM_DEVICE int stage_of(int step, int i) const { return kRing ? step % G.weight_stages : i; }
  FCM_DEVICE u32 arrival_of(int stage) const { return shared_address(shared + G.s_arrivals) + stage * 8; }
  FCM_DEVICE void fetch_weights(int step, int i) {
    const PackedWeights from = packed_weights<Cfg>(args, chunk_of(i), n_block);
    if constexpr (kAsked) {
      ask_for_weights<Cfg>(from, weights_of(step, i), arrival_of(stage_of(step, i)), thread);
    } else {
      load_weights<Cfg>(from, weights_of(step, i), thread);
    }
  }
  /// The weights of a step are there. Those that threads copied came with copies that have been waited for.
  FCM_DEVICE void await_weights(int step, int i) {
    if constexpr (kAsked) copy_barrier_wait(arrival_of(stage_of(step, i)), kRing ? step / G.weight_stages & 1 : 0);
  }

  /// Zeros in the chunk buffers: positions outside the core region are padding and are never written again.
  FCM_DEVICE void clear_buffers() {
    if constexpr (!G.flat) {
      for (int i = thread * 16; i < G.e_buffers * G.e_bytes; i += G.threads * 16)
        *reinterpret_cast<uint4*>(shared + G.s_e + i) = uint4{0, 0, 0, 0};
    }
  }

  /// The same of a chunk buffer whose place was used for something else, beside the stores of the core region.
  FCM_DEVICE void clear_padding() {
    if constexpr (!G.flat) {
      constexpr Window w = S.dw_window;
      constexpr int pieces = G.e_chunk * G.el / 16, apart = G.image_pairs * 2 * w.sh;
      using Walk = Deal<pieces, G.threads>;
      for (Walk walk = Walk::from(thread); walk.row < G.e_rows * G.e_slots; walk.advance()) {
        const int row = walk.row / G.e_slots, column = walk.row % G.e_slots, image = S.images > 1 ? row / apart : 0;
        const int y = row - image * apart - G.ay.core_at, x = column % G.e_half * w.sw + column / G.e_half - G.ax.core_at;
        const bool core =
            image < S.images && static_cast<u32>(y) < static_cast<u32>(G.ay.core) && static_cast<u32>(x) < static_cast<u32>(G.ax.core);
        const int at = row * G.e_line + column / G.e_half * G.e_column + column % G.e_half * G.e_pitch;
        if (!core) *reinterpret_cast<uint4*>(shared + G.s_e + at + walk.piece * 16) = uint4{0, 0, 0, 0};
      }
    }
  }

  /// All that does not depend on the kernel before: weights, bias, padding.
  FCM_DEVICE void prologue() {
    if constexpr (S.project) {
      const unsigned char* bias = static_cast<const unsigned char*>(args.weights) + G.bias_at + n_block * S.n_tile * 4;
      copy_linear<G.threads>(shared + G.s_bias, bias, S.n_tile * 4, thread);
      if constexpr (S.norm != Norm::none && !S.expand)
        copy_linear<G.threads>(shared + G.s_sums, bias + G.sums_at - G.bias_at, S.n_tile * 4, thread);
    }
    constexpr bool cluster = S.project && S.split > 1;
    if (thread == 0 && (kAsked || cluster)) {
      for (int stage = 0; kAsked && stage < (S.team > 0 ? 2 : 1) * G.weight_stages; ++stage) barrier_init(arrival_of(stage));
      if constexpr (cluster) barrier_init(barrier());
      barriers_are_set_up();
      __syncwarp(1);  // a racecheck takes their first arrivals, of the same thread, for another's
    }
    if constexpr (cluster) cluster_arrive_relaxed();  // waited for before the first push
    const int ahead = !kRing ? G.block_chunks : S.team > 0 ? G.weight_stages : G.copied ? S.stages - 1 : 1;
    for (int i = 0; i < ahead && i < my_chunks; ++i) fetch_weights(i, i);
    if constexpr (S.streamed && S.team == 0) {
      for (int step = 0; step < kSlicesAhead; ++step) fetch_weight_slice(SliceCursor{work, 0, step, step});
    }
    copy_commit();
    make_places<Cfg>(places(), thread);
    if constexpr (!S.overlaid) clear_buffers();
    if constexpr (S.expand && !S.streamed && G.x_band == 0 && G.x_bytes > G.x_rows * G.x_pitch) {  // what follows the last pixel is finite
      if (thread == 0) *reinterpret_cast<uint4*>(shared + G.s_x + G.core_px * G.x_pitch) = uint4{0, 0, 0, 0};
    }
    __syncthreads();  // the table is there
  }

  using Sums = Accumulator[G.warp_m][S.project ? G.warp_n : 1];
  /// Sums of a tile begin with the bias where they leave from registers (one of their parts does), else with zero.
  FCM_DEVICE void begin_sums(Sums& acc) const {
    if constexpr (G.direct) {
      set_bias<G.warp_m, G.warp_n>(acc, shared + G.s_bias + at.n * G.warp_n * 64, lane);
    } else {
#pragma unroll
      for (int i = 0; i < G.warp_m; ++i) {
#pragma unroll
        for (Accumulator& a : acc[i]) a = Accumulator{};
      }
    }
    if constexpr (G.parties > 1) {
      const bool first = rank == 0 && at.k == 0;
#pragma unroll
      for (int i = 0; i < G.warp_m * G.warp_n * 4; ++i) {
        Accumulator& a = acc[i / 4 / G.warp_n][i / 4 % G.warp_n];
        a.lo[i % 4] = first ? a.lo[i % 4] : 0.0f;
        a.hi[i % 4] = first ? a.hi[i % 4] : 0.0f;
      }
    }
  }

  /// Depthwise stage and what follows it, for the chunk in `e`.
  FCM_DEVICE void consume(Sums& acc, const Tile& tile, int chunk, const unsigned char* e, const unsigned char* weights) {
    if constexpr (S.project) {
      project_chunk<Cfg>(acc, tile, chunk, e, weights, at, lane);
    } else {
      float* pool = reinterpret_cast<float*>(shared + G.s_pool);
      if (at.n == 0) store_chunk<Cfg>(args, tile, chunk, e, weights, corner(), pool, at, lane);
      if constexpr (S.pool != Pool::none) {
        __syncthreads();
        store_chunk_pool<Cfg>(args, tile, chunk, pool, thread);
      }
    }
  }

  /// A barrier of the warps that filter and project: all but a team's.
  FCM_DEVICE static void sync_warps() {
    if constexpr (S.team > 0) {
      named_barrier(kFilterBarrier, G.warps * 32);
    } else {
      __syncthreads();
    }
  }

  /// Parts of sums are where they are added up: those that other blocks pushed, or other warps wrote.
  FCM_DEVICE void await_parts() {
    if constexpr (S.split > 1) {
      barrier_wait(barrier(), phase);
      phase ^= 1u;
    } else {
      sync_warps();
    }
  }

  /// Sums whose warps keep some of the columns each, or all.
  FCM_DEVICE void finish_directly(Sums& acc, const Tile& tile) {
    constexpr bool adds_rows = S.residual != Residual::none && S.team > 0;
    const Exchange<Cfg> exchange(at, rank, lane);
    const int party = G.parties > 1 ? exchange.party : 0;
    ResidualRows<Cfg> residual[G.warp_m];
#pragma unroll
    for (int j = 0; adds_rows && j < G.warp_m; ++j)
      residual[j].load(residual_map<Cfg>(args) + tile_offset<Cfg>(tile), {tile, group_place<Cfg>(at.m, j), lane},
                       {n_block, at, party, lane});
    if constexpr (G.parties > 1) {
      typename Exchange<Cfg>::Own own;
      exchange.give(own, acc, shared + G.s_red, barrier());
      await_parts();
      exchange.take(own, shared + G.s_red);
      store_sums<Cfg>(args, tile, own, residual, shared + G.s_x, n_block, at, party, lane);
    } else {
      store_sums<Cfg>(args, tile, acc, residual, shared + G.s_x, n_block, at, party, lane);
    }
  }

  /// Sums leave the registers; after this the block may start another tile.
  FCM_DEVICE void finish(Sums& acc, const Tile& tile, bool more) {
    constexpr bool still_read = !G.direct || (G.parties > 1 && S.split == 1) || (S.residual != Residual::none && S.team == 0) ||
                                S.overlaid;  // by warps that others would overtake
    if constexpr (S.project && S.split > 1) {
      if (thread == 0) barrier_expect(barrier(), G.direct ? Exchange<Cfg>::bytes(rank) : pushed_bytes<Cfg>(rank));
      cluster_wait();  // all blocks have set up their barriers and are done with the sums of the tile before
    }
    if constexpr (G.red_aliases_e) sync_warps();  // all warps are done with the chunk buffers
    if constexpr (G.direct) {
      finish_directly(acc, tile);
    } else if constexpr (S.project) {
      unsigned char* red = shared + G.s_red;
      if constexpr (S.split > 1) {
        push<Cfg>(acc, shared_address(red), barrier(), rank, at, lane);
      } else {
        publish<Cfg>(acc, red, at, lane);
      }
      await_parts();
      finish_tile<Cfg>(args, tile, red, reinterpret_cast<const float*>(shared + G.s_bias), stats(), shared + G.s_x, n_block, rank, thread);
    }
    if constexpr (S.project && S.split > 1) {
      if (more) cluster_arrive();
    }
    if constexpr (G.red_aliases_e && !G.flat && !S.overlaid) {
      if (more) {
        sync_warps();
        clear_buffers();
      }
    }
    if (still_read && more) sync_warps();
  }

  /// The table's marks become those of a tile. Nobody reads them between a chunk's barrier and the next tile's first.
  FCM_DEVICE void mark_border(const Tile& tile) {
    if constexpr (crosses_border<Cfg>()) {
      const bool border = touches_border<Cfg>(tile);
      if (border || bordered) mark_inside<Cfg>(tile, places(), thread);
      bordered = border;
    }
  }

  FCM_DEVICE void fetch_input(int of_work) {
    load_input_tile<Cfg>(args, locate<Cfg>(of_work, args.batch), places(), shared + G.s_x, thread);
    copy_commit();
  }

  /// Modules with an expansion: the input tile stays in shared memory while chunks are made from it.
  FCM_DEVICE void run_expanding() {
    int step = 0;
    if (kEarlyInput && work < works) fetch_input(work);
    for (; work < works; work += work_step) {
      const Tile tile = locate<Cfg>(work, args.batch);
      const bool more = work + work_step < works;
      if (!kEarlyInput) fetch_input(work);
      mark_border(tile);
      copy_wait<0>();
      if constexpr (kGroups) publish_to_warpgroups();
      __syncthreads();
      if constexpr (S.norm != Norm::none) {
        tile_stats<Cfg>(shared + G.s_x, stats(), warp, lane);
        __syncthreads();
      }
      Sums acc;
      begin_sums(acc);
      for (int i = 0; i < my_chunks; ++i, ++step) {
        if constexpr (kRing) {  // the other stage was last read before the barrier that ended the step before
          const int next = i + 1 < my_chunks ? i + 1 : 0;
          if (i + 1 < my_chunks || more) fetch_weights(step + 1, next);
          copy_commit();
        }
        await_weights(step, i);
        if constexpr (S.warpgroup) {
          expand_by_warpgroups<Cfg>(places(), shared + G.s_x, weights_of(step, i), buffer_of(step), warp, lane);
        } else {
          expand_chunk<Cfg>(places(), shared + G.s_x, stats(), weights_of(step, i), buffer_of(step), warp, lane);
        }
        __syncthreads();  // the chunk is whole
        if (kEarlyInput && more && i + 1 == my_chunks) fetch_input(work + work_step);
        consume(acc, tile, chunk_of(i), buffer_of(step), weights_of(step, i));
        if constexpr (kRing && !kAsked) copy_wait<0>();
        if constexpr (kRing && !kAsked && kGroups) publish_to_warpgroups();
        if constexpr (kRing || S.stages == 1) __syncthreads();  // the chunk buffer may be overwritten, the next weights are here
      }
      finish(acc, tile, more);
    }
  }

  /// Position in the sequence of (tile, chunk) that a block walks through.
  struct Cursor {
    int work, i, step;
  };
  FCM_DEVICE void advance(Cursor& c) const {
    ++c.step;
    if (++c.i == my_chunks) {
      c.i = 0;
      c.work += work_step;
    }
  }
  FCM_DEVICE void fetch(const Cursor& c, bool with_weights) {
    if (c.work >= works) return;
    load_chunk<Cfg>(args, locate<Cfg>(c.work, args.batch), places(), chunk_of(c.i), buffer_of(c.step), thread);
    if (kRing && with_weights) fetch_weights(c.step, c.i);
  }

  /// Modules whose chunks come straight from global memory: a pipeline of `stages` buffers that runs on across tiles.
  FCM_DEVICE void run_copying() {
    constexpr int kAhead = S.stages - 1;
    Cursor ahead{work, 0, 0}, now{work, 0, 0};
    for (int s = 0; s < kAhead; ++s) {
      fetch(ahead, s >= my_chunks);  // the prologue has asked for the first tile's weights
      copy_commit();
      advance(ahead);
    }
    while (now.work < works) {
      const Tile tile = locate<Cfg>(now.work, args.batch);
      if constexpr (S.norm != Norm::none) input_stats<Cfg>(args, tile, stats(), warp, lane);  // beside the copies; read by `finish`
      Sums acc;
      for (int i = 0; i < my_chunks; ++i) {
        fetch(ahead, true);
        copy_commit();
        advance(ahead);
        copy_wait<kAhead>();
        if constexpr (S.warpgroup) publish_to_warpgroups();
        __syncthreads();  // the chunk is whole
        await_weights(now.step, i);
        if (i == 0) begin_sums(acc);
        consume(acc, tile, chunk_of(i), buffer_of(now.step), weights_of(now.step, i));
        __syncthreads();  // its buffer may be overwritten
        advance(now);
      }
      finish(acc, tile, now.work < works);
    }
  }

  /// Position in the sequence of (tile, chunk, slice of the depth) that a block walks through.
  struct SliceCursor {
    int work, i, slice, step;
  };
  FCM_DEVICE void advance(SliceCursor& c) const {
    ++c.step;
    if (++c.slice < G.slices) return;
    c.slice = 0;
    if (++c.i < my_chunks) return;
    c.i = 0;
    c.work += work_step;
  }
  FCM_DEVICE unsigned char* input_slice(int step) const {
    return shared + G.s_x + step % S.stages * G.x_slice;
  }
  FCM_DEVICE unsigned char* weight_slice(int step) const {
    return shared + G.s_slices + step % S.stages * G.weight_slice;
  }
  FCM_DEVICE void fetch_weight_slice(const SliceCursor& c) {
    load_weight_slice<Cfg>(args, chunk_of(c.i), c.slice, weight_slice(c.step), thread);
  }
  FCM_DEVICE void fetch_input_slice(const SliceCursor& c) {
    load_input_slice<Cfg>(args, locate<Cfg>(c.work, args.batch), places(), c.slice, input_slice(c.step), thread);
  }

  FCM_DEVICE void begin_slices(SliceCursor& ahead, bool with_weights) {
    for (int s = 0; s < kSlicesAhead; ++s) {
      if (with_weights) fetch_weight_slice(ahead);
      fetch_input_slice(ahead);
      copy_commit();
      advance(ahead);
    }
  }

  /// A chunk of middle channels while slices of the depth come and go, into the chunk buffer. One barrier a slice: what it brings is
  /// there, and the buffer that is filled next has been read.
  FCM_DEVICE void stream_chunk(SliceCursor& ahead, int step, int i, bool more) {
    StreamedExpansion<Cfg> sums(warp);
    for (int slice = 0; slice < G.slices; ++slice) {
      const int now = step * G.slices + slice;
      copy_wait<kSlicesAhead - 1>();
      if constexpr (S.warpgroup) publish_to_warpgroups();
      __syncthreads();
      if constexpr (S.warpgroup) sums.begin_slice(input_slice(now), weight_slice(now));
      if (kRing && slice == 0) {
        const int next = i + 1 < my_chunks ? i + 1 : 0;
        if (i + 1 < my_chunks || more) fetch_weights(step + 1, next);
      }
      if (S.overlaid ? slice + kSlicesAhead < G.slices : ahead.work < works) {
        fetch_weight_slice(ahead);
        fetch_input_slice(ahead);
        advance(ahead);
      }
      copy_commit();
      if constexpr (S.warpgroup) {
        sums.end_slice();
      } else {
        sums.add_slice(input_slice(now), weight_slice(now), lane);
      }
    }
    if constexpr (S.overlaid) {
      __syncthreads();  // all slices have been read
      clear_padding();
    }
    await_weights(step, i);
    sums.store(places(), weights_of(step, i), buffer_of(step), warp, lane);
  }

  /// Modules whose expansion streams its depth: a pipeline of `stages` slices that runs on across chunks and tiles, or (overlaid) begins
  /// anew when the chunk buffer has been read.
  FCM_DEVICE void run_streaming() {
    SliceCursor ahead{work, 0, 0, 0};
    begin_slices(ahead, false);  // the prologue has asked for their weights
    int step = 0;
    for (; work < works; work += work_step) {
      const Tile tile = locate<Cfg>(work, args.batch);
      const bool more = work + work_step < works;
      mark_border(tile);
      Sums acc;
      for (int i = 0; i < my_chunks; ++i, ++step) {
        if (S.overlaid && step > 0) begin_slices(ahead, true);
        stream_chunk(ahead, step, i, more);
        __syncthreads();  // the chunk is whole
        if (i == 0) begin_sums(acc);
        consume(acc, tile, chunk_of(i), buffer_of(step), weights_of(step, i));
        if (S.overlaid && i + 1 < my_chunks) __syncthreads();  // its place may be overwritten
      }
      finish(acc, tile, more);
    }
  }

  FCM_DEVICE void run() {
    release_next(args.next_waits);
    prologue();
    wait_between_spins<S.jitter>(args.jitter);
    if constexpr (S.streamed) {
      run_streaming();
    } else if constexpr (S.expand) {
      run_expanding();
    } else {
      run_copying();
    }
  }
};

}  // namespace fcm::kernel
