// The one way references use several cores: independent work items, each writing its own outputs, so that the result does not
// depend on the number of threads.
#pragma once

#include <cstdint>

namespace fcm::ops {

/// Calls body(i) for i in [0, count). `work` is a rough number of operations an item: small jobs stay on the calling thread.
/// `body` must not throw.
template <class Body>
void parallel_for(int64_t count, [[maybe_unused]] int64_t work, Body&& body) {
#ifdef _OPENMP
  constexpr int64_t kWorthwhile = 1 << 18;
#pragma omp parallel for schedule(static) if (count > 1 && (work >= kWorthwhile || count > kWorthwhile / (work > 0 ? work : 1)))
#endif
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace fcm::ops
