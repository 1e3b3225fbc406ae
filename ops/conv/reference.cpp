// Convolution on the CPU. A depthwise layer (one input channel a filter) slides its kernel along output rows; every other layer is
// a matrix product of the weights with columns gathered from the input, block by block.
// Each output is one running sum over (channel, kernel position) in ascending order, then bias, residual and activation.
#include <algorithm>
#include <array>

#include "ops/conv/conv.h"
#include "ops/elementwise/activation.h"
#include "ops/gemm/product.h"
#include "ops/parallel.h"

namespace fcm::ops {
namespace {

using Triple = std::array<int64_t, 3>;

// Convolution over three spatial axes; layers of fewer have leading axes of 1.
struct Geometry {
  int64_t batch, channels, filters, group;
  Triple in, out, kernel;
  Triple stride = {1, 1, 1};
  Triple dilation = {1, 1, 1};
  Triple pad = {0, 0, 0};

  int64_t channels_per_group() const { return channels / group; }
  int64_t filters_per_group() const { return filters / group; }
  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  int64_t kernel_size() const { return kernel[0] * kernel[1] * kernel[2]; }
  /// A 1x1 convolution that reads its input as it lies.
  bool is_pointwise() const { return kernel_size() == 1 && in == out && stride == Triple{1, 1, 1} && pad == Triple{0, 0, 0}; }
};

Geometry geometry_of(const Conv& op, const Tensor& x, const Tensor& y) {
  Geometry g{x.dims()[0], x.dims()[1], y.dims()[1], op.group, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}};
  const size_t rank = x.dims().size() - 2;
  for (size_t i = 0; i < rank; ++i) {
    const size_t axis = 3 - rank + i;
    g.in[axis] = x.dims()[i + 2];
    g.out[axis] = y.dims()[i + 2];
    g.kernel[axis] = op.window.kernel[i];
    g.stride[axis] = op.window.strides[i];
    g.dilation[axis] = op.window.dilations[i];
    g.pad[axis] = op.window.pads_begin[i];
  }
  return g;
}

template <class T>
struct Arguments {
  const T* x;
  const T* w;
  const T* bias;      // or null
  const T* residual;  // or null
  T* y;
  Epilogue epilogue;

  T bias_of(int64_t filter) const { return bias != nullptr ? bias[filter] : T{0}; }
  const T* residual_at(int64_t offset) const { return residual != nullptr ? residual + offset : nullptr; }
};

// The outputs along one axis whose input position o * stride + offset lies in [0, extent).
Extent valid_outputs(int64_t offset, int64_t stride, int64_t extent, int64_t outputs) {
  const int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t end = offset >= extent ? 0 : std::min(outputs, (extent - 1 - offset) / stride + 1);
  return {begin, std::max<int64_t>(end - begin, 0)};
}

// Adds one kernel row to one output row.
template <class T>
void slide_row(const Geometry& g, const T* w, const T* row, T* y) {
  const int64_t stride = g.stride[2];
  for (int64_t k = 0; k < g.kernel[2]; ++k) {
    const int64_t offset = k * g.dilation[2] - g.pad[2];
    const Extent valid = valid_outputs(offset, stride, g.in[2], g.out[2]);
    if (valid.count == 0) continue;
    const T weight = w[k];
    const T* from = row + offset + valid.begin * stride;
    T* to = y + valid.begin;
    if (stride == 1) {
      for (int64_t i = 0; i < valid.count; ++i) to[i] += weight * from[i];
    } else if (stride == 2) {
      for (int64_t i = 0; i < valid.count; ++i) to[i] += weight * from[2 * i];
    } else {
      for (int64_t i = 0; i < valid.count; ++i) to[i] += weight * from[i * stride];
    }
  }
}

// One output plane of a depthwise layer: filter f reads channel `plane` alone.
template <class T>
void depthwise_plane(const Geometry& g, const T* plane, const T* w, T* y) {
  for (int64_t od = 0; od < g.out[0]; ++od) {
    for (int64_t oh = 0; oh < g.out[1]; ++oh, y += g.out[2]) {
      std::fill_n(y, g.out[2], T{0});
      for (int64_t kd = 0; kd < g.kernel[0]; ++kd) {
        const int64_t d = od * g.stride[0] + kd * g.dilation[0] - g.pad[0];
        if (d < 0 || d >= g.in[0]) continue;
        for (int64_t kh = 0; kh < g.kernel[1]; ++kh) {
          const int64_t h = oh * g.stride[1] + kh * g.dilation[1] - g.pad[1];
          if (h < 0 || h >= g.in[1]) continue;
          slide_row(g, w + (kd * g.kernel[1] + kh) * g.kernel[2], plane + (d * g.in[1] + h) * g.in[2], y);
        }
      }
    }
  }
}

template <class T>
void depthwise(const Geometry& g, const Arguments<T>& arguments) {
  parallel_for(g.batch * g.filters, g.out_size() * g.kernel_size(), [&](int64_t task) {
    const int64_t f = task % g.filters;
    const int64_t n = task / g.filters;
    const int64_t channel = f / g.filters_per_group();
    const int64_t offset = task * g.out_size();
    T* y = arguments.y + offset;
    depthwise_plane(g, arguments.x + (n * g.channels + channel) * g.in_size(), arguments.w + f * g.kernel_size(), y);
    arguments.epilogue.apply(y, g.out_size(), arguments.bias_of(f), arguments.residual_at(offset));
  });
}

// Where the windows of up to kBlockColumns consecutive output positions begin in the input.
struct Corners {
  std::array<Triple, kBlockColumns> at{};

  Corners(const Geometry& g, Extent positions) {
    for (int64_t i = 0; i < positions.count; ++i) {
      const int64_t p = positions.begin + i;
      const Triple o = {p / (g.out[1] * g.out[2]), p / g.out[2] % g.out[1], p % g.out[2]};
      for (size_t axis = 0; axis < 3; ++axis) at[static_cast<size_t>(i)][axis] = o[axis] * g.stride[axis] - g.pad[axis];
    }
  }
};

// Row k of the column matrix: what kernel position k (channel, depth, row, column) reads at each output position.
template <class T>
void gather_row(const Geometry& g, const Corners& corners, Extent positions, const T* image, int64_t k, T* line) {
  const int64_t position = k % g.kernel_size();
  const T* plane = image + k / g.kernel_size() * g.in_size();
  const int64_t kd = position / (g.kernel[1] * g.kernel[2]) * g.dilation[0];
  const int64_t kh = position / g.kernel[2] % g.kernel[1] * g.dilation[1];
  const int64_t kw = position % g.kernel[2] * g.dilation[2];
  for (int64_t i = 0; i < positions.count; ++i) {
    const Triple& corner = corners.at[static_cast<size_t>(i)];
    const int64_t d = corner[0] + kd;
    const int64_t h = corner[1] + kh;
    const int64_t w = corner[2] + kw;
    const bool inside = d >= 0 && d < g.in[0] && h >= 0 && h < g.in[1] && w >= 0 && w < g.in[2];
    line[i] = inside ? plane[(d * g.in[1] + h) * g.in[2] + w] : T{0};
  }
}

// One block of outputs of one image and group.
template <class T>
void product_block(const Geometry& g, const Arguments<T>& arguments, int64_t image, int64_t group, Extent filters, Extent positions) {
  const int64_t depth = g.channels_per_group() * g.kernel_size();
  const int64_t first_filter = group * g.filters_per_group();
  const T* x = arguments.x + (image * g.channels + group * g.channels_per_group()) * g.in_size();
  const auto store = [&](int64_t row, T* values) {
    const int64_t filter = first_filter + row;
    const int64_t offset = (image * g.filters + filter) * g.out_size() + positions.begin;
    arguments.epilogue.apply(values, positions.count, arguments.bias_of(filter), arguments.residual_at(offset));
    std::copy_n(values, positions.count, arguments.y + offset);
  };
  const MatrixView<T> weights = {arguments.w + first_filter * depth, depth, 1};
  if (g.is_pointwise()) {
    const auto load = [&](int64_t k, T* line) { std::copy_n(x + k * g.in_size() + positions.begin, positions.count, line); };
    multiply_block(weights, filters, positions, depth, load, store);
  } else {
    const Corners corners(g, positions);
    const auto load = [&](int64_t k, T* line) { gather_row(g, corners, positions, x, k, line); };
    multiply_block(weights, filters, positions, depth, load, store);
  }
}

template <class T>
void by_product(const Geometry& g, const Arguments<T>& arguments) {
  const int64_t across = block_count(g.out_size(), kBlockColumns);
  const int64_t down = block_count(g.filters_per_group(), kBlockRows);
  const int64_t work = std::min(g.filters_per_group(), kBlockRows) * kBlockColumns * g.channels_per_group() * g.kernel_size();
  parallel_for(g.batch * g.group * down * across, work, [&](int64_t task) {
    const Extent positions = block_extent(task % across, kBlockColumns, g.out_size());
    const Extent filters = block_extent(task / across % down, kBlockRows, g.filters_per_group());
    const int64_t plane = task / (across * down);
    product_block(g, arguments, plane / g.group, plane % g.group, filters, positions);
  });
}

template <class T>
const T* data_or_null(const Tensor* t) {
  return t != nullptr ? t->data<T>().data() : nullptr;
}

template <class T>
void conv_typed(const Conv& op, Tensors inputs, Tensor& y) {
  const Geometry g = geometry_of(op, *inputs[0], y);
  const Arguments<T> arguments = {
      inputs[0]->data<T>().data(),        inputs[1]->data<T>().data(), data_or_null<T>(tensor(inputs, 2)),
      data_or_null<T>(tensor(inputs, 3)), y.data<T>().data(),          {op.activation, op.residual_after_activation}};
  if (y.count() == 0) return;
  if (g.channels_per_group() == 1 && g.group > 1) return depthwise(g, arguments);
  by_product(g, arguments);
}

}  // namespace

void compute(const Conv& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return conv_typed<double>(op, inputs, outputs[0]);
  conv_typed<float>(op, inputs, outputs[0]);
}

}  // namespace fcm::ops
