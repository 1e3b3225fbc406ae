// Layout arithmetic, uses of buffers, text and hash.
#include "planner/plan.h"

#include <gtest/gtest.h>

#include "runtime/support/error.h"

namespace fcm {
namespace {

TEST(Layout, BytesOfRowsAndNhwc) {
  EXPECT_EQ(layout_bytes({Order::rows, DType::f16, 0}, {2, 3, 5, 7}), 2u * 3 * 5 * 7 * 2);
  EXPECT_EQ(layout_bytes({Order::nhwc, DType::f16, 8}, {2, 3, 5, 7}), 2u * 5 * 7 * 8 * 2);
  EXPECT_EQ(layout_bytes({Order::rows, DType::i64, 0}, {}), 8u);
  EXPECT_THROW(layout_bytes({Order::nhwc, DType::f16, 8}, {2, 3}), Error);
  EXPECT_THROW(layout_bytes({Order::nhwc, DType::f16, 8}, {2, 9, 5, 7}), Error);
}

TEST(Layout, PitchIsWholeVectors) {
  EXPECT_EQ(channel_pitch(3, DType::f32), 4);
  EXPECT_EQ(channel_pitch(3, DType::f16), 8);
  EXPECT_EQ(channel_pitch(32, DType::f16), 32);
  EXPECT_EQ(channel_pitch(33, DType::bf16), 40);
  EXPECT_EQ(channel_pitch(16, DType::i8), 16);
}

TEST(Layout, Text) {
  EXPECT_EQ(to_string(Layout{Order::nhwc, DType::f16, 8}), "f16 nhwc/8");
  EXPECT_EQ(to_string(Layout{Order::rows, DType::i64, 0}), "i64 rows");
}

PlanBuffer buffer(const std::string& name, BufferId alias = kNoBuffer) {
  return PlanBuffer{name, 0, Shape{Dim(1, true), 4}, Layout{Order::rows, DType::f32, 0}, alias};
}

PlanStep step(std::vector<BufferId> inputs, std::vector<BufferId> outputs) {
  PlanStep s;
  s.name = "s";
  s.op = "convert";
  s.inputs = std::move(inputs);
  s.outputs = std::move(outputs);
  return s;
}

TEST(BufferUses, AliasesCountForTheirRootAndBordersAreLeftOut) {
  PlanVariant v;
  v.buffers = {buffer("in"), buffer("a"), buffer("b", 1), buffer("c"), buffer("out")};
  v.steps = {step({0}, {1}), step({1}, {3}), step({2, 3}, {4})};
  v.inputs = {0};
  v.outputs = {4};
  const auto uses = buffer_uses(v);
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].buffer, 1);
  EXPECT_EQ(uses[0].steps, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(uses[1].buffer, 3);
  EXPECT_EQ(uses[1].steps, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(v.is_border(0));
  EXPECT_TRUE(v.is_border(4));
  EXPECT_FALSE(v.is_border(2));
}

TEST(PlanHash, ChangesWithEveryPartOfThePlan) {
  Plan plan;
  plan.device_model = "device";
  plan.variants.emplace_back();
  plan.variants[0].buffers = {buffer("in"), buffer("out")};
  plan.variants[0].steps = {step({0}, {1})};
  plan.variants[0].inputs = {0};
  plan.variants[0].outputs = {1};
  const std::string hash = plan.hash();
  EXPECT_EQ(hash.size(), 16u);
  EXPECT_EQ(hash.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(Plan(plan).hash(), hash);
  const auto differs = [&](auto change) {
    Plan other = plan;
    change(other);
    return other.hash() != hash;
  };
  EXPECT_TRUE(differs([](Plan& p) { p.device_model = "other"; }));
  EXPECT_TRUE(differs([](Plan& p) { p.options.precision = Precision::f16; }));
  EXPECT_TRUE(differs([](Plan& p) { p.options.tf32 = true; }));
  EXPECT_TRUE(differs([](Plan& p) { p.variants[0].steps[0].choices[8] = 1; }));
  EXPECT_TRUE(differs([](Plan& p) { p.variants[0].buffers[0].layout.dtype = DType::f16; }));
  EXPECT_TRUE(differs([](Plan& p) { p.variants[0].max_batch = 8; }));
}

TEST(TextHash, IsFnv1a) {
  EXPECT_EQ(text_hash(""), "cbf29ce484222325");
  EXPECT_EQ(text_hash("a"), "af63dc4c8601ec8c");
}

}  // namespace
}  // namespace fcm
