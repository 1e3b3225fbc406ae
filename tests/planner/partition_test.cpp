// Properties that every partition must have, over networks, batches, objectives and all shipped devices.
#include "planner/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tests/planner/graphs.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

PartitionOptions half(Objective objective = Objective::time) {
  PartitionOptions o;
  o.dtype = DType::f16;
  o.fuse.objective = objective;
  return o;
}

int residuals(const Graph& graph, const Partition& p) {
  int count = 0;
  for (const Choice& c : p.choices) {
    if (c.group.module) {
      for (const ModulePart& part : c.group.segment.parts) count += part.spec.residual != geometry::Residual::none ? 1 : 0;
    } else {
      count += graph.nodes[static_cast<size_t>(c.group.nodes[0])].input(3) != kNoValue ? 1 : 0;
    }
  }
  return count;
}

/// Each node once; nothing that somebody else reads disappears inside a module; every tile is legal on the device.
void expect_sound(const Graph& graph, const DeviceModel& device, const Partition& p) {
  const Uses uses(graph);
  std::vector<int> seen(graph.nodes.size(), 0);
  for (const Choice& c : p.choices) {
    std::vector<NodeId> own = c.group.nodes;
    for (const NodeId n : own) ++seen[static_cast<size_t>(n)];
    for (size_t i = 0; i + 1 < own.size(); ++i) {
      for (const ValueId v : graph.nodes[static_cast<size_t>(own[i])].outputs) {
        EXPECT_FALSE(graph.is_output(v));
        for (const NodeId reader : uses.consumers[static_cast<size_t>(v)])
          EXPECT_NE(std::find(own.begin(), own.end(), reader), own.end()) << graph.value(v).name << " is read elsewhere";
      }
    }
    for (size_t i = 0; c.group.module && i < c.group.segment.parts.size(); ++i)
      EXPECT_EQ(refusal(c.group.segment.parts[i].spec, c.group.tiles[i], device), "");
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<ptrdiff_t>(graph.nodes.size()));
}

TEST(Partition, IsSoundOnEveryDevice) {
  const Graph nets[] = {test::mobilenet_v1(),  test::mobilenet_v2(),       test::xception(),
                        test::proxyless_nas(), test::mobilenet_v3_large(), test::efficient_net()};
  for (const std::string& key : known_devices()) {
    const DeviceModel device = device_model(key);
    for (const Graph& net : nets) {
      for (const int64_t batch : {1, 64}) {
        SCOPED_TRACE(key + " batch " + std::to_string(batch));
        expect_sound(net, device, partition(net, device, half(), batch));
      }
    }
  }
}

TEST(Partition, MobileNetV2AddsTenTimes) {
  const Graph net = test::mobilenet_v2();
  for (const char* key : {"h200", "gtx-1660", "rtx-a4000"}) {
    for (const Objective objective : {Objective::time, Objective::gma}) {
      for (const int64_t batch : {1, 8, 64, 256}) EXPECT_EQ(residuals(net, partition(net, device_model(key), half(objective), batch)), 10);
    }
  }
}

TEST(Partition, FusesMobileNetV2IntoFewSteps) {
  const Graph net = test::mobilenet_v2();
  const Partition p = partition(net, device_model("h200"), half(), 1);
  EXPECT_LE(p.choices.size(), 24u);
  EXPECT_LT(p.total.time_us, p.unfused.time_us / 2.5);
}

// fcm-background 3.3: 4.4 M elements for the convolutions in runs of at most three, 15.6 M unfused; the classifier is 1.28 M weights more.
TEST(Partition, FewestAccessesOfMobileNetV2) {
  const Graph net = test::mobilenet_v2();
  const Partition p = partition(net, device_model("h200"), half(Objective::gma), 1);
  double convolutions = 0, alone = 0;
  for (const Choice& c : p.choices) {
    for (size_t i = 0; i < c.group.part_costs.size(); ++i) {
      const bool head = c.group.module && c.group.segment.parts[i].spec.stages[0].op == StageOp::pool;
      const Node& first = net.nodes[static_cast<size_t>(c.group.nodes[0])];
      if (!head && std::holds_alternative<Conv>(first.op)) convolutions += c.group.part_costs[i].elements;
    }
  }
  for (const Node& n : net.nodes) {
    if (std::holds_alternative<Conv>(n.op)) alone += node_cost(net, n, 1, DType::f16, device_model("h200"), {}).elements;
  }
  RecordProperty("convolutions_elements", std::to_string(convolutions));
  EXPECT_LE(convolutions, 4.5e6);
  EXPECT_NEAR(alone, 15.6e6 + 0.33e6, 0.5e6);  // with residual operands read in the epilogue
}

// The hidden layer of DeiT-Tiny's tokens: modules at batch 1, since they save launches, and at batch 64 by warpgroups where there are any
// (measured on an H200: 49 us for the fused pair, 34 for a library and its pass of GELU, 23 for two streamed layers).
TEST(Partition, LayersOnTokensFollowTheBatch) {
  test::GraphBuilder b;
  const Dim tokens(197, true);
  const ValueId x = b.input("x", {tokens, 192});
  const auto layer = [&](const char* name, ValueId from, int64_t depth, int64_t outputs, UnaryFn activation) {
    Gemm op;
    op.trans_b = true;
    op.activation = {activation, 0, 0};
    const std::string text = name;
    return b.node(text, op, {from, b.constant(text + "_w", {outputs, depth}), b.constant(text + "_b", {outputs})}, {tokens, outputs});
  };
  const Graph net = b.finish({layer("fc2", layer("fc1", x, 192, 768, UnaryFn::gelu), 768, 192, UnaryFn::identity)});
  const auto modules = [&](int64_t batch, const char* device = "h200") {
    const Partition p = partition(net, device_model(device), half(), batch);
    return std::count_if(p.choices.begin(), p.choices.end(), [](const Choice& c) { return c.group.module; });
  };
  EXPECT_GE(modules(1), 1);
  EXPECT_GE(modules(64), 1);
  EXPECT_EQ(modules(64, "a100"), 0);
}

/// Elements of the convolutions on maps larger than one pixel: what the bounds of the four networks count, and the operands of residual
/// sums, which they do not.
double map_elements(const Graph& net, const Partition& p, double& alone, double& residual) {
  double elements = 0;
  alone = residual = 0;
  for (const Choice& c : p.choices) {
    const auto large = [&](NodeId n) {
      const Node& node = net.nodes[static_cast<size_t>(n)];
      return std::holds_alternative<Conv>(node.op) && (*net.value(node.input(0)).shape)[2] != Dim(1);
    };
    for (const NodeId n : c.group.nodes) {
      if (large(n)) alone += node_cost(net, net.nodes[static_cast<size_t>(n)], 1, DType::f16, device_model("h200"), {}).elements;
    }
    if (!large(c.group.nodes[0])) continue;
    for (size_t i = 0; i < c.group.part_costs.size(); ++i) {
      if (!c.group.module || c.group.segment.parts[i].spec.stages[0].op != StageOp::pool) elements += c.group.part_costs[i].elements;
    }
    const Node& last = net.nodes[static_cast<size_t>(c.group.nodes.back())];
    const bool reads = std::holds_alternative<Conv>(last.op) && last.input(3) != kNoValue;
    const bool own = c.group.module && c.group.segment.parts.back().spec.residual_is_input;
    if (reads && !own) residual += static_cast<double>(element_count(at_batch(*net.value(last.outputs[0]).shape, 1)));
  }
  return elements;
}

// The best covers of the paper's four networks by runs of at most three convolutions with at most one depthwise, the first convolution and
// the pool alone: 8.0, 4.4, 39.4 and 7.3 million elements, from 13.4, 15.6, 58.6 and 15.2 one by one. They count no residual sums: those of
// Xception read 1.9 million elements in the epilogues of the plan. Plans go below where the first convolution and the pool join modules.
TEST(Partition, FewestAccessesOfThePapersNetworks) {
  struct Bound {
    const char* name;
    Graph net;
    double best, alone;
  };
  const Bound bounds[] = {{"MobileNetV1", test::mobilenet_v1(), 8.0, 13.4},
                          {"MobileNetV2", test::mobilenet_v2(), 4.4, 15.6},
                          {"Xception", test::xception(), 39.4, 58.6},
                          {"ProxylessNAS", test::proxyless_nas(), 7.3, 15.2}};
  for (const Bound& b : bounds) {
    SCOPED_TRACE(b.name);
    const Partition p = partition(b.net, device_model("h200"), half(Objective::gma), 1);
    double alone = 0, l2 = 0, residual = 0;
    const double with_sums = map_elements(b.net, p, alone, residual) / 1e6, elements = with_sums - residual / 1e6;
    for (const Choice& c : p.choices) l2 += c.group.cost.l2_bytes() / 2e6;
    std::printf("%-14s %5.2f M elements (bound %4.1f), %5.2f M one by one, %6.2f M modelled at the L2 with all steps\n", b.name, elements,
                b.best, alone / 1e6, l2);
    EXPECT_LE(elements, 1.01 * b.best);
    EXPECT_NEAR(alone / 1e6, b.alone, b.alone * 0.12);  // residual operands are counted here
  }
}

TEST(Partition, IsDeterministicAndFast) {
  const Graph net = test::mobilenet_v2();
  const DeviceModel device = device_model("h200");
  const auto text = [&] {
    std::string t;
    for (const Choice& c : partition(net, device, half(), 8).choices) {
      t += c.group.text();
      for (const TileConfig& tile : c.group.tiles) t += " " + to_string(tile);
    }
    return t;
  };
  double best_ms = 1e9;
  const std::string first = text();
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(text(), first);
    best_ms = std::min(best_ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  RecordProperty("milliseconds", std::to_string(best_ms));
#ifdef NDEBUG
  EXPECT_LT(best_ms, 200) << "the aim is 50 ms on an idle machine";
#endif
}

std::string segments_text(const Partition& p) {
  std::string all;
  for (const FixedSegment& s : segments_of(p)) {
    for (const NodeId n : s.nodes) all += std::to_string(n) + " ";
    for (const TileConfig& tile : s.tiles) all += to_string(tile) + "\n";
  }
  return all;
}

// A plan alone looks at fewer modules than a view with runners-up does, and chooses the same.
TEST(Partition, ModulesThatCannotWinCostNoSearch) {
  const Graph nets[] = {test::mobilenet_v2(), test::efficient_net(), test::xception()};
  size_t rated_alone = 0, rated_whole = 0;
  for (const char* key : {"h200", "rtx-a4000"}) {
    const DeviceModel device = device_model(key);
    for (const Graph& net : nets) {
      for (const int64_t batch : {1, 64}) {
        PartitionOptions alone = half();
        alone.alternatives = false;
        const Partition whole = partition(net, device, half(), batch), plan = partition(net, device, alone, batch);
        EXPECT_EQ(segments_text(plan), segments_text(whole));
        EXPECT_EQ(plan.total.time_us, whole.total.time_us);
        EXPECT_LE(plan.rated_tiles, whole.rated_tiles);
        EXPECT_LT(plan.rated_tiles, 26000) << "about 250 of a module";
        rated_alone += plan.rated_tiles, rated_whole += whole.rated_tiles;
      }
    }
  }
  EXPECT_LT(static_cast<double>(rated_alone), 0.97 * static_cast<double>(rated_whole));
}

TEST(Partition, BatchesTogetherCostLessAndChooseTheSame) {
  const DeviceModel device = device_model("h200");
  PartitionOptions plan = half();
  plan.alternatives = false;
  const std::vector<int64_t> batches = {1, 8, 64};
  size_t rated_together = 0, rated_alone = 0;
  for (const Graph& net : {test::mobilenet_v3_large(), test::efficient_net(), test::token_net()}) {
    const std::vector<Partition> together = partitions(net, device, plan, batches);
    ASSERT_EQ(together.size(), batches.size());
    for (size_t i = 0; i < batches.size(); ++i) {
      const Partition alone = partition(net, device, plan, batches[i]);
      EXPECT_EQ(together[i].batch, batches[i]);
      EXPECT_EQ(segments_text(together[i]), segments_text(alone)) << net.name << " at batch " << batches[i];
      EXPECT_EQ(together[i].total.time_us, alone.total.time_us);
      rated_together += together[i].rated_tiles, rated_alone += alone.rated_tiles;
    }
  }
  EXPECT_LT(rated_together, rated_alone);
}

// What is measured may be far below every prediction.
TEST(Partition, PredictionsBoundNoMeasuredTime) {
  const Graph net = test::mobilenet_v2({1.0, 96, 16});
  const DeviceModel device = device_model("h200");
  MeasuredTimes times;
  for (size_t n = 0; n < net.nodes.size(); ++n) times.nodes[static_cast<NodeId>(n)] = 0.1;
  for (const Candidate& c : candidates(net, device, half(), 1)) {
    for (size_t i = 0; i < c.group.tiles.size(); ++i)
      times.modules[tile_key(c.group.segment.parts[i].spec, c.group.segment.images.at(1))][to_string(c.group.tiles[i])] = 0.01;
  }
  PartitionOptions view = half();
  view.measured = &times;
  PartitionOptions plan = view;
  plan.alternatives = false;
  const Partition chosen = partition(net, device, plan, 1);
  EXPECT_FALSE(segments_of(chosen).empty());
  EXPECT_EQ(segments_text(chosen), segments_text(partition(net, device, view, 1)));
}

TEST(Partition, NoModuleIsFasterThanItsLeastTime) {
  const Graph nets[] = {test::mobilenet_v3_large(), test::efficient_net(), test::token_net()};
  const DeviceModel device = device_model("h200");
  for (const Graph& net : nets) {
    for (const int64_t batch : {1, 64}) {
      for (const Candidate& c : candidates(net, device, half(), batch)) {
        for (size_t i = 0; i < c.group.tiles.size(); ++i) {
          const ModuleSpec& spec = c.group.segment.parts[i].spec;
          EXPECT_LE(least_module_us(spec, c.group.segment.images.at(batch), device, {}), c.group.part_costs[i].time_us) << to_string(spec);
        }
      }
    }
  }
}

TEST(Partition, OverridesKeepANodeApartOrFixATile) {
  const Graph net = test::mobilenet_v2({1.0, 96, 16});
  const DeviceModel device = device_model("h200");
  PartitionOptions options = half();
  options.fuse.overrides["block3/depthwise"].fuse = false;
  const Partition p = partition(net, device, options, 1);
  expect_sound(net, device, p);
  const bool apart = std::any_of(p.choices.begin(), p.choices.end(), [&](const Choice& c) {
    return !c.group.module && net.nodes[static_cast<size_t>(c.group.nodes[0])].origin.name == "block3/depthwise";
  });
  EXPECT_TRUE(apart);
  options.fuse.overrides.clear();
  options.fuse.overrides["no such node"].fuse = false;
  EXPECT_THROW(partition(net, device, options, 1), std::exception);
}

TEST(Partition, SaysWhatLostAndWhy) {
  const Partition p = partition(test::mobilenet_v2(), device_model("h200"), half(), 1);
  for (const Choice& c : p.choices) {
    if (!c.group.module) continue;
    EXPECT_FALSE(c.unfused.text.empty());
    EXPECT_FALSE(c.unfused.why.empty());
    if (!c.runner_up.text.empty()) {
      EXPECT_GE(c.runner_up.cost.time_us, c.group.cost.time_us);
    }
  }
  EXPECT_FALSE(p.refusals.empty());
}

}  // namespace
}  // namespace fcm
