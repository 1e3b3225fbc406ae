// Resampling against Pillow's bits.
#include "runtime/image/resize.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "runtime/image/decode.h"
#include "tests/image/expected.h"
#include "tests/image/helpers.h"

namespace fcm::test {
namespace {

constexpr std::array<Interpolation, 3> kFilters = {Interpolation::bilinear, Interpolation::bicubic, Interpolation::lanczos};

TEST(Resize, EqualsPillowUpAndDown) {
  const Image image = synthetic(97, 61);
  for (const ExpectedResize& expected : kResizes) {
    for (size_t f = 0; f < kFilters.size(); ++f) {
      const Image out = resize(image, expected.width, expected.height, kFilters[f]);
      ASSERT_EQ(out.width, expected.width);
      ASSERT_EQ(out.height, expected.height);
      EXPECT_EQ(digest(out.pixels), expected.digest[f])
          << expected.width << "x" << expected.height << " " << interpolation_name(kFilters[f]);
    }
  }
}

TEST(Resize, EqualsPillowOnPhotographs) {
  const std::string folder = FCM_SOURCE_DIR "/../shared/images/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const ExpectedPhoto& expected : kPhotos) {
    const Image image = load_image(folder + expected.name);
    for (size_t f = 0; f < kFilters.size(); ++f) {
      EXPECT_EQ(digest(resize(image, expected.width, expected.height, kFilters[f]).pixels), expected.resized[f]) << expected.name;
    }
  }
}

TEST(Resize, HorizontalPassComesFirst) {
  // Each pass rounds to 8 bits, so the order shows in the bits of a noisy image.
  const Image image = synthetic(60, 80);
  const Image both = resize(image, 23, 31, Interpolation::bicubic);
  const Image wide = resize(resize(image, 23, 80, Interpolation::bicubic), 23, 31, Interpolation::bicubic);
  const Image tall = resize(resize(image, 60, 31, Interpolation::bicubic), 23, 31, Interpolation::bicubic);
  EXPECT_EQ(both.pixels, wide.pixels);
  EXPECT_NE(both.pixels, tall.pixels);
}

TEST(Resize, ConstantStaysConstant) {
  Image image(13, 7);
  for (uint8_t& v : image.pixels) v = 201;
  for (const Interpolation filter : kFilters) {
    for (const uint8_t v : resize(image, 29, 3, filter).pixels) ASSERT_EQ(v, 201);
  }
}

TEST(Resize, RefusesSizesOutOfRange) {
  const Image image = synthetic(4, 4);
  for (const auto& [width, height] : {std::pair(0, 5), std::pair(5, -1), std::pair(1 << 20, 1 << 20)}) {
    expect_error(ErrorCode::bad_input, {"cannot resize"}, [&, w = width, h = height] { resize(image, w, h, Interpolation::bilinear); });
  }
  expect_error(ErrorCode::bad_input, {"cannot resize"}, [] { resize(Image(), 2, 2, Interpolation::bilinear); });
}

TEST(Resize, FiltersByName) {
  for (const Interpolation filter : kFilters) EXPECT_EQ(find_interpolation(interpolation_name(filter)), filter);
  EXPECT_FALSE(find_interpolation("nearest"));
}

}  // namespace
}  // namespace fcm::test
