// fcm-infer's --save, --check, and models without a classifier head.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/image/npy.h"
#include "tests/apps/program.h"

namespace fcm::test {
namespace {

using testing::ModelBuilder;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Outputs "sum/a" [N,2] and "turned" [2,N].
std::string two_outputs(const Folder& folder) {
  ModelBuilder builder;
  builder.input("x", {"N", 2})
      .node("Add", {"x", "x"}, {"sum/a"})
      .node("Transpose", {"x"}, {"turned"}, {{"perm", Ints{1, 0}}})
      .output("sum/a")
      .output("turned");
  return folder.model("two.onnx", builder);
}

TEST(InferOutputs, SeveralOutputsAreSummarised) {
  const Folder folder;
  const Outcome run = infer({two_outputs(folder), folder.npy("x.npy", {2, 2}, {-1, 2, 3, 8}), "--device", "cpu"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(has(run.out, "sum/a   f32   2x2     -2     6   16")) << run.out;
  EXPECT_TRUE(has(run.out, "turned  f32   2x2     -1     3    8")) << run.out;
}

TEST(InferOutputs, ABatchAtAnotherAxisIsJoinedThere) {
  const Folder folder;
  const std::string x = folder.npy("x.npy", {3, 2}, {1, 2, 3, 4, 5, 6});
  ASSERT_EQ(infer({two_outputs(folder), x, "--device", "cpu", "--batch", "2", "--save", folder.path("out")}).code, 0);
  const Tensor turned = load_npy(folder.path("out/turned.npy"));
  EXPECT_EQ(turned.dims(), (Dims{2, 3}));
  const std::vector<float> expected = {1, 3, 5, 2, 4, 6};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(turned.data<float>()[i], expected[i]);
  EXPECT_TRUE(std::filesystem::exists(folder.path("out/sum_a.npy")));
}

TEST(InferOutputs, CheckPassesAndFails) {
  const Folder folder;
  const std::string model = two_outputs(folder);
  const std::string x = folder.npy("x.npy", {1, 2}, {1, 2});
  folder.npy("want/sum_a.npy", {1, 2}, {2, 4.002F});
  folder.npy("want/turned.npy", {2, 1}, {1, 2});
  const std::vector<std::string> base = {model, x, "--device", "cpu", "--check", folder.path("want")};
  const Outcome good = infer(base);
  EXPECT_EQ(good.code, 0) << good.out << good.err;
  EXPECT_TRUE(has(good.out, "ok")) << good.out;
  auto strict = base;
  strict.insert(strict.end(), {"--atol", "1e-4", "--rtol", "0", "--json"});
  const Outcome bad = infer(strict);
  EXPECT_EQ(bad.code, 6);
  const auto document = nlohmann::json::parse(bad.out);
  EXPECT_EQ(document["check"]["outputs"][0]["passed"], false);
  EXPECT_EQ(document["check"]["outputs"][0]["beyond"], 1);
  EXPECT_NEAR(document["check"]["outputs"][0]["max_abs"].get<double>(), 0.002, 1e-5);
  EXPECT_EQ(document["check"]["outputs"][1]["passed"], true);
  EXPECT_EQ(document["exit_code"], 6);
}

TEST(InferOutputs, CheckNeedsEveryFileInItsShape) {
  const Folder folder;
  const std::string model = two_outputs(folder);
  const std::string x = folder.npy("x.npy", {1, 2}, {1, 2});
  const Outcome missing = infer({model, x, "--device", "cpu", "--check", folder.path("none")});
  EXPECT_EQ(missing.code, 2);
  EXPECT_TRUE(has(missing.err, "sum_a.npy")) << missing.err;
  folder.npy("want/sum_a.npy", {2, 1}, {2, 4});
  const Outcome shape = infer({model, x, "--device", "cpu", "--check", folder.path("want")});
  EXPECT_EQ(shape.code, 2);
  EXPECT_TRUE(has(shape.err, "is 2x1, but output \"sum/a\" is 1x2")) << shape.err;
}

TEST(InferOutputs, SaveSaysWhatItCannotDo) {
  const Folder folder;
  const std::string x = folder.npy("x.npy", {1, 2}, {1, 2});
  const Outcome blocked = infer({two_outputs(folder), x, "--device", "cpu", "--save", folder.path("x.npy/out")});
  EXPECT_EQ(blocked.code, 2);
  EXPECT_TRUE(has(blocked.err, "x.npy/out")) << blocked.err;

  ModelBuilder clash;
  clash.input("x", {"N", 2}).node("Neg", {"x"}, {"a/b"}).node("Abs", {"x"}, {"a:b"}).output("a/b").output("a:b");
  const Outcome same = infer({folder.model("clash.onnx", clash), x, "--device", "cpu", "--save", folder.path("out")});
  EXPECT_EQ(same.code, 2);
  EXPECT_TRUE(has(same.err, "a_b.npy")) << same.err;
  EXPECT_EQ(infer({folder.path("clash.onnx"), x, "--device", "cpu"}).code, 0);  // no files, no clash
}

TEST(InferOutputs, NonFiniteValuesAreCounted) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {"N", 3}).node("Log", {"x"}, {"y"}).output("y");
  const std::string x = folder.npy("x.npy", {1, 3}, {0, -1, 1});
  const Outcome run = infer({folder.model("log.onnx", builder), x, "--device", "cpu"});
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(has(run.out, "2 scores are infinite or not numbers")) << run.out;
}

}  // namespace
}  // namespace fcm::test
