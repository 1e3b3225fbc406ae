// fcm-bench --modules: fused modules against their layers on cuDNN.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/common/options.h"
#include "apps/common/program.h"
#include "apps/fcm-bench/model_main.h"
#include "apps/fcm-bench/module_report.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace {

using fcm::DType;
using fcm::apps::Failure;

struct Arguments {
  std::vector<std::string> modules;
  std::string precision = "fp16";
  std::string filter;
  std::string json;
  std::string layers;
  int device = 0;
  bool no_unfused = false;
  bool no_pdl = false;
  bool trace = false;
  fcm::bench::ModuleBenchOptions options;
};

void declare(CLI::App& app, Arguments& a) {
  app.set_version_flag("--version", fcm::apps::version_text, "Show the versions of library, CUDA, cuDNN and driver, and the devices");
  app.add_option("--modules", a.modules, "Lists of modules (apps/fcm-bench/modules/*.txt): each fused, against its layers on cuDNN")
      ->type_name("FILE")
      ->required();
  app.add_option("--batch", a.options.batches, "Batch sizes, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--precision", a.precision, "fp16, bf16, fp32 or tf32")
      ->check(CLI::IsMember({"fp16", "bf16", "fp32", "tf32"}))
      ->capture_default_str();
  app.add_option("--filter", a.filter, "Only modules whose name contains this text")->type_name("TEXT");
  app.add_option("--tune", a.options.tune, "Measure the best N tiles of each module and keep the fastest")
      ->type_name("N")
      ->check(CLI::Range(0, 1000));
  app.add_option("--plans", a.options.plans, "cuDNN engine configurations tried for each layer")->type_name("N")->capture_default_str();
  app.add_option("--rounds", a.options.timer.rounds, "Rounds, of which the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--replays", a.options.timer.replays, "Graph replays a round")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--repetitions", a.options.timer.repetitions, "Times a module stands in its graph at most")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--no-unfused", a.no_unfused, "Leave cuDNN out");
  app.add_flag("--no-pdl", a.no_pdl, "Launch without programmatic dependence");
  app.add_flag("--trace", a.trace, "Run every module once, for a profiler, in place of timing (see tests/gpu/traffic.sh)");
  app.add_option("--layers", a.layers, "Take cuDNN's form of each layer from a file that --json wrote, in place of trying its engines")
      ->type_name("FILE");
  app.add_option("--json", a.json, "Also write the results to this file")->type_name("FILE");
  app.add_option("--device", a.device, "CUDA device")->type_name("N")->capture_default_str();
  app.footer(
      "Examples:\n"
      "  fcm-bench --modules apps/fcm-bench/modules/mobilenetv2.txt --batch 1,8,64\n"
      "  fcm-bench --modules apps/fcm-bench/modules/paper.txt --precision fp32 --tune 8 --json paper.json\n"
      "A module's graph holds it as often as fills 100 us, --repetitions times at most; a time is the median round's, per repetition. "
      "Transfers do not count. Equal modules of a list are measured once.");
}

std::vector<fcm::bench::ModuleCase> read_cases(const std::string& file, const std::string& filter) {
  std::vector<fcm::bench::ModuleCase> cases = fcm::bench::read_module_list(file);
  std::erase_if(cases, [&](const fcm::bench::ModuleCase& item) { return item.name.find(filter) == std::string::npos; });
  if (cases.empty()) throw Failure(fcm::apps::kCommandLine, fmt::format("--filter: no module of {} has '{}' in its name", file, filter));
  return cases;
}

void trace(const std::vector<fcm::bench::ModuleCase>& cases, const fcm::bench::ModuleBenchOptions& options, int device,
           nlohmann::json& document) {
  for (const fcm::bench::TracedModule& traced : fcm::bench::trace_modules(cases, options, device)) {
    const fcm::bench::ModuleResultRow& row = traced.row;
    if (!row.error.empty()) fmt::print(stderr, "{} batch {}: {}\n", traced.names.front(), row.batch, row.error);
    document.push_back({{"names", traced.names},
                        {"batch", row.batch},
                        {"tile", row.tile},
                        {"error", row.error},
                        {"compulsory_bytes", row.work.compulsory_bytes},
                        {"unfused_bytes", row.work.unfused_bytes}});
  }
}

// The forms of layers that an earlier run chose.
fcm::bench::LayerChoices read_choices(const std::string& path) {
  fcm::bench::LayerChoices choices;
  std::ifstream file(path);
  try {
    for (const nlohmann::json& list : nlohmann::json::parse(file)) choices.merge(list.at("layers").get<fcm::bench::LayerChoices>());
  } catch (const nlohmann::json::exception& e) {
    throw Failure(fcm::apps::kBadInput, fmt::format("'{}' is not what --modules --json writes: {}", path, e.what()));
  }
  return choices;
}

void apply_precision(Arguments& a) {
  a.options.dtype = a.precision == "fp16" ? DType::f16 : a.precision == "bf16" ? DType::bf16 : DType::f32;
  a.options.tf32 = a.precision == "tf32";
  a.options.unfused = !a.no_unfused;
  a.options.pdl = !a.no_pdl;
  if (!a.layers.empty()) a.options.known = read_choices(a.layers);
}

// Under another name first, so that whoever reads the file meanwhile finds a whole one.
void write_json(const std::string& path, const nlohmann::json& document) {
  const std::string fresh = path + ".new";
  std::ofstream out(fresh);
  out << document.dump(1) << "\n";
  out.close();
  std::error_code failed;
  if (out) std::filesystem::rename(fresh, path, failed);
  if (!out || failed) throw Failure(fcm::apps::kBadInput, fmt::format("'{}' cannot be written", path));
}

int run(Arguments& a) {
  apply_precision(a);
  std::string reason;
  if (fcm::device_count(&reason) <= a.device) throw Failure(fcm::apps::kDevice, fmt::format("no CUDA device {}: {}", a.device, reason));
  fcm::LogTarget told = fcm::default_log_target();
  told.level = std::min(told.level, fcm::LogLevel::info);
  const fcm::LogScope scope(told);
  nlohmann::json document = nlohmann::json::array();
  for (const std::string& file : a.modules) {
    const std::vector<fcm::bench::ModuleCase> cases = read_cases(file, a.filter);
    if (a.trace) {
      trace(cases, a.options, a.device, document);
      continue;
    }
    const std::string name = std::filesystem::path(file).stem().string();
    const auto with = [&](const fcm::bench::ModuleBenchResult& result) {
      nlohmann::json all = document;
      all.push_back(fcm::bench::to_json(result, a.options));
      return all;
    };
    // What has been measured is not lost when a run is interrupted.
    const auto partial = [&](const fcm::bench::ModuleBenchResult& result) {
      if (!a.json.empty()) write_json(a.json, with(result));
    };
    const fcm::bench::ModuleBenchResult result = fcm::bench::run_module_bench(name, cases, a.options, a.device, partial);
    fmt::print("{}\n", fcm::bench::to_text(result, a.options));
    document = with(result);
  }
  if (!a.json.empty()) write_json(a.json, document);
  return fcm::apps::kOk;
}

}  // namespace

int fcm::bench::run_modules(int argc, const char* const* argv) {
  CLI::App app("Measures the fused modules of the FCM runtime.", "fcm-bench");
  Arguments arguments;
  declare(app, arguments);
  return apps::parse_arguments(app, argc, argv) ? run(arguments) : static_cast<int>(apps::kOk);
}
