#include "runtime/onnx/tensors.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "onnx.pb.h"
#include "runtime/onnx/text.h"
#include "runtime/support/error.h"

namespace fcm::onnx {
namespace {

using ::onnx::TensorProto;
static_assert(std::endian::native == std::endian::little, "raw_data is little endian and copied as it is");

constexpr std::array<std::pair<int32_t, DType>, 13> kTypes = {{{TensorProto::FLOAT, DType::f32},
                                                               {TensorProto::FLOAT16, DType::f16},
                                                               {TensorProto::BFLOAT16, DType::bf16},
                                                               {TensorProto::DOUBLE, DType::f64},
                                                               {TensorProto::INT8, DType::i8},
                                                               {TensorProto::UINT8, DType::u8},
                                                               {TensorProto::INT16, DType::i16},
                                                               {TensorProto::UINT16, DType::u16},
                                                               {TensorProto::INT32, DType::i32},
                                                               {TensorProto::UINT32, DType::u32},
                                                               {TensorProto::INT64, DType::i64},
                                                               {TensorProto::UINT64, DType::u64},
                                                               {TensorProto::BOOL, DType::boolean}}};

Dims checked_dims(const TensorProto& tensor, const std::string& where) {
  if (tensor.dims_size() > kLargestRank) malformed(where, fmt::format("rank {}; accepted: at most {}", tensor.dims_size(), kLargestRank));
  Dims dims(tensor.dims().begin(), tensor.dims().end());
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] < 0 || dims[axis] > kLargestDim) {
      malformed(where, fmt::format("dimension {} is {}; accepted: 0 to {}", axis, dims[axis], kLargestDim));
    }
  }
  return dims;
}

// Copies a typed field element by element into T; `Field` is wider than T for the small integers, whose range is checked.
template <class T, class Field>
void copy_field(const Field& field, Tensor& target, const std::string& where) {
  using Wide = typename Field::value_type;
  for (int i = 0; i < field.size(); ++i) {
    const Wide value = field.Get(i);
    if constexpr (std::is_integral_v<Wide> && sizeof(T) < sizeof(Wide)) {
      if (!std::in_range<T>(value)) malformed(where, fmt::format("element {} is {}, outside {}", i, value, dtype_name(target.dtype())));
    }
    const T narrow = static_cast<T>(value);
    std::memcpy(target.raw() + static_cast<size_t>(i) * sizeof(T), &narrow, sizeof(T));
  }
}

void copy_typed(const TensorProto& tensor, Tensor& target, const std::string& where) {
  switch (target.dtype()) {
    case DType::f32:
      return copy_field<float>(tensor.float_data(), target, where);
    case DType::f64:
      return copy_field<double>(tensor.double_data(), target, where);
    case DType::i64:
      return copy_field<int64_t>(tensor.int64_data(), target, where);
    case DType::u32:
      return copy_field<uint32_t>(tensor.uint64_data(), target, where);
    case DType::u64:
      return copy_field<uint64_t>(tensor.uint64_data(), target, where);
    case DType::i32:
      return copy_field<int32_t>(tensor.int32_data(), target, where);
    case DType::i16:
      return copy_field<int16_t>(tensor.int32_data(), target, where);
    case DType::i8:
      return copy_field<int8_t>(tensor.int32_data(), target, where);
    case DType::u8:
    case DType::boolean:
      return copy_field<uint8_t>(tensor.int32_data(), target, where);
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return copy_field<uint16_t>(tensor.int32_data(), target, where);  // 16-bit floats are stored as bit patterns
  }
}

// Elements in the typed field that belongs to `dtype`.
int64_t typed_count(const TensorProto& tensor, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return tensor.float_data_size();
    case DType::f64:
      return tensor.double_data_size();
    case DType::i64:
      return tensor.int64_data_size();
    case DType::u32:
    case DType::u64:
      return tensor.uint64_data_size();
    default:
      return tensor.int32_data_size();
  }
}

int64_t all_typed_count(const TensorProto& tensor) {
  return int64_t{tensor.float_data_size()} + tensor.double_data_size() + tensor.int64_data_size() + tensor.uint64_data_size() +
         tensor.int32_data_size() + tensor.string_data_size();
}

// A bool must hold 0 or 1 in C++; files may hold any byte.
void normalise_bools(Tensor& tensor) {
  if (tensor.dtype() != DType::boolean) return;
  for (int64_t i = 0; i < tensor.count(); ++i) {
    std::byte& byte = tensor.raw()[i];
    byte = byte == std::byte{0} ? std::byte{0} : std::byte{1};
  }
}

Tensor read_inline(TensorProto& tensor, DType dtype, Dims dims, uint64_t count, const std::string& where) {
  const std::string shape = to_string(to_shape(dims));
  const int64_t typed = typed_count(tensor, dtype);
  if (all_typed_count(tensor) != typed) malformed(where, fmt::format("holds elements in a field that is not for {}", dtype_name(dtype)));
  if (tensor.has_raw_data() && typed > 0) malformed(where, "holds both raw and typed data");
  if (!tensor.has_raw_data()) {
    if (static_cast<uint64_t>(typed) != count)
      malformed(where, fmt::format("shape {} needs {} elements, but {} are stored", shape, count, typed));
    Tensor result(dtype, std::move(dims));
    copy_typed(tensor, result, where);
    return result;
  }
  const std::string& raw = tensor.raw_data();
  if (raw.size() != count * dtype_size(dtype)) {
    malformed(where,
              fmt::format("{} {} needs {} bytes, but {} are stored", dtype_name(dtype), shape, count * dtype_size(dtype), raw.size()));
  }
  Tensor result(dtype, std::move(dims));
  if (!raw.empty()) std::memcpy(result.raw(), raw.data(), raw.size());
  delete tensor.release_raw_data();
  return result;
}

}  // namespace

std::optional<DType> dtype_of(int32_t onnx_type) {
  for (const auto& [type, dtype] : kTypes) {
    if (type == onnx_type) return dtype;
  }
  return std::nullopt;
}

std::string dtype_text(int32_t onnx_type) {
  if (!::onnx::TensorProto_DataType_IsValid(onnx_type)) return fmt::format("data type {}", onnx_type);
  return ::onnx::TensorProto_DataType_Name(static_cast<::onnx::TensorProto_DataType>(onnx_type));
}

std::string accepted_dtypes() {
  std::string text;
  for (const auto& [type, dtype] : kTypes) text += (text.empty() ? "" : ", ") + dtype_text(type);
  return text;
}

Tensor read_tensor(::onnx::TensorProto& tensor, const std::string& where, ExternalData& external) {
  const std::optional<DType> dtype = dtype_of(tensor.data_type());
  if (!dtype) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: data type {} is not supported; accepted: {}", where, dtype_text(tensor.data_type()), accepted_dtypes()));
  }
  if (tensor.has_segment()) throw Error(ErrorCode::unsupported, where + ": segmented tensors are not supported");
  Dims dims = checked_dims(tensor, where);
  uint64_t count = 0;
  try {
    count = static_cast<uint64_t>(element_count(dims));
  } catch (const Error& e) {
    malformed(where, e.what());
  }
  if (count > (uint64_t{1} << 40U)) malformed(where, fmt::format("{} elements; accepted: at most 2^40", count));
  if (tensor.data_location() != TensorProto::EXTERNAL) {
    Tensor result = read_inline(tensor, *dtype, std::move(dims), count, where);
    normalise_bools(result);
    return result;
  }
  if (tensor.has_raw_data() || all_typed_count(tensor) > 0) malformed(where, "holds both inline and external data");
  const uint64_t bytes = count * dtype_size(*dtype);
  const ExternalData::Slice slice = external.locate(tensor, bytes, where);
  Tensor result(*dtype, std::move(dims));
  ExternalData::read(slice, result.raw(), result.bytes(), where);
  normalise_bools(result);
  return result;
}

}  // namespace fcm::onnx
