// Measured kernels that are shipped with a card's model.
#include "planner/known_kernels.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "planner/tile_search.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(KnownKernels, ShippedOnesRunOnTheirCardAndStandInForTheSearch) {
  size_t cards = 0;
  for (const std::string& key : known_devices()) {
    const DeviceModel device = device_model(key);
    if (device.kernels == nullptr) continue;
    ++cards;
    EXPECT_GT(device.kernels->size(), 100u);
    TileSearch search(device, {}, 1);
    device.kernels->for_each([&](const ModuleSpec& spec, int64_t images, const KnownKernels::Kernel& known) {
      SCOPED_TRACE(fmt::format("{} {} {}", key, images, to_string(spec)));
      EXPECT_EQ(refusal(spec, known.tile, device), "");
      const auto& tiles = search.tiles(spec, images);
      ASSERT_EQ(tiles.size(), 1u);
      EXPECT_EQ(tiles[0].tile, known.tile);
      EXPECT_TRUE(tiles[0].cost.known);
      EXPECT_GE(tiles[0].cost.time_us, known.us);
    });
    EXPECT_EQ(search.rated(), 0u);
  }
  EXPECT_GT(cards, 0u);
}

TEST(KnownKernels, ACardTakesThoseOfAnotherLikeIt) {
  const DeviceModel h100 = device_model("h100"), h200 = device_model("h200");
  ASSERT_TRUE(h100.kernels != nullptr && h200.kernels != nullptr);
  EXPECT_EQ(h100.kernels->digest(), h200.kernels->digest());
  EXPECT_EQ(h100.target.text(), h200.target.text());
  EXPECT_EQ(h100.sm_count, h200.sm_count);
  DeviceInfo part = described_device(h100);  // a card of which some multiprocessors are another's
  part.sm_count = 66;
  EXPECT_EQ(device_model_for(part).kernels, nullptr);
}

TEST(KnownKernels, OtherTilesFollowTheKnownOne) {
  const DeviceModel device = device_model("h200");
  const ModuleSpec spec = parse_spec("nhwc 14x14 pw/64-384/f16/clip(0,6) dw3x3s1x1p1.1.1.1/384-384/f16/clip(0,6)");
  const auto known = device.kernels->find(spec, 8);
  ASSERT_TRUE(known);
  EXPECT_FALSE(device.kernels->find(spec, 5));
  TileSearch search(device, {}, 4);
  const auto& tiles = search.tiles(spec, 8);
  ASSERT_EQ(tiles.size(), 4u);
  EXPECT_EQ(tiles[0].tile, known->tile);
  for (size_t i = 1; i < tiles.size(); ++i) {
    EXPECT_NE(tiles[i].tile, known->tile);
    EXPECT_FALSE(tiles[i].cost.known);
  }
  EXPECT_GT(search.rated(), 0u);
}

TEST(KnownKernels, ResidualsBeforeAndAfterNoActivationAreTheSame) {
  const KnownKernels kernels("module nhwc 7x7 pw/16-16/f16/identity residual=before\n1 2.5 t1x16_c16_n16_x1_w1.1.1_s2_e1.1_r1_b1\n",
                             "card.kernels");
  const auto known = kernels.find(parse_spec("nhwc 7x7 pw/16-16/f16/identity residual=after"), 1);
  ASSERT_TRUE(known);
  EXPECT_EQ(known->us, 2.5);
  EXPECT_FALSE(kernels.find(parse_spec("nhwc 7x7 pw/16-16/f16/relu residual=after"), 1));
}

TEST(KnownKernels, BadTextIsRefusedWithItsLine) {
  const auto refused = [](const char* text) {
    try {
      const KnownKernels kernels(text, "card.kernels");
      return std::string();
    } catch (const Error& e) {
      return std::string(e.what());
    }
  };
  EXPECT_EQ(refused("# nothing\n"), "");
  EXPECT_TRUE(says(refused("1 2.0 t1x16_c16_n16_x1_w1.1.1_s2_e1.1_r1_b1\n"), "card.kernels:1"));
  EXPECT_TRUE(says(refused("module nhwc 7x7 pw/8-8/f16/relu\n1 fast t1x16\n"), "card.kernels:2"));
  EXPECT_TRUE(says(refused("module nhwc 7x7 pw/8-8/f16/relu\n0 2.0 t1x16\n"), "is no kernel of a module"));
}

}  // namespace
}  // namespace fcm
