// Asynchronous copies, programmatic dependent launch and clusters, each with the plain form that older targets run.
#pragma once

#include "fcm/kernels/mma.cuh"

namespace fcm::kernel {

/// The warp's number in its block. The broadcast tells the compiler that it is the same in all lanes: branches on it do not diverge.
FCM_DEVICE int warp_index() {
  return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
}

/// Walks what a thread (or warp) gets of kPieces pieces a row, dealt out row by row: one step is one round of all threads. No divisions.
template <int kPieces, int kThreads>
struct Deal {
  int row, piece;

  FCM_DEVICE static Deal from(int thread) { return {thread / kPieces, thread % kPieces}; }
  FCM_DEVICE void advance() {
    row += kThreads / kPieces;
    piece += kThreads % kPieces;
    if (kThreads % kPieces != 0 && piece >= kPieces) {
      piece -= kPieces;
      ++row;
    }
  }
};

/// Whether contiguous records are copied by the copy engine, which takes no instructions of other threads.
inline constexpr bool kBulkCopies = kArch >= 900;

/// Copies 16 bytes global to shared; zeros when !valid (the source is then not read). cp.async from sm_80 on.
FCM_DEVICE void copy16(u32 shared, const void* global, bool valid) {
  if constexpr (kArch >= 800) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
  } else {
    uint4 v = uint4{0, 0, 0, 0};
    if (valid) v = *reinterpret_cast<const uint4*>(global);
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
  }
}
/// 16 bytes of global memory that are read once and may be another kernel's work, to registers; they stay as they are where !valid.
FCM_DEVICE void load_past_l1(uint4& to, const void* global, bool valid) {
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %5, 0;\n\t@p ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4]; }"
               : "+r"(to.x), "+r"(to.y), "+r"(to.z), "+r"(to.w)
               : "l"(global), "r"(static_cast<int>(valid))
               : "memory");
}
/// Closes the group of copies issued since the last call.
FCM_DEVICE void copy_commit() {
  if constexpr (kArch >= 800) asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most `kPending` of the latest groups are still under way (this thread's own copies; a barrier shares them).
template <int kPending>
FCM_DEVICE void copy_wait() {
  if constexpr (kArch >= 800) asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// What this thread wrote to shared memory is visible to matrix instructions of a warpgroup behind the next barrier.
FCM_DEVICE void publish_to_warpgroups() {
  if constexpr (kWarpgroups) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// A warpgroup's threads have kCount registers from here on: they give the others up, or wait until so many were given up by other warps.
template <int kCount>
FCM_DEVICE void give_registers() {
  if constexpr (kWarpgroups) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
FCM_DEVICE void gain_registers() {
  if constexpr (kWarpgroups) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// A barrier of `threads` threads of a block, whole warps; `id` 0 is the block's own. Some may only say that they have come.
FCM_DEVICE void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
FCM_DEVICE void named_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Copies `bytes` (a multiple of 16) with all threads of the block.
template <int kThreads>
FCM_DEVICE void copy_linear(unsigned char* shared, const unsigned char* global, int bytes, int thread) {
  const u32 to = shared_address(shared);
#pragma unroll 4
  for (int i = thread * 16; i < bytes; i += kThreads * 16) copy16(to + i, global + i, true);
}

/// Lets the next kernel of the stream start; it waits for this grid's end before it reads what this one writes.
FCM_DEVICE void release_next(bool it_waits) {
  if constexpr (kArch >= 900) {
    if (it_waits) asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  }
}
/// Waits until the kernels before this one have ended and their writes are visible. Every block executes it before it reads
/// activations, before any global write, and before it exits.
FCM_DEVICE void wait_for_predecessor() {
  if constexpr (kArch >= 900) asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// The two halves of the cluster's barrier: what a block wrote before arriving is visible to those that waited.
FCM_DEVICE void cluster_arrive() {
  if constexpr (kArch >= 900) {
    __syncwarp();  // .aligned: all lanes together
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
  }
}
/// The same where nothing but barriers that were set up (see barrier_init) is to be visible: it waits for no copies under way.
FCM_DEVICE void cluster_arrive_relaxed() {
  if constexpr (kArch >= 900) {
    __syncwarp();  // .aligned: all lanes together
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }
}
FCM_DEVICE void cluster_wait() {
  if constexpr (kArch >= 900) {
    __syncwarp();  // .aligned: all lanes together
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
}
FCM_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
/// The address, in the cluster's shared window, that `own` has in block `rank`.
FCM_DEVICE u32 remote_address(u32 own, u32 rank) {
  u32 remote = 0;
  if constexpr (kArch >= 900) asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(own), "r"(rank));
  return remote;
}

/// A barrier in shared memory that counts the bytes that other blocks push.
FCM_DEVICE void barrier_init(u32 barrier) {
  if constexpr (kArch >= 900) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
  }
}
/// What this thread set up is visible to the copy engine and to other blocks behind the cluster's next barrier.
FCM_DEVICE void barriers_are_set_up() {
  if constexpr (kArch >= 900) asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// One thread says how many bytes the phase brings; they may have begun to arrive.
FCM_DEVICE void barrier_expect(u32 barrier, u32 bytes) {
  if constexpr (kArch >= 900) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
  }
}
FCM_DEVICE void barrier_wait(u32 barrier, u32 parity) {
  if constexpr (kArch >= 900) {
    u32 done = 0;
    while (done == 0) {
      asm volatile("{ .reg .pred p;\n\tmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n\tselp.u32 %0, 1, 0, p; }"
                   : "=r"(done)
                   : "r"(barrier), "r"(parity)
                   : "memory");
    }
  }
}
/// The same for bytes that this block's own copies bring.
FCM_DEVICE void copy_barrier_wait(u32 barrier, u32 parity) {
  if constexpr (kBulkCopies) {
    u32 done = 0;
    while (done == 0) {
      asm volatile("{ .reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\tselp.u32 %0, 1, 0, p; }"
                   : "=r"(done)
                   : "r"(barrier), "r"(parity)
                   : "memory");
    }
  }
}
/// Copies `bytes` (a multiple of 16) by the copy engine: one thread asks, the barrier counts what has arrived.
FCM_DEVICE void copy_bulk(u32 shared, const void* global, u32 bytes, u32 barrier) {
  if constexpr (kBulkCopies) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared), "l"(global),
                 "r"(bytes), "r"(barrier)
                 : "memory");
  }
}
/// Sends four floats to another block's shared memory; its barrier counts them when they are there.
FCM_DEVICE void push4(u32 remote, float x, float y, float z, float w, u32 remote_barrier) {
  if constexpr (kArch >= 900) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(remote), "f"(x),
                 "f"(y), "f"(z), "f"(w), "r"(remote_barrier)
                 : "memory");
  }
}
/// One value to an address of the cluster's shared window. Those that pass the next cluster barrier see it.
FCM_DEVICE void store_remote(u32 remote, u16 x) {
  if constexpr (kArch >= 900) asm volatile("st.shared::cluster.b16 [%0], %1;" ::"r"(remote), "h"(x) : "memory");
}
FCM_DEVICE void store_remote(u32 remote, float x) {
  if constexpr (kArch >= 900) asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(x) : "memory");
}

/// Spins for a pseudo-random time of up to about 4 microseconds that differs by block and seed (tests of the launch protocol).
FCM_DEVICE void random_spin(unsigned seed) {
  unsigned h = (seed ^ (blockIdx.x * 2654435761u)) * 2246822519u;
  h ^= h >> 15;
  const long long end = clock64() + (h & 8191u);
  while (clock64() < end) {
  }
}

/// wait_for_predecessor; `kJitter`: the block spins before and after.
template <bool kJitter>
FCM_DEVICE void wait_between_spins(unsigned seed) {
  if constexpr (kJitter) random_spin(seed);
  wait_for_predecessor();
  if constexpr (kJitter) random_spin(seed * 31u + 7u);
}

}  // namespace fcm::kernel
