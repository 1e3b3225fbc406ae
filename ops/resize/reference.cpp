// Resize on the CPU, one axis after the other: each is a table of what an output reads.
#include <cstring>

#include "ops/parallel.h"
#include "ops/resize/resize.h"
#include "ops/resize/table.h"

namespace fcm::ops {
namespace {

int64_t product(const Dims& dims, size_t begin, size_t end) {
  int64_t total = 1;
  for (size_t i = begin; i < end; ++i) total *= dims[i];
  return total;
}

// Nearest moves elements, whatever their type.
void copy_axis(const ResizeTable& table, const Tensor& x, size_t axis, Tensor& y) {
  const int64_t inner = product(x.dims(), axis + 1, x.dims().size()) * static_cast<int64_t>(dtype_size(x.dtype()));
  const int64_t in = x.dims()[axis];
  const int64_t out = y.dims()[axis];
  parallel_for(product(x.dims(), 0, axis) * out, inner, [&](int64_t row) {
    const int64_t source = row / out * in + table.index[static_cast<size_t>(row % out)];
    std::memcpy(y.raw() + row * inner, x.raw() + source * inner, static_cast<size_t>(inner));
  });
}

template <class T>
void blend_axis(const ResizeTable& table, const Tensor& x, size_t axis, Tensor& y) {
  const int64_t inner = product(x.dims(), axis + 1, x.dims().size());
  const int64_t in = x.dims()[axis];
  const int64_t out = y.dims()[axis];
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  parallel_for(product(x.dims(), 0, axis) * out, inner * table.taps, [&](int64_t row) {
    const T* plane = from + row / out * in * inner;
    const size_t first = static_cast<size_t>(row % out * table.taps);
    for (int64_t i = 0; i < inner; ++i) {
      T sum = 0;
      for (size_t k = first; k < first + static_cast<size_t>(table.taps); ++k)
        sum += static_cast<T>(table.weight[k]) * plane[table.index[k] * inner + i];
      to[row * inner + i] = sum;
    }
  });
}

}  // namespace

void compute(const Resize& op, Tensors inputs, std::span<Tensor> outputs) {
  Tensor current = *inputs[0];
  for (size_t i = 0; i < op.axes->size(); ++i) {
    const auto axis = static_cast<size_t>((*op.axes)[i]);
    Dims dims = current.dims();
    const ResizeTable table = resize_table(op, i, dims[axis]);
    dims[axis] = op.sizes[i];
    Tensor next(current.dtype(), dims);
    if (op.mode == ResizeMode::nearest) {
      copy_axis(table, current, axis, next);
    } else if (current.dtype() == DType::f64) {
      blend_axis<double>(table, current, axis, next);
    } else {
      blend_axis<float>(table, current, axis, next);
    }
    current = std::move(next);
  }
  if (current.bytes() > 0) std::memcpy(outputs[0].raw(), current.raw(), current.bytes());
}

}  // namespace fcm::ops
