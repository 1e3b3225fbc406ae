#include "runtime/support/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace fcm {
namespace {

TEST(F16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = f16_to_f32(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(wide)))) << bits;
    } else {
      EXPECT_EQ(f32_to_f16(wide), half) << bits;
    }
  }
}

// Between every two neighbouring halves: below, at and above the midpoint; ties go to the even mantissa.
TEST(F16, RoundsToNearestEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = f16_to_f32(half);
    const float high = f16_to_f32(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;  // exact in float
    const uint16_t even = (half & 1) == 0 ? half : static_cast<uint16_t>(half + 1);
    EXPECT_EQ(f32_to_f16(middle), even) << half;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half) << half;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 1e30f)), half + 1) << half;
  }
}

TEST(F16, OverflowsToInfinityAtTheHalfwayPoint) {
  EXPECT_EQ(f32_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNaN) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto brain = static_cast<uint16_t>(bits);
    const float wide = bf16_to_f32(brain);
    if (!std::isnan(wide)) {
      EXPECT_EQ(f32_to_bf16(wide), brain) << bits;
    }
  }
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // tie to even, down
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // tie to even, up
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(dtype_size(DType::f64), 8u);
  EXPECT_EQ(dtype_size(DType::bf16), 2u);
  EXPECT_EQ(dtype_size(DType::boolean), 1u);
  EXPECT_EQ(dtype_name(DType::bf16), "bf16");
  EXPECT_TRUE(is_float(DType::f16));
  EXPECT_FALSE(is_float(DType::i32));
}

}  // namespace
}  // namespace fcm
