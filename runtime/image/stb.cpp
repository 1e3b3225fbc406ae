// PNG, BMP and GIF through stb_image, which is compiled here. Data reach it by callbacks, because they tell a truncated file: past
// the end stb_image reads zeros and some of its formats carry on.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "runtime/image/codec.h"

// JPEG is libjpeg-turbo's; the other formats have no reliable signature or no place in front of a classifier.
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace fcm {
namespace {

/// The file as stb_image reads it.
struct Source {
  std::span<const std::byte> bytes;
  size_t at = 0;
  bool overrun = false;  ///< more was asked for than there is

  static int read(void* user, char* data, int size) {
    auto& source = *static_cast<Source*>(user);
    const size_t n = std::min(static_cast<size_t>(size), source.bytes.size() - source.at);
    if (n == 0) source.overrun = true;
    if (n > 0) std::memcpy(data, source.bytes.data() + source.at, n);
    source.at += n;
    return static_cast<int>(n);
  }
  static void skip(void* user, int n) {
    auto& source = *static_cast<Source*>(user);
    if (n < 0) {
      source.at -= std::min(source.at, static_cast<size_t>(-static_cast<int64_t>(n)));
      return;
    }
    const size_t left = source.bytes.size() - source.at;
    if (static_cast<size_t>(n) > left) source.overrun = true;
    source.at += std::min(static_cast<size_t>(n), left);
  }
  static int eof(void* user) {
    const auto& source = *static_cast<const Source*>(user);
    return source.at >= source.bytes.size() ? 1 : 0;
  }
};

constexpr stbi_io_callbacks kCallbacks = {&Source::read, &Source::skip, &Source::eof};

struct FreePixels {
  void operator()(stbi_uc* pixels) const { stbi_image_free(pixels); }
};

const char* reason() {
  const char* text = stbi_failure_reason();
  return text != nullptr ? text : "no reason given";
}

/// Told by the signature: stb_image tries one format after the other and keeps only the last one's complaint.
std::string_view format_of(std::span<const std::byte> bytes) {
  const auto begins = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (begins("\x89PNG\r\n\x1A\n")) return "PNG";
  if (begins("BM")) return "BMP";
  if (begins("GIF87a") || begins("GIF89a")) return "GIF";
  return {};
}

/// PNG says its size at a fixed place; stb_image refuses a large one without saying why.
void check_png_size(std::span<const std::byte> bytes, const std::string& name) {
  constexpr size_t kWidth = 16;
  if (bytes.size() < kWidth + 8) image_error(name, fmt::format("truncated PNG: {} bytes", bytes.size()));
  const auto side = [&](size_t at) {
    int64_t value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value << 8 | std::to_integer<int64_t>(bytes[i]);
    return value;
  };
  check_image_size(name, side(kWidth), side(kWidth + 4));
}

}  // namespace

Image decode_stb(std::span<const std::byte> bytes, const std::string& name) {
  int width = 0;
  int height = 0;
  int channels = 0;
  const std::string_view format = format_of(bytes);
  if (format.empty()) image_error(name, "not an image of a known format (JPEG, PNG, BMP, GIF)");
  if (format == "PNG") check_png_size(bytes, name);
  Source header{bytes};
  if (stbi_info_from_callbacks(&kCallbacks, &header, &width, &height, &channels) == 0) {
    image_error(name, fmt::format("{} {} header", header.overrun ? "truncated" : "unreadable", format));
  }
  check_image_size(name, width, height);

  Source source{bytes};
  const std::unique_ptr<stbi_uc, FreePixels> pixels(stbi_load_from_callbacks(&kCallbacks, &source, &width, &height, &channels, 3));
  if (source.overrun) image_error(name, fmt::format("truncated {}: the data ends after {} bytes", format, bytes.size()));
  if (!pixels) image_error(name, fmt::format("damaged {}: {}", format, reason()));
  Image image(width, height);
  std::copy_n(pixels.get(), image.pixels.size(), image.pixels.data());
  return image;
}

}  // namespace fcm
