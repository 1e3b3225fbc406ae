// Weights of a module as the kernels read them: one blob a (spec, tile), a chunk's records contiguous, dense weights in the order of the
// matrix fragments so that a lane's operand is one 16-byte load.
#pragma once

#include <cstdint>
#include <vector>

#include "fcm/spec.h"

namespace fcm {

/// Weights of one stage in ONNX order: pw [F][C], dw [C * multiplier][kh][kw], conv [F][C][kh][kw]; pool has none. `bias` [F], or empty.
struct StageWeights {
  std::vector<float> weight;
  std::vector<float> bias;
};

struct ModuleWeights {
  std::vector<StageWeights> stages;  ///< one a stage
};

/// The blob for ModuleArgs::weights; depends on the tile's chunk, n_tile and the way of its dense stages alone. Weights are rounded to the
/// module's dtype (TF32: to its 10 mantissa bits), biases stay FP32. Throws Error(internal) when counts do not match the spec.
std::vector<uint8_t> pack_weights(const ModuleSpec& spec, const TileConfig& tile, const ModuleWeights& weights);

/// A dense weight read back from a blob: stage 0 of an expansion (`projection` false) or the last stage. For tests of the packing.
float unpack_dense(const ModuleSpec& spec, const TileConfig& tile, const std::vector<uint8_t>& blob, bool projection, int f, int c);

}  // namespace fcm
