// Files that are no model: each is refused with its name and the cause.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "onnx.pb.h"
#include "runtime/onnx/import.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

namespace fs = std::filesystem;

std::string small_model() {
  ModelBuilder b;
  b.input("x", {"N", 4}).initializer("w", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}).node("MatMul", {"x", "w"}, {"y"}).output("y");
  return b.bytes();
}

class BadFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "fcm_onnx_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(folder_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return folder_ / name;
  }
  void expect_refused(const fs::path& file, std::vector<std::string> words) const {
    words.push_back(file.string());
    expect_error(ErrorCode::bad_input, words, [&] { onnx::import_file(file); });
  }

  fs::path folder_;
};

TEST_F(BadFile, GoodOneIsRead) {
  const Graph g = onnx::import_file(write("good.onnx", small_model()));
  EXPECT_EQ(g.nodes.size(), 1U);
}

TEST_F(BadFile, Missing) {
  expect_refused(folder_ / "none.onnx", {"No such file"});
}
TEST_F(BadFile, Empty) {
  expect_refused(write("empty.onnx", ""), {"empty"});
}
TEST_F(BadFile, Folder) {
  expect_refused(folder_, {"folder"});
}
TEST_F(BadFile, Unreadable) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const fs::path file = write("closed.onnx", small_model());
  fs::permissions(file, fs::perms::none);
  expect_refused(file, {"Permission denied"});
}
TEST_F(BadFile, FifoDoesNotHang) {
  const fs::path file = folder_ / "fifo.onnx";
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  expect_refused(file, {"not a regular file"});
}
TEST_F(BadFile, LargerThanProtobufAllows) {
  const fs::path file = write("large.onnx", "x");
  fs::resize_file(file, (uint64_t{1} << 31) + 1);  // sparse
  expect_refused(file, {"2147483649 bytes", "external data"});
}
TEST_F(BadFile, Jpeg) {
  expect_refused(write("photo.onnx", std::string("\xFF\xD8\xFF\xE0\0\x10JFIF\0", 11) + std::string(100, '\x55')), {"JPEG"});
}
TEST_F(BadFile, Text) {
  expect_refused(write("notes.onnx", "hello, this is a text file\nwith two lines\n"), {"text file"});
}
TEST_F(BadFile, TextThatStartsLikeAField) {
  expect_refused(write("log.onnx", "running the exporter, first line of a log\n"), {"text file"});
}
TEST_F(BadFile, Bmp) {
  expect_refused(write("image.onnx", std::string("BM\x46\0\0\0\0\0\0\0\x36\0\0\0", 14) + std::string(60, '\xAA')), {"BMP"});
}
TEST_F(BadFile, LfsPointer) {
  expect_refused(write("pointer.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:12\n"), {"git lfs pull"});
}
TEST_F(BadFile, Zip) {
  expect_refused(write("torch.onnx", std::string("PK\x03\x04\x14\0\0\0", 8) + "archive"), {"ZIP"});
}
TEST_F(BadFile, Truncated) {
  const std::string model = small_model();
  expect_refused(write("cut.onnx", model.substr(0, model.size() / 2)), {"truncated", "graph"});
}
TEST_F(BadFile, OtherProtobuf) {
  expect_refused(write("other.onnx", std::string("\x08\x08", 2)), {"no graph"});
}
TEST_F(BadFile, NestedTooDeep) {
  // A type whose element is a type, and so on: what a recursive reader would follow to the end of its stack.
  ModelBuilder b;
  b.node("Relu", {"x"}, {"y"}).output("y");
  auto* type = b.proto().mutable_graph()->add_input()->mutable_type();
  for (int i = 0; i < 200; ++i) type = type->mutable_sequence_type()->mutable_elem_type();
  expect_error(ErrorCode::bad_input, {"model.onnx", "nests deeper"}, [&] { b.import(); });
}

TEST(Opset, TooOldSaysWhatIsAccepted) {
  ModelBuilder b(6);
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("y");
  expect_error(ErrorCode::unsupported, {"model.onnx", "opset 6", "7 to 28"}, [&] { b.import(); });
}
TEST(Opset, MissingImport) {
  ModelBuilder b;
  b.proto().clear_opset_import();
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("y");
  expect_error(ErrorCode::bad_input, {"opset_import"}, [&] { b.import(); });
}
TEST(Opset, ContradictoryImports) {
  ModelBuilder b(17);
  b.proto().add_opset_import()->set_version(18);
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("y");
  expect_error(ErrorCode::bad_input, {"17", "18"}, [&] { b.import(); });
}

}  // namespace
}  // namespace fcm::testing
