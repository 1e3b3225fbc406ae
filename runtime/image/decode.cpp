// Chooses the decoder by the first bytes and turns the result upright.
#include "runtime/image/decode.h"

#include <fmt/format.h>

#include <vector>

#include "runtime/image/codec.h"
#include "runtime/image/exif.h"
#include "runtime/image/file.h"
#include "runtime/support/error.h"

namespace fcm {

void image_error(const std::string& name, const std::string& cause) {
  throw Error(ErrorCode::bad_input, fmt::format("image '{}': {}", name, cause));
}

void check_image_size(const std::string& name, int64_t width, int64_t height) {
  if (width <= 0 || height <= 0) image_error(name, fmt::format("has no pixels ({}x{})", width, height));
  if (height > kMaxPixels / width) {
    image_error(name, fmt::format("{}x{} is too large: at most {} pixels are accepted", width, height, kMaxPixels));
  }
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.empty()) image_error(name, "is empty (0 bytes)");
  const bool is_jpeg = bytes.size() >= 3 && bytes[0] == std::byte{0xFF} && bytes[1] == std::byte{0xD8} && bytes[2] == std::byte{0xFF};
  Image image = is_jpeg ? decode_jpeg(bytes, name) : decode_stb(bytes, name);
  return upright(std::move(image), exif_orientation(bytes));
}

Image load_image(const std::string& path) {
  constexpr size_t kMaxFile = size_t{1} << 30;
  const std::vector<std::byte> bytes = read_file(path, "image", kMaxFile);
  return decode_image(bytes, path);
}

}  // namespace fcm
