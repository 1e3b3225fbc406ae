#include "runtime/onnx/external_data.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "onnx.pb.h"
#include "runtime/onnx/text.h"

namespace fcm::onnx {
namespace fs = std::filesystem;

namespace {

uint64_t parse_count(std::string_view text, std::string_view key, const std::string& where) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  constexpr uint64_t kLargest = uint64_t{1} << 62U;
  if (error != std::errc() || end != text.data() + text.size() || value > kLargest) {
    malformed(where, fmt::format("external data {} \"{}\" is not a byte count", key, printable(text)));
  }
  return value;
}

struct Entries {
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

Entries read_entries(const ::onnx::TensorProto& tensor, const std::string& where) {
  Entries entries;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") {
      entries.location = entry.value();
    } else if (entry.key() == "offset") {
      entries.offset = parse_count(entry.value(), "offset", where);
    } else if (entry.key() == "length") {
      entries.length = parse_count(entry.value(), "length", where);
    }
  }
  if (entries.location.empty()) malformed(where, "external data without a location");
  return entries;
}

}  // namespace

fs::path ExternalData::resolve(std::string_view location, const std::string& where) const {
  const std::string shown = printable(location);
  if (location.find('\0') != std::string_view::npos) malformed(where, fmt::format("external data location \"{}\" holds a NUL byte", shown));
  const fs::path relative(location);
  if (relative.is_absolute()) {
    malformed(where, fmt::format("external data location \"{}\" is absolute; accepted: a path inside the model's folder", shown));
  }
  if (std::find(relative.begin(), relative.end(), fs::path("..")) != relative.end()) {
    malformed(where, fmt::format("external data location \"{}\" leaves the model's folder", shown));
  }
  std::error_code error;
  const fs::path root = fs::canonical(folder_, error);
  if (error) malformed(where, fmt::format("the model's folder \"{}\" cannot be resolved: {}", folder_.string(), error.message()));
  fs::path path = fs::canonical(root / relative, error);
  if (error) malformed(where, fmt::format("external data file \"{}\" is missing: {}", (folder_ / relative).string(), error.message()));
  if (std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first != root.end()) {
    malformed(where, fmt::format("external data location \"{}\" leaves the model's folder through a symbolic link (to \"{}\")", shown,
                                 path.string()));
  }
  return path;
}

const ExternalData::File& ExternalData::open(const fs::path& path, const std::string& where) {
  const auto known = files_.find(path);
  if (known != files_.end()) return known->second;
  // The path is canonical: a link found here now was put there in between.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) malformed(where, fmt::format("external data file \"{}\" cannot be read: {}", path.string(), std::strerror(errno)));
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    malformed(where, fmt::format("external data \"{}\" is not a regular file", path.string()));
  }
  return files_.emplace(path, File{std::move(fd), static_cast<uint64_t>(status.st_size)}).first->second;
}

ExternalData::Slice ExternalData::locate(const ::onnx::TensorProto& tensor, uint64_t bytes, const std::string& where) {
  const Entries entries = read_entries(tensor, where);
  if (folder_.empty()) {
    malformed(where, fmt::format("external data \"{}\", but the model was given as bytes without a folder", printable(entries.location)));
  }
  if (entries.length && *entries.length != bytes) {
    malformed(where, fmt::format("external data length is {} bytes, but the tensor needs {}", *entries.length, bytes));
  }
  const fs::path path = resolve(entries.location, where);
  const File& file = open(path, where);
  if (entries.offset > file.size || bytes > file.size - entries.offset) {
    malformed(where, fmt::format("external data of {} bytes at offset {} reaches beyond \"{}\" of {} bytes", bytes, entries.offset,
                                 path.string(), file.size));
  }
  return {file.fd.get(), entries.offset, path.string()};
}

void ExternalData::read(const Slice& slice, std::byte* target, size_t bytes, const std::string& where) {
  const auto failed = [&](int error) { malformed(where, fmt::format("\"{}\" cannot be read: {}", slice.path, std::strerror(error))); };
  if (read_at(slice.fd, slice.offset, target, bytes, failed) != bytes) {
    malformed(where, fmt::format("\"{}\" became shorter while it was read", slice.path));
  }
}

}  // namespace fcm::onnx
