// fcm-tile-survey: times many tiles of many modules on the current device and appends the results to a table, compiling on all cores while
// it measures. Work that the table holds already is not repeated, so that a survey can be cut into several runs.
//
//   fcm-tile-survey --out FILE [--modules LIST]... [--model FILE.onnx]... [--batch 1,8,64] [--best 4] [--spread 8] [--seconds 200]
//
// --modules takes lists of modules (apps/fcm-bench/modules), --model every legal segment of a network. --best: tiles that the planner's
// search likes most, a batch; --spread: others, good and bad, that tell the model's terms apart. Each tile is timed at every batch.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>

#include <CLI/CLI.hpp>

#include "fcm/launch.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/info.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/support/error.h"
#include "tests/calibration/tasks.h"

namespace fcm::calibration {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> modules, models;
  SurveyOptions survey;
  std::string out;
  double seconds = 200;
};

/// Compiles tasks in order on all cores, a bounded number ahead of the reader.
class Compiler {
 public:
  struct Result {
    size_t task = 0;
    jit::Binary binary;
    std::string error;
  };

  Compiler(const std::vector<Task>& tasks, const jit::Target& target, Clock::time_point end) : tasks_(tasks), target_(target), end_(end) {
    const unsigned count = std::max(1u, std::thread::hardware_concurrency());
    running_ = count;
    for (unsigned t = 0; t < count; ++t) threads_.emplace_back([this] { work(); });
  }

  /// False at the end.
  bool next(Result& result) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !done_.empty() || running_ == 0; });
    if (done_.empty()) return false;
    result = std::move(done_.front());
    done_.pop();
    changed_.notify_all();
    return true;
  }

 private:
  void work() {
    constexpr size_t kAhead = 256;
    for (size_t i = next_++; i < tasks_.size() && Clock::now() < end_; i = next_++) {
      Result result{i, {}, {}};
      try {
        result.binary = jit::compile(emit(tasks_[i].spec, tasks_[i].tile, target_).program, target_, jit::DiskCache::none());
      } catch (const Error& e) {
        result.error = e.what();
      }
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return done_.size() < kAhead; });
      done_.push(std::move(result));
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  const std::vector<Task>& tasks_;
  jit::Target target_;
  Clock::time_point end_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<Result> done_;
  unsigned running_ = 0;
  std::vector<std::jthread> threads_;
};

/// Operands that are large enough for every task, filled with the same small numbers in any float format.
class Arena {
 public:
  Arena(const std::vector<Task>& tasks) {
    size_t input = 0, output = 0, weights = 0, gate = 0, pool = 0;
    for (const Task& t : tasks) {
      const auto batch = static_cast<size_t>(*std::max_element(t.batches.begin(), t.batches.end()));
      const auto map = [&](const Plane& p, int channels) {
        return batch * static_cast<size_t>(p.height) * static_cast<size_t>(p.width) * static_cast<size_t>(channels + 16) * 4;
      };
      const LaunchPlan plan = emit(t.spec, t.tile, jit::Target{9, 0, true}).launch;
      const int channels = t.spec.stages[0].in_channels;
      input = std::max(input, t.spec.input == InputTransform::sums ? map({1, t.spec.sum_tiles}, channels)
                                                                   : map({t.spec.height, t.spec.width}, channels));
      output = std::max(output, map(output_plane(t.spec), output_channels(t.spec)));
      weights = std::max(weights, static_cast<size_t>(plan.weight_bytes));
      gate = std::max(gate, map({1, 1}, channels));
      pool = std::max(pool, static_cast<size_t>(plan.pool_floats) * batch * 4);
    }
    for (const auto& [buffer, bytes] :
         {std::pair{&input_, input}, {&output_, output}, {&residual_, output}, {&weights_, weights}, {&gate_, gate}, {&pool_, pool}}) {
      *buffer = DeviceBuffer(bytes + 256);
      cuda_check(cudaMemset(buffer->data(), 0x2c, buffer->size()), "operands");
    }
  }

  ModuleArgs args(const ModuleSpec& spec, int batch) const {
    ModuleArgs a;
    a.input = input_.data();
    if (spec.residual != geometry::Residual::none) a.residual = spec.residual_is_input ? input_.data() : residual_.data();
    a.gate = spec.gate ? gate_.data() : nullptr;
    a.weights = weights_.data();
    a.output = output_.data();
    a.pool = static_cast<float*>(pool_.data());
    a.batch = batch;
    return a;
  }

 private:
  DeviceBuffer input_, output_, residual_, weights_, gate_, pool_;
};

GraphExec capture(const Stream& stream, const ModuleKernel& kernel, const ModuleArgs& args, int repetitions) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < repetitions; ++i) kernel.launch(args, stream.get(), true);
  cuda_check(cudaStreamEndCapture(stream.get(), &graph), "capture");
  GraphExec exec(graph);
  cudaGraphDestroy(graph);
  return exec;
}

double replay_us(const GraphExec& graph, const Stream& stream, int replays) {
  const Event begin(true), end(true);
  begin.record(stream.get());
  for (int i = 0; i < replays; ++i) graph.launch(stream.get());
  end.record(stream.get());
  synchronize(end);
  return elapsed_us(begin, end) / replays;
}

/// Median of five rounds of about a millisecond.
double time_kernel(const ModuleKernel& kernel, const ModuleArgs& args, const Stream& stream) {
  const int repetitions = args.batch > 8 ? 8 : 20;
  const GraphExec graph = capture(stream, kernel, args, repetitions);
  replay_us(graph, stream, 1);
  const double once = replay_us(graph, stream, 2);
  const int replays = std::clamp(static_cast<int>(1000 / once), 1, 20);
  std::vector<double> rounds;
  for (int i = 0; i < 5; ++i) rounds.push_back(replay_us(graph, stream, replays) / repetitions);
  std::sort(rounds.begin(), rounds.end());
  return rounds[2];
}

int run(const Options& options) {
  std::string reason;
  if (device_count(&reason) == 0) {
    fmt::print("skipped: {}\n", reason);
    return 0;
  }
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const DeviceInfo info = device_info(0);
  const DeviceModel device = device_model_for(info);
  Specs specs;
  for (const std::string& file : options.modules) {
    for (const ModuleSpec& spec : read_specs(file, DType::f16)) specs.add(spec);
  }
  for (const std::string& file : options.models) specs.add_segments(file, device, DType::f16, options.survey.batches);
  const std::vector<Task> tasks = tasks_of(specs.list(), options.survey, device, read_rows(options.out));
  fmt::print("{}, sm_{}: {} modules, {} kernels to time, {:.1f} s of preparation\n", info.name, info.target.text(), specs.list().size(),
             tasks.size(), seconds());
  std::fflush(stdout);
  if (tasks.empty()) return 0;
  const Arena arena(tasks);
  const Stream stream;
  std::ofstream out(options.out, std::ios::app);
  Compiler compiler(tasks, info.target, start + std::chrono::milliseconds(static_cast<int64_t>(options.seconds * 1000)));
  size_t rows = 0, failed = 0;
  for (Compiler::Result result; compiler.next(result);) {
    const Task& task = tasks[result.task];
    if (!result.error.empty()) {
      ++failed;
      fmt::print("FAIL {} | {}: {}\n", fcm::to_string(task.spec), fcm::to_string(task.tile), result.error.substr(0, 400));
      continue;
    }
    const ModuleKernel kernel(result.binary, emit(task.spec, task.tile, info.target).launch);
    const jit::KernelFigures figures = result.binary.kernels.at(kernel.plan().kernel);
    for (const int batch : task.batches) {
      const double us = time_kernel(kernel, arena.args(task.spec, batch), stream);
      out << to_string(Row{batch, us, task.spec, task.tile, figures.registers, figures.spill_store_bytes,
                           static_cast<int>(kernel.resident_blocks())})
          << "\n";
      ++rows;
    }
  }
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
  app.add_option("--out", options.out, "The table; results are appended")->required();
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
