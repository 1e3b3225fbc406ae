// What the tests of this room share: digests, a synthetic image, temporary folders, errors by text.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/image/image.h"
#include "runtime/support/error.h"

namespace fcm::test {

/// FNV-1a, 64 bits, as in make_data.py.
inline uint64_t digest(const std::vector<uint8_t>& bytes) {
  uint64_t value = 0xCBF29CE484222325U;
  for (const uint8_t byte : bytes) value = (value ^ byte) * 0x100000001B3U;
  return value;
}

/// make_data.py's `synthetic`.
inline Image synthetic(int width, int height) {
  Image image(width, height);
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      const auto x = static_cast<uint32_t>(column);
      const auto y = static_cast<uint32_t>(row);
      const uint32_t noise = (x * 73856093U ^ y * 19349663U) * 2654435761U;
      uint8_t* pixel = image.row(row) + ptrdiff_t{3} * column;
      pixel[0] = (x / 5 + y / 3) % 2 == 0 ? 255 : 0;
      pixel[1] = static_cast<uint8_t>(x * 3 + y * 2);
      pixel[2] = static_cast<uint8_t>(noise >> 24);
    }
  }
  return image;
}

inline std::string data_path(const std::string& name) {
  return std::string(FCM_IMAGE_DATA) + "/" + name;
}

inline std::vector<std::byte> file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  const auto* first = reinterpret_cast<const std::byte*>(chars.data());
  return {first, first + chars.size()};
}

/// A folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fcm-image-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  size_t entries() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {})); }

 private:
  std::filesystem::path path_;
};

/// Runs `action`, which must throw Error(code) whose message holds every one of `parts`.
template <class Action>
void expect_error(ErrorCode code, const std::vector<std::string>& parts, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << "'" << part << "' is not in: " << e.what();
  }
}

}  // namespace fcm::test
