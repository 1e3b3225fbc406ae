// The two decoders behind decode.h. Private to the room.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/image/image.h"

namespace fcm {

/// Throws Error(bad_input) "image 'NAME': CAUSE".
[[noreturn]] void image_error(const std::string& name, const std::string& cause);
/// Throws unless both sides are positive and width * height <= kMaxPixels.
void check_image_size(const std::string& name, int64_t width, int64_t height);

/// libjpeg-turbo. Not turned upright.
Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name);
/// stb_image: PNG, BMP, GIF (first frame). Not turned upright.
Image decode_stb(std::span<const std::byte> bytes, const std::string& name);

}  // namespace fcm
