// geometry.h against brute force over random legal cases: what a tile needs is what it loads, and no two things share a byte.
#include "fcm/geometry.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "tests/modules/cases.h"

namespace fcm {
namespace {

using geometry::Axis;
using geometry::Geometry;
using geometry::Shape;

/// A random legal case that is no head, and what follows from it.
struct RandomModule {
  testing::Case c;
  Shape s;
  Geometry g;
};
std::vector<RandomModule> random_modules(uint32_t seed, int count) {
  std::vector<RandomModule> modules;
  for (const testing::Case& c : testing::random_cases(seed, count, jit::Target::parse("90a"))) {
    if (is_head(c.spec)) continue;
    const Shape s = shape_of(c.spec, c.tile);
    modules.push_back({c, s, geometry::derive(s)});
  }
  return modules;
}

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
  for (const auto& [c, s, g] : random_modules(21, 600)) {
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

/// Rows that pixel groups below each other load, by fours, and those of spare groups lie in the chunk buffer.
TEST(Geometry, RowsOfARunLieInTheBuffer) {
  int seen = 0;
  for (const auto& [c, s, g] : random_modules(22, 1500)) {
    if (!g.runs) continue;
    const int length = geometry::run_length(s, g), apart = 2 * s.dw_window.sh, rows = (length - 1) * apart + g.dw_rows;
    const int loaded = rows % 4 == 3 ? rows + 1 : rows;
    for (int run = 0; run < s.warps_m / g.m_tiles_w; ++run) {
      for (int first = 0; first < g.warp_m; first += length) ASSERT_LE((run * g.warp_m + first) * apart + loaded, g.e_rows) << to_string(c);
    }
    seen += length > 1 ? 1 : 0;
  }
  EXPECT_GT(seen, 100);
}

/// Of a tile of several images the rows that an image's outputs read are its own or nobody's, and no row is two images'.
TEST(Geometry, ImagesOfATileDoNotTouch) {
  int seen = 0;
  for (const auto& [c, s, g] : random_modules(23, 600)) {
    if (c.tile.images == 1) continue;
    ++seen;
    const geometry::Window& w = s.dw_window;
    std::map<int, int> owner;  // rows of the chunk buffer
    const int apart = g.image_pairs * 2 * w.sh;
    for (int image = 0; image < s.images; ++image) {
      for (int row = 0; row < g.ay.core; ++row) {
        ASSERT_TRUE(owner.emplace(image * apart + g.ay.core_at + row, image).second) << to_string(c);
      }
    }
    EXPECT_LT(owner.rbegin()->first, g.e_rows) << to_string(c);
    for (int image = 0; image < s.images; ++image) {
      for (int y = 0; y < s.out_h; ++y) {
        for (int ky = 0; ky < w.kh; ++ky) {
          const int at = image * apart + y * w.sh + ky * w.dh, position = y * w.sh + ky * w.dh - w.top;
          ASSERT_LT(at, g.e_rows) << to_string(c);
          const auto found = owner.find(at);
          const bool inside = position >= 0 && position < s.mid_h;
          ASSERT_EQ(found != owner.end() && found->second == image, inside) << to_string(c);
          ASSERT_TRUE(inside || found == owner.end()) << to_string(c);
        }
      }
    }
    EXPECT_EQ(geometry::work_items(s, g, 7), (7 + s.images - 1) / s.images);
  }
  EXPECT_GT(seen, 20);
}

TEST(Geometry, SharedMemoryRegionsAreDisjointAndAligned) {
  int products = 0, teams = 0;
  for (const auto& [c, s, g] : random_modules(22, 600)) {
    std::map<int, int> regions;  // begin -> end
    const auto add = [&](int at, int bytes) {
      EXPECT_EQ(at % 16, 0) << to_string(c);
      if (bytes > 0) {
        EXPECT_TRUE(regions.emplace(at, at + bytes).second) << to_string(c);
      }
    };
    add(g.s_barrier, s.project && s.split > 1 ? 16 : 0);
    add(g.s_arrivals, g.counts_weights ? (s.team > 0 ? 2 : 1) * g.weight_stages * 8 : 0);
    add(g.s_biases, s.project && s.team > 0 ? g.block_chunks * g.e_chunk * 4 : 0);
    add(g.s_bias, s.project ? s.n_tile * 4 : 0);
    add(g.s_sites, g.sites * 8);
    add(g.s_weights, g.weight_stages * (g.record_a + g.record_b));
    add(g.s_x, g.x_bytes);
    add(g.s_slices, geometry::weight_slices(s, g) * g.weight_slice);
    if (!s.overlaid) add(g.s_e, g.e_buffers * g.e_bytes);
    EXPECT_EQ(s.overlaid, g.s_e == g.s_x && g.x_bytes > 0) << to_string(c);
    EXPECT_LE(g.s_e + g.e_buffers * g.e_bytes, g.red_aliases_e || s.project ? g.shared_bytes : g.s_stage) << to_string(c);
    if (!g.red_aliases_e) add(g.s_red, g.red_bytes);
    const int kept = s.residual == geometry::Residual::none ? 1 : s.tile_w / (16 * s.warps_m) * ((s.n_tile + 63) / 64);
    add(g.s_stage, g.product ? g.warps * kept * 2048 : g.paired || s.project ? 0 : g.warps * 16 * g.corner_pitch);
    int end = 0;
    for (const auto& [begin, stop] : regions) {
      EXPECT_GE(begin, end) << to_string(c);
      end = stop;
    }
    EXPECT_LE(end, g.shared_bytes);
    EXPECT_LE(g.s_red + g.red_bytes, g.shared_bytes);
    EXPECT_EQ(g.record_a % 16, 0);
    EXPECT_GE(g.slices_at, g.b_at + g.chunks * g.n_blocks * g.record_b);
    EXPECT_EQ(g.blob_bytes, g.slices_at + (g.product ? g.n_blocks : g.chunks) * g.slices * g.weight_slice);
    if (!s.streamed) continue;
    products += g.product ? 1 : 0;
    EXPECT_EQ(g.s_slices % 1024, 0) << to_string(c);  // the pattern of a matrix descriptor repeats every 1024 bytes
    teams += s.team > 0 ? 1 : 0;
    if (s.team > 0) continue;  // whose pixels are in registers
    EXPECT_EQ(g.s_x % 1024, 0) << to_string(c);
    EXPECT_EQ(g.x_slice % 1024, 0) << to_string(c);
    EXPECT_GE(g.x_slice, g.core_px * geometry::kSliceBytes);
    if (!g.red_aliases_e) {
      EXPECT_LE(g.s_e + g.e_bytes, s.project ? g.s_red : g.s_stage) << to_string(c);
    }
    EXPECT_LE(g.s_x + (s.stages - 1) * g.x_slice + g.x_rows * geometry::kSliceBytes, g.shared_bytes);  // what is read
    EXPECT_GE(g.slices * g.slice, s.in_c);
    EXPECT_LT((g.slices - 1) * g.slice, s.in_c);
  }
  EXPECT_GT(products, 10);
  EXPECT_GT(teams, 5);
}

/// Warps that exchange sums: each 16 columns are kept by one of them, and there is room for what all others give it.
TEST(Geometry, PartiesShareTheColumns) {
  int exchanging = 0, uneven = 0;
  for (const auto& [c, s, g] : random_modules(24, 900)) {
    if (g.parties == 1) continue;
    ASSERT_TRUE(g.direct) << to_string(c);
    EXPECT_EQ(g.parties, s.split * s.warps_k) << to_string(c);
    EXPECT_GE(g.parties * g.own_n, g.warp_n) << to_string(c);
    EXPECT_EQ(g.red_bytes, (g.parties - 1) * g.warps * g.warp_m * g.own_n * geometry::kSumsBytes) << to_string(c);
    EXPECT_LE(g.s_red + g.red_bytes, g.s_stage) << to_string(c);
    ++exchanging;
    uneven += g.warp_n % g.parties != 0 ? 1 : 0;
  }
  EXPECT_GT(exchanging, 20);
  EXPECT_GT(uneven, 3);
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

/// Eight pixels behind each other, whatever the channels: a matrix load of their `piece`-th 16 bytes meets no bank twice.
TEST(Geometry, PiecesThatTradePlacesMeetNoBankTwice) {
  for (int bytes = 16; bytes <= 2048; bytes += 16) {
    const int width = geometry::trading_width(bytes);
    for (int first = 0; first < 16; first += 8) {
      for (int piece = 0; piece < bytes / 16; ++piece) {
        std::set<int> banks;
        for (int row = first; row < first + 8; ++row) banks.insert((row * bytes + geometry::traded_piece(width, row, piece) * 16) % 128);
        EXPECT_EQ(banks.size(), 8u) << bytes << " bytes, piece " << piece;
      }
    }
    for (int row = 0; row < 16; ++row) {  // a permutation within the row
      std::set<int> places;
      for (int piece = 0; piece < bytes / 16; ++piece) places.insert(geometry::traded_piece(width, row, piece));
      EXPECT_EQ(*places.begin(), 0);
      EXPECT_EQ(*places.rbegin(), bytes / 16 - 1);
      EXPECT_EQ(places.size(), static_cast<size_t>(bytes / 16));
    }
  }
}

/// Neighbours of a region that a window of stride two reads: eight of them meet no bank twice, nor do eight of one residue.
TEST(Geometry, ColumnsOfAStridedWindowMeetNoBankTwice) {
  int seen = 0;
  for (const auto& [c, s, g] : random_modules(24, 600)) {
    if (g.flat || g.el != 2 || s.dw_window.sw != 2 || !s.expand) continue;
    ++seen;
    EXPECT_GE(g.e_column, g.e_half * g.e_pitch);
    EXPECT_EQ(g.e_line, 2 * g.e_column);
    std::set<int> neighbours, alike;
    for (int x = 0; x < 8; ++x) {
      neighbours.insert((x % 2 * g.e_column + x / 2 * g.e_pitch) % 128);
      alike.insert(x * g.e_pitch % 128);
    }
    EXPECT_EQ(neighbours.size(), 8u) << to_string(c);
    EXPECT_EQ(alike.size(), 8u) << to_string(c);
  }
  EXPECT_GT(seen, 20);
}

TEST(Geometry, RowsOfASliceMeetNoBankTwice) {
  for (int piece = 0; piece < 8; ++piece) {
    std::set<int> banks;
    for (int row = 0; row < 8; ++row) banks.insert(geometry::slice_piece(2, row, piece));
    EXPECT_EQ(banks.size(), 8u);
    std::set<int> pairs;  // eight bytes a lane: 32 bytes of four rows at a time
    for (int row = 0; row < 4; ++row) pairs.insert(geometry::slice_piece(4, row, piece) / 2);
    EXPECT_EQ(pairs.size(), 4u);
    for (const int el : {2, 4}) {
      for (int row = 0; row < 8; ++row)
        EXPECT_EQ(geometry::slice_piece(el, row, piece) / 2, geometry::slice_piece(el, row, piece ^ 1) / 2);  // sectors stay whole
    }
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
      EXPECT_EQ(g.e_bytes, geometry::round_up(g.gate_at + g.gate_rows * 16 * 2, g.e_width > 0 ? geometry::kSliceBytes : 16));
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
