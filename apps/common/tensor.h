// Tensors of the C API as the programs use them: owning handles, elements as numbers, shapes as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fcm/fcm.hpp"

namespace fcm::apps {

class HostTensor : public api::Handle<fcm_tensor, fcm_tensor_release> {
 public:
  /// From a .npy file.
  explicit HostTensor(const std::string& path) : Handle(load(path)) {}
  /// Zero-filled.
  HostTensor(fcm_dtype dtype, const std::vector<int64_t>& dims) : Handle(make(dtype, dims)) {}

  void save(const std::string& path) const { api::check(fcm_tensor_save(get(), path.c_str())); }
  fcm_dtype dtype() const { return fcm_tensor_dtype(get()); }
  std::vector<int64_t> dims() const { return {fcm_tensor_dims(get()), fcm_tensor_dims(get()) + fcm_tensor_rank(get())}; }
  size_t bytes() const { return fcm_tensor_bytes(get()); }
  std::byte* data() { return static_cast<std::byte*>(fcm_tensor_data(get())); }
  const std::byte* data() const { return static_cast<const std::byte*>(fcm_tensor_const_data(get())); }

 private:
  static fcm_tensor* load(const std::string& path);
  static fcm_tensor* make(fcm_dtype dtype, const std::vector<int64_t>& dims);
};

size_t dtype_bytes(fcm_dtype dtype);
std::string dtype_text(fcm_dtype dtype);
/// "1x3x224x224"; "scalar" for no dimension.
std::string dims_text(const std::vector<int64_t>& dims);
/// "Bx3x224x224".
std::string port_text(const fcm_port& port);

/// `count` elements of dense data as numbers.
std::vector<double> to_numbers(fcm_dtype dtype, const std::byte* data, size_t count);

}  // namespace fcm::apps
