#include "runtime/device/stream.h"

#include <utility>

#include "runtime/device/counters.h"
#include "runtime/device/cuda_check.h"

namespace fcm {

DeviceGuard::DeviceGuard(int device) {
  cuda_check(cudaGetDevice(&previous_), "cudaGetDevice");
  if (previous_ == device) return;
  cuda_check(cudaSetDevice(device), "cudaSetDevice");
  changed_ = true;
}

DeviceGuard::~DeviceGuard() {
  if (changed_) cudaSetDevice(previous_);
}

Stream::Stream() {
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  ++call_counts().allocations;
}

Stream::~Stream() {
  if (stream_ == nullptr) return;
  ++call_counts().releases;
  cudaStreamDestroy(stream_);
}

Stream::Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(stream_, other.stream_);
  return *this;
}

Event::Event(bool timing) {
  cuda_check(cudaEventCreateWithFlags(&event_, timing ? cudaEventDefault : cudaEventDisableTiming), "cudaEventCreateWithFlags");
  ++call_counts().allocations;
}

Event::~Event() {
  if (event_ == nullptr) return;
  ++call_counts().releases;
  cudaEventDestroy(event_);
}

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

void Event::record(cudaStream_t stream) const {
  cuda_check(cudaEventRecord(event_, stream), "cudaEventRecord");
}

double elapsed_us(const Event& begin, const Event& end) {
  float milliseconds = 0;
  cuda_check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
  return double{milliseconds} * 1e3;
}

GraphExec::GraphExec(cudaGraph_t graph) {
  cuda_check(cudaGraphInstantiate(&exec_, graph, 0), "cudaGraphInstantiate");
  ++call_counts().allocations;
}

GraphExec::~GraphExec() {
  if (exec_ == nullptr) return;
  ++call_counts().releases;
  cudaGraphExecDestroy(exec_);
}

GraphExec::GraphExec(GraphExec&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}

GraphExec& GraphExec::operator=(GraphExec&& other) noexcept {
  std::swap(exec_, other.exec_);
  return *this;
}

void GraphExec::launch(cudaStream_t stream) const {
  ++call_counts().graph_launches;
  cuda_check(cudaGraphLaunch(exec_, stream), "cudaGraphLaunch");
}

void synchronize(cudaStream_t stream) {
  ++call_counts().synchronizations;
  cuda_check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

void synchronize(const Event& event) {
  ++call_counts().synchronizations;
  cuda_check(cudaEventSynchronize(event.get()), "cudaEventSynchronize");
}

void copy_async(void* target, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return;
  ++call_counts().copies;
  cuda_check(cudaMemcpyAsync(target, source, bytes, kind, stream), "cudaMemcpyAsync");
}

void fill_async(void* target, int byte, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return;
  cuda_check(cudaMemsetAsync(target, byte, bytes, stream), "cudaMemsetAsync");
}

}  // namespace fcm
