// How a model takes images: the layout and size of its input, and writing a preprocessed image into a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "apps/common/tensor.h"

namespace fcm::apps {

class ImagePort {
 public:
  /// Told from the port's shape: 3 channels at axis 1 or at axis 3. `layout` ("nchw", "nhwc" or "") decides where both are. Throws
  /// Failure(kCommandLine) for a shape that is ambiguous or contradicts `layout`, Failure(kUnsupported) when the port takes no RGB image.
  ImagePort(const fcm_port& port, const std::string& layout);

  size_t width() const { return width_; }
  size_t height() const { return height_; }
  size_t bytes_per_image() const;
  /// Resizes, crops and, for a plain float32 buffer, normalises `image` into `to` (bytes_per_image).
  void write(const api::Preprocess& preprocess, const api::Image& image, std::byte* to);
  /// The buffer of a run; call after the writes.
  fcm_input input(const std::byte* data, size_t bytes) const;

 private:
  /// The library normalises bytes on the device (a quarter of the upload); not where it would take the layout for another.
  enum class Form : uint8_t { normalised_by_library, floats, bytes };

  Form form_ = Form::normalised_by_library;
  fcm_layout layout_ = FCM_NCHW;
  size_t width_ = 0;
  size_t height_ = 0;
  float mean_[3] = {0, 0, 0};
  float std_[3] = {1, 1, 1};
};

}  // namespace fcm::apps
