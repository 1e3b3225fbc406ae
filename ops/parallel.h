// The one way references use several cores: independent work items, each writing its own outputs, so that the result does not
// depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fcm::ops {

/// Threads for a parallel loop: as many as OpenMP would take, and one more where that is every core. Threads that outnumber the cores do
/// not spin at the end of a loop (libgomp then sleeps at once), and the one more fills a core whose thread another program displaced:
/// without it a layer takes ten times as long on cores that are busy. One thread where OpenMP has one.
int parallel_threads();

/// Calls body(i) for i in [0, count). `work` is a rough number of operations an item: small jobs stay on the calling thread.
/// `body` must not throw.
template <class Body>
void parallel_for(int64_t count, [[maybe_unused]] int64_t work, Body&& body) {
#ifdef _OPENMP
  constexpr int64_t kWorthwhile = 1 << 18;
  const bool worthwhile = count > 1 && (work >= kWorthwhile || count > kWorthwhile / (work > 0 ? work : 1));
  const int threads = worthwhile ? parallel_threads() : 1;
  if (threads > 1) {
    // Small shares, taken as threads get free: on busy cores threads are not equally fast.
    constexpr int64_t kShares = 8;
    const int64_t share = std::max<int64_t>(1, count / (kShares * threads));
#pragma omp parallel for schedule(dynamic, share) num_threads(threads)
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#endif
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace fcm::ops
