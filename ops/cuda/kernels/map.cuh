// y[i] = f(a[i], b[i], ...) over a strided walk: every elementwise operator, broadcasting, conversion, transposition, slice and copy.
//
// The emitted program supplies a struct P:
//   kVector            elements of the innermost axis that one thread handles
//   kMasked, kValid    the innermost axis is a padded channel axis with kValid real channels; the rest is written as zero
//   count(batch)       number of threads
//   locate(...)        thread index -> element offset of each operand, and the first inner coordinate
//   apply(...)         the function
// and a kernel that loads, applies and stores. A thread owns its output elements, so that a map may run in place.
#pragma once

#include "math.cuh"

enum class Mode {
  vector,     // inner stride 1, aligned: one access
  run,        // any inner stride: kVector accesses
  broadcast,  // inner stride 0: one element
};

// kVector elements of an operand; `stride` is its inner stride, `inner` the first inner coordinate.
template <class P, class T, Mode kMode>
__device__ __forceinline__ void map_load(const void* base, int64 offset, int64 stride, int inner, compute_t<T> (&values)[P::kVector]) {
  const T* from = static_cast<const T*>(base) + offset;
  if constexpr (kMode == Mode::vector) {
    load_vector<T, P::kVector>(from, values);
  } else if constexpr (kMode == Mode::broadcast) {
    const compute_t<T> value = widen(*from);
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) values[i] = value;
  } else {
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) {
      values[i] = compute_t<T>(0);
      if (!P::kMasked || inner + i < P::kValid) values[i] = widen(from[i * stride]);
    }
  }
}

template <class P, class T, Mode kMode, class A>
__device__ __forceinline__ void map_store(void* base, int64 offset, int64 stride, const A (&values)[P::kVector]) {
  T* to = static_cast<T*>(base) + offset;
  if constexpr (kMode == Mode::vector) {
    store_vector<T, P::kVector>(to, values);
  } else {
#pragma unroll
    for (int i = 0; i < P::kVector; ++i) to[i * stride] = Store<T>::from(values[i]);
  }
}
