// From plan to offsets: no two buffers in use at once overlap, the arena stays near its lower bound, borders are apart.
#include "planner/placement.h"

#include <gtest/gtest.h>

#include "runtime/engine/arena/arena.h"
#include "tests/planner/backend.h"
#include "tests/planner/graphs.h"

namespace fcm {
namespace {

Plan plan_of(const Graph& graph, Precision precision) {
  return plan_unfused(graph, PlanOptions{precision, false}, test::backend());
}

size_t bytes_of(const PlanVariant& v, BufferId b, int64_t batch) {
  return layout_bytes(v.buffer(b).layout, at_batch(v.buffer(b).shape, batch));
}

void check(const PlanVariant& v, int64_t batch, const BufferPlaces& places) {
  const auto uses = buffer_uses(v);
  std::vector<ArenaBlock> blocks;
  for (const BufferUse& use : uses) blocks.push_back({bytes_of(v, use.buffer, batch), use.steps});
  for (size_t a = 0; a < uses.size(); ++a) {
    const size_t at = places.offsets[static_cast<size_t>(uses[a].buffer)];
    ASSERT_NE(at, BufferPlaces::kOutside);
    EXPECT_EQ(at % kArenaAlignment, 0u);
    EXPECT_LE(at + blocks[a].bytes, places.bytes);
    for (size_t b = a + 1; b < uses.size(); ++b) {
      const bool together = uses[a].steps.back() >= uses[b].steps.front() && uses[b].steps.back() >= uses[a].steps.front();
      const size_t other = places.offsets[static_cast<size_t>(uses[b].buffer)];
      EXPECT_TRUE(!together || at + blocks[a].bytes <= other || other + blocks[b].bytes <= at);
    }
  }
  EXPECT_LE(static_cast<double>(places.bytes), 1.05 * static_cast<double>(live_bytes_bound(blocks)));
}

TEST(Placement, NetworksStayWithinFivePercentOfTheBound) {
  const Graph graphs[] = {test::lite_like(224, 1.0, 1000), test::lite_like(260, 1.1, 1000), test::lite_like(96, 0.5, 10, 6)};
  for (const Graph& graph : graphs) {
    for (const Precision p : {Precision::f16, Precision::f32}) {
      const Plan plan = plan_of(graph, p);
      for (const int64_t batch : {1, 3, 64}) check(plan.variants[0], batch, place_buffers(plan.variants[0], batch));
    }
  }
}

TEST(Placement, EverySmallerBatchFitsTheLargest) {
  const Graph graph = test::lite_like(96, 0.5, 10, 6);
  const Plan plan = plan_of(graph, Precision::f16);
  const PlanVariant& v = plan.variants[0];
  const BufferPlaces largest = place_buffers(v, 16);
  for (int64_t batch = 1; batch <= 16; ++batch) {
    const BufferPlaces places = place_within(v, batch, largest);
    EXPECT_LE(places.bytes, largest.bytes);
    for (const BufferUse& use : buffer_uses(v)) {
      EXPECT_LE(places.offsets[static_cast<size_t>(use.buffer)] + bytes_of(v, use.buffer, batch), largest.bytes);
    }
  }
}

TEST(Placement, AliasesLieWithTheirRootAndBordersOutside) {
  const Graph graph = test::lite_like(96, 1.0, 10, 2);
  const Plan plan = plan_of(graph, Precision::f16);
  const PlanVariant& v = plan.variants[0];
  const BufferPlaces places = place_buffers(v, 2);
  int aliases = 0;
  for (size_t b = 0; b < v.buffers.size(); ++b) {
    const BufferId alias_of = v.buffers[b].alias_of;
    if (alias_of == kNoBuffer) continue;
    ++aliases;
    EXPECT_EQ(places.offsets[b], places.offsets[static_cast<size_t>(alias_of)]);
  }
  EXPECT_EQ(aliases, 1);
  EXPECT_EQ(places.offsets[static_cast<size_t>(v.inputs[0])], BufferPlaces::kOutside);
  const BorderPlaces border = place_border(v, 2);
  ASSERT_EQ(border.inputs.size(), 1u);
  ASSERT_EQ(border.outputs.size(), 1u);
  EXPECT_EQ(border.inputs[0], 0u);
  EXPECT_EQ(border.outputs[0], (2u * 3 * 96 * 96 * 4 + 255) / 256 * 256);
  EXPECT_EQ(border.bytes, border.outputs[0] + 256);
}

TEST(Placement, AnOutputListedTwiceTakesOnePlace) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {Dim(1, true), 8, 4, 4});
  const ValueId c = b.conv("conv", x, 8, 1, 1);
  const Graph graph = b.finish({c, c, b.constant("k", {3})});
  const Plan plan = plan_of(graph, Precision::f32);
  const BorderPlaces border = place_border(plan.variants[0], 1);
  EXPECT_EQ(border.outputs[0], border.outputs[1]);
  EXPECT_EQ(border.outputs[2], BufferPlaces::kOutside);
}

}  // namespace
}  // namespace fcm
