#include "apps/fcm-bench/model_bench.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <thread>

#include "apps/common/program.h"
#include "apps/common/stats.h"
#include "apps/fcm-bench/runner.h"
#include "runtime/device/info.h"

namespace fcm::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxSingles = 2000, kMinSingles = 10;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double ms_since(Clock::time_point start) {
  return us_since(start) / 1000;
}

// The GPU that --device means; nothing for the CPU and for one that is not there, of which the engine will complain.
std::optional<int> cuda_ordinal(const std::string& device) {
  int ordinal = 0;
  const std::string prefix = "cuda:";
  if (device.starts_with(prefix)) std::from_chars(device.data() + prefix.size(), device.data() + device.size(), ordinal);
  return device != "cpu" && ordinal >= 0 && ordinal < device_count() ? std::optional(ordinal) : std::nullopt;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string now_text() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

}  // namespace

void ClockRange::add(std::optional<int> value) {
  if (!value) return;
  low = low ? std::min(*low, *value) : *value;
  high = high ? std::max(*high, *value) : *value;
}

ModelBench::ModelBench(const ModelBenchOptions& options, const std::string& device, Report progress)
    : options_(options), progress_(std::move(progress)), ordinal_(cuda_ordinal(device)) {
  environment_.date = now_text();
  environment_.host_cpu = cpu_name();
  environment_.versions = apps::version_text();
}

void ModelBench::meet_device(const std::string& device) {
  if (environment_.device == device) return;
  environment_.device = device;
  if (!ordinal_) {
    environment_.monitor = "the CPU is measured without energy, clocks and temperature";
    return;
  }
  model_ = device_model_for(device_info(*ordinal_));
  monitor_ = open_gpu_monitor(gpu()->pci_address(), environment_.monitor);
  if (monitor_ == nullptr) return;
  environment_.driver = monitor_->driver();
  environment_.power_limit_w = monitor_->power_limit_w();
  environment_.max_sm_mhz = monitor_->max_sm_mhz();
}

std::unique_ptr<Gpu> ModelBench::gpu() const {
  return ordinal_ ? open_gpu(*ordinal_) : nullptr;
}

std::vector<ModelResult> ModelBench::run(const std::string& file, const std::string& precision, const std::vector<int64_t>& batches,
                                         bool fused, const std::function<api::Options()>& api_options) {
  const std::string name = std::filesystem::path(file).stem().string();
  const std::string batch_list = fmt::format("{}", fmt::join(batches, ","));
  const auto options = [&](bool kernel_cache) {
    api::Options o = api_options();
    o.set("precision", precision).set("kernel_cache", kernel_cache ? "1" : "0");
    // Plans for larger batches would only be compiled.
    o.set("max_batch", std::to_string(*std::max_element(batches.begin(), batches.end())));
    o.set("tune_batches", batch_list);
    return o;
  };
  progress_(name + ": build", 0);
  Clock::time_point start = Clock::now();
  const api::Model model(file, options(true));
  BuildTimes build;
  build.load_ms = ms_since(start);
  if (options_.build) {
    start = Clock::now();
    const api::Engine cold(model, options(false));
    build.cold_ms = ms_since(start);
  }
  const std::unique_ptr<Gpu> probe = gpu();
  const size_t free_before = probe ? probe->free_bytes() : 0;
  start = Clock::now();
  const api::Engine engine(model, options(true));
  build.build_ms = ms_since(start);
  if (options_.build) {
    start = Clock::now();
    const api::Engine again(model, options(true));
    build.cached_ms = ms_since(start);
  }
  meet_device(engine.property("device"));
  std::vector<ModelResult> results;
  for (const int64_t batch : batches) {
    ModelResult result = measure(engine, batch, fmt::format("{} batch {}", name, batch));
    if (probe && results.empty()) result.device_bytes = free_before - std::min(free_before, probe->free_bytes());
    result.model = name;
    result.file = file;
    result.fused = fused;
    result.build = build;
    results.push_back(std::move(result));
  }
  return results;
}

ModelResult ModelBench::measure(const api::Engine& engine, int64_t batch, const std::string& what) {
  ModelResult result;
  result.batch = batch;
  result.device = engine.property("device");
  result.precision = engine.property("precision");
  result.plan_hash = engine.property("plan_hash");
  result.memory = engine.memory(batch);
  result.streams = options_.streams;
  {
    Runner runner(engine, batch, gpu());
    progress_(what + ": warm-up", 0.1);
    warm_up(runner);
    progress_(what + ": rounds", 0.2);
    time_rounds(runner, result);
    progress_(what + ": single runs", 0.4);
    time_singles(runner, result);
    if (options_.transfers) time_transfers(runner, result);
    const double run_us = apps::median_of(result.rounds_us);
    result.images_per_second = 1e6 * static_cast<double>(batch) / run_us;
    progress_(what + ": energy", 0.6);
    if (options_.energy) result.energy = energy_of(runner, run_us);
  }
  progress_(what + ": streams", 0.8);
  if (options_.streams > 1) result.images_per_second_streams = throughput_of_streams(engine, batch);
  progress_(what + ": profile", 0.9);
  if (options_.profile) {
    result.profile = profile_steps([&] { return std::make_unique<Runner>(engine, batch, gpu()); }, ordinal_ && model_ ? &*model_ : nullptr);
  }
  warn(result);
  return result;
}

void ModelBench::warm_up(Runner& runner) const {
  const Clock::time_point start = Clock::now();
  do {
    runner.run();
  } while (us_since(start) < 1e6 * options_.warmup_s);
}

void ModelBench::time_rounds(Runner& runner, ModelResult& result) {
  Gpu* const gpu = runner.gpu();
  const Clock::time_point single = Clock::now();
  runner.run();
  const double room = 1e6 * options_.duration_s / options_.rounds / std::max(us_since(single), 1.0);
  result.replays = std::clamp(static_cast<int>(room), 1, options_.replays);
  std::vector<double> enqueue_shares;
  for (int round = 0; round < options_.rounds; ++round) {
    const Clock::time_point start = Clock::now();
    if (gpu != nullptr) gpu->mark(0);
    for (int i = 0; i < result.replays; ++i) runner.enqueue();
    const double enqueued_us = us_since(start);
    double took_us = enqueued_us;
    if (gpu != nullptr) {
      gpu->mark(1);
      if (monitor_ != nullptr) {  // while the GPU works
        const GpuReading reading = monitor_->read();
        result.sm_mhz.add(reading.sm_mhz);
        result.temperature_c.add(reading.temperature_c);
      }
      gpu->wait(1);
      took_us = gpu->between_us(0, 1);
      enqueue_shares.push_back(enqueued_us / took_us);
    }
    result.rounds_us.push_back(took_us / result.replays);
  }
  result.enqueue_share = apps::median_of(enqueue_shares);
}

void ModelBench::time_singles(Runner& runner, ModelResult& result) const {
  Gpu* const gpu = runner.gpu();
  const auto more = [&](size_t done, Clock::time_point start) {
    if (options_.iterations > 0) return done < static_cast<size_t>(options_.iterations);
    if (done < kMinSingles) return true;
    return done < kMaxSingles && us_since(start) < 1e6 * options_.duration_s / 2;
  };
  Clock::time_point start = Clock::now();
  while (gpu != nullptr && more(result.gpu_us.size(), start)) {
    gpu->mark(0);
    const Clock::time_point call = Clock::now();
    runner.enqueue();
    result.enqueue_us.push_back(us_since(call));
    gpu->mark(1);
    gpu->wait(1);
    result.gpu_us.push_back(gpu->between_us(0, 1));
  }
  start = Clock::now();
  while (more(result.host_us.size(), start)) {
    const Clock::time_point call = Clock::now();
    runner.run();
    result.host_us.push_back(us_since(call));
  }
}

void ModelBench::time_transfers(Runner& runner, ModelResult& result) const {
  Transfers transfers;
  std::vector<double> upload, compute, download;
  fcm_context* const context = runner.context().get();
  runner.run_on_host();
  const size_t count = std::clamp<size_t>(result.host_us.size(), kMinSingles, kMaxSingles);
  for (size_t i = 0; i < count; ++i) {
    const Clock::time_point call = Clock::now();
    runner.run_on_host();
    transfers.host_us.push_back(us_since(call));
  }
  api::check(fcm_context_enable_timing(context, 1));
  for (size_t i = 0; i < count; ++i) {
    runner.run_on_host();
    fcm_times times{};
    api::check(fcm_context_times(context, &times));
    upload.push_back(times.upload_us);
    compute.push_back(times.compute_us);
    download.push_back(times.download_us);
  }
  api::check(fcm_context_enable_timing(context, 0));
  transfers.upload_us = apps::median_of(upload);
  transfers.compute_us = apps::median_of(compute);
  transfers.download_us = apps::median_of(download);
  result.transfers = std::move(transfers);
}

// Threads start together; each counts what it finishes until the time is over.
double ModelBench::throughput_of_streams(const api::Engine& engine, int64_t batch) const {
  const auto count = static_cast<size_t>(options_.streams);
  std::vector<std::unique_ptr<Runner>> runners;
  for (size_t i = 0; i < count; ++i) runners.push_back(std::make_unique<Runner>(engine, batch, gpu()));
  for (auto& runner : runners) warm_up(*runner);
  std::atomic<bool> go = false, stop = false;
  std::vector<double> images(count, 0.0);
  std::vector<std::exception_ptr> errors(count);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      try {
        Runner& runner = *runners[i];
        while (!go) std::this_thread::yield();
        for (int slot = 0; !stop; slot ^= 1) {  // two runs in flight, so that the stream never drains
          if (runner.gpu() != nullptr) runner.gpu()->wait(slot);
          runner.enqueue();
          if (runner.gpu() != nullptr) runner.gpu()->mark(slot);
          images[i] += static_cast<double>(batch);
        }
        if (runner.gpu() != nullptr) runner.gpu()->wait();
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  const Clock::time_point start = Clock::now();
  go = true;
  std::this_thread::sleep_for(std::chrono::duration<double>(options_.duration_s / 2));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const double seconds = us_since(start) / 1e6;
  double total = 0;
  for (size_t i = 0; i < count; ++i) {
    if (errors[i]) std::rethrow_exception(errors[i]);
    total += images[i];
  }
  return total / seconds;
}

Energy ModelBench::energy_of(Runner& runner, double run_us) {
  Energy energy;
  if (monitor_ == nullptr) {
    energy.unavailable = environment_.monitor;
    return energy;
  }
  if (!monitor_->energy_mj()) {
    energy.unavailable = "this GPU has no energy counter";
    return energy;
  }
  if (!environment_.idle_w) environment_.idle_w = measure_idle(*monitor_);
  warm_up(runner);
  constexpr double kChunkUs = 4000;
  const int chunk = std::max(1, static_cast<int>(kChunkUs / run_us));
  int slot = 0;
  bool first = true;
  // One chunk is always queued behind the one that is waited for.
  const auto work = [&] {
    for (int i = 0; i < chunk; ++i) runner.enqueue();
    runner.gpu()->mark(slot);
    slot ^= 1;
    if (first) {
      first = false;
      return 0.0;
    }
    runner.gpu()->wait(slot);
    return static_cast<double>(chunk) * static_cast<double>(runner.batch());
  };
  energy = measure_energy(*monitor_, environment_.idle_w, work);
  runner.gpu()->wait();
  return energy;
}

void ModelBench::warn(ModelResult& result) const {
  constexpr double kClock = 0.02, kEnqueue = 0.9, kRounds = 0.03;
  if (result.sm_mhz.low && *result.sm_mhz.low < *result.sm_mhz.high * (1 - kClock))
    result.warnings.push_back(fmt::format("the clock moved from {} to {} MHz during the rounds", *result.sm_mhz.low, *result.sm_mhz.high));
  if (result.enqueue_share > kEnqueue)
    result.warnings.push_back(fmt::format(
        "enqueue-bound: the host takes {:.0f} % of a round's time to enqueue it, so that the device waits", 100 * result.enqueue_share));
  const double variation = apps::variation_of(result.rounds_us);
  if (variation > kRounds) result.warnings.push_back(fmt::format("large spread: the rounds vary by {:.1f} %", 100 * variation));
  if (result.profile && !result.profile->unavailable.empty()) result.warnings.push_back("no profile: " + result.profile->unavailable);
  if (result.energy && !result.energy->unavailable.empty())
    result.warnings.push_back("energy not available: " + result.energy->unavailable);
}

}  // namespace fcm::bench
