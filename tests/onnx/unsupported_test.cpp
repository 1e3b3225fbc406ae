// The one report of everything that is not supported, and the warning for newer models.
#include <gtest/gtest.h>

#include "onnx.pb.h"
#include "runtime/support/log.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

void add_metadata(::onnx::NodeProto& node, const std::string& key, const std::string& value) {
  auto* entry = node.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

TEST(Unsupported, OneReportOfAll) {
  ModelBuilder b(13);
  b.input("x", {"N", 3, 8, 8}).initializer("s", {3}, {1, 1, 1});
  b.node("Wonder", {"x"}, {"a"}, {}, "w1").node("Wonder", {"a"}, {"b"}, {}, "w2");
  b.node("FusedConv", {"b"}, {"c"}, {}, "fused", "com.microsoft");
  b.node("HardSwish", {"c"}, {"d"}, {}, "swish");
  b.node("MaxPool", {"d"}, {"e", "indices"}, {{"kernel_shape", Ints{2, 2}}}, "pool");
  b.node("Relu", {"e"}, {"f"}, {{"slope", 3}, {"extra", Ints{1, 2}}}, "relu");
  b.node("Cast", {"indices"}, {"g"}, {{"to", 17}}, "cast").output("f").output("g");
  b.proto().add_opset_import()->set_domain("com.microsoft");
  b.proto().mutable_opset_import(1)->set_version(1);
  add_metadata(*b.proto().mutable_graph()->mutable_node(0), "pkg.torch.onnx.name_scopes", "['', 'features', 'features.0', 'wonder']");
  add_metadata(*b.proto().mutable_graph()->mutable_node(0), "pkg.torch.onnx.stack_trace",
               "File \"a.py\", line 1, in forward\n  x = f(x)\nFile \"b.py\", line 22, in f\n  return wonder(x)");
  expect_error(
      ErrorCode::unsupported,
      {"model.onnx: 7 parts are not supported", "\"w1\" (Wonder, opset 13, from features.0/wonder, File \"b.py\", line 22, in f)",
       "\"w2\" (Wonder, opset 13)", "ai.onnx", "\"fused\" (com.microsoft::FusedConv, opset 1)", "domain com.microsoft",
       "\"swish\" (HardSwish, opset 13)", "HardSwish: from opset 14", "\"pool\" (MaxPool, opset 13): output 1 = \"indices\"",
       "unknown attribute slope = 3", "unknown attribute extra = [1,2]", "attribute to = FLOAT8E4M3FN", "Wonder: in no opset", " Conv "},
      [&] { b.import(); });
}
TEST(Unsupported, Subgraphs) {
  ModelBuilder b;
  b.input("c", {1}, DType::boolean).node("If", {"c"}, {"y"}, {}, "choice").output("y");
  auto* attribute = b.proto().mutable_graph()->mutable_node(0)->add_attribute();
  attribute->set_name("then_branch");
  attribute->set_type(::onnx::AttributeProto::GRAPH);
  attribute->mutable_g()->set_name("then");
  expect_error(ErrorCode::unsupported, {"\"choice\" (If"}, [&] { b.import(); });
}
TEST(Unsupported, ModelFunctionsWhenUsed) {
  ModelBuilder b;
  auto* function = b.proto().add_functions();
  function->set_name("Block");
  function->set_domain("my");
  b.input("x", {1}).node("Relu", {"x"}, {"y"}).output("y");
  EXPECT_EQ(b.import().nodes.size(), 1U);
  b.node("Block", {"x"}, {"z"}, {}, "block", "my");
  expect_error(ErrorCode::unsupported, {"my::Block", "inline"}, [&] { b.import(); });
}
TEST(Unsupported, SparseInitializer) {
  ModelBuilder b;
  b.input("x", {1}).node("Add", {"x", "s"}, {"y"}).output("y");
  b.proto().mutable_graph()->add_sparse_initializer()->mutable_values()->set_name("s");
  expect_error(ErrorCode::unsupported, {"sparse initializer \"s\""}, [&] { b.import(); });
}
TEST(Unsupported, InitializerType) {
  ModelBuilder b;
  b.input("x", {1}).initializer("w", {1}, {1}).node("Add", {"x", "w"}, {"y"}).output("y");
  b.proto().mutable_graph()->mutable_initializer(0)->set_data_type(::onnx::TensorProto::COMPLEX64);
  expect_error(ErrorCode::unsupported, {"initializer \"w\"", "COMPLEX64", "BFLOAT16"}, [&] { b.import(); });
}
TEST(Unsupported, TrainingForms) {
  ModelBuilder b(15);
  b.input("x", {"N", 1, 2}).initializer("s", {1}, {1}).initializer("t", Tensor(DType::boolean, {}));
  b.node("BatchNormalization", {"x", "s", "s", "s", "s"}, {"a"}, {{"training_mode", 1}}, "bn");
  b.input("flag", {1}, DType::boolean)
      .node("Dropout", {"a", "", "flag"}, {"b"}, {}, "drop")
      .node("Dropout", {"b", "", "t"}, {"y"}, {}, "fine");
  b.output("y");
  expect_error(ErrorCode::unsupported, {"2 parts", "attribute training_mode = 1", "\"drop\""}, [&] { b.import(); });
}
TEST(Unsupported, NewerStampWarns) {
  ModelBuilder b(40);
  b.input("x", {"N"}).node("Relu", {"x"}, {"y"}).output("y");
  std::string messages;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string& message) { messages += message; }};
  const LogScope scope(target);
  EXPECT_EQ(b.import().nodes.at(0).origin.opset, 40);
  EXPECT_NE(messages.find("opset 40 is newer than 28"), std::string::npos) << messages;
}
TEST(Unsupported, NewestReleasedIsSilent) {
  ModelBuilder b(28);
  b.input("x", {"N"}).node("Relu", {"x"}, {"y"}).output("y");
  std::string messages;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string& message) { messages += message; }};
  const LogScope scope(target);
  b.import();
  EXPECT_EQ(messages, "");
}

}  // namespace
}  // namespace fcm::testing
