// Reductions and softmax. The threads of a block form groups of kLanes; a group serves one output position and splits the reduced
// elements among its lanes (element r belongs to lane r % kLanes). Partial results meet in a tree in shared memory, always in the same
// order, so that the same input gives the same bits.
//
// P: TI, TO, kLanes, kBlock, kLanesInner (lanes are neighbouring threads; otherwise groups are, which suits reduced axes that are
// not the innermost in memory), kCount (reduced elements), count(batch), locate(), reduced(r, batch) -> element offset.
#pragma once

#include "math.cuh"

template <class P>
struct GroupIndex {
  int lane;
  int group;
  __device__ __forceinline__ GroupIndex() {
    constexpr int kGroups = P::kBlock / P::kLanes;
    const int t = static_cast<int>(threadIdx.x);
    lane = P::kLanesInner ? t % P::kLanes : t / kGroups;
    group = P::kLanesInner ? t / P::kLanes : t % kGroups;
  }
  __device__ __forceinline__ int64 position() const { return static_cast<int64>(blockIdx.x) * (P::kBlock / P::kLanes) + group; }
};

// Every lane gets the group's combination. All threads of the block must call it.
template <class P, class A, class Combine>
__device__ __forceinline__ A group_combine(const GroupIndex<P>& index, A value, Combine combine) {
  if constexpr (P::kLanes == 1) return value;
  __shared__ A parts[P::kBlock];
  constexpr int kGroups = P::kBlock / P::kLanes;
  A* mine = parts + index.group;
  __syncthreads();
  mine[index.lane * kGroups] = value;
  for (int half = P::kLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (index.lane < half) mine[index.lane * kGroups] = combine(mine[index.lane * kGroups], mine[(index.lane + half) * kGroups]);
  }
  __syncthreads();
  return mine[0];
}

template <class P>
__device__ __forceinline__ void reduce_kernel(const void* x, void* y, int64 batch) {
  using A = compute_t<typename P::TI>;
  const GroupIndex<P> index;
  const int64 position = index.position();
  const bool inside = position < P::count(batch);
  int64 in_offset = 0;
  int64 out_offset = 0;
  bool pad = true;
  if (inside) P::locate(position, batch, in_offset, out_offset, pad);
  const auto* from = static_cast<const typename P::TI*>(x) + in_offset;
  const bool reads = inside && !pad;
  A shift = A(0);
  if constexpr (P::kShifted) {  // log-sum-exp subtracts the maximum first
    A most = P::least();
    if (reads)
      for (int64 r = index.lane; r < P::kCount; r += P::kLanes) most = fn::max(widen(from[P::reduced(r, batch)]), most);
    shift = group_combine<P>(index, most, [](A a, A b) { return fn::max(a, b); });
    if (shift == P::least() || shift == -P::least()) shift = A(0);  // infinite: exp would meet inf - inf
  }
  A acc = P::start();
  if (reads)
    for (int64 r = index.lane; r < P::kCount; r += P::kLanes) acc = P::combine(acc, P::element(widen(from[P::reduced(r, batch)]), shift));
  acc = group_combine<P>(index, acc, [](A a, A b) { return P::combine(a, b); });
  if (inside && index.lane == 0)
    static_cast<typename P::TO*>(y)[out_offset] = Store<typename P::TO>::from(pad ? A(0) : P::finish(acc, shift));
}

// kCount elements of a row at in_stride; the row in the output has kOutCount >= kCount elements, the rest are zeros (padded channels).
template <class P>
__device__ __forceinline__ void softmax_kernel(const void* x, void* y, int64 batch) {
  using A = compute_t<typename P::TI>;
  const GroupIndex<P> index;
  const int64 position = index.position();
  const bool inside = position < P::count(batch);
  int64 in_offset = 0;
  int64 out_offset = 0;
  bool pad = true;
  if (inside) P::locate(position, batch, in_offset, out_offset, pad);
  const auto* from = static_cast<const typename P::TI*>(x) + in_offset;
  auto* to = static_cast<typename P::TO*>(y) + out_offset;
  const bool reads = inside && !pad;
  A most = P::least();
  if (reads)
    for (int64 r = index.lane; r < P::kCount; r += P::kLanes) most = fn::max(widen(from[P::reduced(r, batch)]), most);
  most = group_combine<P>(index, most, [](A a, A b) { return fn::max(a, b); });
  A sum = A(0);
  if (reads)
    for (int64 r = index.lane; r < P::kCount; r += P::kLanes) sum += fn::exp_(widen(from[P::reduced(r, batch)]) - most);
  sum = group_combine<P>(index, sum, [](A a, A b) { return a + b; });
  if (!inside) return;
  const A log_sum = P::kLog ? fn::log_(sum) : A(0);
  for (int64 r = index.lane; r < P::kOutCount; r += P::kLanes) {
    A value = A(0);
    if (reads && r < P::kCount) {
      const A shifted = widen(from[P::reduced(r, batch)]) - most;
      value = P::kLog ? shifted - log_sum : fn::exp_(shifted) / sum;
    }
    to[P::written(r, batch)] = Store<typename P::TO>::from(value);
  }
}
