// Index operators on the CPU. Indices may come from the model's input: each is checked before anything is moved.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "ops/broadcast.h"
#include "ops/index/index.h"

namespace fcm::ops {
namespace {

// The lines along one axis: `count` elements `inner` apart.
struct Lines {
  int64_t outer = 1;
  int64_t count = 1;
  int64_t inner = 1;

  Lines(const Dims& dims, int64_t axis) {
    const auto at = static_cast<size_t>(axis);
    for (size_t i = 0; i < dims.size(); ++i) (i < at ? outer : i == at ? count : inner) *= dims[i];
  }
  int64_t total() const { return outer * inner; }
  int64_t start(int64_t line, int64_t extent) const { return line / inner * extent * inner + line % inner; }
};

int64_t index_at(const Tensor& indices, int64_t i) {
  return indices.dtype() == DType::i64 ? indices.data<int64_t>()[static_cast<size_t>(i)] : indices.data<int32_t>()[static_cast<size_t>(i)];
}

int64_t checked_index(const Tensor& indices, int64_t i, int64_t extent) {
  const int64_t index = index_at(indices, i);
  if (index < -extent || index >= extent) bad_input("index {} of an axis of {}; accepted are {} to {}", index, extent, -extent, extent - 1);
  return index < 0 ? index + extent : index;
}

// Strict order with NaN above all numbers.
template <class T>
bool above(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && !std::isnan(b);
  }
  return a > b;
}

template <class T>
bool better(bool largest, T a, T b) {
  return largest ? above(a, b) : above(b, a);
}

template <class T>
void arg_reduce_typed(const ArgReduce& op, const Tensor& x, Tensor& y) {
  const Lines lines(x.dims(), op.axis);
  const T* from = x.data<T>().data();
  int64_t* to = y.data<int64_t>().data();
  parallel_for(lines.total(), lines.count, [&](int64_t line) {
    const T* p = from + lines.start(line, lines.count);
    int64_t best = 0;
    for (int64_t i = 1; i < lines.count; ++i) {
      const T value = p[i * lines.inner];
      const T held = p[best * lines.inner];
      if (better(op.largest, value, held) || (op.select_last && !better(op.largest, held, value))) best = i;
    }
    to[line] = best;
  });
}

template <class T>
void top_k_typed(const TopK& op, const Tensor& x, Tensor& values, Tensor& places) {
  const Lines lines(x.dims(), op.axis);
  const int64_t k = op.k.value_or(0);
  const T* from = x.data<T>().data();
  T* to = values.data<T>().data();
  int64_t* indices = places.data<int64_t>().data();
  parallel_for(lines.total(), lines.count * 8, [&](int64_t line) {
    const T* p = from + lines.start(line, lines.count);
    Ints order(static_cast<size_t>(lines.count));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(), [&](int64_t a, int64_t b) {
      const T va = p[a * lines.inner];
      const T vb = p[b * lines.inner];
      return better(op.largest, va, vb) || (!better(op.largest, vb, va) && a < b);
    });
    const int64_t start = lines.start(line, k);
    for (int64_t i = 0; i < k; ++i) {
      to[start + i * lines.inner] = p[order[static_cast<size_t>(i)] * lines.inner];
      indices[start + i * lines.inner] = order[static_cast<size_t>(i)];
    }
  });
}

template <class T>
void cum_sum_typed(const CumSum& op, const Tensor& x, Tensor& y) {
  using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
  const Lines lines(x.dims(), op.axis.value_or(0));
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  parallel_for(lines.total(), lines.count, [&](int64_t line) {
    const int64_t start = lines.start(line, lines.count);
    Sum total = 0;
    for (int64_t i = 0; i < lines.count; ++i) {
      const int64_t at = start + (op.reverse ? lines.count - 1 - i : i) * lines.inner;
      const Sum before = total;
      total += static_cast<Sum>(from[at]);
      to[at] = static_cast<T>(op.exclusive ? before : total);
    }
  });
}

// Calls f with a value of the C++ type that holds the elements.
template <class F>
void with_number_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::i8:
      return f(int8_t{});
    case DType::u8:
      return f(uint8_t{});
    case DType::i16:
      return f(int16_t{});
    case DType::u16:
      return f(uint16_t{});
    case DType::i32:
      return f(int32_t{});
    case DType::u32:
      return f(uint32_t{});
    case DType::i64:
      return f(int64_t{});
    case DType::u64:
      return f(uint64_t{});
    default:
      unsupported("type {}; accepted are numbers", dtype_name(dtype));
  }
}

// The element number in X of each index tuple, of which `per_batch` follow one another for each item of the shared axes.
Ints tuple_offsets(const Tensor& indices, const Dims& x, size_t shared) {
  const Ints strides = dense_strides(x);
  const auto length = static_cast<size_t>(indices.dims().back());
  const int64_t tuples = length == 0 ? 0 : indices.count() / static_cast<int64_t>(length);
  int64_t items = 1;
  for (size_t i = 0; i < shared; ++i) items *= x[i];
  const int64_t per_item = items == 0 ? 1 : std::max<int64_t>(1, tuples / items);
  const int64_t item_size = shared == 0 ? 0 : strides[shared - 1];
  Ints offsets;
  offsets.reserve(static_cast<size_t>(tuples));
  for (int64_t t = 0; t < tuples; ++t) {
    int64_t offset = t / per_item * item_size;
    for (size_t k = 0; k < length; ++k)
      offset += checked_index(indices, t * static_cast<int64_t>(length) + static_cast<int64_t>(k), x[shared + k]) * strides[shared + k];
    offsets.push_back(offset);
  }
  return offsets;
}

// Bytes of the slice that an index tuple names.
size_t slice_bytes(const Tensor& x, size_t first_axis) {
  size_t bytes = dtype_size(x.dtype());
  for (size_t i = first_axis; i < x.dims().size(); ++i) bytes *= static_cast<size_t>(x.dims()[i]);
  return bytes;
}

}  // namespace

void compute(const ArgReduce& op, Tensors inputs, std::span<Tensor> outputs) {
  with_number_type(inputs[0]->dtype(), [&](auto zero) { arg_reduce_typed<decltype(zero)>(op, *inputs[0], outputs[0]); });
}

void compute(const TopK& op, Tensors inputs, std::span<Tensor> outputs) {
  with_number_type(inputs[0]->dtype(), [&](auto zero) { top_k_typed<decltype(zero)>(op, *inputs[0], outputs[0], outputs[1]); });
}

void compute(const CumSum& op, Tensors inputs, std::span<Tensor> outputs) {
  with_number_type(inputs[0]->dtype(), [&](auto zero) { cum_sum_typed<decltype(zero)>(op, *inputs[0], outputs[0]); });
}

void compute(const GatherElements& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  const Tensor& indices = *inputs[1];
  Tensor& y = outputs[0];
  const auto axis = static_cast<size_t>(op.axis);
  const size_t size = dtype_size(x.dtype());
  const Ints strides = dense_strides(x.dims());
  for (int64_t i = 0; i < y.count(); ++i) {
    int64_t rest = i;
    int64_t offset = checked_index(indices, i, x.dims()[axis]) * strides[axis];
    for (size_t k = y.dims().size(); k-- > 0;) {
      if (k != axis) offset += rest % y.dims()[k] * strides[k];
      rest /= y.dims()[k];
    }
    std::memcpy(y.raw() + static_cast<size_t>(i) * size, x.raw() + static_cast<size_t>(offset) * size, size);
  }
}

void compute(const GatherND& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  const auto shared = static_cast<size_t>(op.batch_dims);
  const Ints offsets = tuple_offsets(*inputs[1], x.dims(), shared);
  const size_t slice = slice_bytes(x, shared + static_cast<size_t>(inputs[1]->dims().back()));
  const size_t size = dtype_size(x.dtype());
  for (size_t t = 0; t < offsets.size() && slice > 0; ++t)
    std::memcpy(outputs[0].raw() + t * slice, x.raw() + static_cast<size_t>(offsets[t]) * size, slice);
}

void compute(const ScatterND&, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  const Ints offsets = tuple_offsets(*inputs[1], x.dims(), 0);
  const size_t slice = slice_bytes(x, static_cast<size_t>(inputs[1]->dims().back()));
  const size_t size = dtype_size(x.dtype());
  if (x.bytes() > 0) std::memcpy(outputs[0].raw(), x.raw(), x.bytes());
  for (size_t t = 0; t < offsets.size() && slice > 0; ++t)
    std::memcpy(outputs[0].raw() + static_cast<size_t>(offsets[t]) * size, inputs[2]->raw() + t * slice, slice);
}

void compute(const Trilu& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  const int64_t columns = x.dims().back();
  const int64_t rows = x.dims()[x.dims().size() - 2];
  const size_t size = dtype_size(x.dtype());
  if (x.bytes() == 0) return;
  // The kept columns of row r are [0, r + k] below and [r + k, columns) above.
  const int64_t k = std::clamp<int64_t>(op.k.value_or(0), -rows - 1, columns + 1);
  std::memset(y.raw(), 0, y.bytes());
  for (int64_t row = 0; row < x.count() / columns; ++row) {
    const int64_t diagonal = row % rows + k;
    const int64_t begin = op.upper ? std::clamp<int64_t>(diagonal, 0, columns) : 0;
    const int64_t end = op.upper ? columns : std::clamp<int64_t>(diagonal + 1, 0, columns);
    const size_t at = static_cast<size_t>(row * columns + begin) * size;
    if (end > begin) std::memcpy(y.raw() + at, x.raw() + at, static_cast<size_t>(end - begin) * size);
  }
}

}  // namespace fcm::ops
