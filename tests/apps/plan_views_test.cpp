// fcm-plan: its views of a partition, and the program on a small model for cards that are not there.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "apps/fcm-plan/digest.h"
#include "apps/fcm-plan/views.h"
#include "runtime/support/error.h"
#include "tests/onnx/model_builder.h"
#include "tests/planner/networks.h"

namespace fcm::apps {
namespace {

struct Sample {
  Graph graph = test::mobilenet_v2({0.5, 64, 16});
  DeviceModel device = device_model("rtx-a4000");
  Partition parts;
  PlanView view;

  Sample() {
    PartitionOptions options;
    options.dtype = DType::f16;
    parts = partition(graph, device, options, 1);
    view.graph = &graph;
    view.device = &device;
    view.partition = &parts;
    view.model = "net<1>.onnx";
    view.precision = "fp16";
    view.plan_hash = "0123456789abcdef";
  }
};

TEST(PlanViews, TableHasARowAStepAndTotals) {
  const Sample s;
  const std::string text = table_text(s.view, true);
  EXPECT_NE(text.find("NVIDIA RTX A4000"), std::string::npos);
  EXPECT_NE(text.find("PWDWPW"), std::string::npos) << text;
  EXPECT_NE(text.find("unfused"), std::string::npos);
  EXPECT_NE(text.find("_r1_b"), std::string::npos) << "tiles are shown";
  EXPECT_EQ(table_text(s.view, false).find("_r1_b"), std::string::npos);
}

TEST(PlanViews, ExplainNamesWhatLostAndWhatWasRefused) {
  const Sample s;
  const std::string text = explain_text(s.view, "block2/depthwise");
  for (const char* part : {"module", "tile", "step + max", "unfused", "us"}) EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_NE(explain_text(s.view, "block2/project").find("ends in a sum"), std::string::npos);
  EXPECT_THROW(explain_text(s.view, "nobody"), Error);
}

TEST(PlanViews, JsonCoversEveryNodeOnce) {
  const Sample s;
  const auto document = nlohmann::json::parse(json_text(s.view));
  size_t nodes = 0;
  for (const auto& step : document["steps"]) nodes += step["nodes"].size();
  EXPECT_EQ(nodes, s.graph.nodes.size());
  EXPECT_EQ(document["device"], "NVIDIA RTX A4000");
  EXPECT_GT(document["total"]["time_us"].get<double>(), 0);
}

TEST(PlanViews, HtmlEscapesAndDotCloses) {
  const Sample s;
  const std::string html = html_text(s.view);
  EXPECT_NE(html.find("net&lt;1&gt;.onnx"), std::string::npos);
  EXPECT_EQ(html.find("net<1>"), std::string::npos);
  const std::string dot = dot_text(s.view);
  EXPECT_EQ(std::count(dot.begin(), dot.end(), '{'), std::count(dot.begin(), dot.end(), '}'));
  EXPECT_NE(dot.find("cluster_0"), std::string::npos);
}

// Digests of the sample graph after a change.
std::pair<std::string, std::string> digests_after(const std::function<void(Graph&)>& change) {
  Graph graph = Sample().graph;
  change(graph);
  return {graph_contents(graph, Weights::bytes), graph_contents(graph, Weights::shapes)};
}

TEST(Digest, NamesDoNotCountAndAllElseDoes) {
  const auto same = digests_after([](Graph&) {});
  EXPECT_EQ(same, digests_after([](Graph& g) {
              g.name = "other";
              for (Value& v : g.values) v.name += "x";
              for (Node& n : g.nodes) n.origin.name += "x";
            }));
  const auto differs = [&](const std::function<void(Graph&)>& change) { return digests_after(change).second != same.second; };
  EXPECT_TRUE(differs([](Graph& g) { std::get<Conv>(g.nodes[0].op).window.strides = {1, 1}; }));
  EXPECT_TRUE(differs([](Graph& g) { g.nodes[0].inputs.resize(2); }));
  EXPECT_TRUE(differs([](Graph& g) { g.outputs.push_back(g.nodes[0].outputs[0]); }));
  EXPECT_TRUE(differs([](Graph& g) { (*g.value(g.inputs[0]).shape)[0] = Dim(1); }));
}

TEST(Digest, WeightsCountInOneOfTheTwo) {
  const auto same = digests_after([](Graph&) {});
  const auto other = digests_after([](Graph& g) {
    Value& weight = g.value(g.nodes[0].inputs[1]);
    Tensor copy(DType::f32, weight.constant->dims());
    std::ranges::copy(weight.constant->data<float>(), copy.data<float>().begin());
    copy.data<float>()[7] += 1e-6f;
    weight.constant = std::make_shared<const Tensor>(std::move(copy));
  });
  EXPECT_NE(same.first, other.first);
  EXPECT_EQ(same.second, other.second);
}

struct Outcome {
  int code = -1;
  std::string out;
};

Outcome plan(const std::string& arguments) {
  Outcome o;
  std::FILE* pipe = ::popen((std::string(FCM_PLAN) + " " + arguments + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  for (size_t n = 0; pipe != nullptr && (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) o.out.append(buffer.data(), n);
  const int status = pipe == nullptr ? -1 : ::pclose(pipe);
  o.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return o;
}

class PlanProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("fcm_plan_" + std::to_string(::getpid()) + ".onnx");
    fcm::testing::ModelBuilder b;
    b.input("x", {"N", 32, 14, 14}).initializer("w", {64, 32, 1, 1}, std::vector<float>(2048, 0.1f));
    b.initializer("v", {64, 1, 3, 3}, std::vector<float>(576, 0.1f));
    b.node("Conv", {"x", "w"}, {"a"}).node("Relu", {"a"}, {"b"});
    b.node("Conv", {"b", "v"}, {"y"}, {{"group", 64}, {"pads", Ints{1, 1, 1, 1}}}).output("y");
    std::ofstream(path_, std::ios::binary) << b.bytes();
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string model() const { return path_.string(); }

  std::filesystem::path path_;
};

TEST_F(PlanProgram, PlansForCardsThatAreNotThere) {
  for (const std::string& key : known_devices()) {
    const Outcome o = plan("--gpu " + key + " " + model());
    EXPECT_EQ(o.code, 0) << o.out;
    EXPECT_NE(o.out.find("predicted"), std::string::npos);
  }
  EXPECT_NE(plan("--gpu h200 --steps " + model()).out.find("PWDW nhwc 14x14"), std::string::npos);
}

TEST_F(PlanProgram, DigestsNeedNoCard) {
  const Outcome o = plan("--digest " + model());
  EXPECT_EQ(o.code, 0) << o.out;
  EXPECT_EQ(o.out.size(), 130U) << "two times 64 digits, a space and a line's end: " << o.out;
}

TEST_F(PlanProgram, RefusesWithTheExitCodesOfAllPrograms) {
  EXPECT_EQ(plan("--gpu voodoo " + model()).code, 1);
  EXPECT_EQ(plan("--gpu h200 --set x " + model()).code, 1);
  EXPECT_EQ(plan("--gpu h200 --set nobody=nofuse " + model()).code, 1);
  EXPECT_EQ(plan("--gpu h200 --shape x=1xtwo " + model()).code, 1);
  EXPECT_EQ(plan("--gpu h200 /nonexistent.onnx").code, 2);
  const Outcome o = plan("--gpu h200 --json /nonexistent.onnx");
  EXPECT_EQ(o.code, 2);
  EXPECT_NE(o.out.find("\"exit_code\": 2"), std::string::npos) << o.out;
}

}  // namespace
}  // namespace fcm::apps
