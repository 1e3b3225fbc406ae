// Weights in files beside the model: found, bounded, and never outside the model's folder.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "onnx.pb.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

namespace fs = std::filesystem;

class ExternalDataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "fcm_external_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    folder_ = root_ / "model";
    fs::create_directory(folder_);
    const std::array<float, 4> values = {1, 2, 3, 4};
    write(folder_ / "weights.data", values);
    write(root_ / "secret.data", values);
  }
  void TearDown() override { fs::remove_all(root_); }

  static void write(const fs::path& file, const std::array<float, 4>& values) {
    std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(values.data()), sizeof values);
  }
  // Writes a model whose weight [2] is external with these entries, and imports it.
  Graph import(const std::vector<std::pair<std::string, std::string>>& entries) const {
    ModelBuilder b;
    b.input("x", {"N", 2}).initializer("w", {2}, {0, 0}).node("Add", {"x", "w"}, {"y"}).output("y");
    auto* tensor = b.proto().mutable_graph()->mutable_initializer(0);
    tensor->clear_raw_data();
    tensor->set_data_location(::onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : entries) {
      auto* entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    const fs::path file = folder_ / "model.onnx";
    const std::string bytes = b.bytes();
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return onnx::import_file(file);
  }
  void refused(const std::vector<std::pair<std::string, std::string>>& entries, const std::string& word) const {
    expect_error(ErrorCode::bad_input, {"model.onnx", "initializer \"w\"", word}, [&] { import(entries); });
  }

  fs::path root_, folder_;
};

TEST_F(ExternalDataTest, SliceIsRead) {
  const Graph g = import({{"location", "weights.data"}, {"offset", "4"}, {"length", "8"}});
  const auto data = g.value(g.nodes[0].inputs[1]).constant->data<float>();
  EXPECT_EQ(data[0], 2.0f);
  EXPECT_EQ(data[1], 3.0f);
}
TEST_F(ExternalDataTest, OffsetAndLengthAreOptional) {
  const Graph g = import({{"location", "./weights.data"}});
  EXPECT_EQ(g.value(g.nodes[0].inputs[1]).constant->data<float>()[0], 1.0f);
}
TEST_F(ExternalDataTest, SubfolderAndLinkInside) {
  fs::create_directory(folder_ / "sub");
  fs::create_symlink("../weights.data", folder_ / "sub/link.data");
  EXPECT_EQ(import({{"location", "sub/link.data"}}).nodes.size(), 1U);
}
TEST_F(ExternalDataTest, Missing) {
  refused({{"location", "none.data"}}, "none.data\" is missing");
}
TEST_F(ExternalDataTest, NoLocation) {
  refused({{"offset", "0"}}, "without a location");
}
TEST_F(ExternalDataTest, ParentFolder) {
  refused({{"location", "../secret.data"}}, "leaves the model's folder");
  refused({{"location", "sub/../../secret.data"}}, "leaves the model's folder");
}
TEST_F(ExternalDataTest, AbsolutePath) {
  refused({{"location", (root_ / "secret.data").string()}}, "absolute");
  refused({{"location", "/etc/passwd"}}, "absolute");
}
TEST_F(ExternalDataTest, SymbolicLinkOutside) {
  fs::create_symlink(root_ / "secret.data", folder_ / "link.data");
  refused({{"location", "link.data"}}, "symbolic link");
  fs::create_directory_symlink(root_, folder_ / "up");
  refused({{"location", "up/secret.data"}}, "symbolic link");
}
TEST_F(ExternalDataTest, NotAFile) {
  fs::create_directory(folder_ / "dir.data");
  refused({{"location", "dir.data"}}, "not a regular file");
  refused({{"location", "."}}, "not a regular file");
}
TEST_F(ExternalDataTest, BeyondTheFile) {
  refused({{"location", "weights.data"}, {"offset", "12"}}, "reaches beyond");
  refused({{"location", "weights.data"}, {"offset", "4611686018427387904"}}, "reaches beyond");
}
TEST_F(ExternalDataTest, BadNumbers) {
  refused({{"location", "weights.data"}, {"offset", "-4"}}, "offset \"-4\"");
  refused({{"location", "weights.data"}, {"offset", "4x"}}, "offset \"4x\"");
  refused({{"location", "weights.data"}, {"offset", "99999999999999999999999"}}, "not a byte count");
  refused({{"location", "weights.data"}, {"length", "4"}}, "the tensor needs 8");
}
TEST_F(ExternalDataTest, NulInLocation) {
  refused({{"location", std::string("weights.data\0.x", 15)}}, "NUL");
}
TEST_F(ExternalDataTest, RefusedWithoutAFolder) {
  ModelBuilder b;
  b.input("x", {"N", 2}).initializer("w", {2}, {0, 0}).node("Add", {"x", "w"}, {"y"}).output("y");
  auto* tensor = b.proto().mutable_graph()->mutable_initializer(0);
  tensor->clear_raw_data();
  tensor->set_data_location(::onnx::TensorProto::EXTERNAL);
  auto* entry = tensor->add_external_data();
  entry->set_key("location");
  entry->set_value("weights.data");
  expect_error(ErrorCode::bad_input, {"without a folder"}, [&] { b.import(); });
}

}  // namespace
}  // namespace fcm::testing
