#include "planner/streamed_tiles.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

namespace fcm {
namespace {

using geometry::ceil_div;
using geometry::round_up;

constexpr int kWidePixel = 256;         // bytes of an input pixel from which on an expansion may stream its depth
constexpr int kMostStreamed = 256;      // pixels that a block then keeps the sums of
constexpr int kRelayedChannels = 64;    // input channels from which on a team may expand beside the depthwise stage,
constexpr int kRelayedPlane = 28 * 28;  // and output pixels up to which it may: larger ones were slower, and rated too well;
constexpr int kRelayedTaps = 9;         // taps of its window where a projection follows: with more the team waits

class Sweeps {
 public:
  Sweeps(CutFacts& facts, const std::function<bool(const TileConfig&)>& keep) : facts_(facts), base_(facts.base), keep_(keep) {}

  void run() {
    if (may_stream()) sweep_streams();
    if (may_relay()) sweep_teams();
    if (may_multiply()) sweep_products();
  }

 private:
  /// Streamed tiles were measured of wide inputs, without a projection.
  bool may_stream() const {
    const bool wide = base_.in_c * facts_.element_bytes() >= kWidePixel && base_.math != geometry::Math::tf32;
    return wide && base_.expand && !base_.conv && !base_.project && base_.norm == geometry::Norm::none;
  }

  /// Tiles whose expansion streams its depth: as many pixels as a block can keep the sums of.
  void sweep_streams() {
    std::vector<int> chunks;
    for (const int target : {16, 32, 48, 64, 96, 128, 192}) add_unique(chunks, even_cut(base_.dw_c, 16 * base_.multiplier, target));
    for (TileConfig t : stream_planes()) {
      t.streamed = true;
      for (const int chunk : chunks) {
        t.chunk = chunk;
        t.split = facts_.chunks_of(t);  // each to a block of its own
        consider_stream(t);
      }
    }
  }

  /// A team that expands beside the warps of the depthwise stage was measured of these.
  bool may_relay() const {
    const bool filters = base_.expand && !base_.conv && base_.dw && base_.pool == geometry::Pool::none;
    const bool rated = !base_.project || base_.dw_window.kh * base_.dw_window.kw <= kRelayedTaps;
    return filters && rated && base_.norm == geometry::Norm::none && has_warpgroups(facts_.device.target) && facts_.element_bytes() == 2 &&
           base_.in_c >= kRelayedChannels && base_.out_h * base_.out_w <= kRelayedPlane;
  }

  /// Teams of two warpgroups, for 128 or 256 pixels with their halo: whole planes of one image or several, halves of small ones, bands.
  void sweep_teams() {
    std::vector<int> chunks;
    for (const int target : {64, 96, 128}) add_unique(chunks, even_cut(base_.dw_c, 16 * base_.multiplier, target));
    if (base_.project) add_unique(chunks, even_cut(base_.dw_c, 16 * base_.multiplier, 48));
    if (base_.dw_c > 128) add_unique(chunks, 128);  // a short last chunk
    TileConfig t;
    t.warpgroup = t.streamed = t.resident = true;
    for (const auto& [h, w, images] : relayed_planes()) {
      t.tile_h = h, t.tile_w = w, t.images = images;
      const int units = ceil_div(images * facts_.plane_of(t).core_px, 64);
      t.team = units % 2 == 0 ? 2 : units;
      if (units > 4) continue;
      for (const int chunk : chunks) {
        t.chunk = chunk, t.expand_n = chunk / base_.multiplier / 16;
        if (base_.project) {
          consider_projecting_teams(t, units);
        } else {
          t.split = facts_.chunks_of(t);
          consider_team(t);
        }
      }
    }
  }

  std::vector<std::tuple<int, int, int>> relayed_planes() const {
    std::vector<std::tuple<int, int, int>> list;
    for (int images = 1; images <= std::min<int64_t>(facts_.images, 4); ++images) list.emplace_back(base_.out_h, base_.out_w, images);
    for (const auto& [h, w] : {std::pair{7, 14}, {14, 7}, {4, 7}, {7, 7}, {4, 28}}) {
      if (h <= base_.out_h && w <= base_.out_w && (h < base_.out_h || w < base_.out_w)) list.emplace_back(h, w, 1);
    }
    return list;
  }

  /// Eight warps filter, or four; two slices are under way, or one.
  void consider_team(TileConfig t) {
    for (const auto& [m, k] : {std::pair{2, 4}, {4, 2}, {2, 2}, {4, 1}}) {
      if (t.chunk / 16 % k != 0) continue;
      t.warps_m = m, t.warps_k = k;
      t.stages = 2;
      while (t.stages >= 1 && !keep_(t)) --t.stages;
    }
  }

  /// One warpgroup expands for four warps that filter and project, or two for eight. Weights rotate, or stay.
  void consider_projecting_teams(TileConfig t, int units) {
    t.n_tile = even_cut(base_.out_c, 16, kWidestTile);
    t.stages = ceil_div(round_up(base_.in_c, 16) * facts_.element_bytes(), geometry::kSliceBytes);
    for (const int split : facts_.splits(t)) {
      if (split > 2) continue;  // larger clusters wait for room, which the rating does not know
      t.split = split;
      for (const int team : {units, units / 2}) {
        if (team < 1 || team > 2 || units % team != 0) continue;
        t.team = team;
        for (const auto& [m, k, n] : {std::tuple{4, 1, 1}, {8, 1, 1}, {4, 2, 1}, {4, 1, 2}, {2, 1, 2}}) {
          if (t.n_tile % (16 * n) != 0) continue;
          t.warps_m = m, t.warps_k = k, t.warps_n = n;
          for (const bool resident : {false, true}) {
            t.resident = resident;
            keep_(t);
          }
        }
      }
    }
  }

  /// Whether the module is a pointwise layer that warpgroups may walk over.
  bool may_multiply() const {
    const bool alone = base_.project && !base_.expand && !base_.dw && !base_.conv && !base_.gate && base_.pool == geometry::Pool::none;
    const bool target = has_warpgroups(facts_.device.target) && facts_.element_bytes() == 2;
    return alone && target;
  }

  /// Streamed pointwise layers: columns, warpgroups of 64 pixels, weights that stay or rotate, the longest pipelines.
  void sweep_products() {
    std::vector<int> columns;
    for (const int target : {64, 96, 128, 160, 192, 224, 256}) add_unique(columns, even_cut(base_.out_c, 16, target));
    TileConfig t;
    t.warpgroup = t.streamed = true;
    t.chunk = geometry::kSliceBytes / 2;
    for (const int n : columns) {
      for (int groups = 1; groups <= 4; ++groups) {
        t.n_tile = n, t.warps_m = 4 * groups, t.tile_w = 64 * groups;
        for (t.min_blocks = 1; t.min_blocks * groups <= 4; ++t.min_blocks) {
          for (const bool resident : {true, false}) keep_product(t, resident);
        }
      }
    }
  }

  void keep_product(TileConfig t, bool resident) {
    const int slices = ceil_div(base_.in_c * facts_.element_bytes(), geometry::kSliceBytes);
    t.resident = resident;
    t.stages = resident ? std::min(8, 2 * slices) : 8;
    while (t.stages >= 2 && !keep_(t)) --t.stages;
  }

  /// Whole planes of one image or several, and bands of rows.
  std::vector<TileConfig> stream_planes() const {
    std::vector<TileConfig> list;
    const auto add = [&](int h, int w, int images) {
      TileConfig t;
      t.tile_h = h, t.tile_w = w, t.images = images;
      list.push_back(t);
    };
    const bool pools = base_.pool != geometry::Pool::none;
    for (int images = 1; images <= facts_.images && images * base_.mid_h * base_.mid_w <= kMostStreamed; images *= 2) {
      if (images == 1 || !pools) add(base_.out_h, base_.out_w, images);
    }
    for (const int w : {14, 16, 28, 32}) {
      if (w > base_.out_w || (base_.out_w <= 32 && w != base_.out_w && 2 * w != base_.out_w)) continue;
      for (const int h : {4, 7, 8, 14}) {
        if (h < base_.out_h || w < base_.out_w) add(h, w, 1);
      }
    }
    return list;
  }

  /// A warpgroup for each 64 pixels, which then keeps the sums of one unit, two at least; fewer where registers are short.
  void consider_stream(TileConfig t) {
    const int units = ceil_div(t.images * facts_.plane_of(t).core_px, 64);
    if (units > kMostStreamed / 64) return;
    t.warpgroup = has_warpgroups(facts_.device.target) && facts_.element_bytes() == 2;
    for (int warps = units > 2 ? 16 : 8; warps >= 4; warps /= 2) {
      if (lay_out_stream(t, warps) && (facts_.element_bytes() == 2 ? choose_stream_unit(t) : choose_f32_stream_unit(t))) return;
    }
  }

  /// Warps over pixels so that each filters groups below each other, the others over channels.
  bool lay_out_stream(TileConfig& t, int warps) const {
    const int groups = t.images * facts_.groups_of(t), channels = t.chunk / 16, columns = ceil_div(t.tile_w, 8);
    const int least = std::min(columns == 1 && t.images == 1 ? 4 : 2, groups);
    for (t.warps_m = std::max(columns, least); t.warps_m <= std::min(warps, groups); t.warps_m += columns) {
      t.warps_k = warps / t.warps_m;
      if (t.warps_m * t.warps_k == warps && t.warps_k <= channels) return true;
    }
    return false;
  }

  /// The widest unit that makes a legal tile.
  bool choose_stream_unit(TileConfig& t) {
    t.expand_m = t.warpgroup ? 1 : 2;
    for (const int n : {8, 6, 4, 3, 2, 1}) {
      if (facts_.columns_of(t) % n != 0 || (!t.warpgroup && n > 4)) continue;
      t.expand_n = n;
      if (keep_stream(t)) return true;
    }
    return false;
  }

  /// In FP32: the unit that loads least.
  bool choose_f32_stream_unit(TileConfig& t) {
    std::vector<std::pair<double, TileConfig>> order;
    const int rows = ceil_div(t.images * facts_.plane_of(t).core_px, 16), warps = t.warps_m * t.warps_k;
    for (t.expand_m = 1; t.expand_m <= 4; ++t.expand_m) {
      for (t.expand_n = 1; t.expand_n <= 4; ++t.expand_n) {
        if (facts_.columns_of(t) % t.expand_n != 0) continue;
        order.emplace_back(f32_expansion_cycles(t.expand_m, t.expand_n, rows, facts_.columns_of(t), warps), t);
      }
    }
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return std::any_of(order.begin(), order.end(), [&](const auto& unit) { return keep_stream(unit.second); });
  }

  /// The longest pipelines that fit, with a chunk buffer of its own and without.
  bool keep_stream(TileConfig t) {
    const int slices = ceil_div(base_.in_c * facts_.element_bytes(), geometry::kSliceBytes);
    bool kept = false;
    for (const bool overlaid : {false, true}) {
      t.overlaid = overlaid;
      t.stages = std::min(6, slices + 1);
      while (t.stages >= 2 && !keep_(t)) --t.stages;
      kept = kept || t.stages >= 2;
    }
    return kept;
  }

  CutFacts& facts_;
  const geometry::Shape& base_;
  const std::function<bool(const TileConfig&)>& keep_;
};

}  // namespace

void sweep_streamed_tiles(CutFacts& facts, const std::function<bool(const TileConfig&)>& keep) {
  Sweeps(facts, keep).run();
}

}  // namespace fcm
