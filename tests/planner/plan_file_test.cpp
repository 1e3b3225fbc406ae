// Saved plans: what is written is read back as the same plan, and what does not fit is refused with the reason.
#include "planner/plan_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "planner/fused.h"
#include "runtime/support/error.h"
#include "tests/planner/backend.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

using nlohmann::json;

Plan plan_of(const Graph& graph, const FuseOptions& how = {}) {
  return plan_fused(graph, PlanOptions{Precision::f16, false}, test::backend(), device_model("h200"), how);
}

Plan read(const std::string& text, const Graph& graph, const char* device = "h200") {
  return read_plan_file(text, "plan.json", graph, test::backend(), device_model(device));
}

/// The complaint about a changed file.
std::string complaint(const std::string& text, const Graph& graph, const char* device = "h200") {
  try {
    read(text, graph, device);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find("plan.json"), std::string::npos) << e.what();
    return e.what();
  }
  return "";
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(PlanFile, IsReadBackAsTheSamePlan) {
  for (const Graph& graph : {test::mobilenet_v1({0.5, 96, 16}), test::mobilenet_v2({0.5, 96, 16}), test::efficient_net({0.5, 96, 16})}) {
    Plan plan = plan_of(graph);
    plan.variants[0].steps.back().choices[1] = 2;
    const std::string text = plan_file_text(graph, plan);
    const Plan again = read(text, graph);
    EXPECT_EQ(to_string(again), to_string(plan));
    EXPECT_EQ(again.hash(), plan.hash());
    EXPECT_EQ(plan_file_text(graph, again), text);
  }
}

TEST(PlanFile, KeepsUnfusedPlansAndSingleNodes) {
  const Graph graph = test::mobilenet_v2({0.5, 64, 16});
  const Plan alone = plan_unfused(graph, PlanOptions{Precision::f16, false}, test::backend());
  EXPECT_EQ(to_string(read(plan_file_text(graph, alone), graph)), to_string(alone));
  FuseOptions how;
  how.overrides["block3/depthwise"].full_precision = true;
  how.overrides["block5/expand"].fuse = false;
  const Plan mixed = plan_of(graph, how);
  EXPECT_EQ(to_string(read(plan_file_text(graph, mixed), graph)), to_string(mixed));
}

TEST(PlanFile, AnotherNameOfTheModelIsTheSameModel) {
  Graph graph = test::mobilenet_v2({0.5, 64, 16});
  graph.name = "here.onnx";
  const std::string text = plan_file_text(graph, plan_of(graph));
  graph.name = "elsewhere/there.onnx";
  EXPECT_EQ(read(text, graph).hash(), json::parse(text)["hash"].get<std::string>());
}

TEST(PlanFile, WhatDoesNotFitIsRefused) {
  const Graph graph = test::mobilenet_v2({0.5, 64, 16});
  const std::string good = plan_file_text(graph, plan_of(graph));
  const auto changed = [&](const auto& change) {
    json root = json::parse(good);
    change(root);
    return root.dump();
  };
  EXPECT_HAS(complaint("", graph), "not a plan file");
  EXPECT_HAS(complaint(good.substr(0, good.size() / 2), graph), "not a plan file");
  EXPECT_HAS(complaint("[1, 2]", graph), "not a plan file");
  EXPECT_HAS(complaint(changed([](json& r) { r["version"] = 99; }), graph), "version 99");
  EXPECT_HAS(complaint(good, test::mobilenet_v1({0.5, 64, 16})), "made for the model");
  EXPECT_HAS(complaint(good, test::mobilenet_v2({0.5, 96, 16})), "made for the model");
  EXPECT_HAS(complaint(changed([](json& r) { r["precision"] = "fp4"; }), graph), "fp4");
  EXPECT_HAS(complaint(changed([](json& r) { r["precision"] = "fp32"; }), graph), "the module is");
  EXPECT_HAS(complaint(changed([](json& r) { r["hash"] = "0123456789abcdef"; }), graph), "hash");
  EXPECT_HAS(complaint(changed([](json& r) { r.erase("variants"); }), graph), "\"variants\" is missing");
  EXPECT_HAS(complaint(changed([](json& r) { r["variants"] = json::array(); }), graph), "does not cover all batches");
  EXPECT_HAS(complaint(changed([](json& r) { r["variants"][0]["segments"][1]["nodes"][0][0] = 100000; }), graph), "no node 100000");
  EXPECT_HAS(complaint(changed([](json& r) { r["variants"][0]["segments"][1]["nodes"][0][1] = "nobody"; }), graph), "nobody");
  EXPECT_HAS(complaint(changed([](json& r) { r["variants"][0]["segments"].push_back(r["variants"][0]["segments"][1]); }), graph),
             "in two segments");
  EXPECT_HAS(
      complaint(changed([](json& r) { r["variants"][0]["segments"][1]["modules"][0]["tile"] = "t2x8_c9999_n16_x1_w1.1.1_s1_e1.1_r1_b1"; }),
                graph),
      "tile t2x8_c9999");
  EXPECT_HAS(complaint(changed([](json& r) { r["variants"][0]["segments"].erase(1); }), graph), "hash");
  EXPECT_HAS(complaint(changed([](json& r) {
                         r["variants"][0]["choices"] = json::array({json::array({9999, 1, 1})});
                       }),
                       graph),
             "no step 9999");
}

TEST(PlanFile, AnotherDeviceIsTakenOnlyWhereEveryModuleIsLegal) {
  const Graph graph = test::mobilenet_v2({1.0, 224, 1000});
  const std::string text = plan_file_text(graph, plan_of(graph));
  EXPECT_EQ(read(text, graph, "h100").hash(), json::parse(text)["hash"].get<std::string>());
  EXPECT_HAS(complaint(text, graph, "t4"), "tile");  // clusters, large blocks
}

}  // namespace
}  // namespace fcm
