// Options, statuses and everything that must answer politely when it is called wrongly.
#include <vector>

#include "tests/api/support.h"

namespace fcm::testing {
namespace {

TEST(Options, AbiVersionIsChecked) {
  fcm_options* options = nullptr;
  expect_status(fcm_options_create(FCM_ABI_VERSION + 1, &options), FCM_STATUS_INVALID_ARGUMENT, "ABI version");
  EXPECT_EQ(options, nullptr);
}

TEST(Options, UnknownKeysAndValuesAreRefusedByName) {
  const api::Options options;
  expect_status(fcm_options_set(options.get(), "colour", "red"), FCM_STATUS_INVALID_ARGUMENT, "unknown option \"colour\"");
  expect_status(fcm_options_set(options.get(), "device", "gpu"), FCM_STATUS_INVALID_ARGUMENT, "cuda:N");
  expect_status(fcm_options_set(options.get(), "device", "cuda:x"), FCM_STATUS_INVALID_ARGUMENT, "cuda:N");
  expect_status(fcm_options_set(options.get(), "device", "cuda:-1"), FCM_STATUS_INVALID_ARGUMENT, "cuda:N");
  expect_status(fcm_options_set(options.get(), "precision", "fp8"), FCM_STATUS_INVALID_ARGUMENT, "fp16");
  expect_status(fcm_options_set(options.get(), "precision", "int8"), FCM_STATUS_UNSUPPORTED, "not available yet");
  expect_status(fcm_options_set(options.get(), "tf32", "yes"), FCM_STATUS_INVALID_ARGUMENT, "0 or 1");
  expect_status(fcm_options_set(options.get(), "tune_batches", "1,0"), FCM_STATUS_INVALID_ARGUMENT, "1,8,64");
  expect_status(fcm_options_set(options.get(), "tune_batches", "1,,8"), FCM_STATUS_INVALID_ARGUMENT, "1,8,64");
  expect_status(fcm_options_set(options.get(), "memory_limit", "-5"), FCM_STATUS_INVALID_ARGUMENT, "bytes");
  expect_status(fcm_options_set(options.get(), "shape.x", "1x-3"), FCM_STATUS_INVALID_ARGUMENT, "1x3x224x224");
  expect_status(fcm_options_set(options.get(), "shape.x", ""), FCM_STATUS_INVALID_ARGUMENT, "1x3x224x224");
  expect_status(fcm_options_set(options.get(), "shape.x", "1x2x3x4x5x6x7x8x9"), FCM_STATUS_INVALID_ARGUMENT, "1x3x224x224");
  expect_status(fcm_options_set(options.get(), nullptr, "1"), FCM_STATUS_INVALID_ARGUMENT, "NULL");
  expect_status(fcm_options_set_allocator(
                    options.get(), [](void*, size_t) -> void* { return nullptr; }, nullptr, nullptr),
                FCM_STATUS_INVALID_ARGUMENT, "both callbacks");
}

TEST(Handles, ReleaseTakesNullAndQueriesOfNullAreHarmless) {
  fcm_status_release(nullptr);
  fcm_options_release(nullptr);
  fcm_model_release(nullptr);
  fcm_engine_release(nullptr);
  fcm_context_release(nullptr);
  fcm_image_release(nullptr);
  fcm_preprocess_release(nullptr);
  fcm_tensor_release(nullptr);
  fcm_labels_release(nullptr);
  EXPECT_EQ(fcm_status_get_code(nullptr), FCM_STATUS_OK);
  EXPECT_STREQ(fcm_status_message(nullptr), "");
  EXPECT_EQ(fcm_engine_input_count(nullptr), 0u);
  EXPECT_EQ(fcm_model_metadata(nullptr, "x"), nullptr);
  EXPECT_EQ(fcm_labels_get(nullptr, 0), nullptr);
}

TEST(Version, TextIsCutToTheBufferAndReportsItsLength) {
  const size_t length = fcm_version_text(nullptr, 0);
  std::string text(length + 1, '?');
  EXPECT_EQ(fcm_version_text(text.data(), text.size()), length);
  EXPECT_EQ(text.rfind("fcm 0.1.0\n", 0), 0u) << text;
  char small[4];
  EXPECT_EQ(fcm_version_text(small, sizeof small), length);
  EXPECT_STREQ(small, "fcm");
  EXPECT_EQ(fcm_version(), 100u);
}

TEST(Log, GoesToTheCallbackOfTheHandle) {
  std::vector<std::string> seen;
  api::Options options = cpu_options();
  options.set("log_level", "trace");
  api::check(fcm_options_set_log(
      options.get(),
      [](void* user, fcm_log_level, const char* message) { static_cast<std::vector<std::string>*>(user)->emplace_back(message); }, &seen));
  // An opset beyond the newest known one is accepted with a warning.
  const std::string bytes = ModelBuilder(99).input("x", {1}).node("Relu", {"x"}, {"y"}).output("y").bytes();
  const api::Model model = load(bytes, options);
  bool warned = false;
  for (const std::string& message : seen) warned = warned || message.find("99") != std::string::npos;
  EXPECT_TRUE(warned) << seen.size() << " messages";
}

}  // namespace
}  // namespace fcm::testing
