// An image file becomes 8-bit RGB pixels, upright.
//
// The pixels are those of Pillow's `ImageOps.exif_transpose(Image.open(f)).convert("RGB")`: JPEG by libjpeg-turbo with the accurate
// DCT and fancy upsampling, CMYK and YCCK JPEG in Adobe's inverted convention, grey and palette expanded, alpha dropped without blending.
// 16 bits a channel become 8 by taking the high byte; for 16-bit grey Pillow clips at 255 instead, which turns nearly every pixel white,
// so this one case differs on purpose.
// Formats: JPEG, PNG, BMP, GIF (first frame).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/image/image.h"

namespace fcm {

/// `name` stands for the file in messages. Throws Error(bad_input) for an unknown format, damaged or truncated data, or more than
/// kMaxPixels pixels.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// Reads and decodes a file of at most 1 GiB. Throws Error(bad_input) also when it is missing, empty, or a folder.
Image load_image(const std::string& path);

}  // namespace fcm
