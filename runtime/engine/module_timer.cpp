// Timing of single modules; see module_timer.h.
#include "runtime/engine/module_timer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <queue>
#include <thread>

#include "runtime/device/cuda_check.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFill = 0x2c;  // 0x2c2c is 0.065 in FP16

GraphExec capture(const Stream& stream, const std::function<void()>& enqueue) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream.get(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  cuda_check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
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

/// Median of a few rounds of about a millisecond.
double median_us(const GraphExec& graph, const Stream& stream) {
  constexpr int kRounds = 5, kMost = 20;
  constexpr double kRoundUs = 1000;
  replay_us(graph, stream, 1);
  const int replays = std::clamp(static_cast<int>(kRoundUs / replay_us(graph, stream, 2)), 1, kMost);
  std::vector<double> rounds;
  for (int i = 0; i < kRounds; ++i) rounds.push_back(replay_us(graph, stream, replays));
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

/// The threads of compile_jobs and what they hand over.
class Compiler {
 public:
  Compiler(const std::vector<TuneJob>& jobs, const jit::Target& target, const jit::DiskCache& cache, Clock::time_point end)
      : jobs_(jobs), target_(target), cache_(cache), end_(end), running_(std::max(1u, std::thread::hardware_concurrency())) {
    for (unsigned t = 0, count = running_; t < count; ++t) {
      threads_.emplace_back([this, &log = current_log_target()] {
        const LogScope scope(log);
        work();
      });
    }
  }
  ~Compiler() {
    const std::lock_guard lock(mutex_);
    next_ = jobs_.size();
    stopped_ = true;
    changed_.notify_all();
  }  // then the threads are joined
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  /// False at the end.
  bool next(CompiledJob& result) {
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
    for (size_t i = next_++; i < jobs_.size() && Clock::now() < end_; i = next_++) {
      CompiledJob result{i, {}, {}};
      try {
        result.binary = jit::compile(emit(jobs_[i].spec, jobs_[i].tile, target_).program, target_, cache_);
      } catch (const Error& e) {
        result.error = e.what();
      }
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return done_.size() < kAhead || stopped_; });
      done_.push(std::move(result));
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  const std::vector<TuneJob>& jobs_;
  jit::Target target_;
  const jit::DiskCache& cache_;
  Clock::time_point end_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<CompiledJob> done_;
  unsigned running_;
  bool stopped_ = false;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace

ModuleOperands::ModuleOperands(const std::vector<TuneJob>& jobs, const jit::Target& target) {
  size_t input = 0, output = 0, weights = 0, gate = 0, pool = 0;
  for (const TuneJob& job : jobs) {
    const auto map = [&](const Plane& p, int channels) {  // four bytes an element, channels rounded up
      return static_cast<size_t>(job.images) * static_cast<size_t>(p.height) * static_cast<size_t>(p.width) *
             static_cast<size_t>(channels + 16) * 4;
    };
    const LaunchPlan plan = emit(job.spec, job.tile, target).launch;
    const int channels = job.spec.stages[0].in_channels;
    const bool sums = job.spec.input == InputTransform::sums;
    input = std::max(input, map(sums ? Plane{1, job.spec.sum_tiles} : Plane{job.spec.height, job.spec.width}, channels));
    output = std::max(output, map(output_plane(job.spec), output_channels(job.spec)));
    weights = std::max(weights, static_cast<size_t>(plan.weight_bytes));
    gate = std::max(gate, map({1, 1}, channels));
    pool = std::max(pool, static_cast<size_t>(plan.pool_floats) * static_cast<size_t>(job.images) * 4);
  }
  for (const auto& [buffer, bytes] :
       {std::pair{&input_, input}, {&output_, output}, {&residual_, output}, {&weights_, weights}, {&gate_, gate}, {&pool_, pool}}) {
    constexpr size_t kMore = 256;
    *buffer = DeviceBuffer(bytes + kMore);
    cuda_check(cudaMemset(buffer->data(), kFill, buffer->size()), "operands");
  }
}

ModuleArgs ModuleOperands::args(const ModuleSpec& spec, int64_t images) const {
  ModuleArgs a;
  a.input = input_.data();
  if (spec.residual != geometry::Residual::none) a.residual = spec.residual_is_input ? input_.data() : residual_.data();
  a.gate = spec.gate ? gate_.data() : nullptr;
  a.weights = weights_.data();
  a.output = output_.data();
  a.pool = static_cast<float*>(pool_.data());
  a.batch = static_cast<int>(images);
  return a;
}

ColdKernel::ColdKernel(const jit::Binary& binary, const LaunchPlan& plan) {
  constexpr size_t kCopies = 8;  // of about 20 KiB; the cache has 128
  copies_.reserve(kCopies);
  for (size_t i = 0; i < kCopies; ++i) copies_.emplace_back(binary, plan);
}

double time_module(const ColdKernel& kernel, const ModuleArgs& args, const Stream& stream) {
  const size_t repetitions = args.batch > 8 ? 8 : 24;
  const GraphExec graph = capture(stream, [&] {
    for (size_t i = 0; i < repetitions; ++i) kernel.copy(i).launch(args, stream.get(), i > 0);
  });
  return median_us(graph, stream) / static_cast<double>(repetitions);
}

double try_module(const ColdKernel& kernel, const ModuleArgs& args, const Stream& stream) {
  try {
    return time_module(kernel, args, stream);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::device_lost) throw;
    const LaunchPlan& plan = kernel.copy(0).plan();
    log(LogLevel::warning, "{} ({} threads, {} bytes shared, clusters of {}) cannot be launched: {}", plan.kernel, plan.threads,
        kernel.copy(0).shared_bytes(false), plan.cluster, e.what());
    return std::numeric_limits<double>::infinity();
  }
}

double time_chain(const std::vector<TuneJob>& steps, const std::vector<const ModuleKernel*>& kernels, const jit::Target& target) {
  const ModuleOperands operands(steps, target);
  const ModuleOperands other(steps, target);  // maps go to and fro between the two
  std::vector<size_t> weights_at;
  size_t bytes = 0;
  for (const ModuleKernel* k : kernels) {
    constexpr size_t kAlignment = 256;
    weights_at.push_back(bytes);
    bytes += (static_cast<size_t>(k->plan().weight_bytes) + kAlignment - 1) / kAlignment * kAlignment;
  }
  const DeviceBuffer weights(bytes);
  cuda_check(cudaMemset(weights.data(), kFill, weights.size()), "weights");
  const Stream stream;
  const GraphExec graph = capture(stream, [&] {
    for (size_t i = 0; i < steps.size(); ++i) {
      const ModuleArgs here = operands.args(steps[i].spec, steps[i].images), there = other.args(steps[i].spec, steps[i].images);
      ModuleArgs args = i % 2 == 0 ? here : there;
      args.output = i % 2 == 0 ? const_cast<void*>(there.input) : const_cast<void*>(here.input);
      args.weights = weights.bytes() + weights_at[i];
      kernels[i]->launch(args, stream.get(), i > 0 && steps[i].follows_module);
    }
  });
  return median_us(graph, stream);
}

void compile_jobs(const std::vector<TuneJob>& jobs, const jit::Target& target, const jit::DiskCache& cache,
                  const std::function<void(const CompiledJob&)>& take, double seconds) {
  const auto end =
      std::isfinite(seconds) ? Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)) : Clock::time_point::max();
  Compiler compiler(jobs, target, cache, end);
  for (CompiledJob result; compiler.next(result);) take(result);
}

}  // namespace fcm
