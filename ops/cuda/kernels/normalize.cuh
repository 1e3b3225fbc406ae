// Normalisation of groups of P::kInner elements that lie one after the other: mean, then variance about it, then the elements. Sums in
// float (double for f64) by a group of kLanes threads, in the fixed order of reduce.cuh.
//
// P: TI, TS, TB, TO, kLanes, kBlock, kLanesInner, kInner, kRms, kScale, kBias, count(batch), parameter(group, i) -> element of scale and
// bias, epsilon().
#pragma once

#include "reduce.cuh"

template <class P>
__device__ __forceinline__ void normalize_kernel(const void* x, const void* scale, const void* bias, void* y, int64 batch) {
  using A = compute_t<typename P::TI>;
  const GroupIndex<P> index;
  const int64 group = index.position();
  const bool inside = group < P::count(batch);
  const auto* from = static_cast<const typename P::TI*>(x) + group * P::kInner;
  A mean = A(0);
  if constexpr (!P::kRms) {
    A sum = A(0);
    if (inside)
      for (int64 i = index.lane; i < P::kInner; i += P::kLanes) sum += widen(from[i]);
    mean = group_combine<P>(index, sum, [](A a, A b) { return a + b; }) / A(P::kInner);
  }
  A squares = A(0);
  if (inside)
    for (int64 i = index.lane; i < P::kInner; i += P::kLanes) {
      const A d = widen(from[i]) - mean;
      squares += d * d;
    }
  squares = group_combine<P>(index, squares, [](A a, A b) { return a + b; });
  if (!inside) return;
  const A factor = A(1) / fn::sqrt_(squares / A(P::kInner) + A(P::epsilon()));
  auto* to = static_cast<typename P::TO*>(y) + group * P::kInner;
  for (int64 i = index.lane; i < P::kInner; i += P::kLanes) {
    const int64 at = P::parameter(group, i);
    A value = (widen(from[i]) - mean) * factor;
    if constexpr (P::kScale) value *= static_cast<A>(widen(static_cast<const typename P::TS*>(scale)[at]));
    if constexpr (P::kBias) value += static_cast<A>(widen(static_cast<const typename P::TB*>(bias)[at]));
    to[i] = Store<typename P::TO>::from(value);
  }
}
