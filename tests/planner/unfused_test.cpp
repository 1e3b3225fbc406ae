// The unfused plan: layouts, conversions, aliases, outputs, refusals.
#include <gtest/gtest.h>

#include <algorithm>

#include "planner/plan.h"
#include "runtime/support/error.h"
#include "tests/planner/backend.h"
#include "tests/planner/graphs.h"

namespace fcm {
namespace {

using test::backend;
using test::GraphBuilder;

const Dim kB(1, true);

Plan plan_of(const Graph& graph, Precision precision = Precision::f16) {
  return plan_unfused(graph, PlanOptions{precision, false}, backend());
}

int converts(const Plan& plan) {
  const auto& steps = plan.variants[0].steps;
  return static_cast<int>(std::count_if(steps.begin(), steps.end(), [](const PlanStep& s) { return s.kind == PlanStep::Kind::convert; }));
}

// What must hold for every plan: dependencies are the writers of the inputs, each buffer is written once and before it is read,
// input borders are read by conversions alone, output borders are rows of the model's dtype.
void check(const Graph& graph, const Plan& plan) {
  const PlanVariant& v = plan.variants.at(0);
  std::vector<int32_t> writer(v.buffers.size(), -1);
  for (size_t s = 0; s < v.steps.size(); ++s) {
    const PlanStep& step = v.steps[s];
    std::vector<int32_t> expected;
    for (const BufferId b : step.inputs) {
      if (b == kNoBuffer) continue;
      const bool is_input = std::find(v.inputs.begin(), v.inputs.end(), b) != v.inputs.end();
      EXPECT_TRUE(!is_input || step.kind == PlanStep::Kind::convert) << step.name;
      const int32_t w = writer[static_cast<size_t>(v.root(b))];
      EXPECT_TRUE(w >= 0 || is_input) << step.name << " reads buffer " << b << " before it is written";
      if (w >= 0) expected.push_back(w);
    }
    std::sort(expected.begin(), expected.end());
    expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
    EXPECT_EQ(step.depends_on, expected) << step.name;
    for (const BufferId b : step.outputs) {
      ASSERT_NE(b, kNoBuffer);
      EXPECT_EQ(v.buffer(b).alias_of, kNoBuffer);
      EXPECT_EQ(writer[static_cast<size_t>(b)], -1) << "buffer " << b << " is written twice";
      writer[static_cast<size_t>(b)] = static_cast<int32_t>(s);
    }
  }
  ASSERT_EQ(v.outputs.size(), graph.outputs.size());
  for (size_t i = 0; i < v.outputs.size(); ++i) {
    if (v.outputs[i] == kNoBuffer) continue;
    EXPECT_EQ(v.buffer(v.outputs[i]).layout, (Layout{Order::rows, graph.value(graph.outputs[i]).dtype, 0}));
    EXPECT_GE(writer[static_cast<size_t>(v.root(v.outputs[i]))], 0);
  }
  for (const PlanBuffer& b : v.buffers) EXPECT_TRUE(b.alias_of == kNoBuffer || v.buffer(b.alias_of).alias_of == kNoBuffer);
}

TEST(Unfused, NetworkHasOneConversionAndStoresItsLogitsDirectly) {
  const Graph graph = test::lite_like(224, 1.0, 1000);
  for (const Precision p : {Precision::f16, Precision::bf16, Precision::f32}) {
    const Plan plan = plan_of(graph, p);
    check(graph, plan);
    const PlanVariant& v = plan.variants[0];
    EXPECT_EQ(converts(plan), 1);
    EXPECT_EQ(v.steps.size(), graph.nodes.size());  // the input's conversion comes, the flatten goes
    EXPECT_EQ(v.steps.front().kind, PlanStep::Kind::convert);
    EXPECT_EQ(v.buffer(v.steps.front().outputs[0]).layout.channel_pitch, p == Precision::f32 ? 4 : 8);
    EXPECT_EQ(v.steps.back().outputs[0], v.outputs[0]);
    EXPECT_EQ(v.buffer(v.outputs[0]).layout.dtype, DType::f32);
  }
}

TEST(Unfused, TextIsCanonical) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 3, 8, 8});
  const ValueId y = b.conv("conv", x, 16, 3, 2);
  const ValueId p = b.global_pool("pool", y);
  const ValueId r = b.reshape("flatten", p, {kB, 16});
  const Graph graph = b.finish({b.gemm("fc", r, 10)});
  EXPECT_EQ(to_string(plan_of(graph)),
            "plan precision=f16 tf32=0 device=\"test device\"\n"
            "variant max_batch=0\n"
            "  buffer 0 \"input x\" [B,3,8,8] f32 rows\n"
            "  buffer 1 \"x\" [B,3,8,8] f16 nhwc/8\n"
            "  buffer 2 \"conv_y\" [B,16,4,4] f16 nhwc/16\n"
            "  buffer 3 \"pool_y\" [B,16,1,1] f16 nhwc/16\n"
            "  buffer 4 \"flatten_y\" [B,16] f16 rows = buffer 3\n"
            "  buffer 5 \"output fc_y\" [B,10] f32 rows\n"
            "  step 0 \"convert x\" convert (0) -> (1)\n"
            "  step 1 \"conv\" Conv k=3x3 s=2x2 d=1x1 p=1,1:1,1 g=1 (1,-,-) -> (2) after 0\n"
            "  step 2 \"pool\" GlobalPool average (2) -> (3) after 1\n"
            "  step 3 \"fc\" Gemm alpha=1 beta=1 trans_b (4,-,-) -> (5) after 2\n"
            "  inputs (0) outputs (5)\n");
  EXPECT_EQ(plan_of(graph).hash(), plan_of(graph).hash());
}

TEST(Unfused, PaddedChannelsMakeTheReshapeAStep) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 3, 8, 8});
  const ValueId p = b.global_pool("pool", b.conv("conv", x, 12, 3, 2));  // 12 channels lie in a pitch of 16
  const Graph graph = b.finish({b.gemm("fc", b.reshape("flatten", p, {kB, 12}), 10)});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  const PlanVariant& v = plan.variants[0];
  for (const PlanBuffer& buffer : v.buffers) EXPECT_EQ(buffer.alias_of, kNoBuffer);
  const auto flatten = std::find_if(v.steps.begin(), v.steps.end(), [](const PlanStep& s) { return s.name == "flatten"; });
  ASSERT_NE(flatten, v.steps.end());
  EXPECT_EQ(v.buffer(flatten->outputs[0]).layout.order, Order::rows);
}

TEST(Unfused, RowsOperatorBetweenConvolutionsGetsConversions) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 8, 4, 4});
  const ValueId c = b.conv("a", x, 8, 1, 1);
  const ValueId m = b.node("matmul", MatMul{}, {c, b.constant("w", {4, 4})}, {kB, 8, 4, 4});
  const Graph graph = b.finish({b.conv("b", m, 8, 1, 1)});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  // x to nhwc, a's result to rows, the product to nhwc, b's result to the border
  EXPECT_EQ(converts(plan), 4);
  const PlanVariant& v = plan.variants[0];
  const auto& product = *std::find_if(v.steps.begin(), v.steps.end(), [](const PlanStep& s) { return s.name == "matmul"; });
  EXPECT_EQ(v.buffer(product.inputs[0]).layout, (Layout{Order::rows, DType::f16, 0}));
  EXPECT_EQ(v.buffer(product.outputs[0]).layout, (Layout{Order::rows, DType::f16, 0}));
}

TEST(Unfused, LastConvolutionKeepsTheOutputsPrecision) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 8, 4, 4});
  const Graph graph = b.finish({b.conv("conv", x, 6, 1, 1)});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  const PlanVariant& v = plan.variants[0];
  ASSERT_EQ(v.steps.size(), 3u);
  EXPECT_EQ(v.buffer(v.steps[1].outputs[0]).layout, (Layout{Order::nhwc, DType::f32, 8}));
}

TEST(Unfused, AValueThatIsOutputAndReadIsConvertedOnce) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 8, 4, 4});
  const ValueId c = b.conv("conv", x, 8, 1, 1);
  const Graph graph = b.finish({c, b.conv("next", c, 8, 1, 1), c});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  const PlanVariant& v = plan.variants[0];
  EXPECT_EQ(v.outputs[0], v.outputs[2]);
  EXPECT_EQ(converts(plan), 3);
}

TEST(Unfused, InputsAndConstantsCanBeOutputs) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 4});
  const ValueId ids = b.input("ids", {kB}, DType::i64);
  const ValueId c = b.constant("c", {4});
  const Graph graph = b.finish({x, c, ids});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  const PlanVariant& v = plan.variants[0];
  EXPECT_EQ(v.outputs[1], kNoBuffer);
  EXPECT_EQ(converts(plan), 2);
  EXPECT_EQ(v.buffer(v.outputs[2]).layout.dtype, DType::i64);
}

TEST(Unfused, GateOfSqueezeAndExcitationStaysInNhwc) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 8, 6, 6});
  const ValueId c = b.conv("conv", x, 16, 3, 1);
  const ValueId g = b.unary("gate", b.conv("up", b.conv("down", b.global_pool("pool", c), 8, 1, 1), 16, 1, 1), {UnaryFn::sigmoid, 0, 0});
  Binary mul;
  mul.fn = BinaryFn::mul;
  const ValueId scaled = b.node("scale", mul, {c, g}, {kB, 16, 6, 6});
  const Graph graph = b.finish({b.conv("last", scaled, 8, 1, 1)});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  EXPECT_EQ(converts(plan), 2);
}

TEST(Unfused, AReshapeThatFeedsAConvolutionWritesNhwc) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 128});
  const ValueId image = b.reshape("image", b.gemm("fc", x, 128), {kB, 8, 4, 4});
  const Graph graph = b.finish({b.conv("conv", image, 8, 1, 1)});
  const Plan plan = plan_of(graph);
  check(graph, plan);
  const PlanVariant& v = plan.variants[0];
  const auto& step = *std::find_if(v.steps.begin(), v.steps.end(), [](const PlanStep& s) { return s.name == "image"; });
  EXPECT_EQ(v.buffer(step.outputs[0]).layout.order, Order::nhwc);
}

TEST(Unfused, AllRefusedNodesAreInOneReport) {
  GraphBuilder b;
  const ValueId x = b.input("x", {kB, 8, 4, 4});
  const Graph graph =
      b.finish({b.unary("c", b.unary("b", b.unary("a", x, {UnaryFn::erf, 0, 0}), {UnaryFn::relu, 0, 0}), {UnaryFn::erf, 0, 0})});
  PlanBackend refusing = backend();
  refusing.refusal = [](const Graph&, const Node& n) {
    return std::get<UnaryOp>(n.op).u.fn == UnaryFn::erf ? std::string("erf; accepted: relu") : std::string();
  };
  try {
    plan_unfused(graph, PlanOptions{}, refusing);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    const std::string text = e.what();
    EXPECT_NE(text.find("2 nodes"), std::string::npos) << text;
    EXPECT_NE(text.find("node \"a\""), std::string::npos) << text;
    EXPECT_NE(text.find("node \"c\""), std::string::npos) << text;
    EXPECT_EQ(text.find("node \"b\""), std::string::npos) << text;
    EXPECT_NE(text.find("accepted: relu"), std::string::npos) << text;
    EXPECT_NE(text.find("test.onnx"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace fcm
