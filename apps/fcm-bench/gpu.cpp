#include "apps/fcm-bench/gpu.h"

#include <array>
#include <memory>
#include <type_traits>
#include <vector>

#include "runtime/device/cuda_check.h"
#include "runtime/device/info.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/jit/jit.h"

namespace fcm::bench {
namespace {

constexpr const char* kSpin = R"(
__device__ unsigned long long now() {
  unsigned long long ns;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns));
  return ns;
}
extern "C" __global__ void spin(unsigned long long ns) {
  if (ns == 0) return;
  for (const unsigned long long start = now(); now() - start < ns;) {
  }
})";

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int ordinal) : guard_(ordinal), ordinal_(ordinal) {}

  void* stream() const override { return stream_.get(); }
  void* place(const void* source, size_t bytes) override {
    buffers_.emplace_back(bytes);
    if (source != nullptr) {
      copy_async(buffers_.back().data(), source, bytes, cudaMemcpyHostToDevice, stream_.get());
      synchronize(stream_.get());
    }
    return buffers_.back().data();
  }
  void fetch(void* target, const void* source, size_t bytes) override {
    copy_async(target, source, bytes, cudaMemcpyDeviceToHost, stream_.get());
    synchronize(stream_.get());
  }
  void mark(int slot) override { marks_.at(static_cast<size_t>(slot)).record(stream_.get()); }
  void wait(int slot) override { synchronize(marks_.at(static_cast<size_t>(slot))); }
  void wait() override { synchronize(stream_.get()); }
  double between_us(int first, int second) const override {
    return elapsed_us(marks_.at(static_cast<size_t>(first)), marks_.at(static_cast<size_t>(second)));
  }
  void hold(double us) override { spin(us); }
  void replay_trivial() override {
    if (trivial_.get() == nullptr) {
      cudaGraph_t graph = nullptr;
      cuda_check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
      spin(0);
      cuda_check(cudaStreamEndCapture(stream_.get(), &graph), "cudaStreamEndCapture");
      const std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)> owner(graph, cudaGraphDestroy);
      trivial_ = GraphExec(graph);
    }
    trivial_.launch(stream_.get());
  }
  size_t free_bytes() const override {
    size_t available = 0, total = 0;
    cuda_check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    return available;
  }
  std::string pci_address() const override {
    std::array<char, 32> text{};
    cuda_check(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), ordinal_), "cudaDeviceGetPCIBusId");
    return text.data();
  }

 private:
  void spin(double us) {
    if (!spin_)
      spin_ = std::make_unique<jit::Module>(
          jit::compile({"bench spin", kSpin, {}, {}}, device_info(ordinal_).target, jit::DiskCache::standard()));
    auto ns = static_cast<unsigned long long>(us * 1000);
    std::array<void*, 1> arguments = {&ns};
    cuda_check(cudaLaunchKernel(spin_->kernel("spin"), dim3(1), dim3(1), arguments.data(), 0, stream_.get()), "spin");
  }

  DeviceGuard guard_;  // first: everything below is made on its device
  int ordinal_;
  Stream stream_;
  std::array<Event, 4> marks_ = {Event(true), Event(true), Event(true), Event(true)};
  std::vector<DeviceBuffer> buffers_;
  std::unique_ptr<jit::Module> spin_;
  GraphExec trivial_;
};

}  // namespace

std::unique_ptr<Gpu> open_gpu(int ordinal) {
  return std::make_unique<CudaGpu>(ordinal);
}

}  // namespace fcm::bench
