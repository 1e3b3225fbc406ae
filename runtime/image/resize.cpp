// Two-pass resampling with fixed-point coefficients. Every rounding here is part of the contract: the result has Pillow's bits.
#include "runtime/image/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>
#include <vector>

#include "runtime/support/error.h"

namespace fcm {
namespace {

/// 32 bits, less 8 for the pixel and 2 so that overshooting sums still fit.
constexpr int kPrecisionBits = 32 - 8 - 2;

double bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/// Catmull-Rom: a = -0.5.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) {
  return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

struct Filter {
  double (*weight)(double);
  double support;
};

Filter filter_of(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::bilinear:
      return {bilinear, 1.0};
    case Interpolation::bicubic:
      return {bicubic, 2.0};
    case Interpolation::lanczos:
      return {lanczos, 3.0};
  }
  throw Error(ErrorCode::internal, "resize: unknown interpolation");
}

/// For each output position the input positions [first, first + count) and their weights.
struct Taps {
  struct Range {
    int first, count;
  };
  size_t stride = 0;  ///< weights kept for one output position
  std::vector<Range> ranges;
  std::vector<int> weights;
};

/// Rounds half away from zero.
int to_fixed(double weight) {
  return static_cast<int>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kPrecisionBits));
}

Taps make_taps(int in_size, int out_size, const Filter& filter) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter.support * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;

  Taps taps;
  taps.stride = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  taps.ranges.resize(static_cast<size_t>(out_size));
  taps.weights.resize(static_cast<size_t>(out_size) * taps.stride);
  std::vector<double> row(taps.stride);
  for (int i = 0; i < out_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in_size) - first;
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      row[static_cast<size_t>(k)] = filter.weight((k + first - center + 0.5) * inverse_scale);
      sum += row[static_cast<size_t>(k)];
    }
    int* weights = taps.weights.data() + static_cast<size_t>(i) * taps.stride;
    for (int k = 0; k < count; ++k) {
      const double weight = row[static_cast<size_t>(k)];
      weights[k] = to_fixed(sum != 0.0 ? weight / sum : weight);
    }
    taps.ranges[static_cast<size_t>(i)] = {first, count};
  }
  return taps;
}

uint8_t to_pixel(int sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

constexpr int kHalf = 1 << (kPrecisionBits - 1);

Image resize_horizontally(const Image& image, int width, const Filter& filter) {
  const Taps taps = make_taps(image.width, width, filter);
  Image out(width, image.height);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* to = out.row(y);
    for (size_t x = 0; x < static_cast<size_t>(width); ++x, to += 3) {
      const int* weights = taps.weights.data() + x * taps.stride;
      const uint8_t* from = image.row(y) + static_cast<ptrdiff_t>(taps.ranges[x].first) * 3;
      int red = kHalf;
      int green = kHalf;
      int blue = kHalf;
      for (int k = 0; k < taps.ranges[x].count; ++k, from += 3) {
        red += from[0] * weights[k];
        green += from[1] * weights[k];
        blue += from[2] * weights[k];
      }
      to[0] = to_pixel(red);
      to[1] = to_pixel(green);
      to[2] = to_pixel(blue);
    }
  }
  return out;
}

/// Line by line: the sums of one output row are built from whole input rows.
Image resize_vertically(const Image& image, int height, const Filter& filter) {
  const Taps taps = make_taps(image.height, height, filter);
  Image out(image.width, height);
  const size_t row_size = static_cast<size_t>(image.width) * 3;
  std::vector<int> sums(row_size);
  for (int y = 0; y < height; ++y) {
    const auto range = taps.ranges[static_cast<size_t>(y)];
    const int* weights = taps.weights.data() + static_cast<size_t>(y) * taps.stride;
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int k = 0; k < range.count; ++k) {
      const uint8_t* from = image.row(range.first + k);
      const int weight = weights[k];
      for (size_t i = 0; i < row_size; ++i) sums[i] += from[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.row(y), to_pixel);
  }
  return out;
}

}  // namespace

std::string_view interpolation_name(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::bilinear:
      return "bilinear";
    case Interpolation::bicubic:
      return "bicubic";
    case Interpolation::lanczos:
      return "lanczos";
  }
  return "?";
}

std::optional<Interpolation> find_interpolation(std::string_view name) {
  for (const auto candidate : {Interpolation::bilinear, Interpolation::bicubic, Interpolation::lanczos}) {
    if (interpolation_name(candidate) == name) return candidate;
  }
  return std::nullopt;
}

Image resize(const Image& image, int width, int height, Interpolation interpolation) {
  const auto fits = [](int64_t w, int64_t h) { return w > 0 && h > 0 && h <= kMaxPixels / w; };
  // The image between the passes has the new width and the old height.
  if (!fits(image.width, image.height) || !fits(width, height) || !fits(width, image.height)) {
    throw Error(ErrorCode::bad_input, fmt::format("cannot resize an image of {}x{} to {}x{}: each needs 1 to {} pixels", image.width,
                                                  image.height, width, height, kMaxPixels));
  }
  const Filter filter = filter_of(interpolation);
  if (width == image.width) return height == image.height ? image : resize_vertically(image, height, filter);
  Image wide = resize_horizontally(image, width, filter);
  return height == image.height ? wide : resize_vertically(wide, height, filter);
}

}  // namespace fcm
