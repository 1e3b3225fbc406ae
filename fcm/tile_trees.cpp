#include "fcm/tile_trees.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "fcm/tiles.h"

namespace fcm {

namespace {

constexpr float kMost = 0.7f;    // a correction beyond is outside of what was measured
constexpr size_t kTogether = 8;  // trees that are walked at a time

/// A whole number that orders as the float does (no NaN).
int32_t ordered(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}

/// The logarithm of a whole number. Those of small ones are looked up; the table is made when the first tile is rated.
float log_of(int x) {
  static const std::array<float, 2048> logs = [] {
    std::array<float, 2048> list{};
    for (size_t i = 0; i < list.size(); ++i) list[i] = static_cast<float>(std::log(static_cast<double>(i)));
    return list;
  }();
  const auto at = static_cast<size_t>(x);
  return at < logs.size() ? logs[at] : static_cast<float>(std::log(static_cast<double>(x)));
}

}  // namespace

TileFeatures tile_features(const TiledModule& module, const TileRating& r, int multiprocessors) {
  const geometry::Shape& s = module.shape;
  const geometry::Geometry& g = module.geometry;
  const auto log = [](double x) { return static_cast<float>(std::log(x)); };
  const double latency = r.fetch + r.expand + r.depthwise + r.finish + 1, units = static_cast<double>(r.blocks) / multiprocessors;
  const double waves = std::ceil(units / r.concurrent);
  const auto share = [&](double x) { return static_cast<float>(x / latency); };
  return {share(r.fetch),
          share(r.expand),
          share(r.depthwise),
          share(r.finish),
          share(r.shared),
          share(r.prologue),
          log(latency),
          log(r.total + 1),
          log_of(static_cast<int>(waves)),
          log_of(r.concurrent),
          log(units),
          static_cast<float>(units / r.concurrent / waves),
          log_of(g.warps),
          log_of(s.split),
          log_of(std::max(1, r.blocks / s.split)),
          log_of(s.warps_m),
          log_of(s.warps_n),
          log_of(s.warps_k),
          log_of(s.chunk),
          log_of(s.n_tile),
          log_of(s.tile_h * s.tile_w),
          log_of(s.tile_w),
          s.resident ? 1.0f : 0.0f,
          static_cast<float>(s.stages),
          static_cast<float>(s.expand_m * s.expand_n),
          static_cast<float>(s.min_blocks),
          s.warpgroup ? 1.0f : 0.0f,
          static_cast<float>(g.block_chunks),
          static_cast<float>(s.dw ? s.dw_window.kh : 0),
          static_cast<float>(g.warp_m * std::max(1, g.warp_n)),
          log(g.shared_bytes),
          static_cast<float>((s.conv ? 1 : 0) + (s.expand ? 2 : 0) + (s.dw ? 4 : 0) + (s.project ? 8 : 0)),
          static_cast<float>((s.norm != geometry::Norm::none ? 1 : 0) + (s.gate ? 2 : 0)),
          static_cast<float>((s.pool != geometry::Pool::none ? 1 : 0) + (s.pool == geometry::Pool::only ? 1 : 0)),
          static_cast<float>((s.residual != geometry::Residual::none ? 1 : 0) + (s.residual_is_input ? 1 : 0)),
          log_of(s.in_c),
          log_of(s.out_c)};
}

Forest::Forest(const std::vector<TileTree>& trees) : trees_(trees.size()), walks_((trees.size() + kTogether - 1) / kTogether * kTogether) {
  for (size_t i = 0; i < trees.size(); ++i) {
    for (size_t q = 0; q < TileTree::kQuestions; ++q) walks_[i].questions[q + 1] = {ordered(trees[i].at_most[q]), trees[i].feature[q]};
    walks_[i].value = trees[i].value;
  }
}

float Forest::correction(const TileFeatures& features, float most) const {
  constexpr float kATree = 0.005f;  // what the trees left take back at most, by tree
  constexpr size_t kLeast = 16;     // trees that say little yet
  Ordered f;
  std::transform(features.begin(), features.end(), f.begin(), ordered);
  const auto hopeless = [&](float sum, size_t asked) {
    return asked >= kLeast && asked % 4 == 0 && sum - kATree * (static_cast<float>(trees_) - static_cast<float>(asked)) > most;
  };
  float sum = 0;
  for (size_t i = 0; i < walks_.size(); i += kTogether) {
    std::array<size_t, kTogether> node{};
    node.fill(1);
    for (int level = 0; level < 4; ++level) {
      for (size_t k = 0; k < kTogether; ++k) step(node[k], walks_[i + k], f);
    }
    for (size_t k = 0; k < kTogether; ++k) {
      if (hopeless(sum, i + k)) return std::clamp(sum, -kMost, kMost);
      sum += walks_[i + k].value[node[k] - TileTree::kLeaves];
    }
  }
  return std::clamp(sum, -kMost, kMost);
}

TileForest forest_of(const TiledModule& module) {
  return module.shape.dw || module.shape.conv ? TileForest::windows : TileForest::pointwise;
}

const std::vector<TileTree>& tile_trees(TileForest forest) {
  static const std::array<std::vector<TileTree>, 2> forests = {{
#include "fcm/tile_trees.inc"
  }};
  return forests[static_cast<size_t>(forest)];
}

const Forest& forest(TileForest which) {
  static const std::array<Forest, 2> forests = {Forest(tile_trees(TileForest::windows)), Forest(tile_trees(TileForest::pointwise))};
  return forests[static_cast<size_t>(which)];
}

}  // namespace fcm
