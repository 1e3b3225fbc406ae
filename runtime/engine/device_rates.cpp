// Measuring a device; see device_rates.h.
#include "runtime/engine/device_rates.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <sstream>
#include <vector>

#include "embed/rate_kernels.h"
#include "planner/plan.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/memory.h"
#include "runtime/device/power.h"
#include "runtime/device/stream.h"
#include "runtime/jit/jit.h"
#include "runtime/support/env.h"

namespace fcm {
namespace {

using Work = std::function<void(cudaStream_t)>;

class Bench {
 public:
  explicit Bench(const DeviceInfo& device)
      : device_(device), module_(jit::compile(rate_program(), device.target, jit::DiskCache::standard())) {}

  DeviceRates run() {
    DeviceRates r;
    const bool programmatic = device_.target.major >= 9;
    r.step_plain_us = step_us(false, false);
    r.step_graph_us = step_us(true, false);
    r.step_pdl_us = programmatic ? step_us(true, true) : 0;
    // Both buffers in a quarter of the L2: a half of a split L2 then holds them, and eight multiprocessors do not run out of work.
    r.l2_gbps = copy_gbps(device_.l2_bytes / 8, 16, device_.sm_count * 8);
    r.l2_gbps_per_sm = copy_gbps(device_.l2_bytes / 8, 1, kFew) / kFew;
    const size_t large = std::clamp<size_t>(4 * device_.l2_bytes, size_t{128} << 20, device_.memory_bytes / 16);
    r.dram_gbps = copy_gbps(large, 1, device_.sm_count * 8);
    r.dram_gbps_per_sm = copy_gbps(large / 8, 1, kFew) / kFew;
    // A warp's FP16 product is 2048 multiply-adds (1024 before sm_80), of TF32 1024; eight a turn.
    if (device_.tensor_cores) r.tensor_f16 = per_cycle("tensor_f16_rate", 8.0 * (device_.target.major >= 8 ? 2048 : 1024) / 32);
    if (device_.bf16) r.tensor_tf32 = per_cycle("tensor_tf32_rate", 8.0 * 1024 / 32);
    r.core_f32 = per_cycle("fma_rate", 16);
    r.shared_bytes = per_cycle("shared_rate", 4 * 16);
    return r;
  }

 private:
  static constexpr int kFew = 8;  // multiprocessors that a bandwidth of one is taken from

  void launch(const char* name, int blocks, int threads, void** arguments, cudaStream_t stream, bool programmatic = false) const {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = programmatic ? 1 : 0;
    cuda_check(cudaLaunchKernelExC(&config, module_.kernel(name), arguments), name);
  }

  /// Median of a few rounds, microseconds.
  double time_us(const Work& work) const {
    constexpr int kRounds = 5;
    const Event begin(true), end(true);
    std::vector<double> rounds;
    for (int round = -1; round < kRounds; ++round) {
      begin.record(stream_.get());
      work(stream_.get());
      end.record(stream_.get());
      synchronize(end);
      if (round >= 0) rounds.push_back(elapsed_us(begin, end));
    }
    std::sort(rounds.begin(), rounds.end());
    return rounds[kRounds / 2];
  }

  GraphExec capture(const Work& work) const {
    cudaGraph_t graph = nullptr;
    cuda_check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    work(stream_.get());
    cuda_check(cudaStreamEndCapture(stream_.get(), &graph), "cudaStreamEndCapture");
    GraphExec exec(graph);
    cudaGraphDestroy(graph);
    return exec;
  }

  /// A step among many: the difference of two lengths, so that what a replay costs by itself does not count.
  double step_us(bool graph, bool programmatic) const {
    constexpr int kShort = 50, kLong = 250;
    const DeviceBuffer value(4);
    cuda_check(cudaMemset(value.data(), 0, 4), "cudaMemset");
    const auto steps = [&](int count) -> Work {
      return [&, count](cudaStream_t stream) {
        void* out = value.data();
        std::array<void*, 1> arguments = {&out};
        for (int i = 0; i < count; ++i) launch("empty_step", device_.sm_count, 256, arguments.data(), stream, programmatic && i > 0);
      };
    };
    const auto took = [&](int count) {
      if (!graph) return time_us(steps(count));
      const GraphExec exec = capture(steps(count));
      return time_us([&](cudaStream_t stream) { exec.launch(stream); });
    };
    return (took(kLong) - took(kShort)) / (kLong - kShort);
  }

  double copy_gbps(size_t bytes, int passes, int blocks) const {
    bytes = bytes / 16 * 16;
    const DeviceBuffer source(bytes), target(bytes);
    cuda_check(cudaMemset(source.data(), 1, bytes), "cudaMemset");
    const double us = time_us([&](cudaStream_t stream) {
      const void* from = source.data();
      void* to = target.data();
      unsigned long long count = bytes / 16;
      int turns = passes;
      std::array<void*, 4> arguments = {&from, &to, &count, &turns};
      launch("copy_vectors", blocks, 256, arguments.data(), stream);
    });
    return 2.0 * static_cast<double>(bytes) * passes / us / 1e3;
  }

  /// Work of one thread and turn -> work of a full multiprocessor and cycle.
  double per_cycle(const char* name, double per_thread) const {
    constexpr int kTurns = 2048, kThreads = 1024;
    const DeviceBuffer cycles(static_cast<size_t>(device_.sm_count) * sizeof(long long));
    time_us([&](cudaStream_t stream) {
      void* out = cycles.data();
      int turns = kTurns;
      std::array<void*, 2> arguments = {&out, &turns};
      launch(name, device_.sm_count, kThreads, arguments.data(), stream);
    });
    std::vector<long long> taken(static_cast<size_t>(device_.sm_count));
    cuda_check(cudaMemcpy(taken.data(), cycles.data(), cycles.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    std::sort(taken.begin(), taken.end());
    return per_thread * kTurns * kThreads / static_cast<double>(taken[taken.size() / 2]);
  }

  const DeviceInfo& device_;
  jit::Module module_;
  Stream stream_;
};

/// Two digits, so that a plan repeats.
double two_digits(double x) {
  return std::stod(fmt::format("{:.1e}", x));
}

constexpr double DeviceRates::*kRates[] = {&DeviceRates::dram_gbps,      &DeviceRates::dram_gbps_per_sm, &DeviceRates::l2_gbps,
                                           &DeviceRates::l2_gbps_per_sm, &DeviceRates::shared_bytes,     &DeviceRates::tensor_f16,
                                           &DeviceRates::tensor_tf32,    &DeviceRates::core_f32,         &DeviceRates::step_plain_us,
                                           &DeviceRates::step_graph_us,  &DeviceRates::step_pdl_us};

std::optional<DeviceRates> parse_rates(const std::string& text) {
  DeviceRates rates;
  std::istringstream in(text);
  for (double DeviceRates::*rate : kRates) in >> rates.*rate;
  std::string more;
  if (!in || in >> more) return std::nullopt;
  return rates;
}

DeviceRates cached_rates(const DeviceInfo& device) {
  const jit::DiskCache cache = env().jit_cache ? jit::DiskCache::standard() : jit::DiskCache::none();
  const std::string key =
      "rates-" + text_hash(fmt::format("rates 1 {} sm_{} {} driver {} clock {} power {}", device.name, device.target.text(),
                                       device.sm_count, device.driver_version, device.clock_khz, power_limit_mw(device.ordinal)));
  if (const auto stored = cache.load(key)) {
    if (const auto known = parse_rates(*stored)) return *known;
  }
  DeviceRates rates = measure_rates(device);
  std::string text;
  for (double DeviceRates::*rate : kRates) {
    rates.*rate = two_digits(rates.*rate);
    text += fmt::format("{} ", rates.*rate);
  }
  cache.store(key, text);
  return rates;
}

}  // namespace

jit::Program rate_program() {
  return {"device rates", embedded::rate_kernels().at("runtime/engine/kernels/rates.cuh"), {}, {}};
}

DeviceRates measure_rates(const DeviceInfo& device) {
  const DeviceGuard guard(device.ordinal);
  return Bench(device).run();
}

DeviceModel measured_model(const DeviceInfo& device) {
  DeviceModel model = device_model_for(device);
  const DeviceRates rates = cached_rates(device);
  const auto set = [&](const char* field, double DeviceModel::*member, double value) {
    model.*member = value;
    model.origin[field] = "measured";
  };
  model.key = "measured";
  model.name = device.name;
  set("dram_gbps", &DeviceModel::dram_gbps, rates.dram_gbps);
  set("dram_gbps_per_sm", &DeviceModel::dram_gbps_per_sm, rates.dram_gbps_per_sm);
  set("l2_gbps", &DeviceModel::l2_gbps, rates.l2_gbps);
  set("l2_gbps_per_sm", &DeviceModel::l2_gbps_per_sm, rates.l2_gbps_per_sm);
  set("shared_bytes", &DeviceModel::shared_bytes, rates.shared_bytes);
  // mma.sync is what was measured; the model's rate is that of the fastest instruction.
  set("tensor_f16", &DeviceModel::tensor_f16, rates.tensor_f16 / model.mma_share);
  set("tensor_tf32", &DeviceModel::tensor_tf32, rates.tensor_tf32 / model.mma_share);
  set("core_f32", &DeviceModel::core_f32, rates.core_f32);
  set("step_plain_us", &DeviceModel::step_plain_us, rates.step_plain_us);
  set("step_graph_us", &DeviceModel::step_graph_us, rates.step_graph_us);
  set("step_pdl_us", &DeviceModel::step_pdl_us, rates.step_pdl_us);
  return model;
}

DeviceModel model_of_device(const DeviceInfo& device, std::string* note) {
  std::string scaled;
  DeviceModel model = device_model_for(device, &scaled);
  if (scaled.empty()) return model;  // shipped
  if (note != nullptr) *note = scaled + "; its rates were measured";
  return measured_model(device);
}

}  // namespace fcm
