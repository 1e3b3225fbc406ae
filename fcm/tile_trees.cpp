#include "fcm/tile_trees.h"

#include <algorithm>
#include <cmath>

#include "fcm/tiles.h"

namespace fcm {

namespace {

/// Logarithms of small whole numbers.
const std::array<float, 2048> kLogs = [] {
  std::array<float, 2048> list{};
  for (size_t i = 0; i < list.size(); ++i) list[i] = static_cast<float>(std::log(static_cast<double>(i)));
  return list;
}();

float log_of(int x) {
  const auto at = static_cast<size_t>(x);
  return at < kLogs.size() ? kLogs[at] : static_cast<float>(std::log(static_cast<double>(x)));
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
          log(waves),
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

float tile_correction(const std::vector<TileTree>& trees, const TileFeatures& features, float most) {
  constexpr float kMost = 0.7f;     // beyond, the rating is outside of what was measured
  constexpr float kATree = 0.005f;  // what the trees left take back at most, by tree
  constexpr size_t kRun = 8;
  float sum = 0;
  for (size_t i = 0; i < trees.size();) {
    for (const size_t end = std::min(i + kRun, trees.size()); i < end; ++i) sum += trees[i](features);
    if (i > kRun && sum - kATree * static_cast<float>(trees.size() - i) > most) break;
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

}  // namespace fcm
