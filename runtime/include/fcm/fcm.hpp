// Header-only C++17 wrapper of fcm.h: owning handles, and fcm::api::Error in place of status codes. See fcm.h for the contracts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fcm/fcm.h"

namespace fcm {
namespace api {

class Error : public std::runtime_error {
 public:
  Error(fcm_status_code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  fcm_status_code code() const { return code_; }

 private:
  fcm_status_code code_;
};

/// Throws Error, and releases `status`, unless it is success.
inline void check(fcm_status* status) {
  if (status == nullptr) return;
  const std::unique_ptr<fcm_status, void (*)(fcm_status*)> owner(status, fcm_status_release);
  throw Error(fcm_status_get_code(status), fcm_status_message(status));
}

/// Owns a C handle; `get()` gives it to functions of fcm.h.
template <class T, void (*Release)(T*)>
class Handle {
 public:
  T* get() const { return handle_.get(); }
  explicit operator bool() const { return handle_ != nullptr; }

 protected:
  explicit Handle(T* handle) : handle_(handle, Release) {}

 private:
  std::unique_ptr<T, void (*)(T*)> handle_;
};

class Options : public Handle<fcm_options, fcm_options_release> {
 public:
  Options() : Handle(make()) {}
  Options& set(const std::string& key, const std::string& value) {
    check(fcm_options_set(get(), key.c_str(), value.c_str()));
    return *this;
  }

 private:
  static fcm_options* make() {
    fcm_options* out = nullptr;
    check(fcm_options_create(FCM_ABI_VERSION, &out));
    return out;
  }
};

class Model : public Handle<fcm_model, fcm_model_release> {
 public:
  explicit Model(const std::string& path, const Options& options = {}) : Handle(load(path, options)) {}
  Model(const void* data, std::size_t size, const std::string& name, const Options& options = {})
      : Handle(load(data, size, name, options)) {}

 private:
  static fcm_model* load(const std::string& path, const Options& options) {
    fcm_model* out = nullptr;
    check(fcm_model_load(path.c_str(), options.get(), &out));
    return out;
  }
  static fcm_model* load(const void* data, std::size_t size, const std::string& name, const Options& options) {
    fcm_model* out = nullptr;
    check(fcm_model_load_memory(data, size, name.c_str(), nullptr, options.get(), &out));
    return out;
  }
};

class Engine : public Handle<fcm_engine, fcm_engine_release> {
 public:
  explicit Engine(const Model& model, const Options& options = {}) : Handle(make(model, options)) {}

  std::vector<fcm_port> inputs() const { return ports(fcm_engine_input_count(get()), fcm_engine_input); }
  std::vector<fcm_port> outputs() const { return ports(fcm_engine_output_count(get()), fcm_engine_output); }
  std::string property(const std::string& key) const {
    const char* text = fcm_engine_property(get(), key.c_str());
    return text == nullptr ? std::string() : std::string(text);
  }
  fcm_memory memory(std::int64_t max_batch) const {
    fcm_memory out{};
    check(fcm_engine_memory(get(), max_batch, &out));
    return out;
  }

 private:
  static fcm_engine* make(const Model& model, const Options& options) {
    fcm_engine* out = nullptr;
    check(fcm_engine_create(model.get(), options.get(), &out));
    return out;
  }
  std::vector<fcm_port> ports(std::size_t count, fcm_status* (*read)(const fcm_engine*, std::size_t, fcm_port*)) const {
    std::vector<fcm_port> out(count);
    for (std::size_t i = 0; i < count; ++i) check(read(get(), i, &out[i]));
    return out;
  }
};

class Context : public Handle<fcm_context, fcm_context_release> {
 public:
  explicit Context(const Engine& engine, std::int64_t max_batch = 1) : Handle(make(engine, max_batch)) {}

  void prepare(std::int64_t batch) { check(fcm_context_prepare(get(), batch)); }
  void run(std::int64_t batch, const std::vector<fcm_input>& inputs, const std::vector<fcm_output>& outputs, void* stream = nullptr) {
    check(fcm_context_run(get(), batch, inputs.data(), inputs.size(), outputs.data(), outputs.size(), stream));
  }

 private:
  static fcm_context* make(const Engine& engine, std::int64_t max_batch) {
    fcm_context* out = nullptr;
    check(fcm_context_create(engine.get(), max_batch, &out));
    return out;
  }
};

class Image : public Handle<fcm_image, fcm_image_release> {
 public:
  explicit Image(const std::string& path) : Handle(load(path)) {}
  std::size_t width() const { return fcm_image_width(get()); }
  std::size_t height() const { return fcm_image_height(get()); }
  const std::uint8_t* pixels() const { return fcm_image_pixels(get()); }

 private:
  static fcm_image* load(const std::string& path) {
    fcm_image* out = nullptr;
    check(fcm_image_load(path.c_str(), &out));
    return out;
  }
};

class Preprocess : public Handle<fcm_preprocess, fcm_preprocess_release> {
 public:
  explicit Preprocess(const Model& model) : Handle(make(model)) {}
  Preprocess& set(const std::string& key, const std::string& value) {
    check(fcm_preprocess_set(get(), key.c_str(), value.c_str()));
    return *this;
  }
  /// [3,height,width] or [height,width,3], normalised.
  std::vector<float> apply(const Image& image, std::size_t width, std::size_t height, fcm_layout layout = FCM_NCHW) const {
    std::vector<float> out(width * height * 3);
    check(fcm_preprocess_apply(get(), image.get(), width, height, layout, out.data(), out.size() * sizeof(float)));
    return out;
  }

 private:
  static fcm_preprocess* make(const Model& model) {
    fcm_preprocess* out = nullptr;
    check(fcm_preprocess_create(model.get(), &out));
    return out;
  }
};

/// A host buffer of the model's dtype as an input / output of a run.
inline fcm_input host_input(const void* data, std::size_t bytes) {
  fcm_input input{};
  input.data = data;
  input.bytes = bytes;
  input.space = FCM_HOST;
  input.format = FCM_AS_MODEL;
  return input;
}
inline fcm_output host_output(void* data, std::size_t bytes) {
  fcm_output output{};
  output.data = data;
  output.bytes = bytes;
  output.space = FCM_HOST;
  return output;
}

}  // namespace api
}  // namespace fcm
