// Resampling, bit-equal to Pillow's 8-bit Image.resize.
#pragma once

#include <optional>
#include <string_view>

#include "runtime/image/image.h"

namespace fcm {

enum class Interpolation : uint8_t { bilinear, bicubic, lanczos };

std::string_view interpolation_name(Interpolation interpolation);
std::optional<Interpolation> find_interpolation(std::string_view name);

/// Antialiased resampling of the whole image to width x height: horizontally first, then vertically, in 22-bit fixed point with rounding to
/// 8 bits after each pass; a pass that would change nothing is skipped. Throws Error(bad_input) unless 1 <= width * height <= kMaxPixels.
/// (Pillow 13 and later begin with the vertical pass where the height shrinks much more than the width; keeping the proportions never
/// does.)
Image resize(const Image& image, int width, int height, Interpolation interpolation);

}  // namespace fcm
