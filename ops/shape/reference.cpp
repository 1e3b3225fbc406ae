// Operators on shapes on the CPU; those that only rename dimensions copy their bytes.
#include <cstring>

#include "ops/move/copy.h"
#include "ops/shape/shape.h"

namespace fcm::ops {
namespace {

void copy_all(const Tensor& x, Tensor& y) {
  if (y.bytes() > 0) std::memcpy(y.raw(), x.raw(), y.bytes());
}

template <class T>
void fill_range(const Tensor& start, const Tensor& delta, Tensor& y) {
  const T first = start.data<T>()[0];
  const T step = delta.data<T>()[0];
  T index = 0;
  for (T& v : y.data<T>()) {
    v = static_cast<T>(first + index * step);
    index = static_cast<T>(index + 1);
  }
}

}  // namespace

void compute(const ShapeOf& op, Tensors inputs, std::span<Tensor> outputs) {
  const Dims& dims = inputs[0]->dims();
  const auto y = outputs[0].data<int64_t>();
  for (size_t i = 0; i < y.size(); ++i) y[i] = dims[static_cast<size_t>(op.start) + i];
}

void compute(const SizeOf&, Tensors inputs, std::span<Tensor> outputs) {
  outputs[0].data<int64_t>()[0] = inputs[0]->count();
}

void compute(const ConstantOfShape& op, Tensors, std::span<Tensor> outputs) {
  Tensor& y = outputs[0];
  const size_t size = dtype_size(y.dtype());
  for (int64_t i = 0; i < y.count(); ++i) std::memcpy(y.raw() + static_cast<size_t>(i) * size, op.value.raw(), size);
}

void compute(const Range&, Tensors inputs, std::span<Tensor> outputs) {
  Tensor& y = outputs[0];
  switch (y.dtype()) {
    case DType::f64:
      return fill_range<double>(*inputs[0], *inputs[2], y);
    case DType::i64:
      return fill_range<int64_t>(*inputs[0], *inputs[2], y);
    case DType::i32:
      return fill_range<int32_t>(*inputs[0], *inputs[2], y);
    case DType::i16:
      return fill_range<int16_t>(*inputs[0], *inputs[2], y);
    case DType::f32:
      return fill_range<float>(*inputs[0], *inputs[2], y);
    default:
      unsupported("Range of type {}; accepted are floats, i16, i32, i64", dtype_name(y.dtype()));
  }
}

void compute(const Reshape&, Tensors inputs, std::span<Tensor> outputs) {
  copy_all(*inputs[0], outputs[0]);
}

void compute(const Identity&, Tensors inputs, std::span<Tensor> outputs) {
  copy_all(*inputs[0], outputs[0]);
}

void compute(const Expand&, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  const Walk<2> walk(y.dims(), {broadcast_strides(x.dims(), y.dims()), dense_strides(y.dims())});
  copy_strided(walk, dtype_size(x.dtype()), x.raw(), y.raw());
}

void compute(const Tile& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  // Each axis as two: the repeats, which read the same elements again, then the axis itself.
  const Ints read = dense_strides(x.dims());
  const Ints write = dense_strides(y.dims());
  Dims dims;
  std::array<Ints, 2> strides;
  for (size_t axis = 0; axis < x.dims().size(); ++axis) {
    const int64_t extent = x.dims()[axis];
    dims.insert(dims.end(), {(*op.repeats)[axis], extent});
    strides[0].insert(strides[0].end(), {0, read[axis]});
    strides[1].insert(strides[1].end(), {extent * write[axis], write[axis]});
  }
  copy_strided(Walk<2>(dims, strides), dtype_size(x.dtype()), x.raw(), y.raw());
}

}  // namespace fcm::ops
