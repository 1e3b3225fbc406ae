// Resize and crop against torchvision's rule, settings as text and JSON, normalisation.
#include "runtime/image/preprocess.h"

#include <gtest/gtest.h>

#include "tests/image/expected.h"
#include "tests/image/helpers.h"

namespace fcm::test {
namespace {

TEST(Preprocess, ResizeAndCropEqualTorchvision) {
  for (const ExpectedFit& expected : kFits) {
    Preprocess preprocess = preprocess_preset("imagenet");
    preprocess.resize = expected.resize;
    const Image out = fit_image(preprocess, synthetic(expected.width, expected.height), expected.crop_width, expected.crop_height);
    EXPECT_EQ(digest(out.pixels), expected.digest) << expected.width << "x" << expected.height << " resize " << expected.resize << " crop "
                                                   << expected.crop_width << "x" << expected.crop_height;
  }
}

TEST(Preprocess, DefaultResizeIsInputSideOver0875) {
  const Image image = synthetic(97, 61);
  for (const auto& [side, resize] : {std::pair(28, 32), std::pair(24, 27), std::pair(30, 34)}) {
    Preprocess given = preprocess_preset("imagenet");
    given.resize = resize;
    EXPECT_EQ(fit_image(preprocess_preset("imagenet"), image, side, side).pixels, fit_image(given, image, side, side).pixels) << side;
  }
}

TEST(Preprocess, RectangularInputIsCovered) {
  Image white(100, 40);
  for (uint8_t& v : white.pixels) v = 255;
  for (const auto& [width, height] : {std::pair(64, 32), std::pair(32, 64), std::pair(96, 32), std::pair(33, 31)}) {
    const Image out = fit_image(preprocess_preset("timm"), white, width, height);
    ASSERT_EQ(out.width, width);
    ASSERT_EQ(out.height, height);
    for (const uint8_t v : out.pixels) ASSERT_EQ(v, 255) << width << "x" << height;  // no padding anywhere
  }
}

TEST(Preprocess, SmallImagesArePaddedWithBlack) {
  Image image(2, 1);
  image.pixels = {1, 2, 3, 4, 5, 6};
  const Image out = center_crop(image, 5, 2);
  EXPECT_EQ(out.pixels, (std::vector<uint8_t>{0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Preprocess, CropOffsetRoundsHalfToEven) {
  Image image(8, 1);
  for (int x = 0; x < 8; ++x) image.pixels[static_cast<size_t>(x) * 3] = static_cast<uint8_t>(x);
  EXPECT_EQ(center_crop(image, 7, 1).pixels[0], 0);  // 0.5
  EXPECT_EQ(center_crop(image, 5, 1).pixels[0], 2);  // 1.5
  EXPECT_EQ(center_crop(image, 3, 1).pixels[0], 2);  // 2.5
  EXPECT_EQ(center_crop(image, 1, 1).pixels[0], 4);  // 3.5
  EXPECT_EQ(center_crop(image, 4, 1).pixels[0], 2);
}

TEST(Preprocess, NormalisesInBothLayouts) {
  Image image(2, 1);
  image.pixels = {0, 128, 255, 10, 20, 30};
  std::vector<float> nchw(6);
  std::vector<float> nhwc(6);
  const Preprocess p = preprocess_preset("imagenet");
  normalise(p, image, ImageLayout::nchw, nchw);
  normalise(p, image, ImageLayout::nhwc, nhwc);
  const double mean[] = {0.485, 0.456, 0.406};
  const double std[] = {0.229, 0.224, 0.225};
  for (size_t x = 0; x < 2; ++x) {
    for (size_t c = 0; c < 3; ++c) {
      const double expected = (image.pixels[x * 3 + c] / 255.0 - mean[c]) / std[c];
      EXPECT_NEAR(nhwc[x * 3 + c], expected, 1e-6);
      EXPECT_EQ(nchw[c * 2 + x], nhwc[x * 3 + c]);
    }
  }
  std::vector<float> small(5);
  expect_error(ErrorCode::bad_input, {"5 floats", "needs 6"}, [&] { normalise(p, image, ImageLayout::nchw, small); });
}

TEST(Preprocess, PresetsMeanWhatTheySay) {
  const auto value = [](const char* preset, uint8_t pixel) {
    Image image(1, 1);
    image.pixels = {pixel, pixel, pixel};
    std::vector<float> out(3);
    normalise(preprocess_preset(preset), image, ImageLayout::nchw, out);
    return out;
  };
  EXPECT_FLOAT_EQ(value("lite", 255)[0], 1.0F);
  EXPECT_FLOAT_EQ(value("inception", 0)[1], -1.0F);
  EXPECT_FLOAT_EQ(value("unit", 255)[2], 1.0F);
  EXPECT_FLOAT_EQ(value("raw", 77)[2], 77.0F);
  EXPECT_NEAR(value("clip", 0)[2], -0.40821073 / 0.27577711, 1e-6);
  EXPECT_EQ(value("timm", 9), value("imagenet", 9));
  EXPECT_EQ(preprocess_preset("timm").interpolation, Interpolation::bicubic);
  EXPECT_EQ(preprocess_preset("imagenet").interpolation, Interpolation::bilinear);
  expect_error(ErrorCode::command_line, {"'nope'", "imagenet, timm, inception, lite, clip, unit, raw"}, [] { preprocess_preset("nope"); });
}

TEST(PreprocessSettings, MeanAndStdFollowTheRangeInAnyOrder) {
  PreprocessSettings pixels;
  pixels.set("mean", "127,128,129");
  pixels.set("std", "2");
  EXPECT_EQ(pixels.resolve().mean, (std::array<double, 3>{127, 128, 129}));
  EXPECT_EQ(pixels.resolve().std, (std::array<double, 3>{2, 2, 2}));

  PreprocessSettings before;
  before.set("range", "1");
  before.set("mean", "0.5,0.25,1");
  PreprocessSettings after;
  after.set("mean", "0.5,0.25,1");
  after.set("range", "1");
  EXPECT_EQ(before.resolve().mean, (std::array<double, 3>{127.5, 63.75, 255}));
  EXPECT_EQ(after.resolve().mean, before.resolve().mean);
  EXPECT_EQ(after.resolve().std, preprocess_preset("imagenet").std);  // not given, so not rescaled
}

TEST(PreprocessSettings, PresetKeepsWhatIsSetBesideIt) {
  PreprocessSettings settings;
  settings.set("interpolation", "lanczos");
  settings.set("preset", "lite");
  settings.set("resize", "300");
  const Preprocess p = settings.resolve();
  EXPECT_EQ(p.interpolation, Interpolation::lanczos);
  EXPECT_EQ(p.mean[0], 127);
  EXPECT_EQ(p.resize, 300);
  EXPECT_EQ(describe(p),
            "preset lite with given interpolation, resize: resize 300, crop input, lanczos, mean 127 127 127, std 128 128 128 of 255");
}

TEST(PreprocessSettings, RefusesBadValuesAndChangesNothing) {
  PreprocessSettings settings;
  const std::string before = describe(settings.resolve());
  const std::pair<const char*, const char*> bad[] = {{"mean", "1,2"},   {"mean", "1,2,x"},  {"mean", ""},      {"std", "1,0,1"},
                                                     {"std", "nan"},    {"range", "2"},     {"resize", "0"},   {"resize", "12px"},
                                                     {"crop", "99999"}, {"crop", "-3"},     {"preset", "big"}, {"interpolation", "cubic"},
                                                     {"colour", "red"}, {"mean", "1,2,3,4"}};
  for (const auto& [key, value] : bad) {
    expect_error(ErrorCode::command_line, {key}, [&, k = key, v = value] { settings.set(k, v); });
  }
  EXPECT_EQ(describe(settings.resolve()), before);
}

TEST(PreprocessJson, RoundTrips) {
  PreprocessSettings settings;
  settings.set("preset", "clip");
  settings.set("resize", "256");
  settings.set("crop", "224");
  const Preprocess p = settings.resolve();
  const Preprocess back = parse_preprocess(to_json(p), "copy");
  EXPECT_EQ(back.source, "copy");
  EXPECT_EQ(back.resize, p.resize);
  EXPECT_EQ(back.crop, p.crop);
  EXPECT_EQ(back.interpolation, p.interpolation);
  EXPECT_EQ(back.mean, p.mean);
  EXPECT_EQ(back.std, p.std);
}

TEST(PreprocessJson, ReadsWhatModelsCarry) {
  const Preprocess p = parse_preprocess(
      R"({"preset": "lite", "resize": 256, "crop": null, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "range": 1})",
      "metadata");
  EXPECT_EQ(p.resize, 256);
  EXPECT_FALSE(p.crop);
  EXPECT_EQ(p.mean[1], 127.5);
  EXPECT_EQ(p.std[1], 63.75);
}

TEST(PreprocessJson, ErrorsNameTheText) {
  for (const char* bad : {"", "{", "[]", "3", R"({"mean": [1,2,3]})", R"({"resize": "big"})", R"({"resize": 1.5})", R"({"crop": {"a": 1}})",
                          R"({"mean": ["a", 1, 2], "range": 1})", R"({"extra": 1})", R"({"interpolation": 3})", R"({"preset": "x"})"}) {
    expect_error(ErrorCode::bad_input, {"model.json"}, [&] { parse_preprocess(bad, "model.json"); });
  }
}

TEST(Preprocess, CropMustFitTheInput) {
  Preprocess p = preprocess_preset("imagenet");
  p.crop = 224;
  expect_error(ErrorCode::bad_input, {"256x256", "224x224"}, [&] { fit_image(p, synthetic(8, 8), 256, 256); });
  p.crop.reset();
  expect_error(ErrorCode::bad_input, {"0x5"}, [&] { fit_image(p, synthetic(8, 8), 0, 5); });
  expect_error(ErrorCode::bad_input, {"no pixels"}, [&] { fit_image(p, Image(), 5, 5); });
}

}  // namespace
}  // namespace fcm::test
