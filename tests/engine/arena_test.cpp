// The arena: never overlapping, aligned, deterministic, and close to the live-bytes lower bound on networks.
#include "runtime/engine/arena/arena.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "runtime/support/error.h"

namespace fcm {
namespace {

ArenaBlock block(size_t bytes, int32_t first, int32_t last) {
  return {bytes, first == last ? std::vector<int32_t>{first} : std::vector<int32_t>{first, last}};
}

bool overlap(const ArenaLayout& layout, const std::vector<ArenaBlock>& blocks, size_t a, size_t b) {
  return layout.offsets[a] < layout.offsets[b] + blocks[b].bytes && layout.offsets[b] < layout.offsets[a] + blocks[a].bytes;
}

bool live_together(const ArenaBlock& a, const ArenaBlock& b) {
  return a.steps.back() >= b.steps.front() && b.steps.back() >= a.steps.front();
}

// What must hold for any layout of sequential steps.
void check(const std::vector<ArenaBlock>& blocks, const ArenaLayout& layout, size_t alignment = kArenaAlignment) {
  ASSERT_EQ(layout.offsets.size(), blocks.size());
  EXPECT_EQ(layout.bytes % alignment, 0u);
  EXPECT_GE(layout.bytes, live_bytes_bound(blocks, alignment));
  for (size_t a = 0; a < blocks.size(); ++a) {
    EXPECT_EQ(layout.offsets[a] % alignment, 0u);
    EXPECT_LE(layout.offsets[a] + blocks[a].bytes, layout.bytes);
    for (size_t b = a + 1; b < blocks.size(); ++b) {
      ASSERT_FALSE(live_together(blocks[a], blocks[b]) && overlap(layout, blocks, a, b)) << a << " and " << b;
    }
  }
}

double excess(const std::vector<ArenaBlock>& blocks) {
  const ArenaLayout layout = plan_arena(blocks);
  check(blocks, layout);
  return static_cast<double>(layout.bytes) / static_cast<double>(live_bytes_bound(blocks)) - 1.0;
}

// Builds the blocks of a network: each layer is one step that reads earlier activations and writes one.
class Network {
 public:
  explicit Network(size_t element) : element_(element) {}

  // A layer of `channels` x `size` x `size` that reads activation `from` and, as residual, `also` (-1: none). Returns its activation.
  int layer(size_t channels, size_t size, int from, int also = -1) {
    const int32_t step = step_++;
    touch(from, step);
    touch(also, step);
    blocks_.push_back({(channels + 7) / 8 * 8 * size * size * element_ * batch_, {step}});
    return static_cast<int>(blocks_.size()) - 1;
  }
  void workspace(size_t bytes) { blocks_.push_back({bytes, {step_ - 1}}); }
  void set_batch(size_t batch) { batch_ = batch; }
  const std::vector<ArenaBlock>& blocks() const { return blocks_; }

 private:
  void touch(int activation, int32_t step) {
    if (activation >= 0) blocks_[static_cast<size_t>(activation)].steps.push_back(step);
  }

  size_t element_;
  size_t batch_ = 1;
  int32_t step_ = 0;
  std::vector<ArenaBlock> blocks_;
};

struct Stage {
  size_t expand, channels, repeats, stride;
};

// Inverted residual networks; `gate`: a squeeze-and-excitation branch between depthwise and projection; `adds`: the residual add is a step
// of its own.
std::vector<ArenaBlock> inverted_residuals(const std::vector<Stage>& stages, size_t stem, size_t head, size_t image, size_t batch,
                                           bool gate, bool adds) {
  Network net(2);
  net.set_batch(batch);
  size_t size = image / 2;
  size_t channels = stem;
  int x = net.layer(stem, size, net.layer(3, image, -1));
  for (const Stage& stage : stages) {
    for (size_t r = 0; r < stage.repeats; ++r) {
      const size_t stride = r == 0 ? stage.stride : 1;
      const size_t wide = channels * stage.expand;
      int y = stage.expand > 1 ? net.layer(wide, size, x) : x;
      size /= stride;
      y = net.layer(wide, size, y);
      if (gate) {
        const int pooled = net.layer(wide, 1, y);
        const int weights = net.layer(wide, 1, net.layer(channels / 4, 1, pooled));
        y = net.layer(wide, size, y, weights);
      }
      const bool residual = stride == 1 && channels == stage.channels;
      y = net.layer(stage.channels, size, y, residual && !adds ? x : -1);
      if (residual && adds) y = net.layer(stage.channels, size, y, x);
      x = y;
      channels = stage.channels;
    }
  }
  x = net.layer(head, size, x);
  net.layer(1000, 1, net.layer(head, 1, x));
  return net.blocks();
}

const std::vector<Stage> kMobileNetV2 = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                         {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
const std::vector<Stage> kEfficientNet = {{1, 16, 1, 1},  {6, 24, 2, 2},  {6, 40, 2, 2}, {6, 80, 3, 2},
                                          {6, 112, 3, 1}, {6, 192, 4, 2}, {6, 320, 1, 1}};

TEST(Arena, ExactOffsetsOfATinyCase) {
  const std::vector<ArenaBlock> blocks = {block(100, 0, 1), block(300, 1, 2), block(100, 2, 3)};
  const ArenaLayout layout = plan_arena(blocks);
  check(blocks, layout);
  EXPECT_EQ(layout.bytes, 768u);  // 512 + 256: the first and the last block share their place
  EXPECT_EQ(layout.offsets[0], layout.offsets[2]);
}

TEST(Arena, EmptyAndZeroBytes) {
  EXPECT_EQ(plan_arena({}).bytes, 0u);
  EXPECT_EQ(live_bytes_bound({}), 0u);
  const std::vector<ArenaBlock> nothing = {block(0, 0, 3), block(0, 1, 1)};
  EXPECT_EQ(plan_arena(nothing).bytes, 0u);
  const std::vector<ArenaBlock> mixed = {block(0, 0, 3), block(10, 0, 3), block(10, 1, 1)};
  const ArenaLayout layout = plan_arena(mixed);
  EXPECT_EQ(layout.bytes, 512u);
  EXPECT_NE(layout.offsets[1], layout.offsets[2]);
}

TEST(Arena, InvalidBlocksAreRefused) {
  const auto code = [](const std::vector<ArenaBlock>& blocks, size_t alignment) {
    try {
      plan_arena(blocks, alignment);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::command_line;
  };
  EXPECT_EQ(code({{16, {}}}, 256), ErrorCode::internal);
  EXPECT_EQ(code({{16, {3, 1}}}, 256), ErrorCode::internal);
  EXPECT_EQ(code({{16, {-1}}}, 256), ErrorCode::internal);
  EXPECT_EQ(code({{16, {1}}}, 100), ErrorCode::internal);
  const size_t huge = ~size_t{0} / 4 + 1;
  EXPECT_EQ(code({{huge, {1}}, {huge, {5}}}, 256), ErrorCode::out_of_memory);
  EXPECT_EQ(code({{~size_t{0}, {1}}}, 256), ErrorCode::out_of_memory);
}

TEST(Arena, ChainMeetsTheBound) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<ArenaBlock> chain;
    const auto length = static_cast<int32_t>(2 + random() % 60);
    for (int32_t s = 0; s < length; ++s) chain.push_back(block(1 + random() % 1'000'000, s, s + 1));
    EXPECT_LE(excess(chain), 0.05) << "trial " << trial << ", length " << length;
  }
}

TEST(Arena, NetworksStayWithinFivePercentOfTheBound) {
  struct Case {
    const char* name;
    const std::vector<Stage>* stages;
    size_t stem, image;
    bool gate;
  };
  for (const Case& c :
       {Case{"MobileNetV2", &kMobileNetV2, 32, 224, false}, Case{"EfficientNet-Lite0", &kEfficientNet, 32, 224, false},
        Case{"EfficientNet-B0", &kEfficientNet, 32, 224, true}, Case{"MobileNetV2 at 192", &kMobileNetV2, 32, 192, false}}) {
    for (const size_t batch : {1, 3, 8, 64}) {
      for (const bool adds : {false, true}) {
        const double over = excess(inverted_residuals(*c.stages, c.stem, 1280, c.image, batch, c.gate, adds));
        EXPECT_LE(over, 0.05) << c.name << " batch " << batch << (adds ? ", separate adds" : "");
      }
    }
  }
}

// Dense connectivity with concatenations and a library workspace at many steps.
TEST(Arena, BranchesAndWorkspaces) {
  Network net(4);
  int x = net.layer(32, 56, net.layer(3, 112, -1));
  for (int b = 0; b < 6; ++b) {
    const int a = net.layer(64, 56, x);
    net.workspace(1 << 20);
    const int c = net.layer(96, 56, x);
    net.workspace(3 << 19);
    const int d = net.layer(32, 56, net.layer(16, 56, x));
    x = net.layer(128, 56, net.layer(192, 56, a, c), d);
  }
  EXPECT_LE(excess(net.blocks()), 0.05);
}

TEST(Arena, RandomLifetimesNeverOverlapAndStayCloseToTheBound) {
  std::mt19937 random(1);
  double total = 0;
  double worst = 0;
  constexpr int kTrials = 1000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<ArenaBlock> blocks;
    const size_t count = 1 + random() % 40;
    const auto steps = static_cast<int32_t>(1 + random() % 40);
    for (size_t b = 0; b < count; ++b) {
      const auto first = static_cast<int32_t>(random() % static_cast<uint32_t>(steps));
      const auto last = std::min<int32_t>(steps - 1, first + static_cast<int32_t>(random() % 8));
      blocks.push_back(block(random() % 5 == 0 ? random() % 300 : random() % 2'000'000, first, last));
    }
    const size_t alignment = trial % 3 == 0 ? 512 : 256;
    const ArenaLayout layout = plan_arena(blocks, alignment);
    ASSERT_NO_FATAL_FAILURE(check(blocks, layout, alignment)) << "trial " << trial;
    const size_t bound = live_bytes_bound(blocks, alignment);
    if (bound == 0) continue;
    const double over = static_cast<double>(layout.bytes) / static_cast<double>(bound) - 1.0;
    total += over;
    worst = std::max(worst, over);
  }
  EXPECT_LE(total / kTrials, 0.02);
  EXPECT_LE(worst, 0.25);
}

TEST(Arena, SameBlocksSameOffsets) {
  const std::vector<ArenaBlock> blocks = inverted_residuals(kEfficientNet, 32, 1280, 224, 3, true, true);
  const ArenaLayout a = plan_arena(blocks);
  const ArenaLayout b = plan_arena(blocks);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.bytes, b.bytes);
}

TEST(Arena, ManyBlocksEndQuickly) {
  std::mt19937 random(3);
  std::vector<ArenaBlock> blocks;
  for (int32_t s = 0; s < 3000; ++s) blocks.push_back(block(1 + random() % 1'000'000, s, s + 1 + static_cast<int32_t>(random() % 4)));
  check(blocks, plan_arena(blocks));
}

// Steps 1 and 2 both follow 0 and may overlap in time: what they write must not share bytes, though their list positions differ.
TEST(Arena, ParallelStepsOfADagDoNotShare) {
  const std::vector<std::vector<int32_t>> depends_on = {{}, {0}, {0}, {1}, {2}, {3, 4}};
  std::vector<ArenaBlock> blocks = {
      {1000, {0, 1, 2}}, {2000, {1, 3}}, {2000, {2, 4}}, {500, {3, 5}}, {500, {4, 5}}, {1000, {5}},
  };
  const ArenaLayout layout = plan_arena(blocks, depends_on);
  EXPECT_FALSE(overlap(layout, blocks, 1, 2));
  EXPECT_FALSE(overlap(layout, blocks, 1, 4));
  EXPECT_FALSE(overlap(layout, blocks, 3, 2));
  EXPECT_FALSE(overlap(layout, blocks, 3, 4));
  EXPECT_TRUE(overlap(layout, blocks, 0, 5) || overlap(layout, blocks, 1, 5) || overlap(layout, blocks, 2, 5))
      << "step 5 follows every reader of these";
  EXPECT_GE(layout.bytes, plan_arena(blocks).bytes);
}

// A chain of dependencies is the sequential case; a wrong edge is refused.
TEST(Arena, DagOfAChainEqualsTheSequentialLayout) {
  std::vector<ArenaBlock> blocks;
  std::vector<std::vector<int32_t>> depends_on;
  for (int32_t s = 0; s < 30; ++s) {
    depends_on.push_back(s == 0 ? std::vector<int32_t>{} : std::vector<int32_t>{s - 1});
    blocks.push_back(block(static_cast<size_t>((s * 7919) % 1000 + 1) * 100, s, std::min(s + 1, 29)));
  }
  EXPECT_EQ(plan_arena(blocks, depends_on).offsets, plan_arena(blocks).offsets);
  depends_on[3] = {3};
  EXPECT_THROW(plan_arena(blocks, depends_on), Error);
  depends_on.resize(10);
  EXPECT_THROW(plan_arena(blocks, depends_on), Error);
}

TEST(Arena, RandomDagsNeverOverlapWhatMayRunTogether) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 60; ++trial) {
    const size_t steps = 2 + random() % 20;
    std::vector<std::vector<int32_t>> depends_on(steps);
    std::vector<std::vector<bool>> reach(steps, std::vector<bool>(steps, false));
    std::vector<ArenaBlock> blocks(steps);
    for (size_t s = 0; s < steps; ++s) {
      blocks[s] = {1 + random() % 100'000, {static_cast<int32_t>(s)}};
      for (size_t p = 0; p < s; ++p) {
        if (random() % 4 != 0) continue;
        depends_on[s].push_back(static_cast<int32_t>(p));
        blocks[p].steps.push_back(static_cast<int32_t>(s));
        reach[s][p] = true;
        for (size_t q = 0; q < p; ++q) reach[s][q] = reach[s][q] || reach[p][q];
      }
    }
    const ArenaLayout layout = plan_arena(blocks, depends_on);
    const auto before = [&](size_t a, size_t b) {  // every reader of a ends before b is written
      for (const int32_t s : blocks[a].steps) {
        if (!reach[b][static_cast<size_t>(s)]) return false;
      }
      return true;
    };
    for (size_t a = 0; a < steps; ++a) {
      for (size_t b = a + 1; b < steps; ++b) {
        const bool may_run_together = !before(a, b) && !before(b, a);
        ASSERT_FALSE(may_run_together && overlap(layout, blocks, a, b)) << "trial " << trial << ": " << a << " and " << b;
      }
    }
  }
}

}  // namespace
}  // namespace fcm
