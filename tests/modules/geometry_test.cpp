// geometry.h against brute force over random legal cases: what a tile needs is what it loads, and no two things share a byte.
#include "fcm/geometry.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "fcm/emit.h"
#include "tests/modules/cases.h"

namespace fcm {
namespace {

using geometry::Axis;
using geometry::Geometry;
using geometry::Shape;

/// Every position that some real output of some tile reads is either computed (inside the core region) or padding of the plane.
void check_axis(const Axis& a, int out, int tile, int mid, int k, int s, int d, int before, const std::string& id) {
  int covered = 0;
  for (int t = 0; t < a.tiles; ++t) {
    for (int o = t * tile; o < std::min((t + 1) * tile, out); ++o, ++covered) {
      for (int i = 0; i < k; ++i) {
        const int local = (o - t * tile) * s + i * d, position = o * s + i * d - before;
        ASSERT_LT(local, a.extent) << id;
        const bool core = local >= a.core_at && local < a.core_at + a.core, inside = position >= 0 && position < mid;
        ASSERT_TRUE(core || !inside) << id;
        if (a.tiles == 1) {
          ASSERT_EQ(core, inside) << id;
        }
      }
    }
  }
  ASSERT_EQ(covered, out) << id;
}

TEST(Geometry, TilesReadWhatTheyLoad) {
  for (const testing::Case& c : testing::random_cases(21, 600, jit::Target::parse("90a"))) {
    if (c.spec.stages[0].op == StageOp::pool) continue;
    const Shape s = shape_of(c.spec, c.tile);
    const Geometry g = geometry::derive(s);
    if (g.flat) {
      EXPECT_EQ(g.m_tiles * 16, s.tile_w);
      EXPECT_GE(g.tiles * s.tile_w, s.out_h * s.out_w);
      continue;
    }
    const geometry::Window& w = s.dw_window;
    check_axis(g.ay, s.out_h, s.tile_h, s.mid_h, w.kh, w.sh, w.dh, w.top, to_string(c));
    check_axis(g.ax, s.out_w, s.tile_w, s.mid_w, w.kw, w.sw, w.dw, w.left, to_string(c));
    EXPECT_GE(g.e_slots, g.ax.extent);
    EXPECT_GE(g.e_rows, g.ay.extent);
    std::set<int> slots;  // the parity-split columns are a permutation
    for (int x = 0; x < g.ax.extent; ++x) slots.insert((x % w.sw) * g.e_half + x / w.sw);
    EXPECT_EQ(static_cast<int>(slots.size()), g.ax.extent);
    EXPECT_LT(*slots.rbegin(), g.e_slots);
  }
}

TEST(Geometry, SharedMemoryRegionsAreDisjointAndAligned) {
  for (const testing::Case& c : testing::random_cases(22, 600, jit::Target::parse("90a"))) {
    if (c.spec.stages[0].op == StageOp::pool) continue;
    const Shape s = shape_of(c.spec, c.tile);
    const Geometry g = geometry::derive(s);
    std::map<int, int> regions;  // begin -> end
    const auto add = [&](int at, int bytes) {
      EXPECT_EQ(at % 16, 0) << to_string(c);
      if (bytes > 0) {
        EXPECT_TRUE(regions.emplace(at, at + bytes).second) << to_string(c);
      }
    };
    add(g.s_barrier, s.project && s.split > 1 ? 16 : 0);
    add(g.s_bias, s.project ? s.n_tile * 4 : 0);
    add(g.s_sites, g.sites * 8);
    add(g.s_weights, g.weight_stages * (g.record_a + g.record_b));
    add(g.s_x, g.x_bytes);
    add(g.s_e, s.stages * g.e_bytes);
    if (!g.red_aliases_e) add(g.s_red, g.red_bytes);
    add(g.s_stage, s.project ? 0 : g.warps * 256 * g.el);
    int end = 0;
    for (const auto& [begin, stop] : regions) {
      EXPECT_GE(begin, end) << to_string(c);
      end = stop;
    }
    EXPECT_LE(end, g.shared_bytes);
    EXPECT_LE(g.s_red + g.red_bytes, g.shared_bytes);
    EXPECT_EQ(g.record_a % 16, 0);
    EXPECT_EQ(g.blob_bytes, g.b_at + g.chunks * g.n_blocks * g.record_b);
  }
}

TEST(Geometry, PitchesAvoidBankConflicts) {
  for (int channels = 16; channels <= 1024; channels += 16) {
    std::set<int> banks16, banks32;
    for (int row = 0; row < 8; ++row) banks16.insert(row * geometry::bank_pitch(channels, 2) % 128);
    for (int row = 0; row < 4; ++row) banks32.insert(row * geometry::bank_pitch(channels, 4) % 128);
    EXPECT_EQ(banks16.size(), 8u) << channels;
    EXPECT_EQ(banks32.size(), 4u) << channels;
  }
}

TEST(Geometry, EveryTapMeetsItsInputRowOnce) {
  for (int kh = 1; kh <= 11; ++kh) {
    for (const int stride : {1, 2, 3}) {
      for (const int dilation : {1, 2, 3}) {
        geometry::Window w;
        w.kh = kh, w.sh = stride, w.dh = dilation;
        const int rows = (kh - 1) * dilation + stride + 1;  // under two output rows
        for (const int output : {0, 1}) {
          std::multiset<int> taps;
          for (int row = -1; row < rows + 2; ++row) {
            const int tap = geometry::tap_of(w, row, output);
            if (tap < 0) continue;
            taps.insert(tap);
            EXPECT_EQ(row, output * stride + tap * dilation);
          }
          EXPECT_EQ(taps.size(), static_cast<size_t>(kh));
        }
      }
    }
  }
}

TEST(Geometry, AChunkBringsTheGatesOfAllImagesThatARunTouches) {
  for (const int side : {1, 2, 3, 7, 14}) {
    const ModuleSpec spec = parse_spec(fmt::format("nhwc {0}x{0} pw/40-24/f16/identity gate", side));
    for (const int run : {16, 32, 64, 256}) {
      const Geometry g = geometry::derive(shape_of(spec, parse_tile(fmt::format("t1x{}_c16_n32_x1_w1.1.1_s2_e1.1_r1_b1", run))));
      const int plane = side * side;
      int most = 0;
      for (int first = 0; first < plane * 16; first += run) most = std::max(most, (first + run - 1) / plane - first / plane + 1);
      EXPECT_GE(g.gate_rows, most) << side << " " << run;
      EXPECT_LE(g.gate_rows, run) << side << " " << run;
      EXPECT_EQ(g.e_bytes - g.gate_at, g.gate_rows * 16 * 2);
    }
  }
}

TEST(Geometry, WorkItemsCoverTheBatch) {
  const ModuleSpec spec = parse_spec("nhwc 7x7 pw/8-8/f16/relu");
  const Shape s = shape_of(spec, parse_tile("t1x32_c16_n16_x1_w1.1.1_s1_e1.1_r1_b1"));
  EXPECT_EQ(geometry::work_items(s, geometry::derive(s), 1), 2);
  EXPECT_EQ(geometry::work_items(s, geometry::derive(s), 3), 5);  // 147 pixels run on across images
}

}  // namespace
}  // namespace fcm
