// Importing the operators of transformers and of other networks: normalisation, resizing, indexing, and those written out in others.
#include <gtest/gtest.h>

#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

// A model of one node on x [B,4,8,8], m [8,6], initializers v [4], "i0", "i1", ...
Graph one(int64_t opset, const std::string& type, const std::vector<std::string>& inputs, const std::vector<Attribute>& attributes = {},
          const std::vector<Ints>& constants = {}, const std::vector<std::string>& outputs = {"y"}) {
  ModelBuilder b(opset);
  b.input("x", {"N", 4, 8, 8}).input("m", {8, 6}).initializer("v", {4}, {1, 2, 3, 4});
  for (size_t i = 0; i < constants.size(); ++i) b.ints("i" + std::to_string(i), constants[i]);
  b.node(type, inputs, outputs, attributes, "node");
  for (const std::string& output : outputs) {
    if (!output.empty()) b.output(output);
  }
  return b.import();
}

std::string last(const Graph& graph) {
  return to_string(graph.nodes.back().op);
}

size_t count_of(const Graph& graph, std::string_view kind) {
  size_t count = 0;
  for (const Node& node : graph.nodes) count += op_kind(node.op) == kind ? 1 : 0;
  return count;
}

TEST(Normalization, Forms) {
  EXPECT_EQ(last(one(17, "LayerNormalization", {"x", "v", ""}, {{"axis", 1}, {"epsilon", 0.5f}})), "Normalize layer axis=1 epsilon=0.5");
  EXPECT_EQ(last(one(23, "RMSNormalization", {"x", "v"}, {{"stash_type", 1}})), "Normalize rms axis=-1 epsilon=1e-05");
  EXPECT_EQ(last(one(18, "GroupNormalization", {"x", "v", "v"}, {{"num_groups", 2}})),
            "Normalize group groups=2 scale_by_group epsilon=1e-05");
  EXPECT_EQ(last(one(21, "GroupNormalization", {"x", "v", "v"}, {{"num_groups", 2}})), "Normalize group groups=2 epsilon=1e-05");
  EXPECT_EQ(last(one(7, "InstanceNormalization", {"x", "v", "v"})), "Normalize group groups=0 epsilon=1e-05");
  expect_error(ErrorCode::unsupported, {"stash_type = 10"}, [] { one(17, "LayerNormalization", {"x", "v"}, {{"stash_type", 10}}); });
  expect_error(ErrorCode::unsupported, {"output 1"}, [] { one(17, "LayerNormalization", {"x", "v"}, {}, {}, {"y", "mean"}); });
}

TEST(Resizing, Forms) {
  const Graph old = one(7, "Upsample", {"x"}, {{"scales", std::vector<float>{1, 1, 2, 2}}, {"mode", "bilinear"}});
  EXPECT_EQ(last(old), "Resize linear asymmetric");
  EXPECT_EQ(old.nodes.back().inputs.size(), 2U);
  EXPECT_EQ(last(one(10, "Resize", {"x", "v"})), "Resize nearest asymmetric by_direction");
  const Graph sizes = one(18, "Resize", {"x", "", "", "i0"}, {{"mode", "cubic"}, {"axes", Ints{2, 3}}, {"antialias", 0}}, {{4, 4}});
  EXPECT_EQ(last(sizes), "Resize cubic half_pixel a=-0.75 axes=2,3");
  EXPECT_EQ(sizes.nodes.back().inputs.size(), 3U);
  expect_error(ErrorCode::unsupported, {"antialias = 1"}, [] { one(18, "Resize", {"x", "", "v"}, {{"antialias", 1}}); });
  expect_error(ErrorCode::unsupported, {"tf_crop_and_resize", "accepted"}, [] {
    one(11, "Resize", {"x", "v", "v"}, {{"coordinate_transformation_mode", "tf_crop_and_resize"}});
  });
  expect_error(ErrorCode::bad_input, {"Upsample ended"}, [] { one(10, "Upsample", {"x", "v"}); });
}

TEST(ConvTransposes, Form) {
  ModelBuilder b(11);
  b.input("x", {"N", 4, 8, 8}).initializer("w", {4, 2, 3, 3}, std::vector<float>(72, 1.0f));
  b.node("ConvTranspose", {"x", "w"}, {"y"}, {{"strides", Ints{2, 2}}, {"output_padding", Ints{1, 1}}, {"group", 2}}).output("y");
  EXPECT_EQ(last(b.import()), "ConvTranspose k= s=2x2 g=2 op=1,1");
}

TEST(Indexing, Forms) {
  EXPECT_EQ(last(one(12, "ArgMax", {"x"}, {{"axis", 1}, {"keepdims", 0}, {"select_last_index", 1}})), "ArgReduce max axis=1 select_last");
  EXPECT_EQ(one(7, "ArgMin", {"x"}).value(0).dtype, DType::f32);
  EXPECT_EQ(last(one(9, "TopK", {"x"}, {{"k", 3}}, {}, {"y", "i"})), "TopK largest axis=-1 k=3");
  const Graph top = one(11, "TopK", {"x", "i0"}, {{"largest", 0}, {"sorted", 1}}, {{3}}, {"y", "i"});
  EXPECT_EQ(top.value(top.outputs[0]).dtype, DType::f32);
  EXPECT_EQ(top.value(top.outputs[1]).dtype, DType::i64);
  EXPECT_EQ(last(one(14, "CumSum", {"x", "i0"}, {{"reverse", 1}}, {{1}})), "CumSum reverse");
  EXPECT_EQ(last(one(13, "GatherND", {"x", "i0"}, {{"batch_dims", 0}}, {{1}})), "GatherND batch_dims=0");
  expect_error(ErrorCode::unsupported, {"reduction = \"add\""}, [] {
    one(16, "ScatterND", {"x", "i0", "v"}, {{"reduction", "add"}}, {{1}});
  });
  EXPECT_EQ(last(one(14, "Trilu", {"x"}, {{"upper", 0}})), "Trilu lower");
}

TEST(Composite, WrittenOut) {
  const Graph blocks = one(13, "DepthToSpace", {"x"}, {{"blocksize", 2}, {"mode", "CRD"}});
  EXPECT_EQ(count_of(blocks, "Transpose"), 1U);
  EXPECT_EQ(count_of(blocks, "Reshape"), 2U);
  EXPECT_EQ(count_of(one(13, "Mean", {"x", "x", "v"}), "Binary"), 3U);
  EXPECT_EQ(count_of(one(23, "Attention", {"x", "x", "x"}), "MatMul"), 2U);
  EXPECT_EQ(count_of(one(23, "Attention", {"x", "x", "x"}, {{"q_num_heads", 2}, {"kv_num_heads", 2}}), "Reshape"), 4U);
  EXPECT_EQ(count_of(one(23, "Attention", {"x", "x", "x"}, {{"is_causal", 1}}), "Select"), 1U);
  EXPECT_EQ(count_of(one(25, "Attention", {"x", "x", "x"}, {{"left_window_size", 2}, {"right_window_size", 1}}), "Select"), 1U);
  expect_error(ErrorCode::bad_input, {"qk_matmul_output_mode = 4", "0 to 3"}, [] {
    one(23, "Attention", {"x", "x", "x"}, {{"qk_matmul_output_mode", 4}});
  });
}

TEST(Einsum, Equations) {
  EXPECT_EQ(count_of(one(12, "Einsum", {"x", "m"}, {{"equation", "nchw,wk->nchk"}}), "MatMul"), 1U);
  EXPECT_EQ(last(one(12, "Einsum", {"m"}, {{"equation", "ij -> ji"}})), "Transpose perm=1,0");
  EXPECT_EQ(count_of(one(12, "Einsum", {"m"}, {{"equation", "ij->i"}}), "Reduce"), 1U);
  expect_error(ErrorCode::unsupported, {"...ij->...ji"}, [] { one(12, "Einsum", {"m"}, {{"equation", "...ij->...ji"}}); });
  expect_error(ErrorCode::unsupported, {"\"ii\""}, [] { one(12, "Einsum", {"m"}, {{"equation", "ii"}}); });
  expect_error(ErrorCode::bad_input, {"for 1 inputs"}, [] { one(12, "Einsum", {"m"}, {{"equation", "ij,jk"}}); });
}

}  // namespace
}  // namespace fcm::testing
