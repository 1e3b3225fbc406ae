// Grows the trees of fcm/tile_trees.h: gradient boosting of a squared error, in a few seconds for ten thousand rows.
#pragma once

#include <string>
#include <vector>

#include "fcm/tile_trees.h"

namespace fcm::calibration {

struct Growth {
  int trees = 100;
  float rate = 0.2f;          ///< share of what a leaf has left to explain that a tree takes
  float sampled = 0.7f;       ///< share of the rows that a tree sees
  float fewest = 3.0f;        ///< weight of the rows of a leaf
  float doubted_rows = 2.0f;  ///< rows of zero that every leaf is taken to hold besides
};

/// Trees whose sum is near `y` at `x`. The same rows give the same trees.
std::vector<TileTree> grow(const std::vector<TileFeatures>& x, const std::vector<float>& y, const std::vector<float>& weight,
                           const Growth& growth = {});
/// As source text: a list of fcm/tile_trees.inc.
std::string to_source(const std::vector<TileTree>& trees);

}  // namespace fcm::calibration
