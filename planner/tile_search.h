// The tile that a module runs with when nothing is measured: a short list of sensible cuts, each costed, instead of every legal tile, so
// that a whole network is planned in milliseconds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "planner/cost.h"

namespace fcm {

struct CostedTile {
  TileConfig tile;
  Cost cost;
};

/// What is known of the tiles of a module at a number of images.
struct SearchedModule {
  const ModuleSpec* spec = nullptr;
  int64_t images = 1;
  bool searched = false;          ///< or known without
  double least_us = 0;            ///< no tile is below this, those of the search included; infinity when none is legal
  std::vector<CostedTile> tiles;  ///< searched: the best legal ones of the short list by predicted time, best first
};

/// Searches once a spec and number of images. One thread.
class TileSearch {
 public:
  /// `most`: tiles that a search returns. `fewer`: searches for fewer images, whose results bound these, or null. `device` and `fewer` must
  /// outlive this.
  TileSearch(const DeviceModel& device, const Residency& residency, size_t most = 4, const TileSearch* fewer = nullptr)
      : device_(device), residency_(residency), most_(most), fewer_(fewer) {}

  /// What is known so far. It stays where it is.
  SearchedModule& module(const ModuleSpec& spec, int64_t images);
  void search(SearchedModule& module);
  /// The best legal tiles of the short list by predicted time, best first; empty when none is legal. Ahead of them the tile that the
  /// device is known to run fastest, where there is one; where one tile is wanted nothing else is searched then.
  const std::vector<CostedTile>& tiles(const ModuleSpec& spec, int64_t images);
  /// Tiles that were rated so far, by all searches.
  size_t rated() const { return rated_; }

 private:
  std::optional<CostedTile> known_tile(const SearchedModule& module) const;
  double least_by_fewer(const ModuleSpec& spec, int64_t images) const;
  struct Hash {
    size_t operator()(const ModuleSpec& spec) const;
  };
  const DeviceModel& device_;
  Residency residency_;
  size_t most_, rated_ = 0;
  const TileSearch* fewer_;
  std::unordered_map<ModuleSpec, std::map<int64_t, SearchedModule>, Hash> known_;  // by images
};

}  // namespace fcm
