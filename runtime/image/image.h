// The one image type of the room: 8-bit RGB, upright, dense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fcm {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;  ///< [height, width, 3]

  Image() = default;
  /// Black. The caller has checked the size against kMaxPixels.
  Image(int w, int h) : width(w), height(h), pixels(static_cast<size_t>(w) * static_cast<size_t>(h) * 3) {}

  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3; }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3; }
};

/// The most pixels an image may have (768 MiB as RGB); checked before anything is allocated for it.
inline constexpr int64_t kMaxPixels = int64_t{1} << 28;

}  // namespace fcm
