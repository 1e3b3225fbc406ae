// fcm-tile-survey: times many tiles of many modules on the current device and appends the results to a table, compiling on all cores while
// it measures. Work that the table holds already is not repeated, so that a survey can be cut into several runs.
//
//   fcm-tile-survey --out FILE [--modules LIST]... [--model FILE.onnx]... [--batch 1,8,64] [--precision fp16] [--best 4] [--spread 8]
//                   [--seconds 200]
//   fcm-tile-survey --out FILE --again TABLE [--within 0.1] [--seconds 200]
//   fcm-tile-survey --compile-for h200 ...    then, with the same choice of tiles and that FCM_CACHE_DIR on the card: fcm-tile-survey
//   --cached ...
//
// --modules takes lists of modules (apps/fcm-bench/modules), --model every legal segment of a network. --best: tiles that the planner's
// search likes most, a batch; --spread: others, good and bad, that tell the model's terms apart. Each tile is timed at every batch. --again
// times what was good in a table of other kernels. A tile whose blocks are no more than the multiprocessors, which could hold two, is timed
// in its lone form too.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>

#include <CLI/CLI.hpp>

#include "runtime/device/info.h"
#include "runtime/engine/module_timer.h"
#include "runtime/support/error.h"
#include "tests/calibration/on_device.h"
#include "tests/calibration/tasks.h"

namespace fcm::calibration {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> modules, models;
  SurveyOptions survey;
  std::string again, compile_for;
  bool cached = false;
  double within = 0.1;
  DType dtype = DType::f16;
  std::string out;
  double seconds = 200;
};

void say_failed(const TuneJob& job, const std::string& error) {
  fmt::print("FAIL {} | {}: {}\n", fcm::to_string(job.spec), fcm::to_string(job.tile), error.substr(0, 400));
  std::fflush(stdout);
}

/// Fills the kernel cache.
int compile_only(const std::vector<TuneJob>& jobs, const jit::Target& target, double seconds) {
  size_t done = 0, failed = 0;
  const auto count = [&](const CompiledJob& compiled) {
    ++done;
    if (compiled.error.empty()) return;
    ++failed;
    say_failed(jobs[compiled.job], compiled.error);
  };
  compile_jobs(jobs, target, jit::DiskCache::standard(), count, seconds);
  fmt::print("{} of {} kernels are in {}, {} failures\n", done - failed, jobs.size(), jit::DiskCache::standard().folder().string(), failed);
  return failed == 0 ? 0 : 1;
}

int run(const Options& options) {
  const bool ahead = !options.compile_for.empty();
  if (!ahead && !has_device()) return 0;
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const DeviceInfo info = ahead ? described_device(device_model(options.compile_for)) : device_info(0);
  const DeviceModel device = device_model_for(info);
  Subjects subjects;
  for (const std::string& file : options.modules) {
    for (const ListedModule& m : read_modules(file, options.dtype))
      subjects.add(m.spec, m.images.empty() ? options.survey.batches : m.images);
  }
  for (const std::string& file : options.models) subjects.add_segments(file, device, options.dtype, options.survey.batches);
  const std::vector<Row> timed = read_rows(options.out);
  std::vector<Task> tasks = tasks_of(subjects.list(), options.survey, device, timed);
  if (!options.again.empty()) {
    std::vector<Task> again = tasks_again(read_rows(options.again), options.within, timed);
    std::move(again.begin(), again.end(), std::back_inserter(tasks));
  }
  fmt::print("{}, sm_{}: {} kernels to time, {:.1f} s of preparation\n", info.name, info.target.text(), tasks.size(), seconds());
  std::fflush(stdout);
  if (tasks.empty()) return 0;
  std::vector<TuneJob> jobs;
  for (const Task& t : tasks) jobs.push_back({t.spec, t.tile, *std::max_element(t.batches.begin(), t.batches.end())});
  if (ahead) return compile_only(jobs, info.target, options.seconds - seconds());
  const ModuleOperands operands(jobs, info.target);
  const Stream stream;
  std::ofstream out(options.out, std::ios::app);
  size_t rows = 0, failed = 0;
  const auto time = [&](const CompiledJob& compiled) {
    const Task& task = tasks[compiled.job];
    if (!compiled.error.empty()) {
      ++failed;
      say_failed(jobs[compiled.job], compiled.error);
      return;
    }
    const auto time_tile = [&](const TileConfig& tile, const ColdKernel& kernel, int batch) {
      const jit::KernelFigures figures = compiled.binary.kernels.at(kernel.copy(0).plan().kernel);
      const double us = try_module(kernel, operands.args(task.spec, batch), stream);
      if (!std::isfinite(us)) {
        ++failed;
        fmt::print("cannot be launched: {} | {}\n", fcm::to_string(task.spec), fcm::to_string(tile));
        std::fflush(stdout);
        return;
      }
      out << to_string(Row{batch, us, task.spec, tile, figures.registers, figures.spill_store_bytes,
                           static_cast<int>(kernel.copy(0).resident_blocks())})
          << std::endl;  // an interrupted survey keeps what it has
      ++rows;
    };
    TileConfig lone = task.tile;
    lone.lone = true;
    const ColdKernel kernel(compiled.binary, emit(task.spec, task.tile, info.target).launch);
    std::optional<ColdKernel> alone;
    const bool shares = kernel.copy(0).resident_blocks() >= 2 * info.sm_count;
    for (const int batch : task.batches) {
      time_tile(task.tile, kernel, batch);
      if (!shares || kernel.copy(0).grid(batch) > info.sm_count) continue;
      if (!alone) alone.emplace(compiled.binary, emit(task.spec, lone, info.target).launch);
      time_tile(lone, *alone, batch);
    }
  };
  compile_jobs(jobs, info.target, options.cached ? jit::DiskCache::standard() : jit::DiskCache::none(), time, options.seconds - seconds());
  out.close();
  fmt::print("{} rows, {} failures, {:.1f} s\n", rows, failed, seconds());
  return out && failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fcm::calibration

int main(int argc, char** argv) {
  fcm::calibration::Options options;
  CLI::App app("Times tiles of fused modules on the current GPU.", "fcm-tile-survey");
  app.add_option("--modules", options.modules, "Lists of modules");
  app.add_option("--model", options.models, "Networks, of which every legal segment is taken");
  app.add_option("--batch", options.survey.batches, "Batch sizes")->delimiter(',')->check(CLI::Range(1, 4096))->capture_default_str();
  const std::map<std::string, fcm::DType> precisions = {{"fp16", fcm::DType::f16}, {"bf16", fcm::DType::bf16}, {"fp32", fcm::DType::f32}};
  app.add_option("--precision", options.dtype, "Of the modules: fp16 (by default), bf16 or fp32")
      ->transform(CLI::CheckedTransformer(precisions));
  app.add_option("--again", options.again, "A table, whose good tiles are timed again")->check(CLI::ExistingFile);
  app.add_option("--within", options.within, "How much slower than its module's fastest a tile may have been")->capture_default_str();
  app.add_option("--compile-for", options.compile_for, "Time nothing: compile into the kernel cache for this card, which need not be here");
  app.add_flag("--cached", options.cached, "Look for kernels in the kernel cache");
  app.add_option("--out", options.out, "The table; results are appended, and what it holds is not timed again")->required();
  app.add_option("--best", options.survey.best, "Tiles of the planner's choice, a batch")->capture_default_str();
  app.add_option("--spread", options.survey.spread, "Other tiles")->capture_default_str();
  app.add_option("--seconds", options.seconds, "No kernel is begun after this time")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return fcm::calibration::run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fcm-tile-survey: {}\n", e.what());
    return 2;
  }
}
