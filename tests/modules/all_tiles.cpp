// Enumeration of tiles one by one, without the search's shortcuts. Streamed expansions and tiles of several images are left out.
#include "tests/modules/all_tiles.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "fcm/emit.h"
#include "fcm/head.h"

namespace fcm {
namespace {

using geometry::Geometry;
using geometry::Shape;

/// Tile heights and widths worth trying along an axis of `extent` outputs in granules of `granule`.
std::vector<int> tile_extents(int extent, int granule) {
  std::vector<int> list;
  for (const int t : {2, 4, 7, 8, 14, 16, 28, 32}) {
    if (t < extent && (granule == 2 || t >= 7) && t % granule == (t % 7 == 0 ? t % granule : 0)) list.push_back(t);
  }
  if (extent <= 32) list.push_back(extent);
  return list;
}

/// Ways to cut `extent` into rounded pieces with little left over, largest first.
std::vector<int> even_cuts(int extent, int granule, int largest) {
  std::vector<int> list;
  for (int parts = 1; parts <= 64; ++parts) {
    const int piece = geometry::round_up(geometry::ceil_div(extent, parts), granule);
    if (piece <= largest && (list.empty() || list.back() != piece)) list.push_back(piece);
    if (piece == granule) break;
  }
  return list;
}

/// Output columns of a block: those that divide the channels evenly, and few others.
std::vector<int> column_cuts(int channels) {
  std::vector<int> list;
  for (const int piece : even_cuts(channels, 16, 320)) {
    const bool even = geometry::round_up(channels, 16) % piece == 0;
    if (list.empty() || even || 2 * piece <= list.back()) list.push_back(piece);
  }
  return list;
}

/// Warp layouts for a tile: along pixels first, the rest over channels of the chunk or output columns.
std::vector<std::tuple<int, int, int>> warp_layouts(const Shape& s, int m_tiles) {
  std::vector<std::tuple<int, int, int>> list;
  for (const int m : {1, 2, 3, 4, 5, 7, 8, 14}) {
    if (m > m_tiles || (m > 2 && m_tiles % m != 0 && m != 4 && m != 8)) continue;
    for (const int k : {1, 2, 3, 4, 6, 8}) {
      for (const int n : {1, 2, 4}) {
        const int warps = m * k * n;
        if (warps < 4 || warps > 16 || (!s.project && n > 1)) continue;
        list.emplace_back(m, k, n);
      }
    }
  }
  return list;
}

/// The expansion's unit: as many columns as leave every warp some work, two rows of tiles when there is plenty.
void choose_expansion(const Shape& s, TileConfig& t) {
  if (!s.expand) return;
  const Geometry g = geometry::derive(s);
  const int columns = g.e_chunk / 16, rows = geometry::ceil_div(g.core_px, 16), warps = t.warps_m * t.warps_k * t.warps_n;
  t.expand_m = t.expand_n = 1;
  for (const int n : {4, 3, 2}) {
    if (columns % n == 0 && rows * (columns / n) >= warps) {
      t.expand_n = n;
      break;
    }
  }
  if (geometry::ceil_div(rows, 2) * (columns / t.expand_n) >= 2 * warps) t.expand_m = 2;
}

/// The unit of an expansion by warpgroups: 64 rows, as many columns as divide the chunk.
void choose_warpgroup_expansion(const Shape& s, TileConfig& t) {
  const int columns = geometry::derive(s).e_chunk / 16;
  t.warpgroup = true;
  t.expand_m = t.expand_n = 1;
  for (const int n : {4, 3, 2}) {
    if (columns % n == 0) {
      t.expand_n = n;
      break;
    }
  }
}

/// Completes a tile (residency, stages) and keeps it when it is legal.
void keep_legal(const ModuleSpec& spec, TileConfig t, int batch, const TileDevice& device, std::vector<RatedTile>& list) {
  const Shape s = shape_of(spec, t);
  const int chunks = geometry::ceil_div(geometry::ceil_div(s.dw_c, t.chunk), t.split);
  for (const bool resident : {true, false}) {
    if (!resident && chunks == 1) continue;  // one chunk is resident either way
    t.resident = resident;
    for (const int stages : {1, 2}) {
      if (s.expand && stages > chunks) break;
      t.stages = s.expand ? stages : std::min(chunks + 1, stages + 1);
      for (const int blocks : {1, 2, 3, 4, 6}) {  // more blocks: fewer registers a thread
        t.min_blocks = blocks;
        if (blocks > 1 && register_limit(t) > 160) continue;
        if (!refusal(spec, t, device.target).empty()) break;
        list.push_back({t, rate(spec, t, batch, device)});
      }
    }
  }
}

/// By warps, and by warpgroups where these have a stage to multiply.
void consider(const ModuleSpec& spec, TileConfig t, int batch, const TileDevice& device, std::vector<RatedTile>& list) {
  const Shape s = shape_of(spec, t);
  choose_expansion(s, t);
  keep_legal(spec, t, batch, device, list);
  const bool projects = geometry::groups_may_project(s, t.warps_m);
  if (!has_warpgroups(device.target) || (!s.expand && !projects)) return;
  if (s.expand && projects) {
    t.project_groups = true;
    keep_legal(spec, t, batch, device, list);
    t.project_groups = false;
  }
  if (s.expand)
    choose_warpgroup_expansion(s, t);
  else
    t.warpgroup = true;
  keep_legal(spec, t, batch, device, list);
}

/// Pointwise layers by warpgroups: all columns, layouts and pipelines.
void enumerate_products(const ModuleSpec& spec, int batch, const TileDevice& device, std::vector<RatedTile>& list) {
  TileConfig t;
  t.warpgroup = t.streamed = true;
  t.chunk = geometry::kSliceBytes / 2;
  for (const int n_tile : even_cuts(output_channels(spec), 16, 256)) {
    for (int groups = 1; groups <= 4; ++groups) {
      t.n_tile = n_tile, t.warps_m = 4 * groups, t.tile_w = 64 * groups;
      for (const bool resident : {true, false}) {
        t.resident = resident;
        for (t.stages = 2; t.stages <= 8; ++t.stages) {
          for (t.min_blocks = 1; t.min_blocks <= 3; ++t.min_blocks) {
            if (!refusal(spec, t, device.target).empty()) break;
            list.push_back({t, rate(spec, t, batch, device)});
          }
        }
      }
    }
  }
}

void enumerate(const ModuleSpec& spec, int batch, const TileDevice& device, std::vector<RatedTile>& list) {
  const Shape base = shape_of(spec, TileConfig{});
  std::vector<std::pair<int, int>> planes;
  if (base.dw) {
    for (const int h : tile_extents(base.out_h, 2)) {
      for (const int w : tile_extents(base.out_w, 8)) planes.emplace_back(h, w);
    }
  } else {
    for (const int w : {16, 32, 64, 128, 256}) planes.emplace_back(1, w);
  }
  const int granule = 16 * base.multiplier;
  const bool whole = base.conv && !base.expand;
  const std::vector<int> chunks = whole ? std::vector<int>{geometry::round_up(base.dw_c, 16)} : even_cuts(base.dw_c, granule, 160);
  const std::vector<int> columns = base.project ? column_cuts(base.out_c) : std::vector<int>{16};
  for (const auto& [h, w] : planes) {
    for (const int chunk : chunks) {
      for (const int n_tile : columns) {
        if (base.dw && base.expand && n_tile < columns.front() && columns.front() <= 160) continue;  // never repeat the middle for nothing
        TileConfig t;
        t.tile_h = h, t.tile_w = w, t.chunk = chunk, t.n_tile = n_tile;
        const Geometry g = geometry::derive(shape_of(spec, t));
        for (const int split : {1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 24, 32, 48, 64}) {
          if (split > g.chunks || (base.project && split > 16)) break;
          t.split = split;
          for (const auto& [m, k, n] : warp_layouts(base, g.m_tiles)) {
            if (base.project && (n_tile / 16) % n != 0) continue;
            t.warps_m = m, t.warps_k = k, t.warps_n = n;
            consider(spec, t, batch, device, list);
          }
        }
      }
    }
  }
}

void enumerate_head(const ModuleSpec& spec, int batch, const TileDevice& device, std::vector<RatedTile>& list) {
  for (const TileConfig& t : head_tiles(spec, batch, device.target)) list.push_back({t, rate(spec, t, batch, device)});
}

/// The best `most`, at most three of one spatial tile and split: near-equal ratings say little, measurement should see different cuts.
std::vector<RatedTile> diverse(const std::vector<RatedTile>& sorted, size_t most) {
  std::map<std::tuple<int, int, int>, int> taken;
  std::vector<RatedTile> chosen;
  for (const RatedTile& r : sorted) {
    if (chosen.size() == most) break;
    if (++taken[{r.tile.tile_h, r.tile.tile_w, r.tile.split}] <= 3) chosen.push_back(r);
  }
  return chosen;
}

}  // namespace

std::vector<RatedTile> candidate_tiles(const ModuleSpec& spec, int batch, const TileDevice& device, size_t most) {
  std::vector<RatedTile> list;
  if (!refusal(spec, device.target).empty()) return list;
  if (is_head(spec)) {
    enumerate_head(spec, batch, device, list);
  } else {
    enumerate(spec, batch, device, list);
    if (kind_of(spec) == ModuleKind::pw) enumerate_products(spec, batch, device, list);
  }
  std::stable_sort(list.begin(), list.end(), [](const RatedTile& a, const RatedTile& b) { return a.rating.total < b.rating.total; });
  return diverse(list, most);
}

}  // namespace fcm
