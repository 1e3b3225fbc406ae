// Tensors of the C API as the programs use them.
#include "apps/common/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "runtime/support/dtype.h"

namespace fcm::apps {
namespace {

template <class T, class Convert>
void read_as(const std::byte* data, std::vector<double>& out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value{};
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(convert(value));
  }
}

template <class T>
void read_plain(const std::byte* data, std::vector<double>& out) {
  read_as<T>(data, out, [](T value) { return value; });
}

std::string factor_text(int64_t factor, bool batch) {
  if (!batch) return std::to_string(factor);
  return factor == 1 ? "B" : fmt::format("{}*B", factor);
}

}  // namespace

fcm_tensor* HostTensor::load(const std::string& path) {
  fcm_tensor* out = nullptr;
  api::check(fcm_tensor_load(path.c_str(), &out));
  return out;
}

fcm_tensor* HostTensor::make(fcm_dtype dtype, const std::vector<int64_t>& dims) {
  fcm_tensor* out = nullptr;
  api::check(fcm_tensor_create(dtype, dims.data(), dims.size(), &out));
  return out;
}

size_t dtype_bytes(fcm_dtype dtype) {
  return dtype_size(static_cast<DType>(dtype));
}

std::string dtype_text(fcm_dtype dtype) {
  return std::string(dtype_name(static_cast<DType>(dtype)));
}

std::string dims_text(const std::vector<int64_t>& dims) {
  return dims.empty() ? "scalar" : fmt::format("{}", fmt::join(dims, "x"));
}

std::string port_text(const fcm_port& port) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < port.rank; ++i) parts.push_back(factor_text(port.dims[i], port.batch_dims[i] != 0));
  return parts.empty() ? "scalar" : fmt::format("{}", fmt::join(parts, "x"));
}

std::vector<double> to_numbers(fcm_dtype dtype, const std::byte* data, size_t count) {
  std::vector<double> out(count);
  switch (dtype) {
    case FCM_FLOAT32:
      read_plain<float>(data, out);
      break;
    case FCM_FLOAT16:
      read_as<uint16_t>(data, out, f16_to_f32);
      break;
    case FCM_BFLOAT16:
      read_as<uint16_t>(data, out, bf16_to_f32);
      break;
    case FCM_FLOAT64:
      read_plain<double>(data, out);
      break;
    case FCM_INT8:
      read_plain<int8_t>(data, out);
      break;
    case FCM_UINT8:
    case FCM_BOOL:
      read_plain<uint8_t>(data, out);
      break;
    case FCM_INT16:
      read_plain<int16_t>(data, out);
      break;
    case FCM_UINT16:
      read_plain<uint16_t>(data, out);
      break;
    case FCM_INT32:
      read_plain<int32_t>(data, out);
      break;
    case FCM_UINT32:
      read_plain<uint32_t>(data, out);
      break;
    case FCM_INT64:
      read_plain<int64_t>(data, out);
      break;
    case FCM_UINT64:
      read_plain<uint64_t>(data, out);
      break;
  }
  return out;
}

}  // namespace fcm::apps
