#include "apps/fcm-bench/rates.h"

#include <array>

#include "apps/fcm-bench/graph_timer.h"
#include "embed/bench_kernels.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/memory.h"
#include "runtime/jit/jit.h"

namespace fcm::bench {
namespace {

class RateKernels {
 public:
  explicit RateKernels(const DeviceInfo& device)
      : device_(device),
        module_(jit::compile({"bench rates", embedded::bench_kernels().at("apps/fcm-bench/kernels/bench.cuh"), {}, {}}, device.target,
                             jit::DiskCache::standard())) {}

  void launch(const char* name, int blocks, int threads, void** arguments, cudaStream_t stream, bool pdl = false) const {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = pdl && device_.target.major >= 9 ? 1 : 0;
    cuda_check(cudaLaunchKernelExC(&config, module_.kernel(name), arguments), name);
  }

 private:
  const DeviceInfo& device_;
  jit::Module module_;
};

double time_us(const std::function<void(cudaStream_t)>& enqueue, int repetitions, int replays) {
  TimerOptions options;
  options.repetitions = repetitions;
  options.replays = replays;
  std::vector<TimedGraph> graphs;
  graphs.emplace_back(enqueue, options);
  return time_in_turn(graphs, options).front().median_us;
}

double copy_rate(const RateKernels& kernels, const DeviceInfo& device, size_t bytes, int passes) {
  const DeviceBuffer source(bytes);
  const DeviceBuffer target(bytes);
  cuda_check(cudaMemset(source.data(), 1, bytes), "cudaMemset");
  const double us = time_us(
      [&](cudaStream_t stream) {
        const void* from = source.data();
        void* to = target.data();
        unsigned long long count = bytes / 16;
        int turns = passes;
        std::array<void*, 4> arguments = {&from, &to, &count, &turns};
        kernels.launch("copy_vectors", device.sm_count * 8, 256, arguments.data(), stream);
      },
      1, 3);
  return 2.0 * static_cast<double>(bytes) * passes / us;
}

double arithmetic_rate(const RateKernels& kernels, const DeviceInfo& device, const char* name, double macs_per_thread_iteration) {
  const DeviceBuffer sink(4);
  constexpr int kIterations = 4096;
  constexpr int kThreads = 512;
  const int blocks = device.sm_count * 2;
  const double us = time_us(
      [&](cudaStream_t stream) {
        void* out = sink.data();
        int iterations = kIterations;
        std::array<void*, 2> arguments = {&out, &iterations};
        kernels.launch(name, blocks, kThreads, arguments.data(), stream);
      },
      1, 3);
  return macs_per_thread_iteration * kIterations * kThreads * blocks / us;
}

double step_cost(const RateKernels& kernels, const DeviceInfo& device) {
  const DeviceBuffer value(4);
  cuda_check(cudaMemset(value.data(), 0, 4), "cudaMemset");
  return time_us(
      [&](cudaStream_t stream) {
        void* out = value.data();
        std::array<void*, 1> arguments = {&out};
        kernels.launch("empty_step", device.sm_count, 256, arguments.data(), stream, true);
      },
      60, 50);
}

}  // namespace

Rates measure_rates(const DeviceInfo& device) {
  const RateKernels kernels(device);
  Rates rates;
  rates.l2_bytes = static_cast<double>(device.l2_bytes);
  rates.dram_bytes_per_us = copy_rate(kernels, device, size_t{1} << 30, 1);
  // A quarter of the L2 for both buffers together: every SM's half of a split L2 can hold it.
  rates.l2_bytes_per_us = copy_rate(kernels, device, device.l2_bytes / 8 / 16 * 16, 32);
  // A warp's m16n8k16 is 2048 multiply-adds, 64 a thread (half of that for the m16n8k8 of older parts); 8 of them a turn.
  rates.tensor_macs_per_us = arithmetic_rate(kernels, device, "tensor_rate", 8.0 * (device.target.major >= 8 ? 64 : 32));
  rates.fma_macs_per_us = arithmetic_rate(kernels, device, "fma_rate", 16.0);
  rates.step_us = step_cost(kernels, device);
  return rates;
}

}  // namespace fcm::bench
