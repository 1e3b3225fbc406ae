#include "runtime/graph/tensor.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "runtime/support/error.h"

namespace fcm {
namespace {

// Reads and writes one element as double or int64; the pair of types covers every DType without loss.
double load_float(DType t, const std::byte* p) {
  const auto get = [p]<class T>(T) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
  };
  switch (t) {
    case DType::f32:
      return get(float{});
    case DType::f64:
      return get(double{});
    case DType::f16:
      return f16_to_f32(get(uint16_t{}));
    default:
      return bf16_to_f32(get(uint16_t{}));
  }
}

int64_t load_int(DType t, const std::byte* p) {
  const auto get = [p]<class T>(T) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return static_cast<int64_t>(v);
  };
  switch (t) {
    case DType::i8:
      return get(int8_t{});
    case DType::u8:
      return get(uint8_t{});
    case DType::boolean:
      return get(uint8_t{}) != 0;
    case DType::i16:
      return get(int16_t{});
    case DType::u16:
      return get(uint16_t{});
    case DType::i32:
      return get(int32_t{});
    case DType::u32:
      return get(uint32_t{});
    default:
      return get(int64_t{});
  }
}

template <class T>
void put(std::byte* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

void store_float(DType t, std::byte* p, double v) {
  switch (t) {
    case DType::f64:
      return put(p, v);
    case DType::f16:
      return put(p, f32_to_f16(static_cast<float>(v)));
    case DType::bf16:
      return put(p, f32_to_bf16(static_cast<float>(v)));
    default:
      return put(p, static_cast<float>(v));
  }
}

void store_int(DType t, std::byte* p, int64_t v) {
  switch (dtype_size(t)) {
    case 1:
      return t == DType::boolean ? put(p, static_cast<uint8_t>(v != 0)) : put(p, static_cast<uint8_t>(v));
    case 2:
      return put(p, static_cast<uint16_t>(v));
    case 4:
      return put(p, static_cast<uint32_t>(v));
    default:
      return put(p, v);
  }
}

// Toward zero; outside int64 (and for NaN, which becomes 0) the nearest bound, since C++ leaves that undefined.
int64_t truncate(double v) {
  if (std::isnan(v)) return 0;
  if (v >= 9223372036854775807.0) return std::numeric_limits<int64_t>::max();
  if (v <= -9223372036854775808.0) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(v);
}

}  // namespace

Tensor::Tensor(DType dtype, Dims dims) : dtype_(dtype), dims_(std::move(dims)), count_(element_count(dims_)) {
  constexpr int64_t kMaxBytes = int64_t{1} << 40;
  if (count_ > kMaxBytes / static_cast<int64_t>(dtype_size(dtype)))
    throw Error(ErrorCode::bad_input, fmt::format("a {} tensor of {} elements is larger than 2^40 bytes", dtype_name(dtype), count_));
  try {
    storage_ = std::make_shared<std::byte[]>(bytes());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, fmt::format("out of host memory for a tensor of {} bytes", bytes()));
  }
}

Tensor Tensor::over(DType dtype, Dims dims, std::shared_ptr<std::byte[]> storage) {
  Tensor t;
  t.dtype_ = dtype;
  t.dims_ = std::move(dims);
  t.count_ = element_count(t.dims_);
  t.storage_ = std::move(storage);
  return t;
}

Tensor Tensor::floats(Dims dims, std::span<const float> values) {
  Tensor t(DType::f32, std::move(dims));
  if (static_cast<size_t>(t.count()) != values.size()) throw Error(ErrorCode::internal, "Tensor::floats: count differs from dims");
  if (!values.empty()) std::memcpy(t.raw(), values.data(), t.bytes());
  return t;
}

Tensor Tensor::ints(Dims dims, std::span<const int64_t> values) {
  Tensor t(DType::i64, std::move(dims));
  if (static_cast<size_t>(t.count()) != values.size()) throw Error(ErrorCode::internal, "Tensor::ints: count differs from dims");
  if (!values.empty()) std::memcpy(t.raw(), values.data(), t.bytes());
  return t;
}

Tensor Tensor::scalar(float value) {
  return floats({}, std::span(&value, 1));
}

Tensor Tensor::reshaped(Dims dims) const {
  if (element_count(dims) != count_) throw Error(ErrorCode::internal, "Tensor::reshaped: element count differs");
  Tensor t = *this;
  t.dims_ = std::move(dims);
  return t;
}

Tensor Tensor::cast(DType to) const {
  if (to == dtype_) return *this;
  Tensor out(to, dims_);
  const size_t from_size = dtype_size(dtype_);
  const size_t to_size = dtype_size(to);
  for (int64_t i = 0; i < count_; ++i) {
    const std::byte* source = raw() + static_cast<size_t>(i) * from_size;
    std::byte* target = out.raw() + static_cast<size_t>(i) * to_size;
    if (is_float(dtype_)) {
      const double v = load_float(dtype_, source);
      if (is_float(to)) {
        store_float(to, target, v);
      } else {
        store_int(to, target, to == DType::boolean ? static_cast<int64_t>(v != 0.0) : truncate(v));
      }
    } else {
      const int64_t v = load_int(dtype_, source);
      if (is_float(to)) {
        store_float(to, target, dtype_ == DType::u64 ? static_cast<double>(static_cast<uint64_t>(v)) : static_cast<double>(v));
      } else {
        store_int(to, target, v);
      }
    }
  }
  return out;
}

Tensor Tensor::clone() const {
  Tensor out(dtype_, dims_);
  if (bytes() > 0) std::memcpy(out.raw(), raw(), bytes());
  return out;
}

void Tensor::check_type(size_t size, bool floating) const {
  const bool stored_as_float = dtype_ == DType::f32 || dtype_ == DType::f64;
  if (size != dtype_size(dtype_) || floating != stored_as_float)
    throw Error(ErrorCode::internal, fmt::format("Tensor::data: wrong element type for {}", dtype_name(dtype_)));
}

}  // namespace fcm
