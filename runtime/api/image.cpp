// Images, preprocessing, tensors and labels behind the C API; the work is in runtime/image.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/api/handles.h"
#include "runtime/image/decode.h"
#include "runtime/image/file.h"
#include "runtime/image/labels.h"
#include "runtime/image/npy.h"
#include "runtime/image/preprocess.h"

struct fcm_image {
  fcm::Image image;
};

struct fcm_preprocess {
  fcm::PreprocessSettings settings;
  fcm::Preprocess resolved;
  std::string text;
};

struct fcm_tensor {
  fcm::Tensor tensor;
};

struct fcm_labels {
  std::vector<std::string> names;
};

namespace {

using fcm::Error;
using fcm::ErrorCode;

void refresh(fcm_preprocess& preprocess) {
  preprocess.resolved = preprocess.settings.resolve();
  preprocess.text = describe(preprocess.resolved);
}

// MODEL.json beside MODEL.onnx.
std::filesystem::path sidecar_of(const fcm_model& model) {
  if (model.file.empty()) return {};
  std::filesystem::path sidecar = model.file;
  sidecar.replace_extension(".json");
  std::error_code ignored;
  return std::filesystem::is_regular_file(sidecar, ignored) ? sidecar : std::filesystem::path{};
}

fcm::Preprocess settings_of(const fcm_model* model) {
  if (model == nullptr) return {};
  const auto found = model->graph->metadata.find("fcm.preprocess");
  if (found != model->graph->metadata.end()) return fcm::parse_preprocess(found->second, "the metadata of " + model->graph->name);
  const std::filesystem::path sidecar = sidecar_of(*model);
  if (sidecar.empty()) return {};
  constexpr size_t kMaxSidecarBytes = size_t{1} << 20;
  const std::vector<std::byte> bytes = fcm::read_file(sidecar.string(), "preprocessing file", kMaxSidecarBytes);
  return fcm::parse_preprocess({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, sidecar.string());
}

int checked_side(size_t side) {
  constexpr size_t kMaxSide = size_t{1} << 20;
  if (side == 0 || side > kMaxSide) throw Error(ErrorCode::command_line, fmt::format("an image side of {} pixels is not accepted", side));
  return static_cast<int>(side);
}

fcm::Image fit(const fcm_preprocess* preprocess, const fcm_image* image, size_t width, size_t height) {
  return fit_image(preprocess->resolved, image->image, checked_side(width), checked_side(height));
}

void require_bytes(size_t given, size_t needed) {
  if (given != needed) throw Error(ErrorCode::command_line, fmt::format("the image buffer must have {} bytes, it has {}", needed, given));
}

}  // namespace

fcm_status* fcm_image_load(const char* path, fcm_image** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(path != nullptr && out != nullptr, "NULL given to fcm_image_load");
    *out = new fcm_image{fcm::load_image(path)};
  });
}

fcm_status* fcm_image_decode(const void* data, size_t size, const char* name, fcm_image** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require((data != nullptr || size == 0) && name != nullptr && out != nullptr, "NULL given to fcm_image_decode");
    *out = new fcm_image{fcm::decode_image({static_cast<const std::byte*>(data), size}, name)};
  });
}

void fcm_image_release(fcm_image* image) {
  delete image;
}

size_t fcm_image_width(const fcm_image* image) {
  return image == nullptr ? 0 : static_cast<size_t>(image->image.width);
}

size_t fcm_image_height(const fcm_image* image) {
  return image == nullptr ? 0 : static_cast<size_t>(image->image.height);
}

const uint8_t* fcm_image_pixels(const fcm_image* image) {
  return image == nullptr ? nullptr : image->image.pixels.data();
}

fcm_status* fcm_preprocess_create(const fcm_model* model, fcm_preprocess** out) {
  return fcm::capi::guard(model == nullptr ? nullptr : model->log, [&] {
    fcm::capi::require(out != nullptr, "out is NULL");
    auto made = std::make_unique<fcm_preprocess>();
    made->settings = fcm::PreprocessSettings(settings_of(model));
    refresh(*made);
    *out = made.release();
  });
}

void fcm_preprocess_release(fcm_preprocess* preprocess) {
  delete preprocess;
}

fcm_status* fcm_preprocess_set(fcm_preprocess* preprocess, const char* key, const char* value) {
  return fcm::capi::guard([&] {
    fcm::capi::require(preprocess != nullptr && key != nullptr && value != nullptr, "NULL given to fcm_preprocess_set");
    preprocess->settings.set(key, value);
    refresh(*preprocess);
  });
}

const char* fcm_preprocess_text(const fcm_preprocess* preprocess) {
  return preprocess == nullptr ? nullptr : preprocess->text.c_str();
}

fcm_status* fcm_preprocess_apply(const fcm_preprocess* preprocess, const fcm_image* image, size_t width, size_t height, fcm_layout layout,
                                 float* out, size_t bytes) {
  return fcm::capi::guard([&] {
    fcm::capi::require(preprocess != nullptr && image != nullptr && out != nullptr, "NULL given to fcm_preprocess_apply");
    const fcm::Image fitted = fit(preprocess, image, width, height);
    require_bytes(bytes, fitted.pixels.size() * sizeof(float));
    const auto order = layout == FCM_NHWC ? fcm::ImageLayout::nhwc : fcm::ImageLayout::nchw;
    normalise(preprocess->resolved, fitted, order, {out, fitted.pixels.size()});
  });
}

fcm_status* fcm_preprocess_apply_u8(const fcm_preprocess* preprocess, const fcm_image* image, size_t width, size_t height, uint8_t* out,
                                    size_t bytes, float mean[3], float std[3]) {
  return fcm::capi::guard([&] {
    fcm::capi::require(preprocess != nullptr && image != nullptr && out != nullptr && mean != nullptr && std != nullptr,
                       "NULL given to fcm_preprocess_apply_u8");
    const fcm::Image fitted = fit(preprocess, image, width, height);
    require_bytes(bytes, fitted.pixels.size());
    std::copy(fitted.pixels.begin(), fitted.pixels.end(), out);
    for (size_t c = 0; c < 3; ++c) {
      mean[c] = static_cast<float>(preprocess->resolved.mean[c]);
      std[c] = static_cast<float>(preprocess->resolved.std[c]);
    }
  });
}

fcm_status* fcm_tensor_load(const char* path, fcm_tensor** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(path != nullptr && out != nullptr, "NULL given to fcm_tensor_load");
    *out = new fcm_tensor{fcm::load_npy(path)};
  });
}

fcm_status* fcm_tensor_create(fcm_dtype dtype, const int64_t* dims, size_t rank, fcm_tensor** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require((dims != nullptr || rank == 0) && out != nullptr, "NULL given to fcm_tensor_create");
    fcm::capi::require(rank <= FCM_MAX_RANK, "rank is larger than FCM_MAX_RANK");
    fcm::capi::require(dtype >= FCM_FLOAT32 && dtype <= FCM_BOOL, "unknown dtype");
    *out = new fcm_tensor{fcm::Tensor(static_cast<fcm::DType>(dtype), fcm::Dims(dims, dims + rank))};
  });
}

void fcm_tensor_release(fcm_tensor* tensor) {
  delete tensor;
}

fcm_status* fcm_tensor_save(const fcm_tensor* tensor, const char* path) {
  return fcm::capi::guard([&] {
    fcm::capi::require(tensor != nullptr && path != nullptr, "NULL given to fcm_tensor_save");
    fcm::save_npy(tensor->tensor, path);
  });
}

fcm_dtype fcm_tensor_dtype(const fcm_tensor* tensor) {
  return tensor == nullptr ? FCM_FLOAT32 : static_cast<fcm_dtype>(tensor->tensor.dtype());
}

size_t fcm_tensor_rank(const fcm_tensor* tensor) {
  return tensor == nullptr ? 0 : tensor->tensor.dims().size();
}

const int64_t* fcm_tensor_dims(const fcm_tensor* tensor) {
  return tensor == nullptr ? nullptr : tensor->tensor.dims().data();
}

size_t fcm_tensor_bytes(const fcm_tensor* tensor) {
  return tensor == nullptr ? 0 : tensor->tensor.bytes();
}

void* fcm_tensor_data(fcm_tensor* tensor) {
  return tensor == nullptr ? nullptr : tensor->tensor.raw();
}

const void* fcm_tensor_const_data(const fcm_tensor* tensor) {
  return tensor == nullptr ? nullptr : tensor->tensor.raw();
}

fcm_status* fcm_labels_load(const char* path, fcm_labels** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(path != nullptr && out != nullptr, "NULL given to fcm_labels_load");
    *out = new fcm_labels{fcm::load_labels(path)};
  });
}

fcm_status* fcm_labels_from_model(const fcm_model* model, fcm_labels** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(model != nullptr && out != nullptr, "NULL given to fcm_labels_from_model");
    const auto found = model->graph->metadata.find("fcm.labels");
    const bool present = found != model->graph->metadata.end();
    *out = present ? new fcm_labels{fcm::parse_labels(found->second, "the labels of " + model->graph->name)} : nullptr;
  });
}

void fcm_labels_release(fcm_labels* labels) {
  delete labels;
}

size_t fcm_labels_count(const fcm_labels* labels) {
  return labels == nullptr ? 0 : labels->names.size();
}

const char* fcm_labels_get(const fcm_labels* labels, size_t index) {
  return labels == nullptr || index >= labels->names.size() ? nullptr : labels->names[index].c_str();
}
