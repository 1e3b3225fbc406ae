// fcm-bench on a small model on the CPU: what it prints and writes, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/apps/program.h"

namespace fcm::test {
namespace {

using nlohmann::json;

Outcome bench(std::vector<std::string> arguments) {
  return run(FCM_BENCH, arguments);
}

// Quick: a few runs on the CPU.
Outcome quick(std::vector<std::string> arguments) {
  for (const char* more : {"--device", "cpu", "--duration", "0.05", "--warmup", "0", "--rounds", "3"}) arguments.emplace_back(more);
  return bench(arguments);
}

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(BenchProgram, TellsLatencyThroughputMemoryAndBuild) {
  const Folder folder;
  const Outcome run = quick({folder.colour_model(), "--batch", "1,3"});
  EXPECT_EQ(run.code, 0) << run.err;
  for (const char* part : {"colour, batch 1, fp32, CPU (", "colour, batch 3, ", "back to back", "host, call to result", "p99", "images/s",
                           "weights ", "build ", "load "})
    EXPECT_TRUE(has(run.out, part)) << part << "\n" << run.out;
  EXPECT_FALSE(has(run.out, "GPU")) << "times of a device that is not there\n" << run.out;
  EXPECT_EQ(run.err, "");
}

TEST(BenchProgram, JsonIsOneDocumentWithEverything) {
  const Folder folder;
  const Outcome run = quick({folder.colour_model(), "--json", "-", "--energy", "--profile", "--transfers", "--build", "--streams", "2"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json document = json::parse(run.out, nullptr, false);
  ASSERT_FALSE(document.is_discarded()) << run.out;
  EXPECT_EQ(document["schema"], "fcm-bench 1");
  EXPECT_TRUE(has(document["environment"]["device"], "CPU ("));
  EXPECT_TRUE(has(document["environment"]["versions"], "FCM") || has(document["environment"]["versions"], "fcm")) << run.out;
  EXPECT_EQ(document["options"]["rounds"], 3);
  ASSERT_EQ(document["results"].size(), 1U);
  const json& r = document["results"][0];
  EXPECT_EQ(r["model"], "colour");
  EXPECT_EQ(r["batch"], 1);
  EXPECT_EQ(r["precision"], "fp32");
  EXPECT_EQ(r["fused"], true);
  EXPECT_EQ(r["rounds_us"].size(), 3U);
  EXPECT_GT(r["median_us"].get<double>(), 0);
  EXPECT_TRUE(r["gpu_us"].is_null());
  EXPECT_GE(r["host_us"]["count"].get<int>(), 10);
  EXPECT_LE(r["host_us"]["min"].get<double>(), r["host_us"]["median"].get<double>());
  EXPECT_LE(r["host_us"]["median"].get<double>(), r["host_us"]["p99"].get<double>());
  EXPECT_GT(r["images_per_second_streams"].get<double>(), 0);
  EXPECT_GT(r["transfers"]["compute_us"].get<double>(), 0);
  EXPECT_GT(r["build"]["cold_ms"].get<double>(), 0);
  EXPECT_GT(r["build"]["cached_ms"].get<double>(), 0);
  EXPECT_TRUE(has(r["energy"]["unavailable"], "CPU")) << r["energy"];
  EXPECT_EQ(r["warnings"].back(), "energy not available: the CPU is measured without energy, clocks and temperature");
  const json& steps = r["profile"]["steps"];
  ASSERT_FALSE(steps.empty());
  double sum = 0;
  for (const json& step : steps) {
    EXPECT_GT(step["bytes"].get<double>(), 0);
    EXPECT_NE(step["kind"], "");
    sum += step["us"].get<double>();
  }
  EXPECT_NEAR(sum, r["profile"]["sum_us"].get<double>(), 0.01 * static_cast<double>(steps.size()));
}

TEST(BenchProgram, IterationsAreCounted) {
  const Folder folder;
  const Outcome run = quick({folder.colour_model(), "--json", "-", "--iterations", "17"});
  EXPECT_EQ(json::parse(run.out)["results"][0]["host_us"]["count"], 17);
}

TEST(BenchProgram, ComparesWithAnEarlierFile) {
  const Folder folder;
  const std::string model = folder.colour_model(), old = folder.path("old.json");
  ASSERT_EQ(quick({model, "--json", old}).code, 0);
  json before = json::parse(content(old));
  // What took a thousandth before has become slower, and what took a thousand times as long faster.
  for (const auto& [factor, verdict, code] : {std::tuple(1e-3, "slower", 6), std::tuple(1e3, "faster", 0)}) {
    json changed = before;
    for (json& us : changed["results"][0]["rounds_us"]) us = us.get<double>() * factor;
    const Outcome run = quick({model, "--compare", folder.write("changed.json", changed.dump())});
    EXPECT_EQ(run.code, code) << run.out << run.err;
    EXPECT_TRUE(has(run.out, verdict)) << run.out;
  }
  const Outcome same = bench({"--from", old, "--compare", old});
  EXPECT_EQ(same.code, 0);
  EXPECT_TRUE(has(same.out, "+0.0 %")) << same.out;
  before["results"][0]["batch"] = 2;
  const Outcome other = bench({"--from", old, "--compare", folder.write("other.json", before.dump())});
  EXPECT_EQ(other.code, 0);
  EXPECT_TRUE(has(other.out, "nothing to compare")) << other.out;
}

TEST(BenchProgram, WritesThePageOfARecordedFile) {
  const Folder folder;
  const std::string recorded = folder.path("recorded.json"), page = folder.path("page.html");
  ASSERT_EQ(quick({folder.colour_model(), "--json", recorded, "--profile"}).code, 0);
  const std::string peers = folder.write(
      "peers.json",
      R"({"schema": "fcm-peers 1", "results": [{"model": "colour", "batch": 1, "precision": "fp32", "contenders": [)"
      R"({"name": "eager", "label": "PyTorch <eager>", "median_us": 12.5}, {"name": "tvm", "label": "TVM", "missing": "not installed"}]}]})");
  const Outcome run = bench({"--from", recorded, "--peers", peers, "--html", page});
  ASSERT_EQ(run.code, 0) << run.err;
  const std::string html = content(page);
  for (const char* part :
       {"<!doctype html>", "colour, batch 1, fp32", "PyTorch &lt;eager&gt;", "TVM: missing, not installed", "Steps", "</html>"})
    EXPECT_TRUE(has(html, part)) << part;
  for (const char* part : {"<script", "http://", "https://", "src="}) EXPECT_FALSE(has(html, part)) << part;
}

TEST(BenchProgram, HelpHasExamples) {
  const Outcome run = bench({"--help"});
  EXPECT_EQ(run.code, 0);
  for (const char* part : {"Examples:", "--energy", "--compare", "--profile", "--modules"}) EXPECT_TRUE(has(run.out, part)) << part;
}

// Each mistake gets one line, and the exit code that all programs share.
TEST(BenchProgram, MistakesGetOneClearLine) {
  const Folder folder;
  const std::string model = folder.colour_model();
  const struct {
    std::vector<std::string> arguments;
    int code;
    const char* text;
  } cases[] = {
      {{}, 1, "a MODEL is missing"},
      {{model, "--bath", "1"}, 1, "--bath"},
      {{model, "--batch", "0"}, 1, "--batch"},
      {{model, "--batch", "x"}, 1, "--batch"},
      {{model, "--rounds", "0"}, 1, "--rounds"},
      {{model, "--duration", "-1"}, 1, "--duration"},
      {{model, "--precision", "fp7", "--device", "cpu"}, 1, "fp7"},
      {{model, "--precision", "int8", "--device", "cpu"}, 3, "int8"},
      {{model, "--precision", "fp16", "--device", "cpu"}, 3, "fp16"},
      {{model, "--device", "tpu"}, 1, "tpu"},
      {{"--json", model}, 1, "a MODEL is missing"},
      {{model, "--json", model}, 1, "would be overwritten"},
      {{model, "--device", "cpu", "--from", "x.json"}, 1, "--from"},
      {{"nothing.onnx", "--device", "cpu"}, 2, "nothing.onnx"},
      {{folder.write("bad.onnx", "no model"), "--device", "cpu"}, 2, "bad.onnx"},
      {{model, "--device", "cpu", "--compare", "none.json"}, 2, "none.json"},
      {{model, "--device", "cpu", "--compare", folder.write("text.json", "{")}, 2, "is not JSON"},
      {{model, "--device", "cpu", "--peers", folder.write("schema.json", R"({"schema": "x", "results": []})")}, 2, "\"fcm-peers 1\""},
      {{"--from", folder.write("list.json", "[1]")}, 2, "list.json"},
      {{model, "--device", "cpu", "--duration", "0.01", "--json", folder.path("no/such/folder.json")}, 2, "cannot be written"},
  };
  for (const auto& c : cases) {
    const Outcome run = bench(c.arguments);
    EXPECT_EQ(run.code, c.code) << c.text << "\n" << run.err;
    EXPECT_TRUE(has(run.err, c.text)) << c.text << "\n" << run.err;
    EXPECT_EQ(lines(run.err), 1U) << run.err;
  }
}

TEST(BenchProgram, JsonOfAMistakeIsADocumentToo) {
  const Outcome run = bench({"nothing.onnx", "--json", "-"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(json::parse(run.out)["error"]["exit_code"], 2);
}

}  // namespace
}  // namespace fcm::test
