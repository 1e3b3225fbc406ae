// Owned device memory and pinned host memory.
#pragma once

#include <cstddef>

namespace fcm {

/// Where device memory comes from; both null: cudaMalloc and cudaFree on the current device.
struct DeviceMemorySource {
  void* (*allocate)(void* user, size_t bytes) = nullptr;  ///< returns null when it cannot
  void (*release)(void* user, void* pointer) = nullptr;
  void* user = nullptr;
};

/// Device memory, 256-byte aligned; released on the device it was made on. Move-only. No bytes: no pointer.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Throws Error(out_of_memory) with the size wanted and the memory that is free.
  explicit DeviceBuffer(size_t bytes, const DeviceMemorySource& source = {});
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  void* data() const { return data_; }
  std::byte* bytes() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return size_; }

 private:
  void release() noexcept;

  void* data_ = nullptr;
  size_t size_ = 0;
  int device_ = 0;
  DeviceMemorySource source_;
};

/// Page-locked host memory, usable from every device. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  /// Throws Error(out_of_memory).
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;

  void* data() const { return data_; }
  std::byte* bytes() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return size_; }

 private:
  void release() noexcept;

  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fcm
