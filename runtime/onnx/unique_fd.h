// An owned file descriptor, and reading from one at an offset.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace fcm::onnx {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// Reads up to `size` bytes at `offset`; less only at the end of the file. Calls `failed(errno)`, which must throw, on an error.
template <class Failed>
size_t read_at(int fd, uint64_t offset, void* target, size_t size, Failed&& failed) {
  size_t done = 0;
  while (done < size) {
    constexpr size_t kChunk = size_t{1} << 30;  // one call moves at most 2 GiB
    const size_t want = size - done < kChunk ? size - done : kChunk;
    const ssize_t got = ::pread(fd, static_cast<std::byte*>(target) + done, want, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      failed(errno);
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace fcm::onnx
