// Images, preprocessing, tensors and labels through the C API. Pixel exactness is tested in tests/image.
#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/api/support.h"

namespace fcm::testing {
namespace {

// A 3 x 2 BMP of 24 bits: bottom row first, blue before red, rows padded to 4 bytes. Pixel (x, y) channel c is (y * 9 + x * 3 + c) * 10.
std::string tiny_image() {
  const auto word = [](uint32_t v) {
    return std::string{static_cast<char>(v), static_cast<char>(v >> 8), static_cast<char>(v >> 16), static_cast<char>(v >> 24)};
  };
  std::string bytes = "BM" + word(54 + 24) + word(0) + word(54) + word(40) + word(3) + word(2) + word(1 | 24 << 16);
  for (int i = 0; i < 6; ++i) bytes += word(0);
  for (int y = 1; y >= 0; --y) {
    for (int x = 0; x < 3; ++x) {
      for (int c = 2; c >= 0; --c) bytes += static_cast<char>((y * 9 + x * 3 + c) * 10);
    }
    bytes += std::string(3, '\0');
  }
  return bytes;
}

TEST(Image, DecodesAndPreprocesses) {
  const std::string bytes = tiny_image();
  fcm_image* image = nullptr;
  api::check(fcm_image_decode(bytes.data(), bytes.size(), "tiny.bmp", &image));
  EXPECT_EQ(fcm_image_width(image), 3u);
  EXPECT_EQ(fcm_image_height(image), 2u);
  EXPECT_EQ(fcm_image_pixels(image)[17], 170);

  fcm_preprocess* preprocess = nullptr;
  api::check(fcm_preprocess_create(nullptr, &preprocess));
  api::check(fcm_preprocess_set(preprocess, "preset", "raw"));
  expect_status(fcm_preprocess_set(preprocess, "preset", "nonsense"), FCM_STATUS_INVALID_ARGUMENT, "imagenet");
  std::vector<float> out(8 * 8 * 3);
  api::check(fcm_preprocess_apply(preprocess, image, 8, 8, FCM_NCHW, out.data(), out.size() * 4));
  std::vector<uint8_t> pixels(8 * 8 * 3);
  float mean[3];
  float std[3];
  api::check(fcm_preprocess_apply_u8(preprocess, image, 8, 8, pixels.data(), pixels.size(), mean, std));
  for (size_t p = 0; p < 64; ++p) {
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(out[c * 64 + p], (static_cast<float>(pixels[p * 3 + c]) - mean[c]) / std[c]);
  }
  expect_status(fcm_preprocess_apply(preprocess, image, 8, 8, FCM_NCHW, out.data(), 12), FCM_STATUS_INVALID_ARGUMENT, "768 bytes");
  expect_status(fcm_preprocess_apply(preprocess, image, 0, 8, FCM_NCHW, out.data(), 0), FCM_STATUS_INVALID_ARGUMENT, "0 pixels");
  fcm_preprocess_release(preprocess);
  fcm_image_release(image);
}

TEST(Image, BadFilesAreNamed) {
  fcm_image* image = nullptr;
  expect_status(fcm_image_load("/nowhere/missing.jpg", &image), FCM_STATUS_BAD_INPUT, "missing.jpg");
  expect_status(fcm_image_decode("", 0, "empty.jpg", &image), FCM_STATUS_BAD_INPUT, "empty.jpg");
  expect_status(fcm_image_decode("hello, world", 12, "notes.txt", &image), FCM_STATUS_BAD_INPUT, "notes.txt");
  EXPECT_EQ(image, nullptr);
}

TEST(Preprocess, ComesFromTheModelsMetadataElseTheSidecar) {
  const std::string settings = R"({"preset": "lite", "resize": 320})";
  const api::Options options = cpu_options();
  const std::string with =
      ModelBuilder(17).input("x", {1}).node("Relu", {"x"}, {"y"}).output("y").metadata("fcm.preprocess", settings).bytes();
  const api::Model model = load(with, options);
  const api::Preprocess preprocess(model);
  EXPECT_NE(std::string(fcm_preprocess_text(preprocess.get())).find("320"), std::string::npos);

  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "fcm_sidecar";
  std::filesystem::create_directories(folder);
  const std::string without = ModelBuilder(17).input("x", {1}).node("Relu", {"x"}, {"y"}).output("y").bytes();
  std::ofstream(folder / "m.onnx", std::ios::binary) << without;
  EXPECT_NE(std::string(fcm_preprocess_text(api::Preprocess(api::Model((folder / "m.onnx").string())).get())).find("imagenet"),
            std::string::npos);
  std::ofstream(folder / "m.json") << R"({"preset": "clip"})";
  EXPECT_NE(std::string(fcm_preprocess_text(api::Preprocess(api::Model((folder / "m.onnx").string())).get())).find("m.json"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Tensor, SavesAndLoads) {
  const std::string path = ::testing::TempDir() + "fcm_api_tensor.npy";
  const int64_t dims[2] = {2, 3};
  fcm_tensor* tensor = nullptr;
  api::check(fcm_tensor_create(FCM_FLOAT32, dims, 2, &tensor));
  for (int i = 0; i < 6; ++i) static_cast<float*>(fcm_tensor_data(tensor))[i] = static_cast<float>(i);
  api::check(fcm_tensor_save(tensor, path.c_str()));
  fcm_tensor* loaded = nullptr;
  api::check(fcm_tensor_load(path.c_str(), &loaded));
  EXPECT_EQ(fcm_tensor_rank(loaded), 2u);
  EXPECT_EQ(fcm_tensor_dims(loaded)[1], 3);
  EXPECT_EQ(fcm_tensor_bytes(loaded), 24u);
  EXPECT_EQ(static_cast<const float*>(fcm_tensor_const_data(loaded))[5], 5.0f);
  fcm_tensor_release(tensor);
  fcm_tensor_release(loaded);
  std::filesystem::remove(path);
  const int64_t absurd[1] = {int64_t{1} << 45};
  fcm_tensor* none = nullptr;
  expect_status(fcm_tensor_create(FCM_FLOAT32, absurd, 1, &none), FCM_STATUS_BAD_INPUT, "2^40");
}

TEST(Labels, ComeFromTheModel) {
  const api::Options options = cpu_options();
  const std::string bytes =
      ModelBuilder(17).input("x", {1}).node("Relu", {"x"}, {"y"}).output("y").metadata("fcm.labels", "n01440764 tench\ngoldfish").bytes();
  const api::Model model = load(bytes, options);
  fcm_labels* labels = nullptr;
  api::check(fcm_labels_from_model(model.get(), &labels));
  ASSERT_EQ(fcm_labels_count(labels), 2u);
  EXPECT_STREQ(fcm_labels_get(labels, 0), "tench");
  EXPECT_EQ(fcm_labels_get(labels, 2), nullptr);
  fcm_labels_release(labels);
  api::check(fcm_labels_from_model(load(small_classifier(), options).get(), &labels));
  EXPECT_EQ(labels, nullptr);
}

}  // namespace
}  // namespace fcm::testing
