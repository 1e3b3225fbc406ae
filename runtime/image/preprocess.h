// How an image becomes the input of a classifier: resize, centre crop, normalise, as torchvision does it.
//
// Square input of side S (the case that torchvision knows): the short side is resized to `resize` (default round(S / 0.875)), the long
// side to int(resize * long / short), and the centre S x S is cut out at offset (side - S) / 2, halves rounded to even. An image smaller
// than the crop is padded with black, the odd pixel at the right and bottom.
// Rectangular input W x H: with a given `resize` the same. Without one the image is scaled, in proportion, to the smallest size that
// covers round(W / 0.875) x round(H / 0.875), which for W = H is the rule above.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/image/image.h"
#include "runtime/image/resize.h"

namespace fcm {

struct Preprocess {
  std::string source = "preset imagenet";  ///< where the settings came from, for messages
  std::optional<int> resize;               ///< short side in pixels; unset: from the model's input
  std::optional<int> crop;                 ///< side in pixels; unset: the model's input
  Interpolation interpolation = Interpolation::bilinear;
  std::array<double, 3> mean = {0.485 * 255, 0.456 * 255, 0.406 * 255};  ///< in pixel units 0..255, whatever the unit they were given in
  std::array<double, 3> std = {0.229 * 255, 0.224 * 255, 0.225 * 255};
};

/// imagenet, timm, inception, lite, clip, unit or raw (see product.md); Error(command_line) lists them for another name.
Preprocess preprocess_preset(std::string_view name);

/// Settings as text, one at a time and in any order, over a base: what command lines and the C API use.
class PreprocessSettings {
 public:
  explicit PreprocessSettings(Preprocess base = {}) : base_(std::move(base)) {}

  /// Keys: "preset", "resize" and "crop" (pixels), "interpolation", "mean" and "std" (three numbers separated by commas, or one for all
  /// channels), "range" (255 or 1: the unit of the mean and std that are set here; 255 when not set). A preset replaces the base, not
  /// what is set beside it. Throws Error(command_line) and changes nothing for an unknown key or a bad value.
  void set(std::string_view key, std::string_view value);
  Preprocess resolve() const;

 private:
  Preprocess base_;
  std::optional<int> resize_, crop_;
  std::optional<Interpolation> interpolation_;
  std::optional<std::array<double, 3>> mean_, std_;
  double range_ = 255;
  std::string changed_;  ///< the keys set, for `source`
};

/// Reads the JSON of a model's `fcm.preprocess` or of MODEL.json: an object with any of "preset", "resize", "crop", "interpolation",
/// "mean", "std" (arrays of three numbers) and "range" (255 or 1; required beside a mean or std). What is missing is the preset's, by
/// default imagenet's. `name` stands for the text in messages and becomes the source. Throws Error(bad_input).
Preprocess parse_preprocess(std::string_view text, const std::string& name);
/// The JSON that parse_preprocess reads back to the same settings.
std::string to_json(const Preprocess& preprocess);
/// One line: the source and the settings.
std::string describe(const Preprocess& preprocess);

/// Resized and cropped, not normalised. Throws Error(bad_input) when `crop` is set and differs from the input, or for sizes out of range.
Image fit_image(const Preprocess& preprocess, const Image& image, int width, int height);

enum class ImageLayout : uint8_t { nchw, nhwc };
/// (pixel - mean) / std as float32 [3,height,width] or [height,width,3]; `out` holds exactly width * height * 3 values.
void normalise(const Preprocess& preprocess, const Image& image, ImageLayout layout, std::span<float> out);

/// The centre of width x height pixels; black around an image that is smaller.
Image center_crop(const Image& image, int width, int height);

}  // namespace fcm
