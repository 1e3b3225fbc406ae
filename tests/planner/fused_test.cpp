// Plans with modules: every value is made before it is read, residuals stay, ranges of batches are covered, texts repeat.
#include <gtest/gtest.h>

#include <algorithm>

#include "planner/fused.h"
#include "planner/tuning.h"
#include "tests/planner/backend.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

Plan fused(const Graph& graph, Precision precision = Precision::f16, const FuseOptions& how = {}) {
  return plan_fused(graph, PlanOptions{precision, false}, test::backend(), device_model("h200"), how);
}

int modules(const PlanVariant& v) {
  return static_cast<int>(
      std::count_if(v.steps.begin(), v.steps.end(), [](const PlanStep& s) { return s.kind == PlanStep::Kind::module; }));
}

/// Each buffer has one writer, which stands before its readers and among what they depend on.
void expect_ordered(const PlanVariant& v) {
  std::vector<int32_t> writer(v.buffers.size(), -1);
  for (const BufferId b : v.inputs) writer[static_cast<size_t>(b)] = -2;
  for (size_t s = 0; s < v.steps.size(); ++s) {
    for (const BufferId b : v.steps[s].inputs) {
      if (b == kNoBuffer) continue;
      const int32_t w = writer[static_cast<size_t>(v.root(b))];
      ASSERT_NE(w, -1) << v.steps[s].name << " reads what is not written";
      if (w >= 0) {
        EXPECT_NE(std::count(v.steps[s].depends_on.begin(), v.steps[s].depends_on.end(), w), 0);
      }
    }
    for (const BufferId b : v.steps[s].outputs) {
      if (b == kNoBuffer) continue;
      EXPECT_EQ(writer[static_cast<size_t>(b)], -1);
      writer[static_cast<size_t>(b)] = static_cast<int32_t>(s);
    }
  }
}

TEST(FusedPlan, StepsAreOrderedOnAllNetworks) {
  for (const Graph& graph : {test::mobilenet_v1({0.5, 64, 16}), test::mobilenet_v2({0.5, 64, 16}), test::efficient_net({0.5, 64, 16}),
                             test::many_outputs_net()}) {
    for (const Precision p : {Precision::f16, Precision::f32}) {
      const Plan plan = fused(graph, p);
      ASSERT_FALSE(plan.variants.empty());
      EXPECT_EQ(plan.variants.back().max_batch, 0);
      for (const PlanVariant& v : plan.variants) expect_ordered(v);
    }
  }
}

TEST(FusedPlan, EveryStepButConversionsIsPredicted) {
  for (const Graph& graph : {test::mobilenet_v2({0.5, 64, 16}), test::efficient_net({0.5, 64, 16})}) {
    for (const PlanVariant& v : fused(graph).variants) {
      double total = 0;
      for (const PlanStep& step : v.steps) {
        EXPECT_EQ(step.predicted.has_value(), step.kind != PlanStep::Kind::convert) << step.name;
        if (step.predicted) total += step.predicted->us;
        if (step.kind == PlanStep::Kind::module) {
          EXPECT_GT(step.predicted.value_or(Prediction{}).l2_bytes, 0) << step.name;
        }
      }
      EXPECT_GT(total, 0);
    }
  }
}

TEST(FusedPlan, MobileNetV2IsModulesAlone) {
  const Plan plan = fused(test::mobilenet_v2());
  const PlanVariant& v = plan.variants.front();
  EXPECT_EQ(v.max_batch, 1);
  EXPECT_GE(modules(v), 18);
  EXPECT_EQ(static_cast<size_t>(modules(v)), v.steps.size()) << to_string(plan);
  EXPECT_EQ(v.steps.front().inputs[0], v.inputs[0]) << "the first convolution reads the caller's tensor";
  EXPECT_EQ(v.steps.back().outputs[0], v.outputs[0]) << "the classifier writes the caller's";
  EXPECT_EQ(v.buffer(v.outputs[0]).layout.dtype, DType::f32);
  int residuals = 0;
  for (const PlanStep& s : v.steps) residuals += s.module && s.inputs[1] != kNoBuffer ? 1 : 0;
  EXPECT_EQ(residuals, 10);
}

TEST(FusedPlan, SumsAndGatesAreScratch) {
  const Plan plan = fused(test::efficient_net({1.0, 64, 16}));
  const PlanVariant& v = plan.variants.front();
  int sums = 0, gates = 0;
  for (const PlanStep& s : v.steps) {
    if (!s.module) continue;
    if (s.outputs[1] != kNoBuffer) {
      ++sums;
      EXPECT_EQ(v.buffer(s.outputs[1]).layout.dtype, DType::f32);
      EXPECT_EQ(v.buffer(s.outputs[1]).value, kNoValue);
    }
    gates += s.inputs[2] != kNoBuffer ? 1 : 0;
  }
  EXPECT_GE(gates, 8);
  EXPECT_GE(sums, gates);
}

TEST(FusedPlan, RangesOfBatchesCoverEverything) {
  const auto ends = [](int64_t most) {
    std::vector<int64_t> list;
    for (const BatchRange& r : batch_ranges(most)) list.push_back(r.up_to);
    return list;
  };
  EXPECT_EQ(ends(0), (std::vector<int64_t>{1, 8, 64, 0}));
  EXPECT_EQ(ends(1), (std::vector<int64_t>{0}));
  EXPECT_EQ(ends(8), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(ends(30), (std::vector<int64_t>{1, 8, 0}));
  EXPECT_EQ(batch_ranges(30).back().planned_at, 30);
}

TEST(FusedPlan, SameInputsSameHashAndAnotherDeviceAnotherOne) {
  const Graph graph = test::mobilenet_v2({0.5, 96, 16});
  EXPECT_EQ(fused(graph).hash(), fused(graph).hash());
  const Plan other = plan_fused(graph, PlanOptions{Precision::f16, false}, test::backend(), device_model("rtx-a4000"), {});
  EXPECT_NE(fused(graph).hash(), other.hash());
}

TEST(FusedPlan, ANodeKeptApartHasItsOwnStep) {
  const Graph graph = test::mobilenet_v2({0.5, 96, 16});
  FuseOptions how;
  how.overrides["block5/depthwise"].fuse = false;
  const Plan plan = fused(graph, Precision::f16, how);
  const auto& steps = plan.variants.front().steps;
  const bool own = std::any_of(steps.begin(), steps.end(),
                               [](const PlanStep& s) { return s.kind == PlanStep::Kind::node && s.name == "block5/depthwise"; });
  EXPECT_TRUE(own);
}

TEST(FusedPlan, ANodeInFullPrecisionStandsBetweenConversions) {
  const Graph graph = test::mobilenet_v2({0.5, 96, 16});
  FuseOptions how;
  how.overrides["block5/depthwise"].full_precision = true;
  for (const bool fuse : {true, false}) {
    const PlanOptions options{Precision::f16, false};
    const Plan plan = fuse ? fused(graph, Precision::f16, how) : plan_unfused(graph, options, test::backend(), how.overrides);
    const PlanVariant& v = plan.variants.front();
    expect_ordered(v);
    const auto at = std::find_if(v.steps.begin(), v.steps.end(), [](const PlanStep& s) { return s.name == "block5/depthwise"; });
    ASSERT_NE(at, v.steps.end());
    EXPECT_EQ(at->kind, PlanStep::Kind::node);
    EXPECT_EQ(v.buffer(at->inputs[0]).layout.dtype, DType::f32);
    EXPECT_EQ(v.buffer(at->outputs[0]).layout.dtype, DType::f32);
    EXPECT_EQ(v.buffer(at->outputs[0]).layout.channel_pitch,
              channel_pitch((*graph.value(v.buffer(at->outputs[0]).value).shape)[1].factor, DType::f32));
    EXPECT_EQ((at - 1)->kind, PlanStep::Kind::convert);
    EXPECT_EQ((at + 1)->kind, PlanStep::Kind::convert);
    EXPECT_EQ(v.full_precision.size(), 1u);
  }
  EXPECT_THROW(plan_unfused(graph, {}, test::backend(), {{"nobody", {true, true, ""}}}), std::exception);
}

// Made-up times: rank 1 is faster everywhere, and the last block (whose modules no other has) is slower than its nodes.
TEST(Tuning, FasterTilesStayAndSlowSegmentsGo) {
  const Graph graph = test::mobilenet_v2({0.5, 96, 16});
  FuseOptions how;
  how.max_batch = 1;
  const Plan first = fused(graph, Precision::f16, how);
  FuseOptions second_rank = how;
  second_rank.tile_rank = 1;
  const Plan second = fused(graph, Precision::f16, second_rank);
  const Plan alone = plan_unfused(graph, PlanOptions{Precision::f16, false}, test::backend());
  const auto times = [](const PlanVariant& v, double module_us) {
    std::vector<double> us;
    for (const PlanStep& s : v.steps) us.push_back(!s.module ? 1.0 : s.name == "block16/project" ? 100.0 : module_us);
    return MeasuredVariant{&v, us};
  };
  const MeasuredVariant fused_times[] = {times(first.variants[0], 0.9), times(second.variants[0], 0.5)};
  FuseOptions learnt = how;
  learn(graph, 1, fused_times, times(alone.variants[0], 0), learnt);
  EXPECT_FALSE(learnt.rejected.empty());
  EXPECT_TRUE(all_learnt(second.variants[0], 1, learnt));
  FuseOptions read = how;
  read_lessons(lessons_text(learnt), read);
  EXPECT_EQ(read.tiles, learnt.tiles);
  EXPECT_EQ(read.tile_us, learnt.tile_us);
  EXPECT_EQ(read.rejected, learnt.rejected);
  EXPECT_THROW(read_lessons("nonsense", read), std::exception);
  const Plan tuned = fused(graph, Precision::f16, learnt);
  for (const PlanStep& s : tuned.variants[0].steps) {
    if (!s.module) continue;
    EXPECT_EQ(learnt.rejected.count(segment_key(graph, s.module->nodes, 1)), 0u);
    const auto tile = learnt.tiles.find(tile_key(s.module->spec, 1));
    if (tile != learnt.tiles.end()) {
      EXPECT_EQ(to_string(s.module->tile), tile->second);
    }
  }
}

}  // namespace
}  // namespace fcm
