// Presets, settings as text, and the way from an image of any size to normalised floats.
#include "runtime/image/preprocess.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr int kMaxSide = 1 << 16;
constexpr double kCropFraction = 0.875;

struct Preset {
  std::string_view name;
  Interpolation interpolation;
  std::array<double, 3> mean, std;
  double range;  ///< unit of mean and std
};

constexpr std::array<double, 3> kImagenetMean = {0.485, 0.456, 0.406};
constexpr std::array<double, 3> kImagenetStd = {0.229, 0.224, 0.225};
constexpr std::array<Preset, 7> kPresets = {{
    {"imagenet", Interpolation::bilinear, kImagenetMean, kImagenetStd, 1},
    {"timm", Interpolation::bicubic, kImagenetMean, kImagenetStd, 1},
    {"inception", Interpolation::bicubic, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, 1},
    {"lite", Interpolation::bicubic, {127, 127, 127}, {128, 128, 128}, 255},
    {"clip", Interpolation::bicubic, {0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}, 1},
    {"unit", Interpolation::bilinear, {0, 0, 0}, {1, 1, 1}, 1},
    {"raw", Interpolation::bilinear, {0, 0, 0}, {1, 1, 1}, 255},
}};

std::array<double, 3> to_pixel_units(std::array<double, 3> values, double range) {
  for (double& v : values) v *= 255 / range;
  return values;
}

[[noreturn]] void bad_value(std::string_view key, std::string_view value, std::string_view expected) {
  throw Error(ErrorCode::command_line, fmt::format("preprocessing {}: '{}' is not {}", key, value, expected));
}

double parse_number(std::string_view key, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) bad_value(key, text, "a number");
  return value;
}

int parse_side(std::string_view key, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMaxSide) {
    bad_value(key, text, fmt::format("a number of pixels from 1 to {}", kMaxSide));
  }
  return value;
}

std::array<double, 3> parse_triple(std::string_view key, std::string_view text) {
  std::vector<double> values;
  std::string_view rest = text;
  while (true) {
    const size_t comma = rest.find(',');
    values.push_back(parse_number(key, rest.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (values.size() == 1) values.resize(3, values[0]);
  if (values.size() != 3) bad_value(key, text, "three numbers separated by commas, or one for all channels");
  return {values[0], values[1], values[2]};
}

struct Size {
  int width, height;
};

/// What the image is resized to before the crop.
Size resized_size(const Preprocess& preprocess, const Image& image, int width, int height) {
  const int64_t w = image.width;
  const int64_t h = image.height;
  const auto limited = [](int64_t side) { return static_cast<int>(std::min<int64_t>(side, INT32_MAX)); };
  const auto to_width = [&](int64_t side) { return Size{limited(side), limited(side * h / w)}; };
  const auto to_height = [&](int64_t side) { return Size{limited(side * w / h), limited(side)}; };
  if (preprocess.resize) return w <= h ? to_width(*preprocess.resize) : to_height(*preprocess.resize);
  const int64_t cover_width = std::lround(width / kCropFraction);
  const int64_t cover_height = std::lround(height / kCropFraction);
  return cover_width * h >= cover_height * w ? to_width(cover_width) : to_height(cover_height);
}

/// Where a crop of `crop` pixels starts in `side`: half the rest, rounded half to even.
int crop_offset(int side, int crop) {
  const int rest = side - crop;
  return rest / 2 + (rest % 2 != 0 && rest / 2 % 2 != 0 ? 1 : 0);
}

}  // namespace

Preprocess preprocess_preset(std::string_view name) {
  std::string known;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) {
      Preprocess result;
      result.source = fmt::format("preset {}", name);
      result.interpolation = preset.interpolation;
      result.mean = to_pixel_units(preset.mean, preset.range);
      result.std = to_pixel_units(preset.std, preset.range);
      return result;
    }
    known += known.empty() ? "" : ", ";
    known += preset.name;
  }
  throw Error(ErrorCode::command_line, fmt::format("preprocessing preset '{}' is unknown; there are {}", name, known));
}

void PreprocessSettings::set(std::string_view key, std::string_view value) {
  if (key == "preset") {
    base_ = preprocess_preset(value);
    return;
  }
  if (key == "resize") {
    resize_ = parse_side(key, value);
  } else if (key == "crop") {
    crop_ = parse_side(key, value);
  } else if (key == "interpolation") {
    const auto found = find_interpolation(value);
    if (!found) bad_value(key, value, "bilinear, bicubic or lanczos");
    interpolation_ = found;
  } else if (key == "mean") {
    mean_ = parse_triple(key, value);
  } else if (key == "std") {
    const auto triple = parse_triple(key, value);
    if (std::any_of(triple.begin(), triple.end(), [](double v) { return v <= 0; })) bad_value(key, value, "greater than 0");
    std_ = triple;
  } else if (key == "range") {
    const double range = parse_number(key, value);
    if (range != 1 && range != 255) bad_value(key, value, "255 or 1");
    range_ = range;
  } else {
    throw Error(ErrorCode::command_line,
                fmt::format("preprocessing has no setting '{}'; there are preset, resize, crop, interpolation, mean, std, range", key));
  }
  if (key != "range" && changed_.find(key) == std::string::npos) changed_ += (changed_.empty() ? "" : ", ") + std::string(key);
}

Preprocess PreprocessSettings::resolve() const {
  Preprocess result = base_;
  if (resize_) result.resize = resize_;
  if (crop_) result.crop = crop_;
  if (interpolation_) result.interpolation = *interpolation_;
  if (mean_) result.mean = to_pixel_units(*mean_, range_);
  if (std_) result.std = to_pixel_units(*std_, range_);
  if (!changed_.empty()) result.source += fmt::format(" with given {}", changed_);
  return result;
}

std::string describe(const Preprocess& p) {
  return fmt::format("{}: resize {}, crop {}, {}, mean {:.6g} {:.6g} {:.6g}, std {:.6g} {:.6g} {:.6g} of 255", p.source,
                     p.resize ? std::to_string(*p.resize) : "input / 0.875", p.crop ? std::to_string(*p.crop) : "input",
                     interpolation_name(p.interpolation), p.mean[0], p.mean[1], p.mean[2], p.std[0], p.std[1], p.std[2]);
}

Image center_crop(const Image& image, int width, int height) {
  Image out(width, height);
  // Torchvision pads the missing pixels first, half of them (rounded down) before, and cuts afterwards.
  const int pad_x = std::max(width - image.width, 0) / 2;
  const int pad_y = std::max(height - image.height, 0) / 2;
  const int from_x = crop_offset(std::max(image.width, width), width);
  const int from_y = crop_offset(std::max(image.height, height), height);
  const int columns = std::min(image.width, width);
  const int rows = std::min(image.height, height);
  for (int y = 0; y < rows; ++y) {
    std::memcpy(out.row(y + pad_y) + ptrdiff_t{3} * pad_x, image.row(y + from_y) + ptrdiff_t{3} * from_x, static_cast<size_t>(columns) * 3);
  }
  return out;
}

Image fit_image(const Preprocess& preprocess, const Image& image, int width, int height) {
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide || int64_t{width} * height > kMaxPixels) {
    throw Error(ErrorCode::bad_input, fmt::format("a model input of {}x{} pixels (width x height) is out of range", width, height));
  }
  if (image.width < 1 || image.height < 1) throw Error(ErrorCode::bad_input, "the image has no pixels");
  if (preprocess.crop && (*preprocess.crop != width || *preprocess.crop != height)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the model's input is {}x{} pixels (width x height), but preprocessing ({}) crops to {}x{}", width, height,
                            preprocess.source, *preprocess.crop, *preprocess.crop));
  }
  const Size size = resized_size(preprocess, image, width, height);
  const bool same = size.width == image.width && size.height == image.height;
  return same ? center_crop(image, width, height)
              : center_crop(resize(image, size.width, size.height, preprocess.interpolation), width, height);
}

void normalise(const Preprocess& preprocess, const Image& image, ImageLayout layout, std::span<float> out) {
  const size_t pixels = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  if (out.size() != pixels * 3) {
    throw Error(ErrorCode::bad_input, fmt::format("a buffer of {} floats is given for an image of {}x{}, which needs {}", out.size(),
                                                  image.width, image.height, pixels * 3));
  }
  for (size_t c = 0; c < 3; ++c) {
    std::array<float, 256> value = {};
    for (size_t v = 0; v < value.size(); ++v) {
      value[v] = static_cast<float>((static_cast<double>(v) - preprocess.mean[c]) / preprocess.std[c]);
    }
    float* to = out.data() + (layout == ImageLayout::nchw ? c * pixels : c);
    const size_t step = layout == ImageLayout::nchw ? 1 : 3;
    const uint8_t* from = image.pixels.data() + c;
    for (size_t i = 0; i < pixels; ++i) to[i * step] = value[from[i * 3]];
  }
}

}  // namespace fcm
