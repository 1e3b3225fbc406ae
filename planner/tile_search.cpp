// A coarse sweep over cuts (plane, chunk, columns, split) with one layout of warps, then a climb from the best cuts: one parameter at a
// time moves to its neighbour value while the predicted time falls.
#include "planner/tile_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "planner/streamed_tiles.h"

namespace fcm {
namespace {

using geometry::ceil_div;
using geometry::round_up;

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr size_t kStarts = 4;          // cuts that are climbed from
constexpr double kLeastGrowth = 0.95;  // of the time for fewer images (measured of 3,266 pairs: 0.97 at least)
constexpr int kMostClimbs = 12;        // moves from one start
constexpr int kLongestChunk = 160;
constexpr double kMostTaught = 1.6;            // times the best so far: what a correction may make good
constexpr double kLeastCorrection = 0.49;      // trees say no less (fcm/tile_trees.cpp)
constexpr double kNeighbourCorrection = 0.65;  // nor less than this times what they say of the tile beside

/// Every even cut of `extent` no longer than `longest`, ascending.
std::vector<int> even_cuts(int extent, int granule, int longest) {
  std::vector<int> list;
  for (int parts = 64; parts >= 1; --parts) {
    const int piece = round_up(ceil_div(extent, parts), granule);
    if (piece <= longest && (list.empty() || list.back() != piece)) list.push_back(piece);
  }
  return list;
}

TileModel without_trees() {
  TileModel m;
  m.trees = false;
  return m;
}

/// A set of hashed keys, open addressing: with std::unordered_set planning takes an eighth longer.
class KeySet {
 public:
  /// False when the key is there.
  bool insert(uint64_t key) {
    if (2 * count_ >= slots_.size()) grow();
    const bool fresh = place(key == 0 ? 1 : key);
    count_ += fresh ? 1 : 0;
    return fresh;
  }

 private:
  bool place(uint64_t key) {
    size_t at = key >> 32;
    while (slots_[at &= slots_.size() - 1] != 0) {
      if (slots_[at++] == key) return false;
    }
    slots_[at] = key;
    return true;
  }
  void grow() {
    std::vector<uint64_t> old(slots_.size() * 2, 0);
    old.swap(slots_);
    for (const uint64_t key : old) {
      if (key != 0) place(key);
    }
  }
  std::vector<uint64_t> slots_ = std::vector<uint64_t>(256, 0);  // 0: free
  size_t count_ = 0;
};

class Cuts {
 public:
  Cuts(const ModuleSpec& spec, int64_t images, const DeviceModel& device, const Residency& residency)
      : spec_(spec), costs_(spec, images, device, residency), facts_(spec, images, device), base_(facts_.base), module_(facts_.whole) {
    const bool whole = base_.conv && !base_.expand;
    all_chunks_ = whole ? std::vector<int>{round_up(base_.dw_c, 16)} : even_cuts(base_.dw_c, 16 * base_.multiplier, kLongestChunk);
    if (base_.project) all_columns_ = even_cuts(base_.out_c, 16, kWidestTile);
  }

  std::vector<CostedTile> search(size_t most) {
    if (!refusal(spec_, facts_.device.target).empty()) return {};
    sweep_cuts();
    climbing_ = true;
    for (const Found& start : starts_) climb(start);
    sweep_streamed_tiles(facts_, [this](const TileConfig& t) { return keep(t); });
    std::vector<CostedTile> best;
    for (const size_t k : best_first(most)) {
      CostedTile& chosen = best.emplace_back(CostedTile{found_[k].tile, cost_of(found_[k].tile)});
      chosen.tile.lone = costs_.runs_alone(module_);  // which is cut into it now
    }
    return best;
  }

  size_t rated() const { return rated_; }

 private:
  struct Found {
    TileConfig tile;
    double us = kNever;
    double correction = 1;  ///< what the trees made of its latency
  };
  /// Positions of the best `most` tiles.
  std::vector<size_t> best_first(size_t most) const {
    std::vector<size_t> order(found_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto end = order.begin() + static_cast<ptrdiff_t>(std::min(most, order.size()));
    std::partial_sort(order.begin(), end, order.end(),
                      [&](size_t a, size_t b) { return found_[a].us != found_[b].us ? found_[a].us < found_[b].us : a < b; });
    order.erase(end, order.end());
    return order;
  }
  /// Cuts the module into the tile.
  Cost cost_of(const TileConfig& t) {
    costs_.recut(module_, t);
    TileRating rating;
    const double latency = costs_.latency_us(module_, TileModel{}, rating);
    Cost cost = costs_.cost(module_, rating, latency);
    cost.elements = module_elements(spec_, facts_.images);
    return cost;
  }

  std::vector<std::pair<int, int>> planes() const {
    std::vector<std::pair<int, int>> list;
    if (!base_.dw) {
      for (const int w : {16, 32, 64, 128}) list.emplace_back(1, w);
      return list;
    }
    std::vector<int> heights, widths;
    for (const int h : {2, 4, 7, 8, 14}) {
      if (h < base_.out_h) heights.push_back(h);
    }
    for (const int w : {7, 8, 14, 16}) {
      if (w < base_.out_w) widths.push_back(w);
    }
    if (base_.out_h <= 28) heights.push_back(base_.out_h);
    if (base_.out_w <= 28) widths.push_back(base_.out_w);
    for (const int h : heights) {
      for (const int w : widths) {
        const int m_tiles = ceil_div(h, 2) * ceil_div(w, 8);
        const bool wasteful = base_.out_w % 7 == 0 ? w == 8 || w == 16 : w == 7 || w == 14;
        if (m_tiles <= 28 && (!wasteful || widths.size() == 1 || w == base_.out_w)) list.emplace_back(h, w);
      }
    }
    return list;
  }

  std::vector<int> chunks() const {
    const int granule = 16 * base_.multiplier;
    if (base_.conv && !base_.expand) return {round_up(base_.dw_c, 16)};
    std::vector<int> list;
    // A wide input in FP32 leaves room for the shortest chunks alone: all of its channels lie beside their weights.
    const bool wide = base_.expand && !base_.conv && facts_.element_bytes() == 4 && base_.in_c > 256;
    if (wide) list.push_back(granule);
    for (const int target : {32, 64, 128}) add_unique(list, even_cut(base_.dw_c, granule, std::min(target, kLongestChunk)));
    return list;
  }

  std::vector<int> columns() const {
    if (!base_.project) return {16};
    std::vector<int> list = {even_cut(base_.out_c, 16, kWidestTile)};
    if (base_.dw && base_.expand && base_.out_c <= kWidestTile) return list;  // never repeat the middle for nothing
    for (const int target : {32, 64, 128}) add_unique(list, even_cut(base_.out_c, 16, target));
    return list;
  }

  void sweep_cuts() {
    const std::vector<int> some_chunks = chunks(), some_columns = columns();
    for (const auto& [h, w] : planes()) {
      Found best;
      for (const int chunk : some_chunks) {
        for (const int n_tile : some_columns) {
          TileConfig t;
          t.tile_h = h, t.tile_w = w, t.chunk = chunk, t.n_tile = n_tile;
          for (const int split : facts_.splits(t)) {
            t.split = split;
            lay_out(t);
            consider(t, best);
          }
        }
      }
      if (best.us < kNever) starts_.push_back(best);
    }
    std::stable_sort(starts_.begin(), starts_.end(), [](const Found& a, const Found& b) { return a.us < b.us; });
    if (starts_.size() > kStarts) starts_.resize(kStarts);
  }

  /// One layout of about eight warps: over pixels first, then columns until the sums fit the registers, then channels.
  void lay_out(TileConfig& t) const {
    const int groups = facts_.groups_of(t), columns = t.n_tile / 16;
    t.warps_m = groups >= 8 ? 8 : groups >= 4 ? 4 : groups >= 2 ? 2 : 1;
    if (groups % 7 == 0) t.warps_m = 7;
    t.warps_n = 1;
    while (base_.project && t.warps_n < 4 && columns % (2 * t.warps_n) == 0 && ceil_div(groups, t.warps_m) * (columns / t.warps_n) > 8)
      t.warps_n *= 2;
    t.warps_k = std::clamp(8 / (t.warps_m * t.warps_n), 1, std::max(1, t.chunk / (base_.project ? facts_.whole.geometry.ks : 16)));
  }

  /// Splits that give all blocks the same number of chunks, or nearly so.
  const std::vector<int>& splits_that_fill(const TileConfig& t) {
    const int chunks = facts_.chunks_of(t), most = std::min(chunks, base_.project ? 16 : 64);
    if (chunks == filled_chunks_) return fills_;
    filled_chunks_ = chunks;
    fills_.clear();
    for (int share = 1; share <= chunks; ++share) {
      const int split = ceil_div(chunks, share);
      if (split <= most && (fills_.empty() || fills_.back() != split)) fills_.push_back(split);
    }
    return fills_;
  }

  /// Calls `move` with the values beside `now` in an ascending list.
  template <class Move>
  static void beside(const std::vector<int>& list, int now, Move&& move) {
    const auto at = std::lower_bound(list.begin(), list.end(), now);
    if (at != list.begin()) move(*(at - 1));
    const auto next = at != list.end() && *at == now ? at + 1 : at;
    if (next != list.end()) move(*next);
  }

  /// Calls `move` with the tiles that one parameter, or two that go together, leads to.
  template <class Move>
  void neighbours(const TileConfig& t, Move&& move) {
    static const std::vector<int> kExtents = {2, 4, 7, 8, 14, 16, 28, 32}, kRuns = {16, 32, 64, 128, 256}, kPixelWarps = {1, 2, 4, 7, 8},
                                  kChannelWarps = {1, 2, 3, 4, 6, 8}, kColumnWarps = {1, 2, 4}, kBlocks = {1, 2, 3, 4, 6};
    const auto moved = [&](int TileConfig::*field, int x) {
      TileConfig other = t;
      other.*field = x;
      move(other);
    };
    const auto vary = [&](int TileConfig::*field, const std::vector<int>& values) {
      beside(values, t.*field, [&](int x) { moved(field, x); });
    };
    vary(&TileConfig::warps_m, kPixelWarps);
    vary(&TileConfig::warps_k, kChannelWarps);
    if (base_.project) vary(&TileConfig::warps_n, kColumnWarps);
    for (const int k : {t.warps_k * 2, t.warps_k / 2}) {  // warps move between pixels and channels
      if (k < 1 || (k < t.warps_k ? t.warps_m > 4 : t.warps_m % 2 != 0)) continue;
      TileConfig other = t;
      other.warps_k = k;
      other.warps_m = k < t.warps_k ? t.warps_m * 2 : t.warps_m / 2;
      move(other);
    }
    const auto try_all = [&](int TileConfig::*field, const std::vector<int>& values) {
      for (const int x : values) {
        if (x != t.*field) moved(field, x);
      }
    };
    try_all(&TileConfig::min_blocks, kBlocks);
    try_all(&TileConfig::split, splits_that_fill(t));
    vary(&TileConfig::chunk, all_chunks_);
    const int share = ceil_div(ceil_div(base_.dw_c, t.chunk), t.split);
    beside(all_chunks_, t.chunk, [&](int chunk) {  // the same number of chunks a block
      TileConfig other = t;
      other.chunk = chunk;
      other.split = ceil_div(ceil_div(base_.dw_c, chunk), share);
      move(other);
    });
    if (base_.project) vary(&TileConfig::n_tile, all_columns_);
    if (base_.dw) vary(&TileConfig::tile_h, kExtents);
    vary(&TileConfig::tile_w, base_.dw ? kExtents : kRuns);
  }

  void climb(Found now) {
    for (int move = 0; move < kMostClimbs; ++move) {
      Found best = now;
      neighbours(now.tile, [&](const TileConfig& t) { consider(t, best); });
      if (best.us >= now.us) return;
      now = best;
    }
  }

  /// Every way to run a cut with a layout of warps, once: by warps or warpgroups, with weights that stay or rotate.
  /// A better one takes the place of `best`, the best of the plane or of the climb.
  void consider(TileConfig t, Found& best) {
    if (!tried_.insert(to_key(t))) return;
    choose_expansion(t);
    consider_residency(t, best);
    if (!has_warpgroups(facts_.device.target)) return;
    const bool projects = facts_.element_bytes() == 2 && geometry::groups_may_project(base_, t.warps_m);
    if (base_.expand) {
      if (projects) {
        t.project_groups = true;
        consider_residency(t, best);
        t.project_groups = false;
      }
      choose_warpgroup_expansion(t);
      consider_residency(t, best);
    } else if (projects) {
      t.warpgroup = true;
      consider_residency(t, best);
    }
  }

  /// The expansion's unit: as many columns as leave every warp some work, two rows of tiles when there is plenty.
  void choose_expansion(TileConfig& t) {
    t.warpgroup = t.project_groups = false;
    t.expand_m = t.expand_n = 1;
    if (!base_.expand) return;
    const int cols = facts_.columns_of(t), rows = ceil_div(facts_.plane_of(t).core_px, 16), warps = t.warps_m * t.warps_k * t.warps_n;
    if (base_.math == geometry::Math::f32) return choose_f32_expansion(t, rows, cols, warps);
    for (const int n : {4, 3, 2}) {
      if (cols % n == 0 && rows * (cols / n) >= warps) {
        t.expand_n = n;
        break;
      }
    }
    if (ceil_div(rows, 2) * (cols / t.expand_n) >= 2 * warps) t.expand_m = 2;
  }

  void choose_f32_expansion(TileConfig& t, int rows, int cols, int warps) const {
    double least = kNever;
    for (int m = 1; m <= 4; ++m) {
      for (int n = 1; n <= 4; ++n) {
        if (cols % n != 0) continue;
        const double cycles = f32_expansion_cycles(m, n, rows, cols, warps);
        if (cycles < least) least = cycles, t.expand_m = m, t.expand_n = n;
      }
    }
  }

  /// The same by warpgroups: 64 rows, as many columns as divide the chunk.
  void choose_warpgroup_expansion(TileConfig& t) const {
    t.warpgroup = true;
    t.expand_m = t.expand_n = 1;
    for (const int n : {4, 3, 2}) {
      if (facts_.columns_of(t) % n != 0) continue;
      t.expand_n = n;
      return;
    }
  }

  void consider_residency(TileConfig t, Found& best) {
    const int mine = ceil_div(ceil_div(base_.dw_c, t.chunk), t.split);
    for (const bool resident : {true, false}) {
      if (!resident && mine == 1) continue;  // one chunk stays either way
      t.resident = resident;
      t.stages = base_.expand ? 1 : std::min(mine + 1, 3);
      if (!costs_.recut(module_, t)) continue;
      const std::optional<Found> found = costed(t, best);
      if (!found) continue;
      best_us_ = std::min(best_us_, found->us);
      if (found->us < best.us) best = *found;
      found_.push_back(*found);
    }
  }

  /// Whether a streamed tile is legal; it is costed where it may be among the best.
  bool keep(const TileConfig& t) {
    if (!costs_.recut(module_, t)) return false;
    ++rated_;
    TileRating rating;
    double latency = costs_.latency_us(module_, untaught_, rating);
    if (costs_.step_us() + latency >= kMostTaught * best_us_) return true;
    latency *= costs_.correction(module_, rating, latency, kNever);
    const Cost cost = costs_.cost(module_, rating, latency);
    best_us_ = std::min(best_us_, cost.time_us);
    found_.push_back({t, cost.time_us});
    return true;
  }

  /// The time of the tile that the module is cut into; nothing when it is hopeless beside `rival`. The trees are asked of tiles that they
  /// could make the best, and bytes are counted of those that they do.
  std::optional<Found> costed(const TileConfig& t, const Found& rival) {
    ++rated_;
    TileRating rating;
    const double rated = costs_.latency_us(module_, untaught_, rating), least = costs_.step_us() + rated;
    const bool taught = least < kMostTaught * best_us_;
    const double least_correction = !taught ? 1.0 : climbing_ ? rival.correction * kNeighbourCorrection : kLeastCorrection;
    if (least * least_correction >= rival.us) return std::nullopt;
    const double correction = taught ? costs_.correction(module_, rating, rated, rival.us) : 1.0, latency = rated * correction;
    if (costs_.step_us() + latency >= rival.us) return Found{t, costs_.step_us() + latency, correction};
    return Found{t, costs_.cost(module_, rating, latency).time_us, correction};
  }

  /// The fields that cuts and layouts differ in, packed.
  static uint64_t to_key(const TileConfig& t) {
    uint64_t key = 0;
    for (const int field : {t.tile_h, t.tile_w, t.chunk, t.n_tile, t.split, t.warps_m, t.warps_k, t.warps_n, t.min_blocks})
      key = (key ^ static_cast<uint64_t>(field)) * 0x9e3779b97f4a7c15ULL + (key >> 29);
    return key;
  }

  const ModuleSpec& spec_;
  TileCosts costs_;
  CutFacts facts_;
  const geometry::Shape& base_;
  TiledModule module_;  // the tile that is looked at
  std::vector<int> all_chunks_, all_columns_;
  std::vector<int> fills_;  // of the tile that was looked at last
  int filled_chunks_ = 0;
  TileModel untaught_ = without_trees();
  double best_us_ = kNever;
  bool climbing_ = false;  // from tile to neighbour
  KeySet tried_;
  size_t rated_ = 0;
  std::vector<Found> found_;
  std::vector<Found> starts_;  // the best tiles of the best planes
};

std::vector<CostedTile> search_head(const ModuleSpec& spec, int64_t images, const DeviceModel& device, const Residency& residency,
                                    size_t most) {
  std::vector<CostedTile> list;
  for (const TileConfig& t : head_tiles(spec, static_cast<int>(images), device.target)) {
    if (block_refusal(spec, t, device).empty()) list.push_back({t, predicted_cost(spec, t, images, device, residency)});
  }
  std::stable_sort(list.begin(), list.end(), [](const CostedTile& a, const CostedTile& b) { return a.cost.time_us < b.cost.time_us; });
  if (list.size() > most) list.resize(most);
  return list;
}

}  // namespace

size_t TileSearch::Hash::operator()(const ModuleSpec& spec) const {
  size_t hash = 0;
  const auto add = [&](auto x) { hash = (hash ^ static_cast<size_t>(x)) * 0x9e3779b97f4a7c15ULL + (hash >> 29); };
  add(spec.height), add(spec.width), add(spec.pool), add(spec.residual), add(spec.sum_tiles);
  for (const StageSpec& s : spec.stages) add(s.op), add(s.kernel_h), add(s.stride_h), add(s.out_channels), add(s.activation.fn);
  return hash;
}

SearchedModule& TileSearch::module(const ModuleSpec& spec, int64_t images) {
  const auto known = known_.try_emplace(spec).first;
  const auto [entry, fresh] = known->second.try_emplace(images);
  SearchedModule& m = entry->second;
  if (!fresh) return m;
  m.spec = &known->first, m.images = images;
  if (const auto tile = most_ == 1 ? known_tile(m) : std::nullopt) {
    m.tiles = {*tile}, m.searched = true, m.least_us = tile->cost.time_us;
  } else {
    m.least_us = std::max(least_module_us(spec, images, device_, residency_), least_by_fewer(spec, images));
  }
  return m;
}

/// A module is not faster for more images, or hardly. 0: nothing is known of fewer.
double TileSearch::least_by_fewer(const ModuleSpec& spec, int64_t images) const {
  if (fewer_ == nullptr || is_head(spec)) return 0;
  const auto known = fewer_->known_.find(spec);
  if (known == fewer_->known_.end()) return 0;
  const auto above = known->second.lower_bound(images);
  if (above == known->second.begin()) return 0;
  const double us = std::prev(above)->second.least_us;
  return us < kNever ? us * kLeastGrowth : 0.0;
}

/// The tile that the device is known to run fastest.
std::optional<CostedTile> TileSearch::known_tile(const SearchedModule& m) const {
  if (device_.kernels == nullptr) return std::nullopt;
  const auto known = device_.kernels->find(*m.spec, m.images);
  if (!known || !refusal(*m.spec, known->tile, device_).empty()) return std::nullopt;
  return CostedTile{known->tile, known_cost(*m.spec, *known, m.images, device_, residency_)};
}

void TileSearch::search(SearchedModule& m) {
  if (is_head(*m.spec)) {
    m.tiles = search_head(*m.spec, m.images, device_, residency_, most_);
  } else {
    Cuts cuts(*m.spec, m.images, device_, residency_);
    m.tiles = cuts.search(most_);
    rated_ += cuts.rated();
  }
  if (const auto known = most_ > 1 ? known_tile(m) : std::nullopt) {
    std::erase_if(m.tiles, [&](const CostedTile& t) { return t.tile == known->tile; });
    m.tiles.insert(m.tiles.begin(), *known);
    if (m.tiles.size() > most_) m.tiles.pop_back();
  }
  m.searched = true;
  m.least_us = m.tiles.empty() ? kNever : m.tiles.front().cost.time_us;
}

const std::vector<CostedTile>& TileSearch::tiles(const ModuleSpec& spec, int64_t images) {
  SearchedModule& m = module(spec, images);
  if (!m.searched) search(m);
  return m.tiles;
}

}  // namespace fcm
