// Elementwise operators on the CPU. Floats in float32 (double for f64). Integers of every width are computed in 64 bits and stored
// modulo their own width, which equals arithmetic in their own type; u64 has its own order and division.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/broadcast.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/elementwise.h"

namespace fcm::ops {
namespace {

constexpr int64_t kBlock = 4096;  // elements of one parallel item

template <class Body>
void for_blocks(int64_t count, Body&& body) {
  parallel_for((count + kBlock - 1) / kBlock, kBlock, [&](int64_t block) {
    const int64_t begin = block * kBlock;
    body(begin, std::min(kBlock, count - begin));
  });
}

void copy_into(const Tensor& from, Tensor& to) {
  if (to.bytes() > 0) std::memcpy(to.raw(), from.raw(), to.bytes());
}

// y[row][i] = f(a, b); the common inner strides have loops of their own, which vectorise.
template <class T, class R, class F>
void zip(const Walk<2>& walk, const T* a, const T* b, R* y, const F& f) {
  const int64_t count = walk.inner();
  const int64_t sa = walk.inner_stride(0);
  const int64_t sb = walk.inner_stride(1);
  parallel_for(walk.rows(), count, [&](int64_t row) {
    const auto start = walk.offsets(row);
    const T* x = a + start[0];
    const T* z = b + start[1];
    R* out = y + row * count;
    if (sa == 1 && sb == 1) {
      for (int64_t i = 0; i < count; ++i) out[i] = f(x[i], z[i]);
    } else if (sa == 1 && sb == 0) {
      const T scalar = *z;
      for (int64_t i = 0; i < count; ++i) out[i] = f(x[i], scalar);
    } else {
      for (int64_t i = 0; i < count; ++i) out[i] = f(x[i * sa], z[i * sb]);
    }
  });
}

template <class T>
T power(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::pow(a, b);
  } else {
    if (b < T{1}) return b == T{0} || a == T{1} ? T{1} : T{0};
    uint64_t result = 1;
    uint64_t base = static_cast<uint64_t>(a);
    for (auto n = static_cast<uint64_t>(b); n > 0; n >>= 1) {
      if ((n & 1) != 0) result *= base;
      base *= base;
    }
    return static_cast<T>(result);
  }
}

// Division of integers truncates. The divisor is not 0 (checked before); min / -1 wraps.
template <class T>
T divide(T a, T b) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
    if (b == T{-1}) return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(a));
  }
  return a / b;
}

template <class T>
T remainder(T a, T b, bool sign_of_divisor) {
  if constexpr (std::is_floating_point_v<T>) {
    const T r = std::fmod(a, b);
    return sign_of_divisor && r != T{0} && (r < T{0}) != (b < T{0}) ? r + b : r;
  } else {
    if constexpr (std::is_signed_v<T>) {
      if (b == T{-1}) return T{0};
    }
    const T r = a % b;
    if constexpr (std::is_signed_v<T>) {
      if (sign_of_divisor && r != T{0} && (r < T{0}) != (b < T{0})) return r + b;
    }
    return r;
  }
}

// NaN wins, as in numpy's minimum and maximum.
template <class T>
T least(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
  }
  return a < b ? a : b;
}
template <class T>
T greatest(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
  }
  return a > b ? a : b;
}

// Sums and products of integers wrap.
template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;

template <class T>
void arithmetic(BinaryFn fn, const Walk<2>& walk, const T* a, const T* b, T* y) {
  using W = Wrapping<T>;
  switch (fn) {
    case BinaryFn::add:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>(static_cast<W>(p) + static_cast<W>(q)); });
    case BinaryFn::sub:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>(static_cast<W>(p) - static_cast<W>(q)); });
    case BinaryFn::mul:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>(static_cast<W>(p) * static_cast<W>(q)); });
    case BinaryFn::div:
      return zip(walk, a, b, y, [](T p, T q) { return divide(p, q); });
    case BinaryFn::pow:
      return zip(walk, a, b, y, [](T p, T q) { return power(p, q); });
    case BinaryFn::mod:
      return zip(walk, a, b, y, [](T p, T q) { return remainder(p, q, true); });
    case BinaryFn::fmod:
      return zip(walk, a, b, y, [](T p, T q) { return remainder(p, q, false); });
    case BinaryFn::min:
      return zip(walk, a, b, y, [](T p, T q) { return least(p, q); });
    case BinaryFn::max:
      return zip(walk, a, b, y, [](T p, T q) { return greatest(p, q); });
    case BinaryFn::prelu:
      return zip(walk, a, b, y, [](T p, T q) { return p < T{0} ? static_cast<T>(static_cast<W>(p) * static_cast<W>(q)) : p; });
    case BinaryFn::logical_and:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>(p != T{0} && q != T{0}); });
    case BinaryFn::logical_or:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>(p != T{0} || q != T{0}); });
    case BinaryFn::logical_xor:
      return zip(walk, a, b, y, [](T p, T q) { return static_cast<T>((p != T{0}) != (q != T{0})); });
    default:
      throw Error(ErrorCode::internal, "Binary: a comparison among arithmetic");
  }
}

// True when `fn` is a comparison, which writes booleans.
template <class T>
bool compare(BinaryFn fn, const Walk<2>& walk, const T* a, const T* b, Tensor& y) {
  const auto run = [&](const auto& f) {
    zip(walk, a, b, y.data<bool>().data(), f);
    return true;
  };
  switch (fn) {
    case BinaryFn::equal:
      return run([](T p, T q) { return p == q; });
    case BinaryFn::less:
      return run([](T p, T q) { return p < q; });
    case BinaryFn::less_equal:
      return run([](T p, T q) { return p <= q; });
    case BinaryFn::greater:
      return run([](T p, T q) { return p > q; });
    case BinaryFn::greater_equal:
      return run([](T p, T q) { return p >= q; });
    default:
      return false;
  }
}

// Both inputs of type T; y of type T, or boolean for a comparison.
template <class T>
void binary_typed(const Binary& op, const Tensor& a, const Tensor& b, Tensor& y) {
  const Walk<2> walk(y.dims(), {broadcast_strides(a.dims(), y.dims()), broadcast_strides(b.dims(), y.dims())});
  const T* p = a.data<T>().data();
  const T* q = b.data<T>().data();
  if (compare(op.fn, walk, p, q, y)) return;
  T* out = y.data<T>().data();
  arithmetic(op.fn, walk, p, q, out);
  if constexpr (std::is_floating_point_v<T>) {
    if (!op.activation.is_identity())
      for_blocks(y.count(), [&](int64_t begin, int64_t count) { activate(op.activation, out + begin, count); });
  }
}

void check_divisor(BinaryFn fn, const Tensor& b) {
  if (fn != BinaryFn::div && fn != BinaryFn::mod && fn != BinaryFn::fmod) return;
  const auto values = b.data<int64_t>();
  if (std::find(values.begin(), values.end(), 0) != values.end()) bad_input("integer division by zero");
}

// Integers through a 64-bit type, f32 and f64 as they are.
void binary_in(const Binary& op, DType t, const Tensor& a, const Tensor& b, Tensor& y) {
  if (t == DType::f32) return binary_typed<float>(op, a, b, y);
  if (t == DType::f64) return binary_typed<double>(op, a, b, y);
  const DType wide = t == DType::u64 ? DType::u64 : DType::i64;
  const Tensor p = a.cast(wide);
  const Tensor q = b.cast(wide);
  check_divisor(op.fn, q);
  const bool direct = y.dtype() == wide || is_comparison(op.fn);
  Tensor result = direct ? y : Tensor(wide, y.dims());
  if (wide == DType::u64) {
    binary_typed<uint64_t>(op, p, q, result);
  } else {
    binary_typed<int64_t>(op, p, q, result);
  }
  if (!direct) copy_into(result.cast(y.dtype()), y);
}

template <class T>
void unary_integer(const Unary& u, const T* x, T* y, int64_t count) {
  // The bounds of Clip in T, those beyond its range at its ends.
  const auto bound = [](float v) {
    if (!(v > static_cast<float>(std::numeric_limits<T>::lowest()))) return std::numeric_limits<T>::lowest();
    return v >= static_cast<float>(std::numeric_limits<T>::max()) ? std::numeric_limits<T>::max() : static_cast<T>(v);
  };
  const T low = bound(u.a);
  const T high = bound(u.b);
  for (int64_t i = 0; i < count; ++i) {
    const T v = x[i];
    const T negated = static_cast<T>(uint64_t{0} - static_cast<uint64_t>(v));
    switch (u.fn) {
      case UnaryFn::abs:
        y[i] = v < T{0} ? negated : v;
        break;
      case UnaryFn::neg:
        y[i] = negated;
        break;
      case UnaryFn::sign:
        y[i] = v < T{0} ? static_cast<T>(-1) : static_cast<T>(v > T{0} ? 1 : 0);
        break;
      case UnaryFn::relu:
        y[i] = std::max(v, T{0});
        break;
      case UnaryFn::clip:
        y[i] = std::min(std::max(v, low), high);
        break;
      case UnaryFn::logical_not:
        y[i] = v == T{0} ? T{1} : T{0};
        break;
      default:
        y[i] = v;
    }
  }
}

template <class T>
void unary_float(const Unary& u, const Tensor& x, Tensor& y) {
  const T* from = x.data<T>().data();
  if (u.fn == UnaryFn::is_nan) {
    const auto to = y.data<bool>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = std::isnan(from[i]);
    return;
  }
  T* to = y.data<T>().data();
  for_blocks(x.count(), [&](int64_t begin, int64_t count) {
    std::copy_n(from + begin, count, to + begin);
    activate(u, to + begin, count);
  });
}

template <class T>
void batch_norm(const BatchNorm& op, Tensors inputs, Tensor& y) {
  const Tensor& x = *inputs[0];
  const DType t = x.dtype();
  const std::array parameters = {inputs[1]->cast(t), inputs[2]->cast(t), inputs[3]->cast(t), inputs[4]->cast(t)};
  const auto value = [&](size_t which, int64_t channel) { return parameters[which].template data<T>()[static_cast<size_t>(channel)]; };
  const int64_t channels = x.dims()[1];
  int64_t spatial = 1;
  for (size_t axis = 2; axis < x.dims().size(); ++axis) spatial *= x.dims()[axis];
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  parallel_for(x.dims()[0] * channels, spatial, [&](int64_t row) {
    const int64_t c = row % channels;
    const T scale = value(0, c) / std::sqrt(value(3, c) + static_cast<T>(op.epsilon));
    const T shift = value(1, c) - value(2, c) * scale;
    for (int64_t i = row * spatial; i < (row + 1) * spatial; ++i) to[i] = from[i] * scale + shift;
  });
}

template <class T>
void select_typed(const Walk<3>& walk, const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y) {
  const uint8_t* c = reinterpret_cast<const uint8_t*>(condition.raw());
  const T* p = reinterpret_cast<const T*>(a.raw());
  const T* q = reinterpret_cast<const T*>(b.raw());
  T* out = reinterpret_cast<T*>(y.raw());
  const int64_t count = walk.inner();
  parallel_for(walk.rows(), count, [&](int64_t row) {
    const auto start = walk.offsets(row);
    for (int64_t i = 0; i < count; ++i) {
      const bool first = c[start[0] + i * walk.inner_stride(0)] != 0;
      out[row * count + i] = first ? p[start[1] + i * walk.inner_stride(1)] : q[start[2] + i * walk.inner_stride(2)];
    }
  });
}

}  // namespace

void compute(const UnaryOp& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  if (x.dtype() == DType::f32) return unary_float<float>(op.u, x, y);
  if (x.dtype() == DType::f64) return unary_float<double>(op.u, x, y);
  if (op.u.is_identity()) return copy_into(x, y);
  const DType wide = x.dtype() == DType::u64 ? DType::u64 : DType::i64;
  const Tensor p = x.cast(wide);
  Tensor result(wide, y.dims());
  if (wide == DType::u64) {
    unary_integer(op.u, p.data<uint64_t>().data(), result.data<uint64_t>().data(), y.count());
  } else {
    unary_integer(op.u, p.data<int64_t>().data(), result.data<int64_t>().data(), y.count());
  }
  copy_into(result.cast(y.dtype()), y);
}

void compute(const Binary& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& a = *inputs[0];
  const Tensor& b = *inputs[1];
  Tensor& y = outputs[0];
  if (a.dtype() == b.dtype()) return binary_in(op, a.dtype(), a, b, y);
  // Only Pow mixes types: computed in double, stored as the base's type.
  Tensor wide(DType::f64, y.dims());
  binary_in(op, DType::f64, a.cast(DType::f64), b.cast(DType::f64), wide);
  copy_into(wide.cast(y.dtype()), y);
}

void compute(const Elementwise& op, Tensors inputs, std::span<Tensor> outputs) {
  std::vector<const Tensor*> operands(inputs.begin(), inputs.end());
  std::vector<Tensor> made;
  made.reserve(op.parts.size());
  for (const Elementwise::Part& part : op.parts) {
    const Tensor& a = *operands[part.a];
    std::vector<const Tensor*> read = {&a};
    if (part.fn) read.push_back(operands[part.b]);
    const Dims dims = part.fn ? at_batch(broadcast(to_shape(a.dims()), to_shape(read[1]->dims())), 1) : a.dims();
    Tensor& y = &part == &op.parts.back() ? outputs[0] : made.emplace_back(a.dtype(), dims);
    if (part.fn) {
      compute(Binary{*part.fn, part.activation}, read, {&y, 1});
    } else {
      compute(UnaryOp{part.activation}, read, {&y, 1});
    }
    operands.push_back(&y);
  }
}

void compute(const Select&, Tensors inputs, std::span<Tensor> outputs) {
  Tensor& y = outputs[0];
  const auto strides = [&](size_t i) { return broadcast_strides(inputs[i]->dims(), y.dims()); };
  const Walk<3> walk(y.dims(), {strides(0), strides(1), strides(2)});
  switch (dtype_size(y.dtype())) {
    case 1:
      return select_typed<uint8_t>(walk, *inputs[0], *inputs[1], *inputs[2], y);
    case 2:
      return select_typed<uint16_t>(walk, *inputs[0], *inputs[1], *inputs[2], y);
    case 4:
      return select_typed<uint32_t>(walk, *inputs[0], *inputs[1], *inputs[2], y);
    default:
      return select_typed<uint64_t>(walk, *inputs[0], *inputs[1], *inputs[2], y);
  }
}

void compute(const Cast& op, Tensors inputs, std::span<Tensor> outputs) {
  copy_into(inputs[0]->cast(op.to), outputs[0]);
}

void compute(const BatchNorm& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return batch_norm<double>(op, inputs, outputs[0]);
  batch_norm<float>(op, inputs, outputs[0]);
}

}  // namespace fcm::ops
