// Emission, packing and legality of the head kernels: global mean + fully connected, squeeze-and-excitation. Called through emit.h and
// pack.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fcm/emit.h"
#include "fcm/head_geometry.h"
#include "fcm/pack.h"

namespace fcm {

/// Whether a spec is of a head: a global mean first.
inline bool is_head(const ModuleSpec& spec) {
  return !spec.stages.empty() && spec.stages[0].op == StageOp::pool;
}
geometry::HeadShape head_shape_of(const ModuleSpec& spec, const TileConfig& tile);
std::string head_refusal(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target);
/// Completes `emitted`, whose kernel name, headers and pdl are set.
void emit_head(const ModuleSpec& spec, const TileConfig& tile, bool jitter, Emitted& emitted);
std::vector<uint8_t> pack_head(const ModuleSpec& spec, const ModuleWeights& weights);

}  // namespace fcm
