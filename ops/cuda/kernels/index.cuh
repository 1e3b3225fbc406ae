// Operators over the lines of an axis of row-major tensors (ArgMax, TopK, CumSum) and those that follow index tuples (GatherND,
// ScatterND).
//
// A line is P::kCount elements P::inner(batch) apart; line l of an axis whose extent is n starts at l / inner * n * inner + l % inner.
#pragma once

#include "math.cuh"

__device__ __forceinline__ int64 line_start(int64 line, int64 extent, int64 inner) {
  return line / inner * extent * inner + line % inner;
}

// Strict order, NaN above all numbers.
template <class A>
__device__ __forceinline__ bool above(A a, A b) {
  const bool a_nan = !(a == a);
  const bool b_nan = !(b == b);
  return a_nan ? !b_nan : (!b_nan && a > b);
}
template <bool kLargest, class A>
__device__ __forceinline__ bool better(A a, A b) {
  return kLargest ? above(a, b) : above(b, a);
}

// P: T, kCount, kLargest, kLast, lines(batch), inner(batch). One thread a line.
template <class P>
__device__ __forceinline__ void arg_reduce_kernel(const void* x, void* y, int64 batch) {
  const int64 line = global_thread();
  if (line >= P::lines(batch)) return;
  const int64 inner = P::inner(batch);
  const auto* from = static_cast<const typename P::T*>(x) + line_start(line, P::kCount, inner);
  auto held = widen(from[0]);
  int64 best = 0;
  for (int64 i = 1; i < P::kCount; ++i) {
    const auto value = widen(from[i * inner]);
    if (better<P::kLargest>(value, held) || (P::kLast && !better<P::kLargest>(held, value))) {
      held = value;
      best = i;
    }
  }
  static_cast<int64*>(y)[line] = best;
}

// P: T, TO, kCount, kK, kLargest, lines(batch), inner(batch). One thread an element, which counts those before it: its place.
template <class P>
__device__ __forceinline__ void top_k_kernel(const void* x, void* values, void* places, int64 batch) {
  const int64 thread = global_thread();
  if (thread >= P::lines(batch) * P::kCount) return;
  const int64 inner = P::inner(batch);
  const int64 line = thread / P::kCount;
  const int64 i = thread - line * P::kCount;
  const auto* from = static_cast<const typename P::T*>(x) + line_start(line, P::kCount, inner);
  const auto mine = widen(from[i * inner]);
  int64 place = 0;
  for (int64 j = 0; j < P::kCount && place < P::kK; ++j) {
    const auto other = widen(from[j * inner]);
    place += better<P::kLargest>(other, mine) || (j < i && !better<P::kLargest>(mine, other)) ? 1 : 0;
  }
  if (place >= P::kK) return;
  const int64 at = line_start(line, P::kK, inner) + place * inner;
  static_cast<typename P::TO*>(values)[at] = Store<typename P::TO>::from(mine);
  static_cast<int64*>(places)[at] = i;
}

// P: T, TO, kCount, kExclusive, kReverse, lines(batch), inner(batch). One thread a line.
template <class P>
__device__ __forceinline__ void cum_sum_kernel(const void* x, void* y, int64 batch) {
  const int64 line = global_thread();
  if (line >= P::lines(batch)) return;
  const int64 inner = P::inner(batch);
  const int64 start = line_start(line, P::kCount, inner);
  compute_t<typename P::T> total = 0;
  for (int64 i = 0; i < P::kCount; ++i) {
    const int64 at = start + (P::kReverse ? P::kCount - 1 - i : i) * inner;
    const auto before = total;
    total += widen(static_cast<const typename P::T*>(x)[at]);
    static_cast<typename P::TO*>(y)[at] = Store<typename P::TO>::from(P::kExclusive ? before : total);
  }
}

// The offset in X of index tuple `tuple`. An index out of range takes the nearest element (a device cannot refuse).
// P: TI, kLength, per_item(batch), item_size(batch), extent(k, batch), stride(k, batch).
template <class P>
__device__ __forceinline__ int64 tuple_offset(const void* indices, int64 tuple, int64 batch) {
  int64 offset = tuple / P::per_item(batch) * P::item_size(batch);
#pragma unroll
  for (int k = 0; k < P::kLength; ++k) {
    const int64 extent = P::extent(k, batch);
    int64 index = widen(static_cast<const typename P::TI*>(indices)[tuple * P::kLength + k]);
    index = index < 0 ? index + extent : index;
    index = index < 0 ? 0 : (index >= extent ? extent - 1 : index);
    offset += index * P::stride(k, batch);
  }
  return offset;
}

// P also: T, TO, tuples(batch), slice(batch). One thread an element of all slices.
template <class P>
__device__ __forceinline__ void gather_nd_kernel(const void* x, const void* indices, void* y, int64 batch) {
  const int64 thread = global_thread();
  const int64 slice = P::slice(batch);
  if (thread >= P::tuples(batch) * slice) return;
  const int64 at = tuple_offset<P>(indices, thread / slice, batch) + thread % slice;
  static_cast<typename P::TO*>(y)[thread] = Store<typename P::TO>::from(widen(static_cast<const typename P::T*>(x)[at]));
}
template <class P>
__device__ __forceinline__ void scatter_nd_kernel(const void* updates, const void* indices, void* y, int64 batch) {
  const int64 thread = global_thread();
  const int64 slice = P::slice(batch);
  if (thread >= P::tuples(batch) * slice) return;
  const int64 at = tuple_offset<P>(indices, thread / slice, batch) + thread % slice;
  static_cast<typename P::TO*>(y)[at] = Store<typename P::TO>::from(widen(static_cast<const typename P::T*>(updates)[thread]));
}
