// The batch dimension, --shape, and inputs that are refused.
#include <gtest/gtest.h>

#include "onnx.pb.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

std::string shape_of_input(const Graph& g, size_t i = 0) {
  return to_string(*g.value(g.inputs.at(i)).shape);
}

void relu(ModelBuilder& b) {
  b.node("Relu", {"x"}, {"y"}).output("y");
}

TEST(Inputs, NamedAxisZeroIsTheBatch) {
  ModelBuilder b;
  b.input("x", {"N", 3, 8, 8});
  relu(b);
  EXPECT_EQ(shape_of_input(b.import()), "[B,3,8,8]");
}
TEST(Inputs, NamelessAxisZeroIsTheBatch) {
  ModelBuilder b;
  b.input("x", {"", 3}).input("z", {"", 4});
  relu(b);
  const Graph g = b.import();
  EXPECT_EQ(shape_of_input(g, 0), "[B,3]");
  EXPECT_EQ(shape_of_input(g, 1), "[B,4]");
}
TEST(Inputs, SameSymbolElsewhere) {
  ModelBuilder b;
  b.input("x", {"N", 3}).input("z", {4, "N"});
  relu(b);
  EXPECT_EQ(shape_of_input(b.import(), 1), "[4,B]");
}
TEST(Inputs, BatchAtAnotherAxisByName) {
  ModelBuilder b;
  b.input("x", {7, "batch_size", 3});
  relu(b);
  EXPECT_EQ(shape_of_input(b.import()), "[7,B,3]");
}
TEST(Inputs, OpenDimensionsAreListed) {
  ModelBuilder b;
  b.input("x", {"N", 3, "height", "width"}).input("z", {"M", 2});
  relu(b);
  expect_error(ErrorCode::bad_input, {"model.onnx", "\"x\" is [B,3,height,width]", "\"z\" is [M,2]", "--shape"}, [&] { b.import(); });
}
TEST(Inputs, UnsupportedIsReportedBeforeOpenDimensions) {
  ModelBuilder b;
  b.input("x", {"N", 3, "h"}).node("Nonsense", {"x"}, {"y"}).output("y");
  expect_error(ErrorCode::unsupported, {"Nonsense"}, [&] { b.import(); });
}
TEST(Inputs, ShapeFixesDimensionsAndTheirSymbols) {
  ModelBuilder b;
  b.input("x", {"N", 3, "h", "w"}).input("z", {"N", "h"});
  relu(b);
  const Graph g = b.import({.shapes = {{"x", {-1, 3, 32, 16}}}});
  EXPECT_EQ(shape_of_input(g, 0), "[B,3,32,16]");
  EXPECT_EQ(shape_of_input(g, 1), "[B,32]");
}
TEST(Inputs, ShapeFixesTheBatch) {
  ModelBuilder b;
  b.input("x", {"N", 3}).input("z", {"N", 2});
  relu(b);
  const Graph g = b.import({.shapes = {{"x", {5, 3}}}});
  EXPECT_EQ(shape_of_input(g, 0), "[5,3]");
  EXPECT_EQ(shape_of_input(g, 1), "[5,2]");
}
TEST(Inputs, ShapeGivesARankToARanklessInput) {
  ModelBuilder b;
  b.input("x", {1});
  b.proto().mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  relu(b);
  expect_error(ErrorCode::bad_input, {"no declared shape"}, [&] { b.import(); });
  EXPECT_EQ(shape_of_input(b.import({.shapes = {{"x", {1, 3}}}})), "[1,3]");
}
TEST(Inputs, BadShapeOptions) {
  ModelBuilder b;
  b.input("x", {"N", 3, "h"}).input("z", {"N", "h"});
  relu(b);
  const auto bad = [&](const onnx::ImportOptions& options, const std::string& word) {
    expect_error(ErrorCode::command_line, {word}, [&] { b.import(options); });
  };
  bad({.shapes = {{"q", {1}}}}, "no input \"q\"; its inputs: x, z");
  bad({.shapes = {{"x", {1, 3}}}}, "2 dimensions");
  bad({.shapes = {{"x", {1, 4, 8}}}}, "is 3 in the model, 4 is given");
  bad({.shapes = {{"x", {1, 3, 0}}}}, "is 0");
  bad({.shapes = {{"x", {1, 3, int64_t{1} << 40}}}}, "1099511627776");
  bad({.shapes = {{"x", {1, 3, 8}}, {"z", {1, 9}}}}, "both 8 and 9");
}
TEST(Inputs, BadDeclaredDimensions) {
  const auto bad = [](const std::vector<DeclaredDim>& dims, const std::string& word) {
    ModelBuilder b;
    b.input("x", dims);
    relu(b);
    expect_error(ErrorCode::bad_input, {"model.onnx", "input \"x\"", word}, [&] { b.import(); });
  };
  bad({}, "rank 0");
  bad({1, -3}, "-3");
  bad({0, 3}, "is 0");
  bad({1, int64_t{1} << 40}, "1099511627776");
  bad({1, 1, 1, 1, 1, 1, 1, 1, 1}, "rank 9");
}
TEST(Inputs, TypelessAndUnsupportedTypes) {
  ModelBuilder b;
  b.input("x", {1});
  relu(b);
  auto* type = b.proto().mutable_graph()->mutable_input(0)->mutable_type();
  type->mutable_tensor_type()->set_elem_type(::onnx::TensorProto::STRING);
  expect_error(ErrorCode::unsupported, {"input \"x\"", "STRING", "FLOAT16"}, [&] { b.import(); });
  type->mutable_sequence_type();
  expect_error(ErrorCode::unsupported, {"input \"x\"", "sequence"}, [&] { b.import(); });
  b.proto().mutable_graph()->mutable_input(0)->clear_type();
  expect_error(ErrorCode::bad_input, {"input \"x\"", "no type"}, [&] { b.import(); });
}
TEST(Inputs, BytesAreAccepted) {
  ModelBuilder b;
  b.input("x", {"N", 8, 8, 3}, DType::u8).node("Cast", {"x"}, {"y"}, {{"to", 1}}).output("y");
  const Graph g = b.import();
  EXPECT_EQ(g.value(g.inputs[0]).dtype, DType::u8);
  EXPECT_EQ(g.value(g.outputs[0]).dtype, DType::f32);
}
TEST(Inputs, InitializerListedAsInputIsAConstant) {
  ModelBuilder b;
  b.input("x", {"N", 2}).input("w", {"whatever", 0}).initializer("w", {2}, {1, 2}).node("Add", {"x", "w"}, {"y"}).output("y");
  const Graph g = b.import();
  EXPECT_EQ(g.inputs.size(), 1U);
  EXPECT_TRUE(g.is_constant(g.nodes[0].inputs[1]));
}
TEST(Inputs, MetadataIsKept) {
  ModelBuilder b;
  b.input("x", {"N"}).metadata("fcm.preprocess", "{}");
  relu(b);
  EXPECT_EQ(b.import().metadata.at("fcm.preprocess"), "{}");
}

}  // namespace
}  // namespace fcm::testing
