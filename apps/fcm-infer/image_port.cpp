// How a model takes images.
#include "apps/fcm-infer/image_port.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "apps/common/program.h"

namespace fcm::apps {
namespace {

constexpr size_t kChannels = 3;
/// The library takes 8-bit pixels for NCHW wherever axis 1 could be that many channels.
constexpr int64_t kLibraryChannels = 4;

}  // namespace

ImagePort::ImagePort(const fcm_port& port, const std::string& layout) {
  const std::string what = fmt::format("input \"{}\" is {} {}", port.name, dtype_text(port.dtype), port_text(port));
  const bool is_float = port.dtype == FCM_FLOAT32 || port.dtype == FCM_FLOAT16 || port.dtype == FCM_BFLOAT16;
  if (port.rank != 4 || (!is_float && port.dtype != FCM_UINT8)) {
    throw Failure(kUnsupported, what + ", which takes no image (float or u8, Bx3xHxW or BxHxWx3); give it as [name=]file.npy");
  }
  const bool first = port.dims[1] == kChannels && port.batch_dims[1] == 0;
  const bool last = port.dims[3] == kChannels && port.batch_dims[3] == 0;
  if (!first && !last) {
    throw Failure(kUnsupported, what + ", which has no axis of 3 channels for an RGB image; give it as [name=]file.npy");
  }
  if (first && last && layout.empty())
    throw Failure(kCommandLine, what + ", which can be NCHW or NHWC; say which with --layout nchw or --layout nhwc");
  if ((layout == "nchw" && !first) || (layout == "nhwc" && !last))
    throw Failure(kCommandLine, fmt::format("--layout {}: {}", layout, what));

  const bool channels_last = layout == "nhwc" || (layout.empty() && last);
  layout_ = channels_last ? FCM_NHWC : FCM_NCHW;
  height_ = static_cast<size_t>(port.dims[channels_last ? 1 : 2]);
  width_ = static_cast<size_t>(port.dims[channels_last ? 2 : 3]);
  if (port.dtype == FCM_UINT8) {
    form_ = Form::bytes;
  } else if (channels_last && port.dims[1] <= kLibraryChannels) {
    if (port.dtype != FCM_FLOAT32)
      throw Failure(kUnsupported, what + "; an image this low is accepted for f32 only; give it as [name=]file.npy");
    form_ = Form::floats;
  }
}

size_t ImagePort::bytes_per_image() const {
  return width_ * height_ * kChannels * (form_ == Form::floats ? sizeof(float) : 1);
}

void ImagePort::write(const api::Preprocess& preprocess, const api::Image& image, std::byte* to) {
  const size_t bytes = bytes_per_image();
  if (form_ == Form::floats) {
    std::vector<float> values(width_ * height_ * kChannels);
    api::check(fcm_preprocess_apply(preprocess.get(), image.get(), width_, height_, layout_, values.data(), bytes));
    std::copy_n(reinterpret_cast<const std::byte*>(values.data()), bytes, to);
    return;
  }
  auto* pixels = reinterpret_cast<uint8_t*>(to);
  api::check(fcm_preprocess_apply_u8(preprocess.get(), image.get(), width_, height_, pixels, bytes, mean_, std_));
  if (form_ != Form::bytes || layout_ == FCM_NHWC) return;
  const std::vector<uint8_t> interleaved(pixels, pixels + bytes);
  const size_t plane = width_ * height_;
  for (size_t i = 0; i < bytes; ++i) pixels[i % kChannels * plane + i / kChannels] = interleaved[i];
}

fcm_input ImagePort::input(const std::byte* data, size_t bytes) const {
  fcm_input input = api::host_input(data, bytes);
  if (form_ != Form::normalised_by_library) return input;
  input.format = FCM_NHWC_U8;
  std::copy_n(mean_, kChannels, input.mean);
  std::copy_n(std_, kChannels, input.std);
  input.std[3] = 1;
  return input;
}

}  // namespace fcm::apps
