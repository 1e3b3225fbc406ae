// Which runs of nodes become modules, with what reason others do not, and the weights that modules get.
#include <gtest/gtest.h>

#include <algorithm>

#include "planner/segments.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

using test::NetBuilder;

constexpr Unary kNone{};

SegmentOptions options(DType dtype = DType::f16) {
  return {dtype, false, jit::Target{9, 0, true}};
}

/// Texts "first node: spec of the parts" of all segments of a graph.
std::vector<std::string> all_segments(const Graph& graph, std::vector<Refusal>* refusals = nullptr, DType dtype = options().dtype) {
  std::vector<std::string> texts;
  SegmentOptions how = options();
  how.dtype = dtype;
  const SegmentFinder finder(graph, how);
  for (const auto& chain : find_chains(graph)) {
    for (size_t i = 0; i < chain.size(); ++i) {
      for (const Segment& s : finder.starting_at(chain, i, refusals)) {
        std::string text = graph.nodes[static_cast<size_t>(s.nodes[0])].origin.name + ":";
        for (const ModulePart& p : s.parts) text += " " + std::string(kind_name(kind_of(p.spec)));
        texts.push_back(text);
      }
    }
  }
  return texts;
}

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

TEST(Segments, EveryNodeIsInOneChain) {
  for (const Graph& graph : {test::mobilenet_v2({0.25, 32, 16}), test::efficient_net({0.25, 32, 16}), test::many_outputs_net()}) {
    std::vector<int> seen(graph.nodes.size(), 0);
    for (const auto& chain : find_chains(graph)) {
      for (const NodeId n : chain) ++seen[static_cast<size_t>(n)];
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<ptrdiff_t>(graph.nodes.size()));
  }
}

TEST(Segments, InvertedResidualIsOneModuleWithItsInputAsResidual) {
  NetBuilder b;
  const ValueId x = b.input("x", Shape{Dim(1, true), 16, 14, 10});
  const ValueId in = b.layer("first", x, 24, 1, 1, kNone);
  ValueId h = b.layer("expand", in, 96, 1, 1, test::kRelu6);
  h = b.layer("depthwise", h, 96, 3, 1, test::kRelu6, true);
  const Graph graph = b.finish({b.layer("project", h, 24, 1, 1, kNone, false, in)});
  const auto chains = find_chains(graph);
  const SegmentFinder finder(graph, options());
  const auto& chain = *std::find_if(chains.begin(), chains.end(), [](const auto& c) { return c.size() == 3; });
  const std::vector<Segment> found = finder.starting_at(chain, 0);
  ASSERT_EQ(found.size(), 3u);
  const ModulePart& part = found[2].parts.at(0);
  EXPECT_EQ(to_string(part.spec),
            "nhwc 14x10 pw/24-96/f16/clip(0,6) dw3x3s1x1p1.1.1.1/96-96/f16/clip(0,6) pw/96-24/f16/identity residual=before from=input");
  EXPECT_EQ(part.input, in);
  EXPECT_EQ(part.residual, in);
  EXPECT_EQ(found[2].images, Dim(1, true));
}

TEST(Segments, SumInTheMiddleAndSecondReaderAreRefused) {
  NetBuilder b;
  const ValueId x = b.input("x", Shape{Dim(1, true), 16, 8, 8});
  const ValueId r = b.layer("r", x, 32, 1, 1, kNone);
  const ValueId a = b.layer("a", x, 32, 1, 1, kNone, false, r);
  const ValueId d = b.layer("d", a, 32, 3, 1, test::kRelu6, true);
  const ValueId e = b.layer("e", d, 16, 1, 1, kNone);
  const Graph graph = b.finish({e, d});
  std::vector<Refusal> refusals;
  const std::vector<std::string> segments = all_segments(graph, &refusals);
  EXPECT_TRUE(contains(segments, "a: PW"));
  EXPECT_FALSE(contains(segments, "a: PWDW"));
  EXPECT_FALSE(contains(segments, "d: DWPW")) << "d is an output of the model";
  const bool told = std::any_of(refusals.begin(), refusals.end(), [](const Refusal& f) { return f.reason == "\"a\" ends in a sum"; });
  EXPECT_TRUE(told);
}

TEST(Segments, SqueezeAndExcitationAndHead) {
  const Graph graph = test::efficient_net({0.25, 64, 16});
  const std::vector<std::string> segments = all_segments(graph);
  EXPECT_TRUE(contains(segments, "block1/expand: PWDW SE PW"));
  EXPECT_TRUE(contains(segments, "block1/squeeze: SE"));
  EXPECT_TRUE(contains(segments, "head: PW POOLFC"));
  EXPECT_TRUE(contains(segments, "pool: POOLFC"));
  EXPECT_TRUE(contains(segments, "block0/depthwise: DW SE PW"));
  EXPECT_FALSE(contains(segments, "block1/depthwise: DWPW")) << "the product stands between";
}

TEST(Segments, LayersOnTokensTakeTheNormBeforeThem) {
  const Graph graph = test::token_net({1.0, 64, 16});
  const std::vector<std::string> segments = all_segments(graph);
  for (const char* text : {"block0/norm: PW", "block0/norm: PWPW", "block0/expand: PWPW", "block0/project: PW", "mlp1/norm1: PWPW"})
    EXPECT_TRUE(contains(segments, text)) << text;
  const SegmentFinder finder(graph, options());
  for (const auto& chain : find_chains(graph)) {
    for (size_t i = 0; i < chain.size(); ++i) {
      const std::string& name = graph.nodes[static_cast<size_t>(chain[i])].origin.name;
      if (name != "block1/norm" && name != "mlp0/norm2") continue;
      const std::vector<Segment> found = finder.starting_at(chain, i);
      ASSERT_EQ(found.size(), 2u);
      const ModulePart& part = found[1].parts.at(0);
      EXPECT_TRUE(part.tokens);
      EXPECT_EQ(to_string(part.spec), std::string("nhwc 1x1 pw/64-256/f16/gelu pw/256-64/f16/identity norm=layer(1e-06) residual=before") +
                                          (name == "mlp0/norm2" ? " from=input" : ""));
      EXPECT_EQ(found[1].images, name == "mlp0/norm2" ? Dim(81, true) : Dim(289, true));
    }
  }
}

TEST(Segments, LayersOnTokensThatAreRefused) {
  const auto reasons = [](const Graph& graph) {
    std::vector<Refusal> refusals;
    EXPECT_TRUE(all_segments(graph, &refusals).empty());
    std::string text;
    for (const Refusal& r : refusals) text += r.reason + "; ";
    return text;
  };
  const Dim batch(1, true);
  NetBuilder odd;  // rows that are no whole vectors
  ValueId x = odd.input("x", {batch, 5, 12});
  EXPECT_NE(reasons(odd.finish({odd.node("g", Gemm{}, {x, odd.weights("w", {12, 16}, 1.0)}, {batch, 5, 16})})).find("vectors"),
            std::string::npos);
  NetBuilder scaled;  // the norm's scale is still its own
  x = scaled.input("x", {batch, 5, 16});
  const ValueId y = scaled.node("n", Normalize{NormFn::layer, 2, 0, false, 1e-5f}, {x, scaled.bias("s", 16)}, {batch, 5, 16});
  std::vector<Refusal> refusals;
  const ValueId g = scaled.node("g", Gemm{}, {y, scaled.weights("w", {16, 16}, 1.0)}, {batch, 5, 16});
  const Graph graph = scaled.finish({scaled.unary("exp", g, Unary{UnaryFn::exp, 0, 0})});
  EXPECT_EQ(all_segments(graph, &refusals), std::vector<std::string>{"g: PW"});
  EXPECT_FALSE(refusals.empty());
  NetBuilder scores;  // an FP32 output of the model: cuBLASLt stores it as such
  x = scores.input("x", {batch, 5, 16});
  EXPECT_NE(reasons(scores.finish({scores.node("g", Gemm{}, {x, scores.weights("w", {16, 16}, 1.0)}, {batch, 5, 16})})).find("FP32"),
            std::string::npos);
}

TEST(Segments, HeadsNeedWholeVectors) {
  const Graph graph = test::mobilenet_v2({0.25, 32, 10});
  EXPECT_TRUE(contains(all_segments(graph, nullptr, DType::f16), "pool: POOLFC")) << "FP32 logits of a 16-bit head are not padded";
  std::vector<Refusal> refusals;
  EXPECT_FALSE(contains(all_segments(graph, &refusals, DType::f32), "pool: POOLFC"));
  const bool told =
      std::any_of(refusals.begin(), refusals.end(), [](const Refusal& r) { return r.reason == "10 outputs do not fill 16-byte vectors"; });
  EXPECT_TRUE(told);
}

TEST(Segments, WeightsOfAGemmAreTurnedAndScaled) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", Shape{Dim(1, true), 8, 2, 2});
  const ValueId flat = b.reshape("flatten", b.global_pool("pool", x), Shape{Dim(1, true), 8});
  Gemm op;
  op.alpha = 2.0f;
  op.beta = 0.5f;
  const ValueId w = b.constant("w", {8, 16}), c = b.constant("c", {16});
  const Graph graph = b.finish({b.node("fc", op, {flat, w, c}, Shape{Dim(1, true), 16})});
  const auto chains = find_chains(graph);
  const std::vector<Segment> found = SegmentFinder(graph, options(DType::f32)).starting_at(chains.at(0), 0);
  ASSERT_EQ(found.size(), 1u);
  const ModuleWeights weights = weights_of(graph, found[0].parts[0].spec, found[0].parts[0].stage_nodes);
  ASSERT_EQ(weights.stages.size(), 2u);
  EXPECT_TRUE(weights.stages[0].weight.empty());
  const auto original = graph.value(w).constant->data<float>();
  EXPECT_EQ(weights.stages[1].weight[3 * 8 + 5], 2.0f * original[5 * 16 + 3]);
  EXPECT_EQ(weights.stages[1].bias[7], 0.5f * graph.value(c).constant->data<float>()[7]);
}

}  // namespace
}  // namespace fcm
