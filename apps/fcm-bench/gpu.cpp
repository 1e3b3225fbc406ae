#include "apps/fcm-bench/gpu.h"

#include <array>
#include <memory>
#include <type_traits>
#include <vector>

#include "apps/common/stats.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"

namespace fcm::bench {
namespace {

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
  double empty_replay_us() override {
    cudaGraph_t graph = nullptr;
    cuda_check(cudaGraphCreate(&graph, 0), "cudaGraphCreate");
    const std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)> owner(graph, cudaGraphDestroy);
    const GraphExec exec(graph);
    std::vector<double> times;
    for (int i = 0; i < 50; ++i) {
      mark(0);
      exec.launch(stream_.get());
      mark(1);
      wait(1);
      times.push_back(between_us(0, 1));
    }
    return apps::median_of(std::move(times));
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
  DeviceGuard guard_;  // first: everything below is made on its device
  int ordinal_;
  Stream stream_;
  std::array<Event, 4> marks_ = {Event(true), Event(true), Event(true), Event(true)};
  std::vector<DeviceBuffer> buffers_;
};

}  // namespace

std::unique_ptr<Gpu> open_gpu(int ordinal) {
  return std::make_unique<CudaGpu>(ordinal);
}

}  // namespace fcm::bench
