#include "planner/cut_facts.h"

#include <algorithm>

#include "fcm/tiles.h"

namespace fcm {

using geometry::ceil_div;

int even_cut(int extent, int granule, int target) {
  return geometry::round_up(ceil_div(extent, std::max(1, ceil_div(extent, target))), granule);
}

void add_unique(std::vector<int>& list, int x) {
  if (std::find(list.begin(), list.end(), x) == list.end()) list.push_back(x);
}

CutFacts::CutFacts(const ModuleSpec& spec, int64_t of_images, const DeviceModel& of_device)
    : images(of_images), device(of_device), whole(tiled(spec, TileConfig{})), base(whole.shape) {}

int CutFacts::groups_of(const TileConfig& t) const {
  return base.dw ? ceil_div(t.tile_h, 2) * ceil_div(t.tile_w, 8) : t.tile_w / 16;
}

const CutFacts::Plane& CutFacts::plane_of(const TileConfig& t) {
  const auto known = std::find_if(planes_.begin(), planes_.end(), [&](const Plane& p) { return p.h == t.tile_h && p.w == t.tile_w; });
  if (known != planes_.end()) return *known;
  geometry::Shape s = base;
  s.tile_h = t.tile_h, s.tile_w = t.tile_w, s.warps_m = t.warps_m;
  const geometry::Geometry g = geometry::plane_geometry(s);
  planes_.push_back({t.tile_h, t.tile_w, geometry::work_items(s, g, static_cast<int>(images)), g.core_px});
  return planes_.back();
}

const std::vector<int>& CutFacts::splits(const TileConfig& t) {
  splits_.assign(1, 1);
  const int chunks = chunks_of(t);
  const double blocks = static_cast<double>(plane_of(t).works) * (base.project ? ceil_div(base.out_c, t.n_tile) : 1);
  const int most = std::min(chunks, !base.project ? 64 : device.target.major < 9 || base.pool != geometry::Pool::none ? 1 : 16);
  for (const double fill : {0.5, 1.0, 2.0}) {
    const int wanted = std::clamp(static_cast<int>(device.sm_count * fill / blocks), 1, most);
    add_unique(splits_, ceil_div(chunks, ceil_div(chunks, wanted)));  // equal shares
  }
  return splits_;
}

double f32_expansion_cycles(int m, int n, int rows, int cols, int warps) {
  return ceil_div(ceil_div(rows, m) * (cols / n), warps) * f32_cycles(m, n);
}

}  // namespace fcm
