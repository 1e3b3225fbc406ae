// Canonical texts, kinds, planes and legality of module specs.
#include "fcm/spec.h"

#include <gtest/gtest.h>

#include "fcm/emit.h"
#include "runtime/support/error.h"
#include "tests/modules/all_tiles.h"
#include "tests/modules/cases.h"

namespace fcm {
namespace {

const char* const kInverted =
    "nhwc 14x14 pw/64-384/f16/clip(0,6) dw3x3s1x1p1.1.1.1/384-384/f16/clip(0,6) pw/384-64/f16/identity residual=after from=input";

TEST(Spec, TextsReadBack) {
  testing::Random random(3);
  for (int i = 0; i < 2000; ++i) {
    const ModuleSpec spec = testing::random_spec(random);
    EXPECT_EQ(parse_spec(to_string(spec)), spec) << to_string(spec);
  }
  EXPECT_EQ(to_string(parse_spec(kInverted)), kInverted);
}

TEST(Spec, TileTextsReadBack) {
  testing::Random random(4);
  for (const testing::Case& c : testing::random_cases(5, 200, jit::Target::parse("90a"))) {
    EXPECT_EQ(parse_tile(to_string(c.tile)), c.tile);
    const testing::Case again = testing::parse_case(to_string(c));
    EXPECT_EQ(again.spec, c.spec);
    EXPECT_EQ(again.seed, c.seed);
    EXPECT_EQ(again.repeats, 1);
    testing::Case many = c;
    many.repeats = 32;
    EXPECT_EQ(testing::parse_case(to_string(many)).images(), 32 * c.batch);
  }
}

TEST(Spec, ALoneBlockTakesMoreThanHalfTheSharedMemoryAndIsTheSameCode) {
  const ModuleSpec spec = parse_spec(kInverted);
  const TileConfig tile = parse_tile("t2x7_c16_n64_x1_w1.1.2_s1_e1.1_r0_b1"),
                   lone = parse_tile("t2x7_c16_n64_x1_w1.1.2_s1_e1.1_r0_b1_lone");
  EXPECT_EQ(to_string(lone), to_string(tile) + "_lone");
  for (const char* name : {"75", "80", "90a"}) {
    const jit::Target target = jit::Target::parse(name);
    const Emitted a = emit(spec, tile, target), b = emit(spec, lone, target);
    EXPECT_EQ(a.program.source, b.program.source);
    EXPECT_LT(2 * a.launch.shared_bytes, shared_limit(target));
    EXPECT_EQ(a.launch.lone_bytes, 0);
    EXPECT_EQ(a.launch.shared_bytes, b.launch.shared_bytes);
    EXPECT_GT(2 * b.launch.lone_bytes, shared_limit(target));
    EXPECT_LE(b.launch.lone_bytes, shared_limit(target));
  }
}

TEST(Spec, MalformedTextsAreNamed) {
  for (const char* text :
       {"", "nhwc", "nhwc 14x14", "rows 14x14 pw/1-1/f32/relu", "nhwc 0x14 pw/1-1/f32/relu", "nhwc 14x14 pw/1/f32/relu",
        "nhwc 14x14 pw/1-1/f64/relu", "nhwc 14x14 pw/1-1/f32/relux", "nhwc 14x14 pw/1-1/f32/clip(0", "nhwc 14x14 pw/1-1/f32/clip(0,1,2)",
        "nhwc 14x14 pw/1-1/f32/relu norm=batch(1)", "nhwc 14x14 pw/1-1/f32/relu norm=layer(x)", "nhwc 14x14 pw/1-1/f32/relu norm=rms(1",
        "nhwc 14x14 dw3x3/1-1/f32/relu", "nhwc 14x99999999999 pw/1-1/f32/relu", "nhwc 14x14 pw/1-1/f32/relu gated"}) {
    EXPECT_THROW(parse_spec(text), Error) << text;
  }
  EXPECT_THROW(parse_tile("t1x16_c16"), Error);
  EXPECT_THROW(parse_tile("t1x16_c16_n16_x1_w1.1.1_s1_e1.1_r1_b1_"), Error);
}

TEST(Spec, KindsAndPlanes) {
  const ModuleSpec spec = parse_spec("nhwc 15x28 pw/16-96/bf16/relu dw5x3s2x1p2.1.1.0/96-96/bf16/relu pw/96-24/bf16/identity");
  EXPECT_EQ(kind_of(spec), ModuleKind::pwdwpw);
  EXPECT_EQ(output_plane(spec), (Plane{7, 27}));
  EXPECT_EQ(output_channels(spec), 24);
  EXPECT_EQ(kind_of(parse_spec("sums4 7x7 pool/96-96/f16/identity pw/96-24/f16/relu pw/24-96/f16/sigmoid")), ModuleKind::se);
}

std::string why(const char* text, const char* target = "90a") {
  return refusal(parse_spec(text), jit::Target::parse(target));
}

TEST(Legality, AcceptsAndRefusesWithAReason) {
  EXPECT_EQ(why(kInverted), "");
  EXPECT_EQ(why(kInverted, "75"), "");
  EXPECT_NE(why("nhwc 14x14 pw/8-8/bf16/relu", "75").find("8.0"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 pw/8-8/f32/relu tf32", "75").find("8.0"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 pw/8-8/f16/relu tf32"), "");
  EXPECT_NE(why("nhwc 14x14 pw/8-16/f16/relu pw/8-8/f16/relu").find("chain"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 pw/8-16/f16/relu pw/16-8/f32/relu").find("dtype"), std::string::npos);
  EXPECT_EQ(why("nhwc 7x7 pool/64-64/f16/identity pw/64-10/f32/identity"), "");
  EXPECT_NE(why("nhwc 7x7 pool/64-64/f16/identity pw/64-10/bf16/identity").find("dtype"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 dw3x3s1x1p0.0.0.0m3/8-24/f16/relu").find("multiplier"), std::string::npos);
  EXPECT_NE(why("nhwc 2x2 dw3x3s1x1p0.0.0.0/8-8/f16/relu").find("empty"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 pw/8-16/f16/relu residual=after from=input").find("shape"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 dw3x3s1x1p1.1.1.1/8-8/f16/relu residual=after"), "");
  EXPECT_NE(why("nhwc_u8 14x14 pw/3-16/f16/relu"), "");
  EXPECT_EQ(why("nhwc 14x14 pw/16-64/f16/gelu pw/64-16/f16/identity norm=layer(1e-06) residual=before from=input"), "");
  EXPECT_NE(why("nhwc 14x14 dw3x3s1x1p1.1.1.1/8-8/f16/relu norm=layer(1e-06)").find("pointwise"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 pw/16-64/f16/gelu norm=layer(1e-06) gate"), "");
  EXPECT_NE(why("nhwc 14x14 pw/16-64/f32/gelu norm=layer(1e-06) tf32").find("TF32"), std::string::npos);
  EXPECT_NE(why("nhwc 14x14 dw3x3s1x1p1.1.1.1/8-8/f16/relu conv3x3s1x1p1.1.1.1/8-8/f16/relu"), "");
}

TEST(Legality, TileLimitsFollowTheTarget) {
  const ModuleSpec spec = parse_spec(kInverted);
  const TileConfig cluster = parse_tile("t4x7_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1");
  EXPECT_EQ(refusal(spec, cluster, jit::Target::parse("90a")), "");
  EXPECT_NE(refusal(spec, cluster, jit::Target::parse("89")), "");
  const TileConfig large = parse_tile("t14x14_c96_n64_x1_w7.1.1_s1_e1.3_r0_b1");
  EXPECT_EQ(refusal(spec, large, jit::Target::parse("90a")), "");
  EXPECT_NE(refusal(spec, large, jit::Target::parse("75")).find("shared"), std::string::npos);
  EXPECT_NE(refusal(spec, parse_tile("t4x7_c40_n64_x1_w2.1.1_s1_e1.1_r1_b1"), jit::Target::parse("90a")), "");
}

/// Why a tile is refused, empty where it is not.
std::string why_not(const char* spec, const char* tile, const char* target = "90a") {
  return refusal(parse_spec(spec), parse_tile(tile), jit::Target::parse(target));
}

TEST(Legality, StreamedExpansions) {
  const char* const wide = "nhwc 14x14 pw/728-728/f16/relu dw3x3s1x1p1.1.1.1/728-728/f16/relu";
  EXPECT_EQ(why_not(wide, "t14x14_c128_n16_x6_w2.8.1_s3_e1.8_r0_b1_wg_st"), "");
  EXPECT_EQ(refusal(parse_spec(wide), parse_tile("t14x14_c32_n16_x1_w2.2.1_s2_e2.1_r0_b1_st"), jit::Target::parse("86")), "");
  EXPECT_NE(why_not(wide, "t14x14_c128_n16_x6_w2.8.1_s1_e1.8_r0_b1_wg_st").find("2 to 8"), std::string::npos);
  EXPECT_NE(why_not(wide, "t14x14_c128_n16_x6_w2.6.1_s3_e1.8_r0_b1_wg_st").find("equal"), std::string::npos);
  EXPECT_NE(why_not(wide, "t14x14_c80_n16_x6_w2.2.1_s3_e1.5_r0_b1_wg_st").find("unit"), std::string::npos);
  EXPECT_NE(
      why_not("nhwc 14x14 pw/64-64/f16/relu dw3x3s1x1p1.1.1.1/64-64/f16/relu", "t14x14_c32_n16_x2_w2.2.1_s3_e1.2_r0_b1_st").find("longer"),
      std::string::npos);
  EXPECT_NE(why_not("nhwc 14x14 dw3x3s1x1p1.1.1.1/64-64/f16/relu", "t2x14_c32_n16_x1_w2.2.1_s2_e1.1_r0_b1_st").find("expansion"),
            std::string::npos);
  EXPECT_NE(why_not("nhwc 1x1 pw/192-768/f16/gelu pw/768-192/f16/identity norm=layer(1e-06)", "t1x32_c32_n64_x1_w2.2.1_s2_e1.2_r0_b1_st")
                .find("statistics"),
            std::string::npos);
}

TEST(Legality, StreamedPointwiseLayers) {
  const char* const plain = "nhwc 14x14 pw/192-768/f16/gelu norm=layer(1e-06) residual=after";
  const char* const tile = "t1x128_c64_n128_x1_w8.1.1_s3_e1.1_r1_b1_wg_st";
  EXPECT_EQ(why_not(plain, tile), "");
  EXPECT_NE(why_not(plain, tile, "100").find("sm_90a"), std::string::npos);
  EXPECT_NE(why_not("nhwc 14x14 pw/192-768/f32/gelu", tile).find("16-bit"), std::string::npos);
  EXPECT_NE(why_not("nhwc 14x14 pw/192-768/f16/gelu gate", tile).find("gates"), std::string::npos);
  EXPECT_NE(why_not("nhwc 14x14 pw/192-768/f16/gelu pool=also", tile).find("pool"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x128_c64_n128_x1_w8.1.1_s3_e1.1_r1_b1_st").find("by warpgroups"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x128_c96_n128_x1_w8.1.1_s3_e1.1_r1_b1_wg_st").find("64 channels"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x192_c64_n128_x1_w8.1.1_s3_e1.1_r1_b1_wg_st").find("whole 64 pixels"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x128_c64_n128_x1_w4.1.2_s3_e1.1_r1_b1_wg_st").find("pixels alone"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x128_c64_n128_x1_w8.1.1_s1_e1.1_r1_b1_wg_st").find("2 to 8"), std::string::npos);
  EXPECT_NE(why_not(plain, "t1x128_c64_n320_x1_w8.1.1_s3_e1.1_r1_b1_wg_st").find("sums a warp"), std::string::npos);
}

TEST(Legality, WarpgroupsThatOnlyProject) {
  const char* const plain = "nhwc 56x56 pw/24-144/f16/relu dw3x3s1x1p1.1.1.1/144-144/f16/relu pw/144-24/f16/identity";
  const char* const tile = "t14x28_c48_n32_x1_w4.1.1_s1_e2.3_r0_b1_pg";
  EXPECT_EQ(why_not(plain, tile), "");
  EXPECT_EQ(to_string(parse_tile(tile)), tile);
  const geometry::Geometry g = geometry::derive(shape_of(parse_spec(plain), parse_tile(tile)));
  EXPECT_TRUE(g.project_by_groups);
  EXPECT_EQ(g.x_band, 0);  // warps read the input tile
  EXPECT_NE(why_not(plain, tile, "100").find("sm_90a"), std::string::npos);
  EXPECT_NE(why_not(plain, "t14x28_c48_n32_x1_w7.1.1_s1_e2.3_r0_b1_pg").find("alone project"), std::string::npos);
  EXPECT_NE(why_not("nhwc 56x56 dw3x3s1x1p1.1.1.1/128-128/f16/relu pw/128-128/f16/relu", "t8x8_c64_n128_x1_w4.1.1_s2_e1.1_r0_b2_pg")
                .find("alone project"),
            std::string::npos);
}

TEST(Legality, ProjectionsOfADepthwiseStageByWarpgroups) {
  const char* const plain = "nhwc 56x56 dw3x3s1x1p1.1.1.1/128-128/f16/relu pw/128-128/f16/relu";
  const char* const tile = "t8x8_c64_n128_x1_w4.1.1_s2_e1.1_r0_b2_wg";
  EXPECT_EQ(why_not(plain, tile), "");
  EXPECT_TRUE(geometry::derive(shape_of(parse_spec(plain), parse_tile(tile))).project_by_groups);
  EXPECT_NE(why_not(plain, tile, "100").find("sm_90a"), std::string::npos);
  EXPECT_NE(why_not(plain, "t8x8_c64_n128_x1_w2.1.2_s2_e1.1_r0_b2_wg").find("four warps over pixels"), std::string::npos);
  EXPECT_NE(why_not("nhwc 56x56 dw3x3s1x1p1.1.1.1/128-128/f16/relu", "t8x8_c64_n16_x1_w4.1.1_s2_e1.1_r0_b1_wg").find("serve"),
            std::string::npos);
}

TEST(Tiles, ExistAndRepeat) {
  for (const char* target : {"75", "80", "86", "90a", "120"}) {
    const TileDevice device{jit::Target::parse(target), 48};
    for (const int batch : {1, 64}) {
      const ModuleSpec spec = parse_spec(kInverted);
      const std::vector<RatedTile> best = candidate_tiles(spec, batch, device, 1);
      ASSERT_EQ(best.size(), 1u);
      EXPECT_EQ(refusal(spec, best[0].tile, device.target), "") << target;
      EXPECT_EQ(candidate_tiles(spec, batch, device, 1)[0].tile, best[0].tile);
    }
  }
  EXPECT_TRUE(candidate_tiles(parse_spec("nhwc 14x14 pw/8-8/bf16/relu"), 1, {jit::Target::parse("75"), 24}).empty());
  const std::vector<RatedTile> list = candidate_tiles(parse_spec(kInverted), 1, {jit::Target::parse("90a"), 132}, 24);
  ASSERT_EQ(list.size(), 24u);
  for (size_t i = 1; i < list.size(); ++i) EXPECT_LE(list[i - 1].rating.total, list[i].rating.total);
}

TEST(Tiles, OfHeadsAreLegalAndHandleSeveralImages) {
  const ModuleSpec se = parse_spec("sums4 14x14 pool/672-672/f16/identity pw/672-28/f16/relu pw/28-672/f16/hard_sigmoid");
  const jit::Target target = jit::Target::parse("90a");
  int most = 0;
  for (const TileConfig& t : head_tiles(se, 64, target)) {
    EXPECT_EQ(refusal(se, t, target), "") << to_string(t);
    most = std::max(most, t.tile_w);
  }
  EXPECT_EQ(most, 8);
  for (const TileConfig& t : head_tiles(se, 1, target)) EXPECT_EQ(t.tile_w, 1);
  EXPECT_NE(refusal(se, parse_tile("t1x9_c16_n16_x4_w8.1.1_s1_e1.1_r0_b1"), target), "");
}

TEST(Emit, IsPureAndDescribesTheLaunch) {
  const jit::Target target = jit::Target::parse("90a");
  const ModuleSpec spec = parse_spec(kInverted);
  const TileConfig tile = parse_tile("t4x7_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1");
  const Emitted a = emit(spec, tile, target), b = emit(spec, tile, target);
  EXPECT_EQ(a.program.source, b.program.source);
  EXPECT_NE(a.program.source.find("s.dw_window = {3, 3, 1, 1, 1, 1, 1, 1};"), std::string::npos);
  EXPECT_NE(a.program.source.find("__launch_bounds__(128, 1) fcm_pwdwpw_f16_14x14_64_384_384_64("), std::string::npos);
  EXPECT_TRUE(a.program.headers.contains("fcm/kernels/module.cuh"));
  EXPECT_EQ(a.launch.cluster, 8);
  EXPECT_TRUE(a.launch.pdl);
  EXPECT_FALSE(emit(spec, parse_tile("t4x7_c48_n64_x1_w2.1.2_s1_e1.3_r0_b1"), jit::Target::parse("86")).launch.pdl);
  EXPECT_EQ(a.launch.grid(1), 8 * 8);
  EXPECT_EQ(a.launch.grid(3), 3 * 8 * 8);
  EXPECT_EQ(a.launch.grid(3, 100), 96);
  EXPECT_EQ(a.launch.grid(1, 3), 8);
  EXPECT_NE(emit(spec, tile, target, true).program.source, a.program.source);
  EXPECT_THROW(emit(spec, tile, jit::Target::parse("86")), Error);
}

}  // namespace
}  // namespace fcm
