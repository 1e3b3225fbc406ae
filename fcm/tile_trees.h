// What the rating of a tile (fcm/tiles.h) does not know, learnt from measured kernels: a sum of small regression trees over the rating's
// terms and the tile, as in the cost models of autotuners. fcm-tile-fit grows them and writes fcm/tile_trees.inc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "fcm/emit.h"

namespace fcm {

struct TileRating;

/// What a tree looks at; the order is that of `tile_features`.
inline constexpr size_t kTileFeatures = 37;
using TileFeatures = std::array<float, kTileFeatures>;
TileFeatures tile_features(const TiledModule& module, const TileRating& rating, int multiprocessors);

/// Four questions "is feature f at most t?", the answers lead to one of sixteen values. Questions stand level by level: those of node i are
/// nodes 2i + 1 (yes) and 2i + 2 (no).
struct TileTree {
  static constexpr size_t kQuestions = 15, kLeaves = 16;
  std::array<uint8_t, kQuestions> feature{};
  std::array<float, kQuestions> at_most{};
  std::array<float, kLeaves> value{};

  float operator()(const TileFeatures& f) const {
    size_t node = 0;
    for (int level = 0; level < 4; ++level) node = 2 * node + 2 - static_cast<size_t>(f[feature[node]] <= at_most[node]);
    return value[node - kQuestions];
  }
};

/// Trees laid out to be asked often: eight at a time, so that their comparisons overlap, of whole numbers that order as the floats do.
class Forest {
 public:
  explicit Forest(const std::vector<TileTree>& trees);
  /// Natural logarithm of measured over rated cycles: what the trees say together, bounded. Corrections above `most` need not be told
  /// apart: the last trees are not asked when the first ones say much more.
  float correction(const TileFeatures& features, float most = std::numeric_limits<float>::infinity()) const;

 private:
  using Ordered = std::array<int32_t, kTileFeatures>;
  struct Question {
    int32_t at_most = 0;
    uint32_t feature = 0;
  };
  struct Walk {
    std::array<Question, TileTree::kLeaves> questions{};  // counted from one
    std::array<float, TileTree::kLeaves> value{};
  };
  static void step(size_t& node, const Walk& walk, const Ordered& f) {
    const Question& q = walk.questions[node];
    node = 2 * node + static_cast<size_t>(q.at_most < f[q.feature]);
  }
  size_t trees_;
  std::vector<Walk> walks_;  // whole eights; what fills the last one up says nothing
};

/// Modules with a window (a first convolution or a depthwise stage) and those of pointwise layers alone have trees of their own.
enum class TileForest : uint8_t { windows, pointwise };
TileForest forest_of(const TiledModule& module);
/// The trees of fcm/tile_trees.inc.
const std::vector<TileTree>& tile_trees(TileForest forest);
const Forest& forest(TileForest which);

}  // namespace fcm
