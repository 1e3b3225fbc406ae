// Tiles of a module rated one by one: what surveys and tests hold the planner's search (planner/tile_search.h) to.
#pragma once

#include <vector>

#include "fcm/tiles.h"

namespace fcm {

struct RatedTile {
  TileConfig tile;
  TileRating rating;
};

/// The best `most` of all legal tiles by rating, best first; the same inputs give the same list. Empty when the spec is refused. Takes up
/// to seconds.
std::vector<RatedTile> candidate_tiles(const ModuleSpec& spec, int batch, const TileDevice& device, size_t most = 32);

}  // namespace fcm
