// What all tiles of a module have in common, and what follows from parts of a tile alone: for those who look for tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "fcm/emit.h"
#include "planner/device_model.h"

namespace fcm {

inline constexpr int kWidestTile = 320;  ///< output columns of a block

/// `extent` in equal pieces, rounded up to `granule`, none longer than about `target`.
int even_cut(int extent, int granule, int target);
void add_unique(std::vector<int>& list, int x);
/// FP32 cycles of a warp for `rows` by `cols` tiles of 16 x 16 in units of m x n: the unit decides how often a lane loads what it
/// multiplies.
double f32_expansion_cycles(int m, int n, int rows, int cols, int warps);

class CutFacts {
 public:
  /// `spec` and `device` must outlive this.
  CutFacts(const ModuleSpec& spec, int64_t images, const DeviceModel& device);
  CutFacts(const CutFacts&) = delete;

  const int64_t images;
  const DeviceModel& device;
  const TiledModule whole;      ///< cut into no particular tile
  const geometry::Shape& base;  ///< its shape
  int element_bytes() const { return whole.geometry.el; }

  int chunks_of(const TileConfig& t) const { return geometry::ceil_div(base.dw_c, t.chunk); }
  /// Columns of 16 channels that the expansion makes of a chunk.
  int columns_of(const TileConfig& t) const { return t.chunk / base.multiplier / 16; }
  /// Groups of 16 pixels of a tile.
  int groups_of(const TileConfig& t) const;
  /// What follows from a tile's extent on the plane alone (of one image): derived once each.
  struct Plane {
    int h, w, works, core_px;
  };
  const Plane& plane_of(const TileConfig& t);
  /// Ways to share the chunks among blocks: none, and as many as fill the device once or twice. Valid until it is asked again.
  const std::vector<int>& splits(const TileConfig& t);

 private:
  std::vector<Plane> planes_;
  std::vector<int> splits_;
};

}  // namespace fcm
