// Packing against the fragment layouts that PTX defines, and round trips; the host reference against itself stage by stage.
#include "fcm/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "fcm/emit.h"
#include "fcm/reference.h"
#include "runtime/support/error.h"
#include "tests/modules/cases.h"

namespace fcm {
namespace {

using testing::Case;

TEST(Pack, DenseWeightsReadBack) {
  int checked = 0, products = 0;
  for (const Case& c : testing::random_cases(31, 240, jit::Target::parse("90a"))) {
    const geometry::Shape s = c.spec.stages[0].op == StageOp::pool ? geometry::Shape{} : shape_of(c.spec, c.tile);
    if (!s.project || s.conv || c.spec.tf32) continue;
    const testing::Operands o = make_operands(c);
    const std::vector<uint8_t> blob = pack_weights(c.spec, c.tile, o.weights);
    EXPECT_EQ(static_cast<int>(blob.size()), geometry::derive(s).blob_bytes);
    const StageSpec& last = c.spec.stages.back();
    for (int f = 0; f < last.out_channels; ++f) {
      for (int ch = 0; ch < last.in_channels; ++ch) {
        const float want = o.weights.stages.back().weight[static_cast<size_t>(f * last.in_channels + ch)];
        ASSERT_EQ(unpack_dense(c.spec, c.tile, blob, true, f, ch), want) << to_string(c);
      }
    }
    ++checked;
    products += s.streamed && !s.expand ? 1 : 0;
  }
  EXPECT_GT(checked, 60);
  EXPECT_GT(products, 3);
}

TEST(Pack, ExpansionWeightsReadBack) {
  int checked = 0, streamed = 0, teams = 0, projecting = 0;
  for (const Case& c : testing::random_cases(32, 240, jit::Target::parse("90a"))) {
    const geometry::Shape s = c.spec.stages[0].op == StageOp::pool ? geometry::Shape{} : shape_of(c.spec, c.tile);
    if (!s.expand || s.conv || c.spec.tf32) continue;
    const testing::Operands o = make_operands(c);
    const std::vector<uint8_t> blob = pack_weights(c.spec, c.tile, o.weights);
    const StageSpec& first = c.spec.stages[0];
    for (int f = 0; f < first.out_channels; ++f) {
      for (int ch = 0; ch < first.in_channels; ++ch) {
        const float want = o.weights.stages[0].weight[static_cast<size_t>(f * first.in_channels + ch)];
        ASSERT_EQ(unpack_dense(c.spec, c.tile, blob, false, f, ch), want) << to_string(c);
      }
    }
    ++checked;
    streamed += s.streamed ? 1 : 0;
    teams += s.team > 0 ? 1 : 0;
    projecting += s.team > 0 && s.project ? 1 : 0;
  }
  EXPECT_GT(checked, 30);
  EXPECT_GT(streamed, 10);
  EXPECT_GT(teams, 2);
  EXPECT_GT(projecting, 1);
}

/// A lane of a team loads 16 bytes of a pixel at a time. In two matrix steps it holds the columns 2q, 2q + 1, 2q + 8 and 2q + 9 of the left
/// operand, q = lane % 4: each two of these are neighbours in memory, and a step's four come from one load.
TEST(Pack, ATeamMultipliesWhatALaneLoads) {
  std::set<int> places;
  for (int half = 0; half < 2; ++half) {
    for (int q = 0; q < 4; ++q) {
      for (int step = 0; step < 2; ++step) {
        const int loaded = half * 32 + q * 8 + step * 4, first = (half * 2 + step) * 16 + 2 * q;
        const int columns[4] = {first, first + 1, first + 8, first + 9};
        for (int i = 0; i < 4; ++i) {
          EXPECT_EQ(geometry::team_depth(loaded + i), columns[i]);
          places.insert(columns[i]);
        }
      }
    }
  }
  EXPECT_EQ(places.size(), 64u);
}

/// A slice for warpgroups is rows of 128 bytes, one a middle channel, in the order that PTX calls 128-byte swizzling: bits 4 to 6 of an
/// address are combined with bits 7 to 9.
TEST(Pack, ASliceIsWhatWarpgroupsRead) {
  const ModuleSpec spec = parse_spec("nhwc 4x8 pw/100-32/f16/identity dw3x3s1x1p1.1.1.1/32-32/f16/identity");
  const TileConfig tile = parse_tile("t4x8_c32_n16_x1_w2.2.1_s2_e1.2_r0_b1_wg_st");
  ModuleWeights weights;
  weights.stages.resize(2);
  for (int i = 0; i < 3200; ++i) weights.stages[0].weight.push_back(static_cast<float>(i % 2000));
  weights.stages[1].weight.assign(288, 1.0f);
  const std::vector<uint8_t> blob = pack_weights(spec, tile, weights);
  const geometry::Geometry g = geometry::derive(shape_of(spec, tile));
  ASSERT_EQ(g.slices, 2);
  ASSERT_EQ(static_cast<int>(blob.size()), g.slices_at + 2 * 32 * 128);
  for (int f = 0; f < 32; ++f) {
    for (int k = 0; k < 128; ++k) {
      const int plain = geometry::paired_place(f) * 128 + k % 64 * 2, address = plain ^ ((plain >> 7 & 7) << 4);
      uint16_t bits = 0;
      std::memcpy(&bits, &blob[static_cast<size_t>(g.slices_at + k / 64 * g.weight_slice + address)], 2);
      EXPECT_EQ(f16_to_f32(bits), k < 100 ? static_cast<float>((f * 100 + k) % 2000) : 0.0f) << f << " " << k;
    }
  }
}

/// What leaves from registers: a lane's two columns of either eight (2q and 2q + 1, q = lane % 4) are four neighbouring channels. Where 32
/// columns leave together its two of each of four eights are eight.
TEST(Pack, ALaneHoldsNeighbouringChannels) {
  std::set<int> places;
  for (int q = 0; q < 4; ++q) {
    for (int i = 0; i < 4; ++i) {
      const int place = geometry::paired_place(16 + 4 * q + i);
      EXPECT_EQ(place, 16 + i / 2 * 8 + 2 * q + i % 2);
      places.insert(place);
    }
  }
  EXPECT_EQ(places.size(), 16u);

  const ModuleSpec spec = parse_spec("nhwc 8x8 dw3x3s1x1p1.1.1.1/64-64/f16/identity pw/64-96/f16/identity");
  const auto derived = [&](const char* tile) { return geometry::derive(shape_of(spec, parse_tile(tile))); };
  const geometry::Geometry two = derived("t8x8_c32_n96_x1_w2.1.2_s2_e1.1_r1_b1");  // two warps of 48 columns: 32, and 16 that are left
  ASSERT_TRUE(two.direct && two.wide);
  for (int q = 0; q < 4; ++q) {
    for (int i = 0; i < 8; ++i) EXPECT_EQ(geometry::column_place(two, 48 + 8 * q + i), 48 + i / 2 * 8 + 2 * q + i % 2);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(geometry::column_place(two, 80 + 4 * q + i), 80 + i / 2 * 8 + 2 * q + i % 2);
  }
  const geometry::Geometry shared = derived("t8x8_c32_n96_x1_w2.2.1_s2_e1.1_r1_b1");  // two warps keep 48 of the same sums each
  ASSERT_EQ(shared.parties, 2);
  for (int column = 0; column < 96; ++column) EXPECT_EQ(geometry::column_place(shared, column), geometry::column_place(two, column));
}

/// Of all tiles: places are a permutation of a block's columns, and what a warp or party keeps stays its own.
TEST(Pack, PlacesOfColumnsArePermutations) {
  int direct = 0, wide = 0, shared = 0;
  for (const Case& c : testing::random_cases(33, 900, jit::Target::parse("90a"))) {
    if (c.spec.stages[0].op == StageOp::pool) continue;
    const geometry::Shape s = shape_of(c.spec, c.tile);
    const geometry::Geometry g = geometry::derive(s);
    if (!g.direct) continue;
    std::set<int> places;
    for (int column = 0; column < s.n_tile; ++column) {
      const int place = geometry::column_place(g, column), warp = 16 * g.warp_n;
      EXPECT_EQ(place / warp, column / warp) << to_string(c);
      EXPECT_EQ(place % warp / (16 * g.own_n), column % warp / (16 * g.own_n)) << to_string(c);
      places.insert(place);
    }
    EXPECT_EQ(static_cast<int>(places.size()), s.n_tile) << to_string(c);
    ++direct;
    wide += g.wide ? 1 : 0;
    shared += g.parties > 1 ? 1 : 0;
  }
  EXPECT_GT(direct, 60);
  EXPECT_GT(wide, 20);
  EXPECT_GT(shared, 5);
}

/// A 16 x 16 projection of 16 channels in one unit: lane l must find B of mma.m16n8k16 in its 16 bytes: registers b0 (k 2q, 2q + 1) and
/// b1 (k 2q + 8, 2q + 9) of column l / 4, for columns 0-7 and then 8-15.
TEST(Pack, AUnitIsWhatLanesRead) {
  const ModuleSpec spec = parse_spec("nhwc 4x4 pw/16-16/f16/identity");
  const TileConfig tile = parse_tile("t1x16_c16_n16_x1_w1.1.1_s1_e1.1_r1_b1");
  ModuleWeights weights;
  weights.stages.resize(1);
  for (int i = 0; i < 256; ++i) weights.stages[0].weight.push_back(static_cast<float>(i));
  const std::vector<uint8_t> blob = pack_weights(spec, tile, weights);
  const geometry::Geometry g = geometry::derive(shape_of(spec, tile));
  for (int lane = 0; lane < 32; ++lane) {
    for (int side = 0; side < 2; ++side) {
      for (int r = 0; r < 2; ++r) {
        for (int half = 0; half < 2; ++half) {
          uint16_t bits = 0;
          std::memcpy(&bits, &blob[static_cast<size_t>(g.b_at + lane * 16 + side * 8 + r * 4 + half * 2)], 2);
          const int k = 2 * (lane % 4) + half + 8 * r, f = side * 8 + lane / 4;
          EXPECT_EQ(f16_to_f32(bits), static_cast<float>(f * 16 + k)) << lane;
        }
      }
    }
  }
}

/// Behind the bias of the stage that reads a normalised input lie the sums of its rounded weights.
TEST(Pack, ColumnSumsOfANormalisedInput) {
  for (const char* text :
       {"nhwc 4x4 pw/3-20/f16/identity norm=layer(1e-05)", "nhwc 4x4 pw/3-20/f16/gelu pw/20-3/f16/identity norm=layer(1e-05)"}) {
    const ModuleSpec spec = parse_spec(text);
    const TileConfig tile = parse_tile("t1x16_c16_n16_x1_w1.1.1_s1_e1.1_r1_b1");
    ModuleWeights weights;
    for (const StageSpec& s : spec.stages) {
      weights.stages.emplace_back();
      for (int i = 0; i < s.in_channels * s.out_channels; ++i) weights.stages.back().weight.push_back(1.0f + static_cast<float>(i) / 3.0f);
    }
    const std::vector<uint8_t> blob = pack_weights(spec, tile, weights);
    const geometry::Geometry g = geometry::derive(shape_of(spec, tile));
    const bool expands = spec.stages.size() == 2;
    for (int f = 0; f < 20; ++f) {
      float want = 0, got = 0;
      for (int c = 0; c < 3; ++c) want += f16_to_f32(f32_to_f16(weights.stages[0].weight[static_cast<size_t>(f * 3 + c)]));
      const int at = expands ? g.a_at + (f / 16) * g.record_a + g.expand_sums_at + (f % 16) * 4 : g.sums_at + f * 4;
      std::memcpy(&got, &blob[static_cast<size_t>(at)], 4);
      EXPECT_FLOAT_EQ(got, want) << text << " channel " << f;
    }
  }
}

TEST(Pack, CountsAreChecked) {
  const ModuleSpec spec = parse_spec("nhwc 4x4 pw/16-16/f16/identity");
  ModuleWeights weights;
  weights.stages.resize(1);
  weights.stages[0].weight.resize(255);
  EXPECT_THROW(pack_weights(spec, TileConfig{}, weights), Error);
}

/// A chain equals its stages one after the other, since every edge is rounded the same way.
TEST(Reference, AChainIsItsStagesInTurn) {
  int checked = 0;
  for (const Case& c : testing::random_cases(41, 200, jit::Target::parse("90a"))) {
    if (c.spec.stages.size() < 2 || c.spec.stages[0].op == StageOp::pool || c.spec.residual != geometry::Residual::none) continue;
    const testing::Operands o = make_operands(c);
    const ModuleResult whole = reference(c.spec, o.weights, o.inputs);
    ModuleInputs between = o.inputs;
    ModuleSpec part = c.spec;
    part.pool = geometry::Pool::none;
    const std::vector<Plane> planes = planes_of(c.spec);
    for (size_t i = 0; i < c.spec.stages.size(); ++i) {
      part.stages = {c.spec.stages[i]};
      part.height = planes[i].height, part.width = planes[i].width;
      ModuleWeights weights = o.weights;
      weights.stages = {o.weights.stages[i]};
      between.input = reference(part, weights, between).output;
      part.input = InputTransform::nhwc;
      part.norm = geometry::Norm::none, part.norm_epsilon = 0;
    }
    ASSERT_EQ(between.input, whole.output) << to_string(c);
    ++checked;
  }
  EXPECT_GT(checked, 30);
}

TEST(Reference, SmallByHand) {
  const ModuleSpec spec = parse_spec("nhwc 1x2 pw/2-1/f32/relu residual=before");
  ModuleWeights weights;
  weights.stages = {{{2.0f, -3.0f}, {0.5f}}};
  ModuleInputs inputs;
  inputs.input = {1.0f, 2.0f, 4.0f, 1.0f};
  inputs.residual = {1.0f, 1.0f};
  const ModuleResult r = reference(spec, weights, inputs);
  EXPECT_EQ(r.output, (std::vector<float>{0.0f, 6.5f}));  // 2 - 6 + 0.5 + 1 < 0; 8 - 3 + 0.5 + 1
  EXPECT_LT(r.bound[1], 1e-5f);
}

TEST(Reference, ANormalisedInputByHand) {
  ModuleWeights weights;
  weights.stages = {{{2.0f, -3.0f}, {0.5f}}};
  ModuleInputs inputs;
  inputs.input = {1.0f, 5.0f, 4.0f, 4.0f};
  ModuleInputs apart = inputs;
  apart.input = {1.0f, 5.0f, 4.0f, 3.0f};
  const ModuleResult layer = reference(parse_spec("nhwc 1x2 pw/2-1/f32/identity norm=layer(0)"), weights, apart);
  EXPECT_EQ(layer.output, (std::vector<float>{-4.5f, 5.5f}));  // -1 and 1, 1 and -1
  const ModuleResult rms = reference(parse_spec("nhwc 1x2 pw/2-1/f32/identity norm=rms(9)"), weights, inputs);
  EXPECT_FLOAT_EQ(rms.output[0], -13.0f / std::sqrt(13.0f + 9.0f) + 0.5f);
  EXPECT_FLOAT_EQ(rms.output[1], -4.0f / 5.0f + 0.5f);
  EXPECT_LT(layer.bound[1], 2e-4f);
}

TEST(Reference, PaddingOfTheDepthwiseStageIsZeroAfterTheFirst) {
  // A bias of one makes the expansion one everywhere inside the plane; a 3x3 sum of it counts the neighbours inside.
  const ModuleSpec spec = parse_spec("nhwc 2x2 pw/1-1/f32/identity dw3x3s1x1p1.1.1.1/1-1/f32/identity");
  ModuleWeights weights;
  weights.stages = {{{0.0f}, {1.0f}}, {std::vector<float>(9, 1.0f), {}}};
  ModuleInputs inputs;
  inputs.input.assign(4, 0.0f);
  EXPECT_EQ(reference(spec, weights, inputs).output, (std::vector<float>(4, 4.0f)));
}

}  // namespace
}  // namespace fcm
