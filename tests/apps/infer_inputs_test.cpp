// fcm-infer on tensors: matching files to inputs, shapes, batches.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/image/npy.h"
#include "tests/apps/program.h"

namespace fcm::test {
namespace {

using testing::ModelBuilder;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// a [N,2] - b [N,2].
std::string difference_model(const Folder& folder) {
  ModelBuilder builder;
  builder.input("a", {"N", 2}).input("b", {"N", 2}).node("Sub", {"a", "b"}, {"y"}).output("y");
  return folder.model("difference.onnx", builder);
}

TEST(InferTensors, ByNameAndByPosition) {
  const Folder folder;
  const std::string model = difference_model(folder);
  const std::string five = folder.npy("five.npy", {1, 2}, {5, 5});
  const std::string one = folder.npy("one.npy", {1, 2}, {1, 2});
  const auto first = [&](const std::vector<std::string>& inputs) {
    std::vector<std::string> arguments = {model, "--device", "cpu", "--save", folder.path("out")};
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    const Outcome run = infer(arguments);
    EXPECT_EQ(run.code, 0) << run.err;
    return load_npy(folder.path("out/y.npy")).data<float>()[0];
  };
  EXPECT_EQ(first({five, one}), 4);
  EXPECT_EQ(first({one, five}), -4);
  EXPECT_EQ(first({"b=" + one, "a=" + five}), 4);
  EXPECT_EQ(first({"b=" + five, one}), -4);
}

TEST(InferTensors, ABatchRunsInGroupsAndIsSavedWhole) {
  const Folder folder;
  const std::string model = difference_model(folder);
  std::vector<float> values(10);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const std::string a = folder.npy("a.npy", {5, 2}, values);
  const std::string b = folder.npy("b.npy", {5, 2}, std::vector<float>(10, 1));
  const Outcome run = infer({model, a, b, "--batch", "2", "--json", "--device", "cpu", "--save", folder.path("deep/out")});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(nlohmann::json::parse(run.out)["groups"].size(), 3U);
  const Tensor saved = load_npy(folder.path("deep/out/y.npy"));
  EXPECT_EQ(saved.dims(), (Dims{5, 2}));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(saved.data<float>()[i], values[i] - 1);
}

TEST(InferTensors, WrongOnesAreRefusedWithBothShapes) {
  const Folder folder;
  const std::string model = difference_model(folder);
  const std::string good = folder.npy("good.npy", {1, 2}, {1, 2});
  const auto refused = [&](int code, const std::string& part, const std::vector<std::string>& inputs) {
    std::vector<std::string> arguments = {model, "--device", "cpu"};
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    const Outcome run = infer(arguments);
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_TRUE(has(run.err, part)) << part << " is not in: " << run.err;
    EXPECT_EQ(run.out, "");
  };
  refused(2, "is f32 1x3, but input \"b\" is f32 Bx2", {good, folder.npy("wide.npy", {1, 3}, {1, 2, 3})});
  refused(2, "is f32 2, but input \"a\" is f32 Bx2", {folder.npy("flat.npy", {2}, {1, 2}), good});
  refused(2, "has a batch of 2, the inputs before it 1", {good, folder.npy("two.npy", {2, 2}, {1, 2, 3, 4})});
  refused(1, "1 of 2 were given", {good});
  refused(1, "one tensor too many", {good, good, good});
  refused(1, "no input \"c\"; it has \"a\" (f32 Bx2), \"b\" (f32 Bx2)", {"c=" + good, good});
  refused(1, "given twice", {"a=" + good, "a=" + good});
  refused(2, "No such file", {good, folder.path("gone.npy")});
  refused(1, "cannot be mixed", {good, folder.image("i.bmp", 2, 2, 1, 1, 1)});
  refused(1, "--mean is for images", {good, good, "--mean", "1"});
  refused(3, "2 inputs", {folder.image("i.bmp", 2, 2, 1, 1, 1)});

  save_npy(Tensor(DType::f64, {1, 2}), folder.path("double.npy"));
  refused(2, "is f64 1x2, but input \"a\" is f32", {folder.path("double.npy"), good});
}

TEST(InferTensors, FreeDimensionsAreFixedByShape) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {"N", 3, "H", "W"}).node("Relu", {"x"}, {"y"}).output("y");
  const std::string model = folder.model("free.onnx", builder);
  const std::string input = folder.npy("x.npy", {1, 3, 2, 2}, std::vector<float>(12, 1));
  EXPECT_EQ(infer({model, input, "--device", "cpu", "--shape", "x=1x3x2x2"}).code, 0);
  const Outcome bare = infer({model, input, "--device", "cpu"});
  EXPECT_NE(bare.code, 0);
  EXPECT_TRUE(has(bare.err, "x")) << bare.err;
  EXPECT_EQ(infer({model, input, "--shape", "1x3x2x2"}).code, 1);
  EXPECT_EQ(infer({model, input, "--shape", "x=1xthreex2x2"}).code, 1);
}

}  // namespace
}  // namespace fcm::test
