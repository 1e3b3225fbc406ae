// Data movement on the CPU, for elements of any type: each operator is one or a few strided copies.
#include <algorithm>
#include <cstring>

#include "ops/move/copy.h"
#include "ops/move/move.h"
#include "ops/move/ranges.h"

namespace fcm::ops {
namespace {

std::byte* at(std::byte* base, int64_t element, size_t size) {
  return base + element * static_cast<int64_t>(size);
}
const std::byte* at(const std::byte* base, int64_t element, size_t size) {
  return base + element * static_cast<int64_t>(size);
}

size_t element_size(const Tensor& t) {
  return dtype_size(t.dtype());
}

// Source index of output position `i` along an axis of `extent` that starts `begin` before it; -1: the pad value.
int64_t pad_source(PadMode mode, int64_t i, int64_t begin, int64_t extent) {
  const int64_t position = i - begin;
  if (position >= 0 && position < extent) return position;
  switch (mode) {
    case PadMode::constant:
      return -1;
    case PadMode::edge:
      return position < 0 ? 0 : extent - 1;
    case PadMode::reflect:
      return position < 0 ? -position : 2 * (extent - 1) - position;
    case PadMode::wrap:
      return ((position % extent) + extent) % extent;
  }
  return -1;
}

template <class T>
void pad_typed(const Pad& op, const Tensor& x, T value, Tensor& y) {
  // One table of source offsets an axis; a negative entry anywhere makes the element a pad.
  const Dims& out = y.dims();
  const Ints strides = dense_strides(x.dims());
  std::vector<Ints> sources(out.size());
  for (size_t axis = 0; axis < out.size(); ++axis) {
    for (int64_t i = 0; i < out[axis]; ++i) {
      const int64_t source = pad_source(op.mode, i, op.begin[axis], x.dims()[axis]);
      sources[axis].push_back(source < 0 ? -1 : source * strides[axis]);
    }
  }
  const T* from = reinterpret_cast<const T*>(x.raw());
  T* to = reinterpret_cast<T*>(y.raw());
  const size_t last = out.size() - 1;
  const int64_t width = out[last];
  parallel_for(width == 0 ? 0 : y.count() / width, width, [&](int64_t row) {
    int64_t rest = row;
    int64_t offset = 0;
    bool inside = true;
    for (size_t axis = last; axis-- > 0;) {
      const int64_t source = sources[axis][static_cast<size_t>(rest % out[axis])];
      rest /= out[axis];
      inside = inside && source >= 0;
      offset += source;
    }
    T* target = to + row * width;
    for (int64_t i = 0; i < width; ++i) {
      const int64_t source = sources[last][static_cast<size_t>(i)];
      target[i] = inside && source >= 0 ? from[offset + source] : value;
    }
  });
}

template <class T>
void pad_as(const Pad& op, const Tensor& x, Tensor& y) {
  // The pad value in the tensor's own type, then as plain bits.
  T value;
  const Tensor converted = Tensor::scalar(op.value).cast(x.dtype());
  std::memcpy(&value, converted.raw(), sizeof value);
  pad_typed(op, x, value, y);
}

int64_t index_at(const Tensor& indices, int64_t i) {
  return indices.dtype() == DType::i64 ? indices.data<int64_t>()[static_cast<size_t>(i)] : indices.data<int32_t>()[static_cast<size_t>(i)];
}

// Indices as element numbers along an axis of `extent`, checked: they may come from the model's input.
Ints checked_indices(const Tensor& indices, int64_t extent) {
  Ints result;
  for (int64_t i = 0; i < indices.count(); ++i) {
    const int64_t index = index_at(indices, i);
    if (index < -extent || index >= extent)
      bad_input("Gather: index {} of an axis of {}; accepted are {} to {}", index, extent, -extent, extent - 1);
    result.push_back(index < 0 ? index + extent : index);
  }
  return result;
}

int64_t product(const Dims& dims, size_t begin, size_t end) {
  int64_t total = 1;
  for (size_t i = begin; i < end; ++i) total *= dims[i];
  return total;
}

}  // namespace

void compute(const Transpose& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  const Ints strides = dense_strides(x.dims());
  Ints read;
  for (const int64_t axis : op.perm) read.push_back(strides[static_cast<size_t>(axis)]);
  copy_strided(Walk<2>(y.dims(), {read, dense_strides(y.dims())}), element_size(x), x.raw(), y.raw());
}

void compute(const Concat& op, Tensors inputs, std::span<Tensor> outputs) {
  Tensor& y = outputs[0];
  const size_t axis = static_cast<size_t>(op.axis);
  const Ints write = dense_strides(y.dims());
  int64_t start = 0;
  for (const Tensor* x : inputs) {
    const Walk<2> walk(x->dims(), {dense_strides(x->dims()), write});
    copy_strided(walk, element_size(y), x->raw(), at(y.raw(), start * write[axis], element_size(y)));
    start += x->dims()[axis];
  }
}

void compute(const Slice& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  if (y.count() == 0) return;
  Ints read = dense_strides(x.dims());
  int64_t start = 0;
  const std::vector<AxisRange> ranges = slice_ranges(op, x.dims());
  for (size_t axis = 0; axis < ranges.size(); ++axis) {
    start += ranges[axis].start * read[axis];
    // A step beyond the axis is never taken; unclamped it could overflow.
    read[axis] *= ranges[axis].count > 1 ? ranges[axis].step : 1;
  }
  copy_strided(Walk<2>(y.dims(), {read, dense_strides(y.dims())}), element_size(x), at(x.raw(), start, element_size(x)), y.raw());
}

void compute(const Split& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  const size_t axis = static_cast<size_t>(op.axis);
  const Ints read = dense_strides(x.dims());
  int64_t start = 0;
  for (Tensor& y : outputs) {
    const Walk<2> walk(y.dims(), {read, dense_strides(y.dims())});
    copy_strided(walk, element_size(x), at(x.raw(), start * read[axis], element_size(x)), y.raw());
    start += y.dims()[axis];
  }
}

void compute(const Gather& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  const size_t axis = static_cast<size_t>(op.axis);
  const int64_t extent = x.dims()[axis];
  const Ints indices = checked_indices(*inputs[1], extent);
  const int64_t count = static_cast<int64_t>(indices.size());
  const int64_t inner = product(x.dims(), axis + 1, x.dims().size());
  const int64_t outer = product(x.dims(), 0, axis);
  const size_t size = element_size(x);
  parallel_for(outer * count, inner, [&](int64_t row) {
    const int64_t source = (row / count) * extent + indices[static_cast<size_t>(row % count)];
    std::memcpy(at(y.raw(), row * inner, size), at(x.raw(), source * inner, size), static_cast<size_t>(inner) * size);
  });
}

void compute(const Pad& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  if (y.rank() == 0) {
    std::memcpy(y.raw(), x.raw(), x.bytes());
    return;
  }
  switch (element_size(x)) {
    case 1:
      return pad_as<uint8_t>(op, x, y);
    case 2:
      return pad_as<uint16_t>(op, x, y);
    case 4:
      return pad_as<uint32_t>(op, x, y);
    default:
      return pad_as<uint64_t>(op, x, y);
  }
}

}  // namespace fcm::ops
