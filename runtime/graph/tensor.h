// A tensor in host memory: dense, row-major, ONNX axis order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "runtime/graph/shape.h"
#include "runtime/support/dtype.h"

namespace fcm {

class Tensor {
 public:
  Tensor() = default;
  /// Zero-filled. Throws Error(bad_input) when the byte size overflows, Error(out_of_memory) when it cannot be had.
  Tensor(DType dtype, Dims dims);

  /// A tensor in memory that somebody else laid out: `storage` holds at least its bytes, suitably aligned, and is kept alive.
  static Tensor over(DType dtype, Dims dims, std::shared_ptr<std::byte[]> storage);

  /// A float32 / int64 tensor from values, for tests and constants.
  static Tensor floats(Dims dims, std::span<const float> values);
  static Tensor ints(Dims dims, std::span<const int64_t> values);
  static Tensor scalar(float value);

  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }
  int64_t count() const { return count_; }
  size_t bytes() const { return static_cast<size_t>(count_) * dtype_size(dtype_); }

  std::byte* raw() { return storage_.get(); }
  const std::byte* raw() const { return storage_.get(); }

  /// Typed view; T must be the C++ type of dtype() (uint16_t for f16 and bf16, bool for boolean), checked: Error(internal).
  template <class T>
  std::span<T> data() {
    check_type(sizeof(T), std::is_floating_point_v<T>);
    return {reinterpret_cast<T*>(storage_.get()), static_cast<size_t>(count_)};
  }
  template <class T>
  std::span<const T> data() const {
    check_type(sizeof(T), std::is_floating_point_v<T>);
    return {reinterpret_cast<const T*>(storage_.get()), static_cast<size_t>(count_)};
  }

  /// Same storage, other dimensions of equal element count.
  Tensor reshaped(Dims dims) const;
  /// Converts every element; ONNX Cast semantics (float to int truncates toward zero).
  Tensor cast(DType to) const;
  Tensor clone() const;

 private:
  void check_type(size_t size, bool floating) const;

  DType dtype_ = DType::f32;
  Dims dims_;
  int64_t count_ = 0;
  std::shared_ptr<std::byte[]> storage_;  // copies of a Tensor share storage: treat a shared tensor as immutable
};

}  // namespace fcm
