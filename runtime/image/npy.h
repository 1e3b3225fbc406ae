// NumPy .npy files to and from tensors.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/graph/tensor.h"

namespace fcm {

/// Reads format versions 1, 2 and 3, little-endian, every DType that NumPy has; `V2` (what NumPy makes of ml_dtypes' bfloat16) is read as
/// bf16. Fortran order is transposed to row-major. Throws Error(bad_input), or Error(unsupported) for big-endian, structured, complex or
/// text arrays; either names the file.
Tensor load_npy(const std::string& path);
/// The same from memory; `name` stands for the file in messages.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name);

/// Writes format version 1, atomically (see write_file). NumPy has no bfloat16: a bf16 tensor is written as float32, which holds its values
/// exactly and opens everywhere.
void save_npy(const Tensor& tensor, const std::string& path);

}  // namespace fcm
