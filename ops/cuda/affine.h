// Affine walks over tensors in device memory, and the device code that turns a thread index into element offsets. Extents and strides
// are constants in the code, except where the batch stands in them.
#pragma once

#include <string>
#include <vector>

#include "ops/cuda/step.h"

namespace fcm::ops::cuda {

/// The product; Error(unsupported) when the batch would occur twice.
Dim multiply(const Dim& a, const Dim& b);
/// Device expression of a dimension: "96", "96 * batch".
std::string expression(const Dim& dim);
/// The type of an element in device code: "half_t".
std::string device_type(DType dtype);
/// A finite or infinite number as a device literal of type double.
std::string literal(float value);

/// Element strides by ONNX axis. Extents of nhwc tensors must not hold the batch but in axis 0.
Shape strides_of(const DeviceTensor& tensor);
/// ONNX axes from outermost to innermost in memory.
std::vector<size_t> memory_order(const DeviceTensor& tensor);
/// `shape` or strides with leading entries added to reach `rank`.
Shape right_aligned(const Shape& shape, size_t rank, const Dim& fill);
/// Strides that read `tensor` as if it had shape `out` (0 along axes of extent 1), by axis of `out`.
Shape broadcast_strides(const DeviceTensor& tensor, const Shape& out);

/// An operand of a walk.
struct Operand {
  DType dtype = DType::f32;
  Shape strides;        ///< by axis of the walk
  Dim base;             ///< offset of the origin
  Dim extra;            ///< added to it: a constant beside a multiple of the batch
  int64_t lanes = 0;    ///< elements that may be read from inner coordinate 0 on (with stride 1); 0: only the real ones
  bool aligned = true;  ///< false: memory of a caller, aligned to its element only
};

/// A walk over `extents` (outermost first) with operands, the last of which is the output.
struct Walk {
  Shape extents;
  int64_t valid = 0;  ///< real elements of the innermost axis (its extent counts pad lanes); 0: all
  std::vector<Operand> operands;

  bool masked() const { return valid != 0; }
  /// Drops axes of extent 1 and merges neighbours that every operand crosses evenly. Keeps at least one axis.
  void simplify();
  /// Elements a thread handles: the largest power of two that divides the innermost extent, up to 16 bytes of the widest operand.
  int vector_width() const;
  /// How operand `i` is accessed with that width: "Mode::vector", "Mode::run" or "Mode::broadcast".
  std::string mode(size_t i, int width) const;
  /// Threads needed when each handles `width` inner elements.
  Dim threads(int width) const;
  /// Members `count` and `locate(thread, batch, offset[], inner)` of a device struct.
  std::string emit(int width) const;
};

}  // namespace fcm::ops::cuda
