#include "runtime/device/memory.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "runtime/device/counters.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/stream.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

[[noreturn]] void throw_out_of_memory(size_t bytes) {
  cudaGetLastError();
  size_t free = 0;
  size_t total = 0;
  cudaMemGetInfo(&free, &total);
  throw Error(ErrorCode::out_of_memory,
              fmt::format("device memory: {} bytes wanted, {} of {} bytes are free; try a smaller batch or FP16", bytes, free, total));
}

void* allocate_device(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) throw_out_of_memory(bytes);
  cuda_check(status, "cudaMalloc");
  return data;
}

}  // namespace

DeviceBuffer::DeviceBuffer(size_t bytes, const DeviceMemorySource& source) : size_(bytes), source_(source) {
  if (bytes == 0) return;
  cuda_check(cudaGetDevice(&device_), "cudaGetDevice");
  data_ = source_.allocate != nullptr ? source_.allocate(source_.user, bytes) : allocate_device(bytes);
  if (data_ == nullptr) throw Error(ErrorCode::out_of_memory, fmt::format("the device allocator returned nothing for {} bytes", bytes));
  ++call_counts().allocations;
  if (reinterpret_cast<uintptr_t>(data_) % 256 != 0) {
    release();
    throw Error(ErrorCode::bad_input, "the device allocator returned memory that is not aligned to 256 bytes");
  }
}

DeviceBuffer::~DeviceBuffer() {
  release();
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), device_(other.device_), source_(other.source_) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    device_ = other.device_;
    source_ = other.source_;
  }
  return *this;
}

// A failing cudaFree (device lost, driver shutting down at exit) cannot be helped: there is nobody to tell.
void DeviceBuffer::release() noexcept {
  if (data_ == nullptr) return;
  ++call_counts().releases;
  if (source_.release != nullptr) {
    source_.release(source_.user, data_);
  } else {
    int previous = 0;
    const bool known = cudaGetDevice(&previous) == cudaSuccess;
    if (known && previous != device_) cudaSetDevice(device_);
    cudaFree(data_);
    if (known && previous != device_) cudaSetDevice(previous);
    cudaGetLastError();
  }
  data_ = nullptr;
  size_ = 0;
}

PinnedBuffer::PinnedBuffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const cudaError_t status = cudaHostAlloc(&data_, bytes, cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorCode::out_of_memory, fmt::format("page-locked host memory: {} bytes cannot be had", bytes));
  }
  cuda_check(status, "cudaHostAlloc");
  ++call_counts().allocations;
}

PinnedBuffer::~PinnedBuffer() {
  release();
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void PinnedBuffer::release() noexcept {
  if (data_ == nullptr) return;
  ++call_counts().releases;
  cudaFreeHost(data_);
  cudaGetLastError();
  data_ = nullptr;
  size_ = 0;
}

}  // namespace fcm
