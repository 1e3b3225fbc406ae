// The device's side of a measurement, behind an interface so that a build without CUDA measures the CPU.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace fcm::bench {

/// A stream of a GPU with memory and event marks; one thread at a time.
class Gpu {
 public:
  virtual ~Gpu() = default;
  /// A cudaStream_t.
  virtual void* stream() const = 0;
  /// Device memory that holds a copy of `bytes` at `source` (uninitialised when that is null) and lives as long as this object.
  virtual void* place(const void* source, size_t bytes) = 0;
  /// Copies from device memory; waits.
  virtual void fetch(void* target, const void* source, size_t bytes) = 0;
  /// Marks the stream's present end; `slot` is 0..3.
  virtual void mark(int slot) = 0;
  /// Waits until the mark is reached.
  virtual void wait(int slot) = 0;
  /// Waits until everything on the stream is done.
  virtual void wait() = 0;
  /// Microseconds between two reached marks.
  virtual double between_us(int first, int second) const = 0;
  /// Keeps the stream busy for about `us`, so that what is enqueued meanwhile does not wait for the host.
  virtual void hold(double us) = 0;
  /// Enqueues a CUDA graph of one kernel that does nothing.
  virtual void replay_trivial() = 0;
  /// Bytes free on the device now, all processes counted.
  virtual size_t free_bytes() const = 0;
  virtual std::string pci_address() const = 0;
};

/// A fresh stream on the device. Throws Error(device); in a build without CUDA always.
std::unique_ptr<Gpu> open_gpu(int ordinal);

}  // namespace fcm::bench
