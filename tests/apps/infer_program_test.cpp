// fcm-infer on images: classes, JSON, folders, layouts, batches, terminals.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/image/npy.h"
#include "tests/apps/program.h"

namespace fcm::test {
namespace {

using nlohmann::json;
using testing::ModelBuilder;

json parse(const Outcome& run) {
  const json document = json::parse(run.out, nullptr, false);
  EXPECT_FALSE(document.is_discarded()) << run.out << run.err;
  return document;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Infer, ClassifiesAnImage) {
  const Folder folder;
  const Outcome run = infer({folder.colour_model(), folder.image("red.bmp", 9, 7, 240, 237, 12), "--device", "cpu"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(has(run.out, "preprocessing: the metadata of")) << run.out;
  EXPECT_TRUE(has(run.out, "0.9526  0  red")) << run.out;  // softmax(240, 237, 12)
  EXPECT_LT(run.out.find("red\n"), run.out.find("green"));
  EXPECT_TRUE(has(run.out, "fp32, plan ")) << run.out;
  EXPECT_FALSE(has(run.out, "\033")) << "colour in a pipe";
  EXPECT_EQ(run.err, "");
}

TEST(Infer, JsonIsOneDocument) {
  const Folder folder;
  const Outcome run = infer({folder.colour_model(), folder.image("blue.bmp", 5, 5, 1, 2, 200), "--device", "cpu", "--json", "--top", "2",
                             "--memory", "--repeat", "3"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json document = parse(run);
  const json& group = document["groups"][0];
  const json& classes = group["results"][0]["classes"];
  ASSERT_EQ(classes.size(), 2U);
  EXPECT_EQ(classes[0]["label"], "blue");
  EXPECT_EQ(classes[0]["index"], 2);
  EXPECT_NEAR(classes[0]["score"].get<double>(), 200, 1e-3);
  EXPECT_NEAR(classes[0]["probability"].get<double>(), 1, 1e-6);
  EXPECT_GT(group["us"]["decode"].get<double>(), 0);
  EXPECT_EQ(document["repeat"]["runs"], 3);
  EXPECT_EQ(document["memory"]["batch"], 1);
  EXPECT_EQ(document["exit_code"], 0);
  EXPECT_EQ(document["precision"], "fp32");
}

TEST(Infer, FolderGoesOnPastUnreadableFiles) {
  const Folder folder;
  const std::string model = folder.colour_model();
  folder.image("photos/1.bmp", 8, 8, 250, 0, 0);
  folder.write("photos/2.jpg", "no image");
  folder.image("photos/3.BMP", 8, 8, 0, 250, 0);
  folder.write("photos/4.png", "");
  folder.image("photos/5.bmp", 8, 8, 0, 0, 250);
  folder.write("photos/notes.txt", "not an image by its name");
  const Outcome text = infer({model, folder.path("photos"), "--top", "1", "--batch", "2", "--device", "cpu"});
  EXPECT_EQ(text.code, 2);
  EXPECT_TRUE(has(text.err, "photos/2.jpg': not an image of a known format")) << text.err;
  EXPECT_TRUE(has(text.err, "photos/4.png': is empty (0 bytes)")) << text.err;
  EXPECT_TRUE(has(text.err, "2 of 5 inputs could not be read")) << text.err;
  EXPECT_FALSE(has(text.err, "notes.txt"));

  const json document = parse(infer({model, folder.path("photos"), "--json", "--batch", "2", "--device", "cpu"}));
  ASSERT_EQ(document["groups"].size(), 2U);  // two and one
  EXPECT_EQ(document["groups"][0]["results"][0]["classes"][0]["label"], "red");
  EXPECT_EQ(document["groups"][0]["results"][1]["classes"][0]["label"], "green");
  EXPECT_EQ(document["groups"][1]["results"][0]["classes"][0]["label"], "blue");
  EXPECT_EQ(document["errors"].size(), 2U);
  EXPECT_EQ(document["exit_code"], 2);
}

/// A model that averages 3 channels of its input and scores them.
ModelBuilder& averaging(ModelBuilder& builder, const std::vector<testing::DeclaredDim>& dims, DType dtype, bool nhwc) {
  builder.input("x", dims, dtype);
  std::string last = "x";
  if (dtype != DType::f32) {
    builder.node("Cast", {last}, {"cast"}, {{"to", testing::onnx_type(DType::f32)}});
    last = "cast";
  }
  if (nhwc) {
    builder.node("Transpose", {last}, {"nchw"}, {{"perm", Ints{0, 3, 1, 2}}});
    last = "nchw";
  }
  return builder.node("GlobalAveragePool", {last}, {"pooled"}).node("Flatten", {"pooled"}, {"mean"}).output("mean");
}

TEST(Infer, EveryInputLayoutGivesTheSameScores) {
  const Folder folder;
  const std::string image = folder.image("a.bmp", 6, 6, 10, 20, 30);
  for (const DType dtype : {DType::f32, DType::f16, DType::u8}) {
    for (const bool nhwc : {false, true}) {
      ModelBuilder builder;
      averaging(builder, nhwc ? std::vector<testing::DeclaredDim>{"N", 5, 6, 3} : std::vector<testing::DeclaredDim>{"N", 3, 5, 6}, dtype,
                nhwc);
      const json document =
          parse(infer({folder.model("m.onnx", builder), image, "--preset", "raw", "--json", "--device", "cpu", "--top", "3"}));
      const json& classes = document["groups"][0]["results"][0]["classes"];
      for (int i = 0; i < 3; ++i) EXPECT_NEAR(classes[i]["score"].get<double>(), 30 - 10 * i, 1e-3) << dtype_name(dtype) << nhwc;
    }
  }
}

TEST(Infer, AmbiguousLayoutAsksForOne) {
  const Folder folder;
  const std::string image = folder.image("a.bmp", 6, 6, 10, 20, 30);
  for (const bool nhwc : {false, true}) {
    ModelBuilder builder;
    averaging(builder, {"N", 3, 4, 3}, DType::f32, nhwc);
    const std::string model = folder.model("m.onnx", builder);
    const Outcome bare = infer({model, image, "--preset", "raw", "--device", "cpu"});
    EXPECT_EQ(bare.code, 1);
    EXPECT_TRUE(has(bare.err, "--layout")) << bare.err;
    const json document = parse(infer({model, image, "--preset", "raw", "--device", "cpu", "--json", "--layout", nhwc ? "nhwc" : "nchw"}));
    EXPECT_NEAR(document["groups"][0]["results"][0]["classes"][0]["score"].get<double>(), 30, 1e-3);
  }
}

TEST(Infer, PreprocessingOptionsAreUsed) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const std::string image = folder.image("a.bmp", 6, 6, 51, 102, 153);
  const json fractions = parse(infer({model, image, "--json", "--device", "cpu", "--range", "1", "--mean", "0.2,0.2,0.2", "--std", "0.5"}));
  EXPECT_NEAR(fractions["groups"][0]["results"][0]["classes"][0]["score"].get<double>(), (0.6 - 0.2) / 0.5, 1e-5);
  const json pixels =
      parse(infer({model, image, "--json", "--device", "cpu", "--mean", "53,100,3", "--std", "2,2,2", "--interpolation", "lanczos"}));
  EXPECT_NEAR(pixels["groups"][0]["results"][0]["classes"][0]["score"].get<double>(), 75, 1e-4);
  EXPECT_TRUE(has(pixels["preprocess"].get<std::string>(), "lanczos"));
}

TEST(Infer, SoftmaxIsAppliedOnce) {
  const Folder folder;
  ModelBuilder builder;
  averaging(builder, {"N", 3, 4, 4}, DType::f32, false);
  ModelBuilder with;
  with.input("x", {"N", 3, 4, 4})
      .node("GlobalAveragePool", {"x"}, {"pooled"})
      .node("Flatten", {"pooled"}, {"mean"})
      .node("Softmax", {"mean"}, {"p"}, {{"axis", 1}})
      .output("p");
  const std::string image = folder.image("a.bmp", 4, 4, 3, 2, 1);
  for (const std::string& model : {folder.model("without.onnx", builder), folder.model("with.onnx", with)}) {
    const json document = parse(infer({model, image, "--preset", "raw", "--json", "--device", "cpu"}));
    EXPECT_NEAR(document["groups"][0]["results"][0]["classes"][0]["probability"].get<double>(), 0.66524, 1e-5) << model;
  }
}

TEST(Infer, AFixedBatchIsFilledAndTrimmed) {
  const Folder folder;
  ModelBuilder builder;
  averaging(builder, {2, 3, 4, 4}, DType::f32, false);
  const std::string model = folder.model("fixed.onnx", builder);
  for (const uint8_t i : {1, 2, 3}) folder.image(std::string("in/") + static_cast<char>('0' + i) + ".bmp", 4, 4, i, 0, 0);
  const Outcome run = infer({model, folder.path("in"), "--preset", "raw", "--device", "cpu", "--json", "--save", folder.path("out")});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(parse(run)["groups"].size(), 2U);
  const Tensor saved = load_npy(folder.path("out/mean.npy"));
  EXPECT_EQ(saved.dims(), (Dims{3, 3}));
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(saved.data<float>()[i * 3], static_cast<float>(i + 1), 1e-4);
  const Outcome other = infer({model, folder.path("in"), "--device", "cpu", "--batch", "3", "--shape", "x=2x3x4x4"});
  EXPECT_EQ(other.code, 1);
  EXPECT_TRUE(has(other.err, "fixed at 2")) << other.err;
}

TEST(Infer, AFixedBatchIsFreedWhereItemsStayApart) {
  const Folder folder;
  ModelBuilder builder;
  averaging(builder, {2, 3, 4, 4}, DType::f32, false);
  const std::string model = folder.model("fixed.onnx", builder);
  for (const uint8_t i : {1, 2, 3}) folder.image(std::string("in/") + static_cast<char>('0' + i) + ".bmp", 4, 4, i, 0, 0);
  const Outcome run =
      infer({model, folder.path("in"), "--preset", "raw", "--device", "cpu", "--json", "--batch", "3", "--save", folder.path("out")});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(parse(run)["groups"].size(), 1U);
  const Tensor saved = load_npy(folder.path("out/mean.npy"));
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(saved.data<float>()[i * 3], static_cast<float>(i + 1), 1e-4);

  ModelBuilder mixing;
  mixing.input("x", {2, 3, 4, 4}).node("Softmax", {"x"}, {"y"}, {{"axis", 0}}, "over_items").output("y");
  const Outcome refused = infer({folder.model("mixing.onnx", mixing), folder.path("in"), "--device", "cpu", "--batch", "3"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_TRUE(has(refused.err, "the batch is fixed at 2")) << refused.err;
  EXPECT_TRUE(has(refused.err, "over_items")) << refused.err;
}

TEST(Infer, ColourOnATerminalOnly) {
  const Folder folder;
  const std::vector<std::string> arguments = {folder.colour_model(), folder.image("a.bmp", 4, 4, 9, 2, 1), "--device", "cpu"};
  RunOptions terminal;
  terminal.terminal = true;
  terminal.environment = {"NO_COLOR="};
  EXPECT_TRUE(has(infer(arguments, terminal).out, "\033[1m"));
  terminal.environment = {"NO_COLOR=1"};
  const Outcome plain = infer(arguments, terminal);
  EXPECT_EQ(plain.code, 0);
  EXPECT_FALSE(has(plain.out, "\033[")) << plain.out;
}

TEST(Infer, AFullDiskIsAnError) {
  const Folder folder;
  RunOptions options;
  options.stdout_path = "/dev/full";
  const Outcome run = infer({folder.colour_model(), folder.image("a.bmp", 4, 4, 9, 2, 1), "--device", "cpu"}, options);
  EXPECT_EQ(run.code, 2);
  EXPECT_TRUE(has(run.err, "standard output cannot be written")) << run.err;
}

TEST(Infer, VersionAndHelp) {
  const Outcome version = infer({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("fcm 0.")) << version.out;
  const Outcome help = infer({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* part : {"Examples:", "--preset", "--check", "Exit codes:"}) EXPECT_TRUE(has(help.out, part)) << part;
}

TEST(Infer, AnswersAsTheReferenceOnAPhotograph) {
  const std::string shared = FCM_SOURCE_DIR "/../shared/";
  const std::string model = shared + "models/efficientnet_lite0.onnx";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << model << " is absent";
  std::ifstream table(shared + "images/expected_efficientnet_lite0.csv");
  std::string line;
  std::getline(table, line);
  std::getline(table, line);  // file,label,top1..top5,logit1..logit5
  std::vector<std::string> cells;
  for (std::stringstream stream(line); std::getline(stream, line, ',');) cells.push_back(line);
  const json document = parse(infer(
      {model, shared + "images/" + cells[0], "--preset", "lite", "--labels", shared + "images/labels.txt", "--json", "--device", "cpu"}));
  const json& classes = document["groups"][0]["results"][0]["classes"];
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(classes[i]["index"].get<int>(), std::stoi(cells[2 + i]));
    EXPECT_NEAR(classes[i]["score"].get<double>(), std::stod(cells[7 + i]), 0.01);
  }
  EXPECT_EQ(classes[0]["label"], "tench");
}

}  // namespace
}  // namespace fcm::test
