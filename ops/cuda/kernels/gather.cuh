// Gather: y[outer, indices, inner] = x[outer, index, inner]. Negative indices count from the end; one that is out of range reads the
// nearest element (a device cannot refuse).
//
// P: kVector (neighbours in x and in y under one index, that a thread moves), kMasked, kValid, count, locate (offsets into x, indices, y)
// as in map.cuh; T, TI, TO; extent(batch), stride(batch) of the gathered axis.
#pragma once

#include "math.cuh"

template <class P>
__device__ __forceinline__ void gather_kernel(const void* x, const void* indices, void* y, int64 batch) {
  const int64 thread = global_thread();
  if (thread >= P::count(batch)) return;
  int64 offset[3];
  int inner;
  P::locate(thread, batch, offset, inner);
  compute_t<typename P::T> values[P::kVector] = {};
  if (!P::kMasked || inner < P::kValid) {
    const int64 extent = P::extent(batch);
    int64 index = widen(static_cast<const typename P::TI*>(indices)[offset[1]]);
    index = index < 0 ? index + extent : index;
    index = index < 0 ? 0 : (index >= extent ? extent - 1 : index);
    load_vector<typename P::T, P::kVector>(static_cast<const typename P::T*>(x) + offset[0] + index * P::stride(batch), values);
  }
  store_vector<typename P::TO, P::kVector>(static_cast<typename P::TO*>(y) + offset[2], values);
}
