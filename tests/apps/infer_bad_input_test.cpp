// Bad input through the real program: each ends with the documented exit code and a message that names file, node and cause, and
// leaves nothing half-written. What a library call answers to each is tested in the folder of its room.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "onnx.pb.h"
#include "tests/apps/program.h"

namespace fcm::test {
namespace {

namespace fs = std::filesystem;
using testing::ModelBuilder;

constexpr int64_t kHuge = int64_t{1} << 40;

/// Runs the program on the CPU, or as `options` say; nothing may reach standard output but one error, which holds all `parts`.
void refused(int code, const std::vector<std::string>& parts, std::vector<std::string> arguments, const RunOptions& options = {}) {
  if (std::find(arguments.begin(), arguments.end(), "--device") == arguments.end()) arguments.insert(arguments.end(), {"--device", "cpu"});
  const Outcome run = infer(arguments, options);
  EXPECT_EQ(run.code, code) << run.err;
  EXPECT_TRUE(run.err.starts_with("fcm-infer: error: ")) << run.err;
  for (const std::string& part : parts) EXPECT_NE(run.err.find(part), std::string::npos) << "'" << part << "' is not in: " << run.err;
}

/// x [N,3,4,4] and whatever the test adds.
class BadModel : public ::testing::Test {
 protected:
  BadModel() { builder_.input("x", {"N", 3, 4, 4}); }

  void refused_as(int code, std::vector<std::string> parts) {
    parts.emplace_back("bad.onnx: ");
    refused(code, parts, {folder_.model("bad.onnx", builder_), folder_.image("a.bmp", 4, 4, 1, 2, 3)});
  }
  ::onnx::TensorProto& first_initializer() { return *builder_.proto().mutable_graph()->mutable_initializer(0); }
  /// The first initializer's elements lie in `location`.
  void make_external(const std::string& location) {
    first_initializer().clear_raw_data();
    first_initializer().set_data_location(::onnx::TensorProto::EXTERNAL);
    auto* entry = first_initializer().add_external_data();
    entry->set_key("location");
    entry->set_value(location);
  }

  const Folder folder_;
  ModelBuilder builder_;
};

TEST_F(BadModel, Cycle) {
  builder_.node("Add", {"x", "b"}, {"a"}, {}, "first").node("Relu", {"a"}, {"b"}, {}, "second").output("b");
  refused_as(2, {"cycle", "\"first\" (Add", "\"second\" (Relu"});
}

TEST_F(BadModel, ExternalData) {
  builder_.initializer("w", {1}, {0}).node("Add", {"x", "w"}, {"y"}).output("y");
  make_external("gone.data");
  refused_as(2, {"initializer \"w\"", "gone.data", "missing"});
  first_initializer().clear_external_data();
  make_external("../secret.data");
  folder_.write("secret.data", "1234");
  refused_as(2, {"initializer \"w\"", "../secret.data", "leaves the model's folder"});
}

TEST_F(BadModel, AbsurdAndNegativeDimensions) {
  builder_.initializer("w", {1}, {0}).node("Add", {"x", "w"}, {"y"}).output("y");
  for (const int64_t dim : {kHuge, int64_t{-4}}) {
    first_initializer().set_dims(0, dim);
    refused_as(2, {"initializer \"w\"", std::to_string(dim)});
  }
}

TEST(BadModels, AbsurdAndNegativeInputs) {
  const Folder folder;
  const std::string tensor = folder.npy("x.npy", {1, 1}, {1});
  for (const int64_t dim : {kHuge, int64_t{-5}, int64_t{0}}) {
    ModelBuilder builder;
    builder.input("x", {"N", dim}).node("Relu", {"x"}, {"y"}).output("y");
    refused(2, {"bad.onnx: input \"x\"", std::to_string(dim)}, {folder.model("bad.onnx", builder), tensor});
  }
}

TEST_F(BadModel, SizesThatGrowInside) {
  builder_.ints("shape", {kHuge, 3, 4, 4}).node("Expand", {"x", "shape"}, {"y"}, {}, "grow").output("y");
  refused_as(2, {"\"grow\" (Expand", std::to_string(kHuge)});
}

TEST_F(BadModel, PadsThatGrowInside) {
  builder_.initializer("w", {3, 3, 1, 1}, std::vector<float>(9, 1))
      .node("Conv", {"x", "w"}, {"y"}, {{"pads", Ints{1 << 30, 1 << 30, 1 << 30, 1 << 30}}}, "wide")
      .output("y");
  refused_as(2, {"\"wide\" (Conv", "accepted"});
}

TEST_F(BadModel, WrongTypes) {
  builder_.ints("k", {1}).node("Add", {"x", "k"}, {"y"}, {}, "mixed").output("y");
  refused_as(2, {"\"mixed\" (Add", "f32 and i64"});
}

TEST(BadModels, TypeThatAnOperatorDoesNotTake) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {"N", 3, 4, 4}, DType::i32)
      .initializer("w", Tensor(DType::i32, {3, 3, 1, 1}))
      .node("Conv", {"x", "w"}, {"y"}, {}, "conv")
      .output("y");
  refused(2, {"bad.onnx", "\"conv\" (Conv", "i32", "f32"}, {folder.model("bad.onnx", builder), folder.image("a.bmp", 4, 4, 1, 2, 3)});
}

TEST_F(BadModel, NanWeights) {
  builder_.initializer("w", {3, 3, 1, 1}, std::vector<float>(9, NAN)).node("Conv", {"x", "w"}, {"y"}, {}, "conv").output("y");
  refused_as(2, {"\"conv\" (Conv", "\"w\"", "NaN"});
}

TEST(BadModels, Rank0) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {}).node("Relu", {"x"}, {"y"}).output("y");
  refused(2, {"bad.onnx", "input \"x\"", "rank 0"}, {folder.model("bad.onnx", builder), folder.npy("x.npy", {}, {1})});
}

TEST(BadModels, FilesThatAreNoModel) {
  const Folder folder;
  const std::string image = folder.image("a.bmp", 4, 4, 1, 2, 3);
  const std::string bytes = [] {
    ModelBuilder builder;
    builder.input("x", {"N", 3, 4, 4}).node("Relu", {"x"}, {"y"}).output("y");
    return builder.bytes();
  }();
  refused(2, {"empty.onnx", "empty"}, {folder.write("empty.onnx", ""), image});
  refused(2, {"cut.onnx", "truncated"}, {folder.write("cut.onnx", bytes.substr(0, bytes.size() / 2)), image});
  refused(2, {"photo.onnx", "JPEG"},
          {folder.write("photo.onnx", std::string("\xFF\xD8\xFF\xE0\0\x10JFIF\0", 11) + std::string(90, 'U')), image});
  refused(2, {"gone.onnx", "No such file"}, {folder.path("gone.onnx"), image});
}

TEST(BadImages, AreNamedWithTheirCause) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const auto complains = [&](const std::string& image, const std::string& cause) {
    const Outcome run = infer({model, image, "--device", "cpu"});
    EXPECT_EQ(run.code, 2);
    EXPECT_NE(run.err.find(image + "': " + cause), std::string::npos) << run.err;
  };
  complains(folder.write("none.jpg", ""), "is empty (0 bytes)");
  complains(folder.write("notes.png", "a text file\n"), "not an image of a known format");
  complains(folder.path("gone.jpg"), "No such file");
}

TEST(BadFolders, UnreadableOnesAreNamed) {
  const Folder folder;
  const std::string model = folder.colour_model();
  folder.image("closed/a.bmp", 4, 4, 1, 2, 3);
  fs::permissions(folder.path("closed"), fs::perms::none);
  RunOptions options;
  options.ordinary_rights = true;
  refused(2, {"closed", "Permission denied"}, {model, folder.path("closed")}, options);
  fs::permissions(folder.path("closed"), fs::perms::owner_all);

  const std::string secret = folder.image("secret.bmp", 4, 4, 1, 2, 3);
  fs::permissions(secret, fs::perms::none);
  const Outcome run = infer({model, secret, "--device", "cpu"}, options);
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("secret.bmp': Permission denied"), std::string::npos) << run.err;
}

TEST(FullDisk, LeavesNothingHalfWritten) {
  const Folder folder;
  ModelBuilder builder;
  builder.input("x", {"N", 4096}).node("Relu", {"x"}, {"y"}).output("y");
  const std::string model = folder.model("wide.onnx", builder);
  const std::string tensor = folder.npy("x.npy", {1, 4096}, std::vector<float>(4096, 1));
  RunOptions options;
  options.file_size_limit = 8000;
  const std::vector<std::string> arguments = {model, tensor, "--save", folder.path("out"), "--device", "cpu"};
  const Outcome run = infer(arguments, options);
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("out/y.npy': cannot be written: File too large"), std::string::npos) << run.err;
  EXPECT_TRUE(fs::is_empty(folder.path("out")));

  ASSERT_EQ(infer(arguments).code, 0);
  const auto size = fs::file_size(folder.path("out/y.npy"));
  EXPECT_EQ(infer(arguments, options).code, 2);
  EXPECT_EQ(fs::file_size(folder.path("out/y.npy")), size) << "the file of an earlier run must survive";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path("out")), fs::directory_iterator()), 1);
}

TEST(NoDevice, CudaThatIsNotThere) {
  const Folder folder;
  RunOptions options;
  options.environment = {"CUDA_VISIBLE_DEVICES="};
  refused(4, {"CUDA"}, {folder.colour_model(), folder.image("a.bmp", 4, 4, 1, 2, 3), "--device", "cuda"}, options);
}

/// x [N,3,1,1] grown to 2^47 elements and averaged: more than any machine has.
std::string giant_model(const Folder& folder) {
  ModelBuilder builder;
  builder.input("x", {"N", 3, 1, 1})
      .ints("shape", {1, 3, 1 << 22, 1 << 23})
      .node("Expand", {"x", "shape"}, {"grown"}, {}, "grow")
      .node("GlobalAveragePool", {"grown"}, {"y"})
      .output("y");
  return folder.model("giant.onnx", builder);
}

TEST(OutOfMemory, OnTheCpuNamesTheLargestTensor) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends the program at such an allocation";
#endif
  const Folder folder;
  refused(4, {"giant.onnx: out of host memory", "\"grow\" (Expand"}, {giant_model(folder), folder.npy("x.npy", {1, 3, 1, 1}, {1, 2, 3})});
}

TEST(OutOfMemory, OnTheGpuNamesTheLargestTensor) {
  const Folder folder;
  if (infer({folder.colour_model(), folder.image("a.bmp", 4, 4, 1, 2, 3), "--device", "cuda"}).code == 4) GTEST_SKIP() << "no CUDA device";
  refused(4, {"giant.onnx: ", "\"grow\" (Expand"}, {giant_model(folder), folder.npy("x.npy", {1, 3, 1, 1}, {1, 2, 3}), "--device", "cuda"});
}

}  // namespace
}  // namespace fcm::test
