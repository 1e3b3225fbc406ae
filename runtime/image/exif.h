// EXIF orientation: where the camera's top-left corner is, and turning the pixels upright.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/image/image.h"

namespace fcm {

/// The orientation tag (0x0112) of a JPEG's APP1 segment or a PNG's eXIf chunk: 1 to 8. 1 (upright) when there is none, when it is out of
/// range, and for damaged EXIF data, which other readers ignore as well.
int exif_orientation(std::span<const std::byte> file);

/// The image as it should be seen: orientation 2 to 4 mirror or turn by 180 degrees, 5 to 8 also swap width and height.
Image upright(Image image, int orientation);

}  // namespace fcm
