// The host reference of every module kind: plain loops, sums in double, every edge between stages rounded to the module's dtype as the
// kernels round it. Beside each value it keeps a bound on what a kernel may differ by.
#pragma once

#include <vector>

#include "fcm/pack.h"
#include "fcm/spec.h"

namespace fcm {

/// Operands without pad lanes: `input` as the spec's transform lies in memory ([N][H][W][C], or [N][C][H][W] for nchw_f32, or
/// [N][tiles][C] sums), bytes as their values; `residual` [N][Ho][Wo][F]; `gate` [N][C]. `scale` and `shift` of the user's tensor, a
/// channel: x * scale + shift; empty: 1 and 0.
struct ModuleInputs {
  int batch = 1;
  std::vector<float> input, residual, gate;
  std::vector<float> scale, shift;
};

struct ModuleResult {
  std::vector<float> output;  ///< [N][Ho][Wo][F], rounded to the dtype
  /// Largest difference a correct kernel can show, element by element: running error analysis. A stage of depth K over x with weights w
  /// adds c K u32 sum|w||x| (u32 = 2^-24, c = 2; TF32 operands: + 2^-10 sum|w||x|) to what its inputs' bounds become through |w|; an
  /// activation multiplies by its slope and adds a few ulp for its fast form; rounding to the dtype adds one ulp of the result.
  std::vector<float> bound;
  std::vector<float> pool, pool_bound;  ///< [N][F] sums over the output plane; empty without a pool epilogue
};

ModuleResult reference(const ModuleSpec& spec, const ModuleWeights& weights, const ModuleInputs& inputs);

}  // namespace fcm
