// EfficientNet-Lite0 as PyTorch's exporter wrote it.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "runtime/onnx/import.h"

namespace fcm::onnx {
namespace {

TEST(RealModel, EfficientNetLite0) {
  const std::filesystem::path file = FCM_SOURCE_DIR "/../shared/models/efficientnet_lite0.onnx";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  const Graph g = import_file(file);
  ASSERT_EQ(g.inputs.size(), 1U);
  EXPECT_EQ(to_string(*g.value(g.inputs[0]).shape), "[B,3,224,224]");
  EXPECT_EQ(g.value(g.inputs[0]).name, "input");
  ASSERT_EQ(g.outputs.size(), 1U);
  EXPECT_EQ(g.value(g.outputs[0]).name, "logits");
  std::map<std::string_view, int> count;
  for (const Node& node : g.nodes) ++count[op_kind(node.op)];
  EXPECT_EQ(count["Conv"], 49);
  EXPECT_EQ(count["UnaryOp"], 33);
  EXPECT_EQ(count["Pad"], 17);
  EXPECT_EQ(count["ConstantOfShape"], 17);
  EXPECT_EQ(count["Gemm"], 1);
  EXPECT_EQ(g.nodes.size(), 456U - 222U);  // Constant nodes became values
}

}  // namespace
}  // namespace fcm::onnx
