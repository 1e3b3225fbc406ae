// Tiles whose depth streams, and teams that expand beside the depthwise stage: swept over, since trees do not know them.
#pragma once

#include <functional>

#include "planner/cut_facts.h"

namespace fcm {

/// Calls `keep` with the streamed tiles of a module that are worth rating: streamed expansions of wide inputs, teams (kernels/relay.cuh),
/// streamed pointwise layers (kernels/product.cuh). It says whether a tile is legal.
void sweep_streamed_tiles(CutFacts& facts, const std::function<bool(const TileConfig&)>& keep);

}  // namespace fcm
