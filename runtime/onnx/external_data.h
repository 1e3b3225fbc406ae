// Tensor contents that a model keeps in files beside it. A model is untrusted: a location may only name a regular file inside
// the model's folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "runtime/onnx/unique_fd.h"

namespace onnx {
class TensorProto;
}

namespace fcm::onnx {

class ExternalData {
 public:
  /// Files are looked up in `folder`; empty: every use is refused.
  explicit ExternalData(std::filesystem::path folder) : folder_(std::move(folder)) {}

  struct Slice {
    int fd = -1;
    uint64_t offset = 0;
    std::string path;  ///< for messages
  };
  /// Finds the `bytes` bytes of `tensor`, checked against the file's size, without reading them. `where` opens messages.
  /// Throws Error(bad_input): no folder, absolute or escaping location, missing file, offset or length beyond the file, a length
  /// that differs from `bytes`. The checksum entry is not verified (SHA-1 of the whole file; no exporter writes it).
  Slice locate(const ::onnx::TensorProto& tensor, uint64_t bytes, const std::string& where);
  /// Reads a located slice into `target`.
  static void read(const Slice& slice, std::byte* target, size_t bytes, const std::string& where);

 private:
  struct File {
    UniqueFd fd;
    uint64_t size = 0;
  };
  std::filesystem::path resolve(std::string_view location, const std::string& where) const;
  const File& open(const std::filesystem::path& path, const std::string& where);

  std::filesystem::path folder_;
  std::map<std::filesystem::path, File> files_;  // most models keep all weights in one file: open it once
};

}  // namespace fcm::onnx
