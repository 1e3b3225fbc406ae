// Models that parse but make no sense: cycles, missing and duplicate names, malformed nodes, NaN weights.
#include <gtest/gtest.h>

#include <limits>

#include "onnx.pb.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

void refused(const ModelBuilder& b, std::vector<std::string> words) {
  words.emplace_back("model.onnx");
  expect_error(ErrorCode::bad_input, words, [&] { b.import(); });
}

TEST(BadGraph, CycleIsNamed) {
  ModelBuilder b;
  b.input("x", {1})
      .node("Add", {"x", "c"}, {"a"}, {}, "first")
      .node("Relu", {"a"}, {"b"}, {}, "second")
      .node("Abs", {"b"}, {"c"}, {}, "third");
  b.node("Neg", {"c"}, {"y"}, {}, "after").output("y");
  refused(b, {"cycle", "\"first\" (Add) -> node \"second\" (Relu) -> node \"third\" (Abs)"});
}
TEST(BadGraph, SelfLoop) {
  ModelBuilder b;
  b.input("x", {1}).node("Add", {"x", "y"}, {"y"}, {}, "loop").output("y");
  refused(b, {"cycle", "\"loop\" (Add) -> node \"loop\" (Add)"});
}
TEST(BadGraph, UnsortedNodesAreSorted) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"a"}, {"y"}).node("Neg", {"x"}, {"a"}).output("y");
  const Graph g = b.import();
  ASSERT_EQ(g.nodes.size(), 2U);
  EXPECT_EQ(g.nodes[0].origin.type, "Neg");
}
TEST(BadGraph, UndefinedInput) {
  ModelBuilder b;
  b.input("x", {1}).node("Add", {"x", "ghost"}, {"y"}, {}, "sum").output("y");
  refused(b, {"\"sum\" (Add)", "\"ghost\"", "nothing defines"});
}
TEST(BadGraph, UndefinedOutput) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("z");
  refused(b, {"output \"z\""});
}
TEST(BadGraph, NoOutputs) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x"}, {"y"});
  refused(b, {"no outputs"});
}
TEST(BadGraph, ValueDefinedTwice) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x"}, {"y"}, {}, "one").node("Neg", {"x"}, {"y"}, {}, "two").output("y");
  refused(b, {"\"y\" is defined twice", "\"one\"", "\"two\""});
}
TEST(BadGraph, NodeRedefinesInput) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x"}, {"x"}).output("x");
  refused(b, {"\"x\" is defined twice"});
}
TEST(BadGraph, DuplicateInitializer) {
  ModelBuilder b;
  b.input("x", {1}).initializer("w", {1}, {1}).initializer("w", {1}, {2}).node("Add", {"x", "w"}, {"y"}).output("y");
  refused(b, {"\"w\" is defined twice"});
}
TEST(BadGraph, DuplicateInput) {
  ModelBuilder b;
  b.input("x", {1}).input("x", {1}).node("Relu", {"x"}, {"y"}).output("y");
  refused(b, {"\"x\" is defined twice"});
}
TEST(BadGraph, OutputListedTwice) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("y").output("y");
  refused(b, {"listed twice"});
}

TEST(BadNode, WrongAttributeType) {
  ModelBuilder b;
  b.input("x", {1, 1, 4, 4}).initializer("w", {1, 1, 1, 1}, {1});
  b.node("Conv", {"x", "w"}, {"y"}, {{"group", 1.0f}}, "conv").output("y");
  refused(b, {"\"conv\" (Conv, opset 17)", "group", "FLOAT", "INT"});
}
TEST(BadNode, AttributeTwice) {
  ModelBuilder b;
  b.input("x", {1}).node("Elu", {"x"}, {"y"}, {{"alpha", 1.0f}, {"alpha", 2.0f}}).output("y");
  refused(b, {"alpha occurs twice"});
}
TEST(BadNode, MissingRequiredAttribute) {
  ModelBuilder b;
  b.input("x", {1}).node("Concat", {"x", "x"}, {"y"}).output("y");
  refused(b, {"axis is missing"});
}
TEST(BadNode, TooManyInputs) {
  ModelBuilder b;
  b.input("x", {1}).node("Relu", {"x", "x"}, {"y"}).output("y");
  refused(b, {"2 inputs"});
}
TEST(BadNode, RequiredInputLeftEmpty) {
  ModelBuilder b;
  b.input("x", {1}).node("Add", {"x", ""}, {"y"}).output("y");
  refused(b, {"required input 1"});
}
TEST(BadNode, WindowAttributes) {
  const std::vector<std::pair<std::vector<Attribute>, std::string>> cases = {
      {{{"strides", Ints{0, 1}}}, "strides"},
      {{{"dilations", Ints{-1, 1}}}, "dilations"},
      {{{"pads", Ints{0, 0, 0}}}, "pads"},
      {{{"pads", Ints{0, -1, 0, 0}}}, "pads"},
      {{{"pads", Ints{0, int64_t{1} << 40, 0, 0}}}, "pads"},
      {{{"kernel_shape", Ints{3, 3}}, {"strides", Ints{1}}}, "different numbers"},
      {{{"auto_pad", "SAME"}}, "auto_pad"},
      {{{"auto_pad", "SAME_UPPER"}, {"pads", Ints{1, 1, 1, 1}}}, "exclude"},
      {{{"group", 0}}, "group"},
  };
  for (const auto& [attributes, word] : cases) {
    ModelBuilder b;
    b.input("x", {1, 1, 4, 4}).initializer("w", {1, 1, 1, 1}, {1}).node("Conv", {"x", "w"}, {"y"}, attributes).output("y");
    refused(b, {word});
  }
}
TEST(BadNode, NoPermutation) {
  ModelBuilder b;
  b.input("x", {1, 2}).node("Transpose", {"x"}, {"y"}, {{"perm", Ints{0, 0}}}).output("y");
  refused(b, {"perm"});
}
TEST(BadNode, NanAttribute) {
  ModelBuilder b;
  b.input("x", {1}).node("Elu", {"x"}, {"y"}, {{"alpha", std::numeric_limits<float>::quiet_NaN()}}).output("y");
  refused(b, {"alpha is NaN"});
}
TEST(BadNode, ReferenceOutsideFunction) {
  ModelBuilder b;
  b.input("x", {1}).node("Elu", {"x"}, {"y"}, {{"alpha", 1.0f}}).output("y");
  b.proto().mutable_graph()->mutable_node(0)->mutable_attribute(0)->set_ref_attr_name("a");
  refused(b, {"function"});
}
TEST(BadNode, StrangeNamesArePrintable) {
  ModelBuilder b;
  b.input("x", {1}).node("Add", {"x", "\x1b[31m\xff"}, {"y"}, {}, "bell\a").output("y");
  refused(b, {"bell?", "?[31m?"});
}

TEST(NanWeights, NamedThroughIdentity) {
  std::vector<float> w(8, 1.0f);
  w[5] = std::numeric_limits<float>::quiet_NaN();
  ModelBuilder b;
  b.input("x", {"N", 4})
      .initializer("w", {4, 2}, w)
      .node("Identity", {"w"}, {"w2"})
      .node("MatMul", {"x", "w2"}, {"y"}, {}, "fc")
      .output("y");
  refused(b, {"\"fc\" (MatMul", "\"w\"", "NaN", "element 5"});
}
TEST(NanWeights, HalfToo) {
  ModelBuilder b;
  b.input("x", {"N", 1}, DType::f16)
      .initializer("w", Tensor::floats({1, 1}, std::vector{std::numeric_limits<float>::quiet_NaN()}).cast(DType::f16));
  b.node("Gemm", {"x", "w"}, {"y"}).output("y");
  refused(b, {"NaN"});
}
TEST(NanWeights, ElsewhereAndInfinityAreAllowed) {
  ModelBuilder b;
  b.input("x", {"N"}).initializer("n", Tensor::scalar(std::numeric_limits<float>::quiet_NaN()));
  b.initializer("i", Tensor::scalar(-std::numeric_limits<float>::infinity()));
  b.node("Max", {"x", "n", "i"}, {"y"}).output("y");
  EXPECT_EQ(b.import().nodes.size(), 2U);
}

}  // namespace
}  // namespace fcm::testing
