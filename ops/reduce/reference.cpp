// Reductions on the CPU: one output element at a time, its inputs in row-major order. Sums of float32 run in double and are rounded
// once, so that the oracle's error does not grow with the extent. Integers are computed in 64 bits and stored modulo their width.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/broadcast.h"
#include "ops/reduce/reduce.h"

namespace fcm::ops {
namespace {

// Type that sums run in.
template <class T>
using Sum = std::conditional_t<std::is_same_v<T, float>, double, std::conditional_t<std::is_integral_v<T>, uint64_t, T>>;

template <class T>
bool is_nan(T v) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(v);
  return false;
}

// Calls f on every reduced element of one output, whose first lies at `x`.
template <class T, class F>
void visit_elements(const Walk<1>& walk, const T* x, F&& f) {
  for (int64_t row = 0; row < walk.rows(); ++row) {
    const T* p = x + walk.offsets(row)[0];
    for (int64_t i = 0; i < walk.inner(); ++i) f(p[i * walk.inner_stride(0)]);
  }
}

template <class T, class F>
T sum_of(const Walk<1>& walk, const T* x, const F& term) {
  Sum<T> total = 0;
  visit_elements(walk, x, [&](T v) { total += term(static_cast<Sum<T>>(v)); });
  return static_cast<T>(total);
}

// The largest (or smallest) element; NaN wins. Of nothing: the identity of the operation.
template <class T>
T extreme(const Walk<1>& walk, const T* x, bool largest) {
  using Limits = std::numeric_limits<T>;
  T best = largest ? (Limits::has_infinity ? -Limits::infinity() : Limits::lowest())
                   : (Limits::has_infinity ? Limits::infinity() : Limits::max());
  visit_elements(walk, x, [&](T v) {
    if (is_nan(best)) return;
    if (is_nan(v) || (largest ? v > best : v < best)) best = v;
  });
  return best;
}

// log(sum(exp(x))), shifted by the largest element so that it neither overflows nor vanishes.
template <class T>
T log_sum_exp(const Walk<1>& walk, const T* x) {
  const T top = extreme(walk, x, true);
  if (!std::isfinite(top)) return top;
  double total = 0.0;
  visit_elements(walk, x, [&](T v) { total += std::exp(static_cast<double>(v) - static_cast<double>(top)); });
  return static_cast<T>(static_cast<double>(top) + std::log(total));
}

template <class T>
T mean(const Walk<1>& walk, const T* x, int64_t count) {
  Sum<T> total = 0;
  visit_elements(walk, x, [&](T v) { total += static_cast<Sum<T>>(v); });
  if constexpr (std::is_integral_v<T>) return count == 0 ? T{0} : static_cast<T>(static_cast<T>(total) / static_cast<T>(count));
  return static_cast<T>(total / static_cast<Sum<T>>(count));
}

template <class T>
T product(const Walk<1>& walk, const T* x) {
  Sum<T> total = 1;
  visit_elements(walk, x, [&](T v) { total *= static_cast<Sum<T>>(v); });
  return static_cast<T>(total);
}

template <class T>
T reduce_one(ReduceFn fn, const Walk<1>& walk, const T* x, int64_t count) {
  const auto square = [](Sum<T> v) { return v * v; };
  const auto magnitude = [](Sum<T> v) {
    if constexpr (std::is_integral_v<T>)
      return std::is_signed_v<T> && static_cast<T>(v) < T{0} ? Sum<T>{0} - v : v;
    else
      return std::fabs(v);
  };
  const auto plain = [](Sum<T> v) { return v; };
  switch (fn) {
    case ReduceFn::mean:
      return mean(walk, x, count);
    case ReduceFn::sum:
      return sum_of(walk, x, plain);
    case ReduceFn::max:
      return extreme(walk, x, true);
    case ReduceFn::min:
      return extreme(walk, x, false);
    case ReduceFn::prod:
      return product(walk, x);
    case ReduceFn::l1:
      return sum_of(walk, x, magnitude);
    case ReduceFn::l2:
      return static_cast<T>(std::sqrt(static_cast<double>(sum_of(walk, x, square))));
    case ReduceFn::sum_square:
      return sum_of(walk, x, square);
    case ReduceFn::log_sum:
      return static_cast<T>(std::log(static_cast<double>(sum_of(walk, x, plain))));
    case ReduceFn::log_sum_exp:
      if constexpr (std::is_floating_point_v<T>) return log_sum_exp(walk, x);
      return T{0};  // integers are refused by infer
  }
  return T{0};
}

// Splits the axes of x into those that stay (operand strides into x) and those that are reduced.
struct ReducePlan {
  Walk<1> kept;
  Walk<1> reduced;
  int64_t count = 1;  // elements that make one output
};

ReducePlan plan_reduce(const Dims& dims, const Ints& axes) {
  const Ints strides = dense_strides(dims);
  Dims kept, reduced;
  Ints kept_strides, reduced_strides;
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool goes = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i));
    (goes ? reduced : kept).push_back(dims[i]);
    (goes ? reduced_strides : kept_strides).push_back(strides[i]);
  }
  const int64_t count = element_count(reduced);
  return {Walk<1>(kept, {kept_strides}), Walk<1>(reduced, {reduced_strides}), count};
}

template <class T>
void reduce_typed(const Reduce& op, const Tensor& x, Tensor& y) {
  const ReducePlan plan = plan_reduce(x.dims(), op.axes.value_or(Ints{}));
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  const int64_t width = plan.kept.inner();
  parallel_for(y.count(), plan.count, [&](int64_t i) {
    const int64_t start = plan.kept.offsets(i / width)[0] + (i % width) * plan.kept.inner_stride(0);
    to[i] = reduce_one(op.fn, plan.reduced, from + start, plan.count);
  });
}

// One softmax over `count` elements `stride` apart.
template <class T>
void softmax_line(bool log, const T* x, T* y, int64_t count, int64_t stride) {
  T top = x[0];
  for (int64_t i = 1; i < count; ++i) top = x[i * stride] > top ? x[i * stride] : top;
  double total = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const T shifted = x[i * stride] - top;
    const T e = std::exp(shifted);
    total += static_cast<double>(e);
    y[i * stride] = log ? shifted : e;
  }
  const T scale = log ? static_cast<T>(std::log(total)) : static_cast<T>(1.0 / total);
  for (int64_t i = 0; i < count; ++i) y[i * stride] = log ? y[i * stride] - scale : y[i * stride] * scale;
}

template <class T>
void softmax_typed(const Softmax& op, const Tensor& x, Tensor& y) {
  const size_t axis = static_cast<size_t>(op.axis);
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= x.dims()[i];
  int64_t inner = 1;
  for (size_t i = axis + 1; i < x.dims().size(); ++i) inner *= x.dims()[i];
  int64_t count = x.dims()[axis];
  if (op.flatten_from_axis) {
    // The old form: all axes from `axis` on are one.
    count *= inner;
    inner = 1;
  }
  if (x.count() == 0) return;
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  parallel_for(outer * inner, count * 8, [&](int64_t line) {
    const int64_t start = (line / inner) * count * inner + line % inner;
    softmax_line(op.log, from + start, to + start, count, inner);
  });
}

void store_narrow(const Tensor& wide, Tensor& y) {
  const Tensor converted = wide.cast(y.dtype());
  if (y.bytes() > 0) std::memcpy(y.raw(), converted.raw(), y.bytes());
}

}  // namespace

void compute(const Reduce& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  if (x.dtype() == DType::f32) return reduce_typed<float>(op, x, y);
  if (x.dtype() == DType::f64) return reduce_typed<double>(op, x, y);
  const DType wide = x.dtype() == DType::u64 ? DType::u64 : DType::i64;
  Tensor result(wide, y.dims());
  if (wide == DType::u64) {
    reduce_typed<uint64_t>(op, x, result);
  } else {
    reduce_typed<int64_t>(op, x.cast(wide), result);
  }
  store_narrow(result, y);
}

void compute(const Softmax& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return softmax_typed<double>(op, *inputs[0], outputs[0]);
  softmax_typed<float>(op, *inputs[0], outputs[0]);
}

void compute(const GlobalPool& op, Tensors inputs, std::span<Tensor> outputs) {
  Reduce reduce{op.fn == PoolFn::average ? ReduceFn::mean : ReduceFn::max, Ints{}, true, false};
  for (int64_t axis = 2; axis < inputs[0]->rank(); ++axis) reduce.axes->push_back(axis);
  compute(reduce, inputs, outputs);
}

}  // namespace fcm::ops
