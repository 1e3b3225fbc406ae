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
                             test::token_net({1.0, 64, 16}), test::many_outputs_net()}) {
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

// Two or three steps a ConvNeXt block (its two linear layers are one module or two), and no step for a Transpose.
TEST(FusedPlan, TransposesBetweenMapsAndTokensAreViews) {
  const Plan plan = fused(test::token_net({1.0, 64, 16}));
  const PlanVariant& v = plan.variants.front();
  int transposes = 0, blocks = 0;
  for (const PlanStep& s : v.steps) {
    transposes += s.op.starts_with("Transpose") ? 1 : 0;
    blocks += s.name.starts_with("block") ? 1 : 0;
    if (s.module && s.name == "block0/project") {
      EXPECT_TRUE(s.op.starts_with("PW")) << s.op;
      EXPECT_NE(s.inputs[1], kNoBuffer);
    }
  }
  EXPECT_EQ(transposes, 0) << to_string(plan);
  EXPECT_GE(blocks, 4) << to_string(plan);
  EXPECT_LE(blocks, 6) << to_string(plan);
}

TEST(FusedPlan, APartitionWithoutViewsHasThePlansSteps) {
  const Graph net = test::token_net({1.0, 64, 16});
  const Plan plan = fused(net);
  const DeviceModel device = device_model("h200");
  Partition parts = partition(net, device, {DType::f16, false, {}, nullptr}, 1);
  const double before = parts.total.time_us;
  leave_out_views(parts, plan.variants.front());
  size_t converted = 0;
  for (const PlanStep& s : plan.variants.front().steps) converted += s.kind == PlanStep::Kind::convert ? 1 : 0;
  EXPECT_EQ(parts.choices.size() + converted, plan.variants.front().steps.size());
  EXPECT_LT(parts.total.time_us, before);
  for (const Choice& c : parts.choices) {
    EXPECT_FALSE(!c.group.module && std::holds_alternative<Transpose>(net.nodes[static_cast<size_t>(c.group.nodes[0])].op));
  }
}

// Channels that do not fill 16-byte vectors have pad lanes in NHWC: the Transposes drop them.
TEST(FusedPlan, PaddedMapsAreCopiedToTokens) {
  test::NetBuilder b;
  const Dim batch(1, true);
  const ValueId x = b.layer("conv", b.input("x", Shape{batch, 3, 8, 8}), 12, 3, 1, Unary{});
  const ValueId t = b.node("turn", Transpose{{0, 2, 3, 1}}, {x}, {batch, 8, 8, 12});
  const Plan plan = fused(b.finish({b.unary("exp", t, {UnaryFn::exp, 0, 0})}));
  int transposes = 0;
  for (const PlanStep& s : plan.variants.front().steps) transposes += s.op.starts_with("Transpose") ? 1 : 0;
  EXPECT_EQ(transposes, 1) << to_string(plan);
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
    const Plan plan = fuse ? fused(graph, Precision::f16, how)
                           : plan_unfused(graph, options, test::backend(), full_precision_nodes(graph, how.overrides));
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
  EXPECT_THROW(full_precision_nodes(graph, {{"nobody", {true, true, ""}}}), std::exception);
}

/// Times that a test makes up: predictions, distorted; in a chain a module takes a little more or less than alone.
class PretendedMeasure final : public Measure {
 public:
  PretendedMeasure(const Graph& graph, const DeviceModel& device) : graph_(graph), device_(device) {}
  std::vector<double> modules(const std::vector<TuneJob>& jobs) override {
    std::vector<double> us;
    for (const TuneJob& j : jobs) us.push_back(module_us(j));
    return us;
  }
  double chain(const std::vector<TuneJob>& steps) override {
    double us = 0;
    for (const TuneJob& j : steps) us += in_place_us(j);
    return us;
  }
  std::map<NodeId, double> nodes(int64_t batch) override {
    std::map<NodeId, double> us;
    for (size_t n = 0; n < graph_.nodes.size(); ++n)
      us[static_cast<NodeId>(n)] = nodes_slower * node_cost(graph_, graph_.nodes[n], batch, DType::f16, device_, {}).time_us;
    return us;
  }
  double nodes_slower = 1;
  /// Deterministic noise of up to 60 %, and long chains of deep layers are slow.
  double module_us(const TuneJob& j) const {
    const bool slow = j.spec.stages.size() == 3 && j.spec.stages[0].in_channels >= 48;
    return module_cost(j.spec, j.tile, j.images, device_, {}).time_us * (1 + 0.6 * noise(j, "alone")) * (slow ? 50 : 1);
  }
  double in_place_us(const TuneJob& j) const { return module_us(j) * (1 + 0.2 * noise(j, "in place")); }

 private:
  static double noise(const TuneJob& j, const char* salt) {
    return static_cast<double>(std::stoull(text_hash(to_string(j.spec) + to_string(j.tile) + salt).substr(0, 8), nullptr, 16)) /
           4294967296.0;
  }

  const Graph& graph_;
  const DeviceModel& device_;
};

struct Tuned {
  DeviceModel device = device_model("h200");
  Graph graph = test::mobilenet_v2({0.5, 96, 16});
  PretendedMeasure measure{graph, device};
  PartitionOptions how;
  MeasuredTimes times;
  TuneReport report;

  explicit Tuned(const TuneEffort& effort) {
    how.dtype = DType::f16;
    how.fuse.max_batch = 1;
    report = tune(graph, device, how, 1, measure, effort, &times);
  }
};

TEST(Tuning, ThePlanIsTheBestOfWhatWasMeasured) {
  const Tuned all({4, 0}), some({4, 1.01});
  EXPECT_EQ(all.report.measured, all.report.segments);
  EXPECT_LT(some.report.kernels, all.report.kernels);
  EXPECT_LE(some.report.tuned_us, all.report.tuned_us * 1.05) << "what is left out would not have won";
  for (const Tuned* t : {&all, &some}) {
    EXPECT_LE(t->report.tuned_us, t->report.alone_us);
    EXPECT_LT(t->report.tuned_us, t->report.analytic_us);
    EXPECT_LT(t->report.tuned_us, t->report.unfused_us);
    const Partition p = partition(t->graph, t->device, t->how, 1);
    EXPECT_EQ(segments_of(p), t->how.fuse.fixed.at(1)) << "what was found is what is planned";
    double us = 0;
    for (const Choice& c : p.choices) {
      if (!c.group.module)
        us += t->times.nodes.at(c.group.nodes[0]) + among_modules_us(t->graph.nodes[static_cast<size_t>(c.group.nodes[0])], t->device);
      for (size_t i = 0; i < c.group.tiles.size(); ++i) us += t->measure.in_place_us({c.group.segment.parts[i].spec, c.group.tiles[i], 1});
      EXPECT_FALSE(c.group.module && c.group.segment.parts[0].spec.stages.size() == 3 &&
                   c.group.segment.parts[0].spec.stages[0].in_channels >= 48)
          << "slow ones give way";
    }
    EXPECT_NEAR(us, t->report.tuned_us, 1e-6);
  }
}

TEST(Tuning, LessonsAreTextAndGiveTheSamePlan) {
  const Tuned tuned({2, 1.4});
  FuseOptions read;
  read.max_batch = 1;
  read.fixed = read_lessons(lessons_text(tuned.how.fuse.fixed));
  EXPECT_EQ(read.fixed, tuned.how.fuse.fixed);
  const std::string text = lessons_text(read.fixed);
  EXPECT_THROW(read_lessons("nonsense"), std::exception);
  EXPECT_THROW(read_lessons(text.substr(0, text.size() - 10)), std::exception);
  EXPECT_EQ(fused(tuned.graph, Precision::f16, read).hash(), fused(tuned.graph, Precision::f16, tuned.how.fuse).hash());
  EXPECT_NE(fused(tuned.graph, Precision::f16, read).hash(), fused(tuned.graph).hash());
}

TEST(Tuning, SumsAreMeasuredForEveryTileThatMayWriteThem) {
  const Graph graph = test::efficient_net({1.0, 64, 16});
  const DeviceModel device = device_model("h200");
  PretendedMeasure measure(graph, device);
  measure.nodes_slower = 3;  // the pretended modules are slower than predicted: some must still win
  PartitionOptions how;
  how.dtype = DType::f16;
  tune(graph, device, how, 1, measure);
  int gated = 0;
  for (const FixedSegment& s : how.fuse.fixed.at(1)) gated += s.tiles.size() > 1 ? 1 : 0;
  EXPECT_GE(gated, 1);  // the made-up times decide how many win
}

}  // namespace
}  // namespace fcm
