// Whole files in and out of memory, with errors that name the file and the cause.
#include "runtime/image/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "runtime/support/error.h"

namespace fcm {
namespace {

[[noreturn]] void fail(const char* what, const std::string& path, const std::string& cause) {
  throw Error(ErrorCode::bad_input, fmt::format("{} '{}': {}", what, path, cause));
}

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { static_cast<void>(close()); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  /// 0, or the errno of close(2): some file systems report a full disk only here.
  int close() {
    const int fd = std::exchange(fd_, -1);
    return fd >= 0 && ::close(fd) != 0 ? errno : 0;
  }

 private:
  int fd_;
};

/// 0, or the errno of the write that failed.
int write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return 0;
}

/// A new file in the same folder, so that a rename can replace `path`. Its descriptor, or -1 with errno.
int create_beside(const std::string& path, std::string& temporary) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    temporary = fmt::format("{}.{}-{}.tmp", path, ::getpid(), attempt);
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

/// 0, or the errno of the first step that failed.
int write_temporary(Descriptor& file, std::span<const std::span<const std::byte>> parts) {
  for (const auto& part : parts) {
    if (const int error = write_all(file.get(), part); error != 0) return error;
  }
  if (::fsync(file.get()) != 0 && errno != EINVAL && errno != EROFS) return errno;
  return file.close();
}

}  // namespace

std::vector<std::byte> read_file(const std::string& path, const char* what, size_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (file.get() < 0) fail(what, path, errno_text(errno));
  struct stat info = {};
  if (::fstat(file.get(), &info) != 0) fail(what, path, errno_text(errno));
  if (S_ISDIR(info.st_mode)) fail(what, path, "is a folder, not a file");
  if (!S_ISREG(info.st_mode)) fail(what, path, "is not a regular file");
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) fail(what, path, "is empty (0 bytes)");
  if (size > limit) fail(what, path, fmt::format("has {} bytes; at most {} are accepted", size, limit));

  std::vector<std::byte> bytes(size);
  size_t have = 0;
  while (have < size) {
    const ssize_t n = ::read(file.get(), bytes.data() + have, size - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(what, path, errno_text(errno));
    if (n == 0) fail(what, path, fmt::format("ended after {} of {} bytes while it was read", have, size));
    have += static_cast<size_t>(n);
  }
  return bytes;
}

void write_file(const std::string& path, const char* what, std::span<const std::span<const std::byte>> parts) {
  std::string temporary;
  Descriptor file(create_beside(path, temporary));
  if (file.get() < 0) fail(what, path, "cannot be written: " + errno_text(errno));
  int error = write_temporary(file, parts);
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return;
  ::unlink(temporary.c_str());
  fail(what, path, "cannot be written: " + errno_text(error));
}

}  // namespace fcm
