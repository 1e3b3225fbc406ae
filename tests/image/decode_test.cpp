// Decoding against Pillow's pixels, and files that are not images.
#include "runtime/image/decode.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/image/exif.h"
#include "runtime/support/log.h"
#include "tests/image/expected.h"
#include "tests/image/helpers.h"

namespace fcm::test {
namespace {

using Bytes = std::vector<std::byte>;

TEST(Decode, EqualsPillowForEveryFormat) {
  for (const ExpectedFile& expected : kFiles) {
    SCOPED_TRACE(expected.name);
    const Image image = load_image(data_path(expected.name));
    EXPECT_EQ(image.width, expected.width);
    EXPECT_EQ(image.height, expected.height);
    EXPECT_EQ(digest(image.pixels), expected.digest);
  }
}

TEST(Decode, EqualsPillowOnPhotographs) {
  const std::string folder = FCM_SOURCE_DIR "/../shared/images/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const ExpectedPhoto& expected : kPhotos)
    EXPECT_EQ(digest(load_image(folder + expected.name).pixels), expected.pixels) << expected.name;
}

TEST(Decode, SixteenBitsKeepTheHighByte) {
  const Image image = load_image(data_path("grey16.png"));
  const auto expected = [](int x, int y) { return static_cast<uint8_t>((x * 251 + y * 4099) % 65536 >> 8); };
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) ASSERT_EQ(image.row(y)[x * 3 + c], expected(x, y));
    }
  }
}

TEST(Decode, AlphaIsDroppedNotBlended) {
  EXPECT_EQ(load_image(data_path("rgba.png")).pixels, load_image(data_path("rgb.png")).pixels);
  EXPECT_EQ(load_image(data_path("palette_transparent.png")).pixels, load_image(data_path("palette.png")).pixels);
}

TEST(Exif, OrientationOfBothByteOrdersAndTypes) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(exif_orientation(file_bytes(data_path("orient" + std::to_string(orientation) + ".jpg"))), orientation);
  }
  EXPECT_EQ(exif_orientation(file_bytes(data_path("orient_long.jpg"))), 6);
  EXPECT_EQ(exif_orientation(file_bytes(data_path("orient.png"))), 8);
  EXPECT_EQ(exif_orientation(file_bytes(data_path("rgb.jpg"))), 1);
  EXPECT_EQ(exif_orientation(file_bytes(data_path("rgb.bmp"))), 1);
  EXPECT_EQ(exif_orientation({}), 1);
}

TEST(Exif, EveryTurnMovesACornerToItsPlace) {
  Image image(2, 3);  // pixel value 10 * y + x
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 2; ++x) image.row(y)[x * 3] = static_cast<uint8_t>(10 * y + x);
  }
  const int top_left[] = {0, 0, 1, 21, 20, 0, 20, 21, 1};
  const int top_right[] = {1, 1, 0, 20, 21, 20, 0, 1, 21};
  for (int orientation = 0; orientation <= 9; ++orientation) {
    const Image turned = upright(image, orientation);
    const int known = orientation <= 8 ? orientation : 1;
    EXPECT_EQ(turned.width, known >= 5 ? 3 : 2) << orientation;
    EXPECT_EQ(turned.row(0)[0], top_left[known]) << orientation;
    EXPECT_EQ(turned.row(0)[(turned.width - 1) * 3], top_right[known]) << orientation;
  }
}

TEST(Exif, DamagedDataMeanUpright) {
  const Bytes good = file_bytes(data_path("orient6.jpg"));
  for (size_t size = 0; size < good.size(); ++size) exif_orientation(std::span(good).first(size));  // in bounds, under a sanitizer
  Bytes bad = good;
  for (size_t i = 0; i + 1 < bad.size(); ++i) {
    if (bad[i] == std::byte{0x01} && bad[i + 1] == std::byte{0x12}) bad[i + 9] = std::byte{9};  // the value of tag 0x0112, big-endian
  }
  EXPECT_EQ(exif_orientation(bad), 1);
}

TEST(DecodeErrors, NameTheFileAndTheCause) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::bad_input, {"empty.jpg", "empty (0 bytes)"}, [&] { load_image(folder.write("empty.jpg", "")); });
  expect_error(ErrorCode::bad_input, {"note.jpg", "not an image of a known format"},
               [&] { load_image(folder.write("note.jpg", "hello\n")); });
  expect_error(ErrorCode::bad_input, {"gone.png", "No such file"}, [&] { load_image(folder.path("gone.png")); });
  expect_error(ErrorCode::bad_input, {"is a folder"}, [&] { load_image(folder.path("")); });
  expect_error(ErrorCode::bad_input, {"/dev/null", "not a regular file"}, [] { load_image("/dev/null"); });
  expect_error(ErrorCode::bad_input, {"bytes", "empty"}, [] { decode_image({}, "bytes"); });
}

TEST(DecodeErrors, TruncatedFilesAreRefused) {
  for (const char* name : {"odd420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "rgb.png", "rgb16.png", "rgb.bmp", "palette.gif"}) {
    const Bytes whole = file_bytes(data_path(name));
    for (const size_t part : {whole.size() / 20, whole.size() / 2, whole.size() * 8 / 10}) {
      SCOPED_TRACE(fmt::format("{} cut to {} of {} bytes", name, part, whole.size()));
      expect_error(ErrorCode::bad_input, {name}, [&] { decode_image(std::span(whole).first(part), name); });
    }
  }
}

/// Writes a big-endian integer over `size` bytes.
void patch(Bytes& bytes, size_t at, uint32_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * (size - 1 - i)));
}

TEST(DecodeErrors, HugeDimensionsAreRefusedBeforeAllocation) {
  Bytes png = file_bytes(data_path("rgb.png"));
  patch(png, 16, 60000, 4);
  patch(png, 20, 60000, 4);
  expect_error(ErrorCode::bad_input, {"bomb.png", "60000x60000", "too large"}, [&] { decode_image(png, "bomb.png"); });

  Bytes jpeg = file_bytes(data_path("grey.jpg"));
  for (size_t i = 0; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] != std::byte{0xFF} || jpeg[i + 1] != std::byte{0xC0}) continue;
    patch(jpeg, i + 5, 65000, 2);
    patch(jpeg, i + 7, 65000, 2);
  }
  expect_error(ErrorCode::bad_input, {"bomb.jpg", "65000x65000", "too large"}, [&] { decode_image(jpeg, "bomb.jpg"); });
}

/// Every byte of every small file, damaged in two ways: an image or an Error, nothing else.
TEST(DecodeErrors, DamagedBytesNeverCrash) {
  LogTarget silent;
  silent.level = LogLevel::off;
  const LogScope scope(silent);
  for (const ExpectedFile& file : kFiles) {
    const Bytes good = file_bytes(data_path(file.name));
    size_t refused = 0;
    for (size_t i = 0; i < std::min<size_t>(good.size(), 400); ++i) {
      Bytes bad = good;
      bad[i] ^= i % 2 == 0 ? std::byte{0xFF} : std::byte{0x11};
      try {
        const Image image = decode_image(bad, file.name);
        ASSERT_EQ(image.pixels.size(), static_cast<size_t>(image.width) * static_cast<size_t>(image.height) * 3);
      } catch (const Error& e) {
        ASSERT_EQ(e.code(), ErrorCode::bad_input);
        ++refused;
      }
    }
    EXPECT_GT(refused, 0U) << file.name;
  }
}

}  // namespace
}  // namespace fcm::test
