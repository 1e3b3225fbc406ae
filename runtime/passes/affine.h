// y * scale + shift, per output channel, into the weights of a Conv or Gemm.
#pragma once

#include <string>
#include <vector>

#include "runtime/passes/rewriter.h"

namespace fcm::passes {

/// One scale and shift an output channel.
struct Affine {
  std::vector<double> scale;
  std::vector<double> shift;
};

/// How many output channels the Conv or Gemm that makes `y` has, when its weights can take an affine map: they and the bias are
/// constant, nothing is fused into it yet, and `y` has no other reader. 0 otherwise.
int64_t foldable_channels(const Rewriter& rewriter, ValueId y);

/// Merges node `late`, the sole reader of the Conv or Gemm `early` for which `foldable_channels` is not 0, into it: the weights become
/// weights * scale, the bias bias * scale + shift, computed in double and rounded once. False, with nothing changed, when that gives a
/// value that is not finite in the weights' type.
bool fold_affine_into(Rewriter& rewriter, NodeId early, NodeId late, const Affine& affine);

}  // namespace fcm::passes
