// TensorProto to Tensor: every way ONNX stores elements, checked before a byte is allocated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/graph/tensor.h"
#include "runtime/onnx/external_data.h"

namespace onnx {
class TensorProto;
}

namespace fcm::onnx {

inline constexpr int kLargestRank = 8;
inline constexpr int64_t kLargestDim = (int64_t{1} << 31) - 1;

/// The DType of an ONNX TensorProto.DataType, or none for strings, complex, 8-bit and smaller floats, 4- and 2-bit integers.
std::optional<DType> dtype_of(int32_t onnx_type);
/// "FLOAT8E4M3FN", or "data type 99".
std::string dtype_text(int32_t onnx_type);
/// "FLOAT, FLOAT16, ...": what `dtype_of` accepts.
std::string accepted_dtypes();

/// The contents of `tensor`, from raw data, typed fields or external data. `where` names file and tensor in messages. Throws
/// Error(bad_input): dimensions negative, above 2^31-1, more than 8 or of overflowing product; payload that does not match the
/// dimensions; values outside the type. Throws Error(unsupported) for other data types and segmented tensors.
/// Consumes the raw payload of `tensor`, so that a model's weights are not held twice.
Tensor read_tensor(::onnx::TensorProto& tensor, const std::string& where, ExternalData& external);

}  // namespace fcm::onnx
