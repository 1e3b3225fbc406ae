// How many threads a parallel loop has.
#include "ops/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fcm::ops {

int parallel_threads() {
#ifdef _OPENMP
  static const int cores = omp_get_num_procs();
  const int wanted = omp_get_max_threads();
  return wanted > 1 && wanted == cores ? wanted + 1 : wanted;
#else
  return 1;
#endif
}

}  // namespace fcm::ops
