// What fcm-infer refuses: each with the exit code of its kind and a message that names the cause.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace fcm::test {
namespace {

using testing::ModelBuilder;
using Arguments = std::vector<std::string>;

void refused(int code, const std::vector<std::string>& parts, const Arguments& arguments) {
  const Outcome run = infer(arguments);
  EXPECT_EQ(run.code, code) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_TRUE(run.err.starts_with("fcm-infer: error: ")) << run.err;
  for (const std::string& part : parts) EXPECT_NE(run.err.find(part), std::string::npos) << "'" << part << "' is not in: " << run.err;
}

TEST(InferRefuses, BadCommandLines) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  refused(1, {"MODEL"}, {});
  refused(1, {"INPUT"}, {model});
  refused(1, {"--nonsense"}, {model, image, "--nonsense"});
  refused(1, {"--top"}, {model, image, "--top", "0"});
  refused(1, {"--top"}, {model, image, "--top", "five"});
  refused(1, {"--batch"}, {model, image, "--batch", "-1"});
  refused(1, {"--repeat"}, {model, image, "--repeat", "0"});
  refused(1, {"--layout"}, {model, image, "--layout", "chwn"});
  refused(1, {"--layout nhwc", "Bx3x4x4"}, {model, image, "--layout", "nhwc"});
  refused(1, {"device", "tpu"}, {model, image, "--device", "tpu"});
  refused(1, {"precision", "fp12"}, {model, image, "--precision", "fp12"});
  refused(1, {"NAME=DIMS"}, {model, image, "--shape", "1x3x4x4"});
  refused(1, {"mean", "'1,2'"}, {model, image, "--mean", "1,2", "--device", "cpu"});
  refused(1, {"preset", "imagenet, timm"}, {model, image, "--preset", "resnet", "--device", "cpu"});
  refused(1, {"interpolation"}, {model, image, "--interpolation", "nearest", "--device", "cpu"});
  refused(1, {"--atol"}, {model, image, "--atol", "-1"});
  refused(1, {"--objective"}, {model, image, "--objective", "beauty"});
}

TEST(InferRefuses, BadModelsAndFiles) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  refused(2, {"gone.onnx"}, {folder.path("gone.onnx"), image});
  refused(2, {"empty.onnx"}, {folder.write("empty.onnx", ""), image});
  refused(2, {"a.bmp"}, {image, image});
  refused(2, {folder.path()}, {folder.path(), image});
  folder.write("none/notes.txt", "x");
  refused(2, {"none", "holds no image"}, {model, folder.path("none"), "--device", "cpu"});
  refused(2, {"labels.txt", "2 names", "3 classes"}, {model, image, "--device", "cpu", "--labels", folder.write("labels.txt", "a\nb\n")});
  refused(2, {"nothing.txt"}, {model, image, "--device", "cpu", "--labels", folder.path("nothing.txt")});
  ModelBuilder plain;
  plain.input("x", {"N", 3, 4, 4}).node("Relu", {"x"}, {"y"}).output("y");
  folder.write("plain/colour.json", "{\"resize\": -1}");
  refused(2, {"colour.json"}, {folder.model("plain/colour.onnx", plain), image, "--device", "cpu"});
  const Outcome missing = infer({model, folder.path("gone.jpg"), "--device", "cpu"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("gone.jpg': No such file"), std::string::npos) << missing.err;
}

TEST(InferRefuses, UnsupportedNodesAreAllListed) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {"N", 3, 4, 4})
      .node("NonMaxSuppression", {"x", "x"}, {"a"}, {}, "first")
      .node("StringNormalizer", {"a"}, {"y"}, {}, "second")
      .output("y");
  refused(3, {"first", "NonMaxSuppression", "second", "StringNormalizer"},
          {folder.model("odd.onnx", builder), folder.image("a.bmp", 4, 4, 1, 2, 3), "--device", "cpu"});
}

TEST(InferRefuses, ModelsThatTakeNoImage) {
  const Folder folder;
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  ModelBuilder grey;
  grey.input("x", {"N", 1, 4, 4}).node("Relu", {"x"}, {"y"}).output("y");
  refused(3, {"\"x\"", "Bx1x4x4", "3 channels", ".npy"}, {folder.model("grey.onnx", grey), image, "--device", "cpu"});
  ModelBuilder flat;
  flat.input("x", {"N", 48}).node("Relu", {"x"}, {"y"}).output("y");
  refused(3, {"takes no image"}, {folder.model("flat.onnx", flat), image, "--device", "cpu"});
}

TEST(InferRefuses, WhatIsNotAvailableYet) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  for (const Arguments& option : std::vector<Arguments>{{"--save-engine", "e.fcm"}, {"--precision", "int8"}}) {
    Arguments arguments = {model, image};
    arguments.insert(arguments.end(), option.begin(), option.end());
    refused(3, {option[0], "not available yet"}, arguments);
  }
  refused(3, {"saved engine", "not available yet"}, {folder.write("e.fcm", "x"), image});
}

TEST(InferRefuses, WhatNeedsAPlanOnTheCpu) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  refused(3, {"choose a CUDA device"}, {model, image, "--device", "cpu", "--check-steps"});
  refused(1, {"--check-steps", "7..3"}, {model, image, "--device", "cpu", "--check-steps", "7..3"});
  refused(2, {"plan", "cannot be read"}, {model, image, "--device", "cpu", "--plan", "/no/such/plan"});
  refused(3, {"plan"}, {model, image, "--device", "cpu", "--plan", folder.write("p.json", "{}")});
  refused(1, {"--set"}, {model, image, "--device", "cpu", "--set", "nofuse"});
}

TEST(InferRefuses, ADeviceThatIsNotThere) {
  const Folder folder;
  refused(4, {"cuda"}, {folder.colour_model(), folder.image("a.bmp", 4, 4, 1, 2, 3), "--device", "cuda:99"});
}

TEST(InferRefuses, InJsonToo) {
  const Folder folder;
  const Outcome run = infer({folder.path("gone.onnx"), "x.jpg", "--json"});
  EXPECT_EQ(run.code, 2);
  const auto document = nlohmann::json::parse(run.out);
  EXPECT_EQ(document["error"]["exit_code"], 2);
  EXPECT_NE(document["error"]["message"].get<std::string>().find("gone.onnx"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(infer({"--json"}).out)["error"]["exit_code"], 1);
}

}  // namespace
}  // namespace fcm::test
