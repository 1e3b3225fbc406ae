// Owned streams, events and captured graphs, the current-device guard, and the counted calls that wait or copy.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace fcm {

/// Makes `device` current and restores the caller's device at the end of the scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};

/// A non-blocking stream of the current device. Move-only.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Move-only. With `timing` false it only orders, which is cheaper.
class Event {
 public:
  explicit Event(bool timing = false);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;

  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Microseconds between two recorded, completed timing events.
double elapsed_us(const Event& begin, const Event& end);

/// An instantiated CUDA graph. Move-only.
class GraphExec {
 public:
  GraphExec() = default;
  /// Instantiates `graph`; the caller keeps it.
  explicit GraphExec(cudaGraph_t graph);
  ~GraphExec();
  GraphExec(GraphExec&& other) noexcept;
  GraphExec& operator=(GraphExec&& other) noexcept;

  cudaGraphExec_t get() const { return exec_; }
  void launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t exec_ = nullptr;
};

/// Host waits for the stream; counted.
void synchronize(cudaStream_t stream);
void synchronize(const Event& event);
/// cudaMemcpyAsync / cudaMemsetAsync; counted.
void copy_async(void* target, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
void fill_async(void* target, int byte, size_t bytes, cudaStream_t stream);

}  // namespace fcm
