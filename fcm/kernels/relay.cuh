// A streamed expansion and the depthwise stage of the chunk before it, side by side: the block's warps are two teams.
//
// Warpgroups of one team multiply pixels by weights in shared memory. Pixels go from global memory to the registers that matrix
// instructions read them from, and the sums stay in registers, each warp's of its own 16 rows: the team has no barriers of its own, and
// shared memory serves the weights alone. Warps of the other team filter a chunk buffer, and store or project. Sums change hands through
// two of these: one is filled, and the other is read. What a block takes is then the longer of the two, not their sum.
// Without a projection weights stay, pixels pass slice by slice of the depth, and registers move to the warps that hold sums. With one the
// input is narrow: a tile's pixels stay in registers, and weights may rotate.
// Barriers of the block: 0 all, 1 and 2: a chunk buffer is full; then two for each warpgroup of the team: it has been read. Warpgroups do
// not wait for each other, so that one stores while another multiplies.
#pragma once

#include "fcm/kernels/block.cuh"

namespace fcm::kernel {

template <class Cfg>
struct Relay : Block<Cfg> {
  using Base = Block<Cfg>;
  using Base::args, Base::shared, Base::thread, Base::warp, Base::lane, Base::work, Base::work_step, Base::works, Base::my_chunks;
  static constexpr Shape S = Of<Cfg>::S;
  static constexpr Geometry G = Of<Cfg>::G;
  static constexpr int kUnits = G.x_rows / 64 / S.team, kColumns = S.expand_n;
  static constexpr int kAhead = S.stages;                               ///< slices under way
  static constexpr int kSlices = geometry::round_up(G.slices, kAhead);  ///< each finds its registers again in the next chunk
  static constexpr int kFull = 1, kEmpty = 3, kFilters = G.warps * 32;
  static_assert(kEmpty + 2 * S.team <= Base::kFilterBarrier, "barriers of a block with a team");
  /// Registers of a thread that this team gains where they are short, and that the other one gives up.
  static constexpr int kRegisters = register_budget<Cfg>() / 8 * 8, kGained = geometry::gained_registers(S, kRegisters),
                       kGiven = geometry::given_registers(S, G, kGained);

  /// A lane's part of a slice of a warp's 16 rows, as it comes: 16 bytes of the rows lane / 4 and lane / 4 + 8 in either half of the slice.
  struct Slice {
    uint4 part[kUnits][2][2];  // [unit][half of the slice][upper, lower row]
  };
  /// The same as matrix instructions take it: a step's depth is half of those 16 bytes in four lanes (geometry::team_depth).
  struct Operand {
    u32 step[kUnits][4][4];

    FCM_DEVICE void take(const Slice& x) {
#pragma unroll
      for (int i = 0; i < kUnits * 2; ++i) {
        const uint4 &up = x.part[i / 2][i % 2][0], &low = x.part[i / 2][i % 2][1];
        u32(&first)[4] = step[i / 2][i % 2 * 2], (&second)[4] = step[i / 2][i % 2 * 2 + 1];
        first[0] = up.x, first[1] = low.x, first[2] = up.y, first[3] = low.y;
        second[0] = up.z, second[1] = low.z, second[2] = up.w, second[3] = low.w;
      }
    }
  };
  /// Where those rows of a tile begin.
  struct Source {
    const unsigned char* origin;
    int offset[kUnits * 2];
    u32 inside = 0;  // a bit a row
  };

  FCM_DEVICE int group() const {
    return (warp - G.warps) / 4;
  }
  FCM_DEVICE int first_row(int unit) const {
    return (group() + unit * S.team) * 64 + warp % 4 * 16;
  }
  FCM_DEVICE void locate_source(Source& from, int of_work) const {
    constexpr Window w = S.dw_window;
    constexpr int pixel_bytes = G.in_pitch * G.el;
    const Tile tile = locate<Cfg>(of_work, args.batch);
    const int y0 = tile.oy * w.sh - w.top, x0 = tile.ox * w.sw - w.left;
    const bool border = touches_border<Cfg>(tile);
    from.origin = static_cast<const unsigned char*>(args.input) +
                  ((static_cast<long long>(tile.image) * S.mid_h + y0) * S.mid_w + x0) * pixel_bytes + lane % 4 * 16;
    from.inside = 0;
#pragma unroll
    for (int i = 0; i < kUnits * 2; ++i) {
      const int px = first_row(i / 2) + i % 2 * 8 + lane / 4;
      const Place where = Base::places()[px];
      const int y = static_cast<int>(where.yx >> 16), x = static_cast<int>(where.yx & 0xffffu);
      bool inside = of_work < works && px < G.core_px;
      if constexpr (S.images > 1) inside = inside && y0 + y < tile.images * S.mid_h;
      if (border)
        inside = inside && static_cast<u32>(y0 + y) < static_cast<u32>(S.mid_h) && static_cast<u32>(x0 + x) < static_cast<u32>(S.mid_w);
      from.offset[i] = (y * S.mid_w + x) * pixel_bytes;
      from.inside |= (inside ? 1u : 0u) << i;
    }
  }

  /// Asks for the `k`-th slice. Rows that do not exist keep what was there: their sums are not stored, or zero where they are padding.
  FCM_DEVICE void fetch(Slice& to, const Source& from, int k) const {
#pragma unroll
    for (int i = 0; i < kUnits * 4; ++i) {
      const int row = i / 4 * 2 + i % 2, half = i / 2 % 2, first = k * G.slice + half * (G.slice / 2);
      uint4& part = to.part[i / 4][half][i % 2];
      if (first >= G.in_pitch) continue;
      bool exists = (from.inside >> row & 1u) != 0;
      if (first + G.slice / 2 > G.in_pitch && first + lane % 4 * G.vec >= G.in_pitch) {
        part = uint4{0, 0, 0, 0};  // multiplied by zeros
        exists = false;
      }
      load_past_l1(part, from.origin + from.offset[row] + first * G.el, exists);
    }
  }

  static constexpr int kColumnBytes = G.slices * G.weight_slice;  ///< of a chunk
  FCM_DEVICE unsigned char* columns(int stage) const {
    return shared + G.s_slices + stage * kColumnBytes;
  }
  FCM_DEVICE const unsigned char* packed_columns(int i) const {
    return static_cast<const unsigned char*>(args.weights) + G.slices_at + static_cast<long long>(Base::chunk_of(i)) * kColumnBytes;
  }
  FCM_DEVICE u32 columns_arrival(int stage) const {
    return Base::arrival_of(G.weight_stages + stage);
  }
  /// The weights of the expansion of the `step`-th chunk that this block handles (its `i`-th of the tile), by one thread or by all.
  FCM_DEVICE void fetch_columns(int step, int i) const {
    const int stage = Base::stage_of(step, i);
    if constexpr (!Base::kAsked) {
      copy_linear<G.threads>(columns(stage), packed_columns(i), kColumnBytes, thread);
    } else if (thread == 0) {
      barrier_expect(columns_arrival(stage), kColumnBytes);
      copy_bulk(shared_address(columns(stage)), packed_columns(i), kColumnBytes, columns_arrival(stage));
    }
  }
  FCM_DEVICE void fetch_all_columns() const {
    for (int i = 0; i < G.weight_stages && i < my_chunks; ++i) fetch_columns(i, i);
  }
  FCM_DEVICE const unsigned char* await_columns(int step, int i) const {
    const int stage = Base::stage_of(step, i);
    if constexpr (Base::kAsked) copy_barrier_wait(columns_arrival(stage), Base::kRing ? step / G.weight_stages & 1 : 0);
    return columns(stage);
  }
  /// The bias of the expansion of the `i`-th chunk. That of modules with a projection stays when its record has gone.
  FCM_DEVICE const unsigned char* bias_of(int step, int i) const {
    return S.project ? shared + G.s_biases + i * G.e_chunk * 4 : Base::weights_of(step, i) + G.expand_bias_at;
  }
  FCM_DEVICE void fetch_biases() const {
    for (int i = 0; i < my_chunks; ++i)
      copy_linear<G.threads>(shared + G.s_biases + i * G.e_chunk * 4,
                             packed_weights<Cfg>(args, Base::chunk_of(i), Base::n_block).a + G.expand_bias_at, G.e_chunk * 4, thread);
  }

  using Sums = Accumulator[kUnits][kColumns];
  FCM_DEVICE static void hold_all(Sums& acc) {
#pragma unroll
    for (auto& unit : acc) hold(unit);
  }

  /// Begins to add the `k`-th slice.
  FCM_DEVICE void add_slice(Sums& acc, const Operand& x, const unsigned char* weights, int k) const {
    const u64 b = slice_rows(shared_address(weights + k * G.weight_slice));
    warpgroup_begin();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      if (k * G.slice + step / 2 * (G.slice / 2) >= S.in_c) break;
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit)
        wgmma_all<S.math, kColumns, 16 * geometry::kSliceBytes>(acc[unit], x.step[unit][step],
                                                                b + step * 2);  // addresses in units of 16 bytes
    }
    warpgroup_commit();
  }

  /// `inside`: of the tile's source.
  FCM_DEVICE void store(u32 inside, unsigned char* e, const Sums& acc) const {
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      const int m = first_row(unit) / 16;
      RowMasks masks;
      if constexpr (crosses_border<Cfg>()) {
#pragma unroll
        for (int half = 0; half < 2; ++half) masks.row[half] = (inside >> (2 * unit + half) & 1u) != 0 ? ~0u : 0u;
      }
      if (m * 16 < G.core_px) store_expanded<Cfg>(Base::places(), e, acc[unit], m, 0, masks, lane);
    }
  }

  /// A chunk's sums are complete: they go to its buffer when that has been read.
  FCM_DEVICE void hand_over(Sums& acc, u32 inside, int step) const {
    warpgroup_wait();
    hold_all(acc);
    if (step >= 2) named_barrier(kEmpty + group() * 2 + step % 2, kFilters + 128);
    store(inside, Base::buffer_of(step), acc);
    named_arrive(kFull + step % 2, G.threads);
  }

  /// The pixels of a tile pass through registers once a chunk.
  FCM_DEVICE void expand_streaming() const {
    Slice ahead[kAhead] = {};
    Source from;
    locate_source(from, work);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) fetch(ahead[k], from, k);
    int step = 0;
    for (int of_work = work; of_work < works; of_work += work_step) {
      for (int i = 0; i < my_chunks; ++i, ++step) {
        Sums acc;
        Operand x;
        const u32 inside = from.inside;
        set_bias<kUnits, kColumns>(acc, bias_of(step, i), lane);
        hold_all(acc);
#pragma unroll
        for (int k = 0; k < kSlices; ++k) {
          warpgroup_wait();  // the slice before has been read
          x.take(ahead[k % kAhead]);
          if (k + kAhead == kSlices && i + 1 == my_chunks) locate_source(from, of_work + work_step);
          fetch(ahead[k % kAhead], from, (k + kAhead) % kSlices);
          if (k < G.slices) add_slice(acc, x, columns(i), k);
        }
        hand_over(acc, inside, step);
      }
    }
  }

  /// All slices of a tile; which of the lane's rows exist.
  FCM_DEVICE u32 fetch_tile(Slice (&all)[G.slices], int of_work) const {
    Source from;
    locate_source(from, of_work);
#pragma unroll
    for (int k = 0; k < G.slices; ++k) fetch(all[k], from, k);
    return from.inside;
  }

  /// They stay there for all chunks: those of modules with a projection are narrow. Their weights come and go.
  FCM_DEVICE void expand_keeping() const {
    Slice all[G.slices] = {};
    u32 inside = fetch_tile(all, work);
    int step = 0;
    for (int of_work = work; of_work < works; of_work += work_step) {
      Operand x[G.slices];
#pragma unroll
      for (int k = 0; k < G.slices; ++k) x[k].take(all[k]);
      for (int i = 0; i < my_chunks; ++i, ++step) {
        Sums acc;
        set_bias<kUnits, kColumns>(acc, bias_of(step, i), lane);
        const unsigned char* weights = await_columns(step, i);
        hold_all(acc);
#pragma unroll
        for (int k = 0; k < G.slices; ++k) add_slice(acc, x[k], weights, k);
        hand_over(acc, inside, step);
      }
      inside = fetch_tile(all, of_work + work_step);
      if constexpr (S.split > 1) {  // all threads of a cluster take part in its barriers
        cluster_wait();
        if (of_work + work_step < works) cluster_arrive();
      }
    }
  }

  /// What the chunk that has just been handed over leaves free is asked for: it was the last to need its expansion's weights, and the one
  /// before it has been filtered.
  FCM_DEVICE void ask_ahead(int step, int steps, int i) {
    const auto later = [&](int n) { return (i + n) % my_chunks; };
    if (step > 0 && step + 1 < steps) Base::fetch_weights(step + 1, later(1));
    if (step + 2 < steps) fetch_columns(step + 2, later(2));
  }

  FCM_DEVICE void filter_all() {
    int step = 0;
    const int steps = work < works ? (works - work + work_step - 1) / work_step * my_chunks : 0;
    for (int of_work = work; of_work < works; of_work += work_step) {
      const Tile tile = locate<Cfg>(of_work, args.batch);
      typename Base::Sums acc;
      Base::begin_sums(acc);
      for (int i = 0; i < my_chunks; ++i, ++step) {
        named_barrier(kFull + step % 2, G.threads);
        if constexpr (Base::kRing) ask_ahead(step, steps, i);
        Base::await_weights(step, i);
        Base::consume(acc, tile, Base::chunk_of(i), Base::buffer_of(step), Base::weights_of(step, i));
#pragma unroll
        for (int group = 0; group < S.team && step + 2 < steps; ++group) named_arrive(kEmpty + group * 2 + step % 2, kFilters + 128);
      }
      if constexpr (S.project) Base::finish(acc, tile, of_work + work_step < works);
    }
  }

  FCM_DEVICE void run() {
    release_next(args.next_waits);
    if constexpr (!Base::kAsked) fetch_all_columns();
    if constexpr (S.project) fetch_biases();
    Base::prologue();
    if constexpr (Base::kAsked) fetch_all_columns();
    copy_wait<0>();
    publish_to_warpgroups();
    __syncthreads();  // weights are there, or asked for
    wait_between_spins<S.jitter>(args.jitter);
    if (warp >= G.warps) {
      if constexpr (kGained > 0) gain_registers<kRegisters + kGained>();
      if constexpr (S.project) {
        expand_keeping();
      } else {
        expand_streaming();
      }
    } else {
      if constexpr (kGained > 0) give_registers<kRegisters - kGiven>();
      filter_all();
    }
  }
};

}  // namespace fcm::kernel
