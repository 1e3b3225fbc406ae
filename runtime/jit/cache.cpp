// The disk cache. An entry is one file: a header line with format, key, size and checksum, then the payload. It is written under a
// name that no other process uses, synced and renamed, so that readers see a whole entry or none.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>

#include "runtime/jit/jit.h"
#include "runtime/jit/sha256.h"
#include "runtime/support/env.h"
#include "runtime/support/log.h"

namespace fcm::jit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMagic = "fcm-cache-1";

fs::path entry_path(const fs::path& folder, const std::string& key) {
  return folder / (sha256_hex(key) + ".bin");
}

std::string header_line(const std::string& key, const std::string& payload) {
  return fmt::format("{} {} {} {}\n", kMagic, sha256_hex(key), payload.size(), sha256_hex(payload));
}

// One warning a process and folder: a read-only home must not flood the log.
void warn_once(const fs::path& folder, const std::string& problem) {
  static std::mutex mutex;
  static std::set<std::string> warned;
  const std::lock_guard lock(mutex);
  if (warned.insert(folder.string()).second)
    log(LogLevel::warning, "kernel cache {}: {}; kernels are compiled anew each time", folder.string(), problem);
}

std::string errno_text() {
  return std::strerror(errno);
}  // NOLINT(concurrency-mt-unsafe): glibc's is thread-safe for known codes

// Writes everything and syncs; false with errno on failure.
bool write_file(const std::string& path, const std::string& content) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return false;
  size_t written = 0;
  while (written < content.size()) {
    const ssize_t count = ::write(file, content.data() + written, content.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    written += static_cast<size_t>(count);
  }
  const bool synced = written == content.size() && ::fsync(file) == 0;
  const int error = errno;
  const bool closed = ::close(file) == 0;
  if (!synced) errno = error;
  return synced && closed;
}

std::string temporary_name(const fs::path& entry) {
  static std::atomic<unsigned> counter{0};
  return fmt::format("{}.{}.{}.tmp", entry.string(), ::getpid(), counter.fetch_add(1));
}

fs::path home_cache() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && xdg[0] == '/') return fs::path(xdg) / "fcm";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/') return fs::path(home) / ".cache" / "fcm";
  return {};
}

}  // namespace

DiskCache::DiskCache(fs::path folder) : folder_(std::move(folder)) {}

DiskCache DiskCache::none() {
  return DiskCache(fs::path{});
}

DiskCache DiskCache::standard() {
  const std::string& chosen = env().cache_dir;
  return DiskCache(chosen.empty() ? home_cache() : fs::path(chosen));
}

std::optional<std::string> DiskCache::load(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  const fs::path path = entry_path(folder_, key);
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream content;
  content << file.rdbuf();
  const std::string text = std::move(content).str();
  const size_t end = text.find('\n');
  if (end != std::string::npos) {
    std::string payload = text.substr(end + 1);
    if (text.compare(0, end + 1, header_line(key, payload)) == 0) return payload;
  }
  log(LogLevel::warning, "kernel cache entry {} is damaged; it is rebuilt", path.string());
  return std::nullopt;
}

void DiskCache::store(const std::string& key, const std::string& payload) const {
  if (folder_.empty()) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return warn_once(folder_, error.message());
  const fs::path path = entry_path(folder_, key);
  const std::string temporary = temporary_name(path);
  if (!write_file(temporary, header_line(key, payload) + payload) || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string reason = errno_text();
    ::unlink(temporary.c_str());
    warn_once(folder_, reason);
  }
}

}  // namespace fcm::jit
