// Damaged models: every truncation and many random changes of a small model either import or throw fcm::Error, and a graph that
// comes out is valid. Meant for a build with -DFCM_SANITIZE=address as much as for this one.
#include <gtest/gtest.h>

#include <random>

#include "runtime/support/log.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

// A little of everything: raw data, attributes of each kind, several opset-dependent operators, metadata.
std::string seed_model(int64_t opset) {
  ModelBuilder b(opset);
  b.input("x", {"N", 3, 4, 4}).initializer("w", {2, 3, 1, 1}, {1, 2, 3, 4, 5, 6}).initializer("s", {2}, {1, 2});
  b.node("Conv", {"x", "w"}, {"a"}, {{"kernel_shape", Ints{1, 1}}, {"pads", Ints{0, 0, 0, 0}}, {"group", 1}}, "conv");
  b.node("BatchNormalization", {"a", "s", "s", "s", "s"}, {"b"}, {{"epsilon", 0.5f}});
  b.node("Constant", {}, {"half"}, {{"value", Tensor::scalar(0.5f)}}).node("Max", {"b", "half", "a"}, {"c"});
  b.node("MaxPool", {"c"}, {"d"}, {{"kernel_shape", Ints{2, 2}}, {"auto_pad", "SAME_UPPER"}});
  b.node("Flatten", {"d"}, {"e"}).node("Softmax", {"e"}, {"y"}, {{"axis", 1}}).output("y").metadata("fcm.preprocess", "{}");
  b.ints("starts", {0}).ints("ends", {1});
  if (opset >= 10) b.node("Slice", {"x", "starts", "ends"}, {"z"}).output("z");
  if (opset < 10) b.node("Slice", {"x"}, {"z"}, {{"starts", Ints{0}}, {"ends", Ints{1}}}).output("z");
  return b.bytes();
}

// True when it imported; anything but a valid graph or an Error fails or crashes the test.
bool survives(const std::string& bytes) {
  try {
    const Graph graph = onnx::import_bytes(bytes, "fuzz.onnx", {});
    graph.validate();
    EXPECT_FALSE(to_string(graph).empty());
    return true;
  } catch (const Error& e) {
    EXPECT_NE(e.code(), ErrorCode::internal) << e.what();
    EXPECT_NE(std::string(e.what()).find("fuzz.onnx"), std::string::npos) << e.what();
    return false;
  }
}

class Fuzz : public ::testing::TestWithParam<int64_t> {
 protected:
  LogTarget quiet_{LogLevel::off, {}};
  LogScope scope_{quiet_};
};

TEST_P(Fuzz, SeedImports) {
  EXPECT_TRUE(survives(seed_model(GetParam())));
}

TEST_P(Fuzz, Truncations) {
  const std::string model = seed_model(GetParam());
  for (size_t size = 0; size < model.size(); ++size) survives(model.substr(0, size));
}

TEST_P(Fuzz, RandomChanges) {
  const std::string model = seed_model(GetParam());
  std::mt19937 random(static_cast<uint32_t>(GetParam()));
  int imported = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = model;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << (random() % 8)));
          break;
        case 2:
          bytes.erase(at, 1 + random() % 8);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
      }
      if (bytes.empty()) bytes = "\x08";
    }
    SCOPED_TRACE(::testing::Message() << "round " << round);
    imported += survives(bytes) ? 1 : 0;
  }
  EXPECT_GT(imported, 0);  // the changes are small enough to get past the parser
}

INSTANTIATE_TEST_SUITE_P(Opsets, Fuzz, ::testing::Values(7, 13, 17, 28));

}  // namespace
}  // namespace fcm::testing
