// The tile that a module runs with when nothing is measured: a short list of sensible cuts, each costed, instead of every legal tile, so
// that a whole network is planned in milliseconds.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "planner/cost.h"

namespace fcm {

struct CostedTile {
  TileConfig tile;
  Cost cost;
};

/// Searches once a spec and number of images. One thread.
class TileSearch {
 public:
  /// `most`: tiles that a search returns. `device` must outlive this.
  TileSearch(const DeviceModel& device, const Residency& residency, size_t most = 4)
      : device_(device), residency_(residency), most_(most) {}

  /// The best legal tiles of the short list by predicted time, best first; empty when none is legal.
  const std::vector<CostedTile>& tiles(const ModuleSpec& spec, int64_t images);
  /// Tiles that were rated so far, by all searches.
  size_t rated() const { return rated_; }

 private:
  const DeviceModel& device_;
  Residency residency_;
  size_t most_, rated_ = 0;
  std::unordered_map<std::string, std::vector<CostedTile>> known_;
};

}  // namespace fcm
