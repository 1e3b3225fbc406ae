#include "apps/fcm-bench/model_main.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "apps/common/options.h"
#include "apps/common/terminal.h"
#include "apps/fcm-bench/model_report.h"
#include "apps/fcm-bench/page.h"

namespace fcm::bench {
namespace {

using apps::Failure;
using nlohmann::json;

struct Arguments {
  apps::CommonOptions common;
  ModelBenchOptions bench;
  std::vector<std::string> models, peers;
  std::vector<int64_t> batches = {1};
  std::string compare, html, from, json;
  bool json_only() const { return json == "-"; }
};

void declare(CLI::App& app, Arguments& a) {
  app.add_option("MODEL", a.models, ".onnx files")->type_name("FILE");
  app.add_option("--batch", a.batches, "Batch sizes, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  a.common.declare(app);
  app.get_option("--precision")->description("auto, fp32, fp16 or bf16, or several separated by commas");
  app.add_option("--rounds", a.bench.rounds, "Rounds of back-to-back runs, of which the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--replays", a.bench.replays, "Runs a round; fewer where the rounds would take longer than --duration")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--duration", a.bench.duration_s, "Seconds that rounds, and single runs, may take each")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  app.add_option("--warmup", a.bench.warmup_s, "Seconds of runs that do not count")->check(CLI::Range(0.0, 600.0))->capture_default_str();
  app.add_option("--iterations", a.bench.iterations, "Single runs; else as many as --duration holds, at most 2000")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--streams", a.bench.streams, "Contexts that run at the same time, for the throughput")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_flag("--energy", a.bench.energy,
               "Energy an image: NVML's counter over at least 2 s, with idle measured and subtracted beside it");
  app.add_flag("--profile", a.bench.profile, "Time and bytes of each step, in a pass of its own without launch overlap (CUPTI)");
  app.add_flag("--transfers", a.bench.transfers, "Also run from and to host memory");
  app.add_flag("--build", a.bench.build, "Also build the engine without the kernel cache, and with everything in it");
  app.add_option("--compare", a.compare, "An earlier --json file: change, 95 % interval and verdict; exit code 6 when anything is slower")
      ->type_name("OLD.json");
  app.add_option("--json", a.json, "Also write a JSON document to this file; - is standard output, and then nothing else goes there")
      ->type_name("FILE");
  app.add_option("--html", a.html, "Also write a page: steps, histograms, energy, peers")->type_name("FILE");
  app.add_option("--peers", a.peers, "Files that apps/bench/peers.py wrote, shown in the page beside ours; repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--from", a.from, "Show a recorded --json file in place of measuring")->type_name("FILE");
  app.footer(
      "Examples:\n"
      "  fcm-bench mobilenetv2.onnx                                    latency at batch 1\n"
      "  fcm-bench mobilenetv2.onnx --batch 1,8,64 --energy            the table that most people want\n"
      "  fcm-bench mobilenetv2.onnx --profile                          where the time goes, step by step\n"
      "  fcm-bench *.onnx --json now.json --compare before.json        has anything become slower?\n"
      "  fcm-bench --from now.json --peers peers.json --html page.html a page, beside what apps/bench/peers.py measured\n"
      "  fcm-bench --modules apps/fcm-bench/modules/mobilenetv2.txt    fused modules against cuDNN; --modules --help\n"
      "Times are medians of rounds of runs enqueued back to back, between CUDA events; inputs and outputs lie in device memory. Single "
      "runs\n"
      "are synchronised. On the CPU the host's clock is used.");
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts = CLI::detail::split(text, ',');
  if (parts.empty()) parts.emplace_back();
  return parts;
}

void write_file(const std::string& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw Failure(apps::kBadInput, fmt::format("'{}' cannot be written", file));
}

std::string dump(const json& document) {
  return document.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

json measure(const Arguments& a) {
  apps::Progress progress(true);
  ModelBench bench(a.bench, a.common.device, [&](const std::string& stage, double fraction) { progress.update(stage, fraction); });
  std::vector<ModelResult> all;
  for (const std::string& model : a.models) {
    for (const std::string& precision : split(a.common.precision)) {
      const std::vector<ModelResult> results = bench.run(model, precision, a.batches, !a.common.no_fuse, [&] { return a.common.to_api(); });
      progress.clear();
      for (const ModelResult& result : results) {
        if (!a.json_only()) fmt::print("{}\n", to_text(result));
        std::fflush(stdout);
        all.push_back(result);
      }
    }
  }
  if (!a.json_only()) fmt::print("{}", to_text(bench.environment()));
  return to_json(bench.environment(), a.bench, all);
}

int run(const Arguments& a) {
  if (a.models.empty() == a.from.empty())
    throw Failure(apps::kCommandLine,
                  a.from.empty() ? "a MODEL is missing (see --help)" : "--from shows a recorded file and takes no MODEL");
  if (a.json.ends_with(".onnx")) throw Failure(apps::kCommandLine, fmt::format("--json: '{}' would be overwritten with JSON", a.json));
  a.common.check();
  // Files that are read are read before anything is measured, so that a mistake costs no time.
  const json before = a.compare.empty() ? json() : read_document(a.compare, kSchema);
  json peers = json::array();
  for (const std::string& file : a.peers) peers.push_back(read_document(file, kPeersSchema));
  const json document = a.from.empty() ? measure(a) : read_document(a.from, kSchema);
  if (!a.json.empty() && !a.json_only()) write_file(a.json, dump(document));
  if (!a.html.empty()) write_file(a.html, page_text(document, peers));
  if (a.json_only()) fmt::print("{}", dump(document));
  if (a.compare.empty()) return apps::kOk;
  const std::vector<Comparison> comparisons = compare(document, before);
  fmt::print(a.json_only() ? stderr : stdout, "{}", to_text(comparisons));
  const bool slower = std::any_of(comparisons.begin(), comparisons.end(), [](const Comparison& c) { return c.verdict == Verdict::slower; });
  return slower ? apps::kCheckFailed : apps::kOk;
}

}  // namespace

int run_models(int argc, const char* const* argv) {
  CLI::App app("Measures models on the FCM runtime: latency, throughput, energy, steps. --modules measures single fused modules.",
               "fcm-bench");
  Arguments arguments;
  declare(app, arguments);
  return apps::parse_arguments(app, argc, argv) ? run(arguments) : static_cast<int>(apps::kOk);
}

}  // namespace fcm::bench
