// ConvTranspose on the CPU: each output gathers what it gets, one running sum over (channel, kernel position) in ascending order,
// starting from the bias.
#include <algorithm>
#include <array>

#include "ops/conv/conv.h"
#include "ops/parallel.h"

namespace fcm::ops {
namespace {

using Triple = std::array<int64_t, 3>;

// Three spatial axes; layers of fewer have leading axes of 1.
struct Geometry {
  int64_t batch, channels, filters, group;
  Triple in = {1, 1, 1};
  Triple out = {1, 1, 1};
  Triple kernel = {1, 1, 1};
  Triple stride = {1, 1, 1};
  Triple dilation = {1, 1, 1};
  Triple pad = {0, 0, 0};

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  int64_t kernel_size() const { return kernel[0] * kernel[1] * kernel[2]; }

  // The input coordinate that kernel position `k` brings to output `o` along an axis, or -1.
  int64_t source(size_t axis, int64_t o, int64_t k) const {
    const int64_t at = o + pad[axis] - k * dilation[axis];
    if (at < 0 || at % stride[axis] != 0 || at / stride[axis] >= in[axis]) return -1;
    return at / stride[axis];
  }
};

Geometry geometry_of(const ConvTranspose& op, const Tensor& x, const Tensor& y) {
  Geometry g{x.dims()[0], x.dims()[1], y.dims()[1], op.group};
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

// Adds one channel's part to an output plane. `w` is its kernel.
template <class T>
void add_plane(const Geometry& g, const T* x, const T* w, T* y) {
  for (int64_t od = 0; od < g.out[0]; ++od) {
    for (int64_t oh = 0; oh < g.out[1]; ++oh, y += g.out[2]) {
      for (int64_t kd = 0; kd < g.kernel[0]; ++kd) {
        const int64_t d = g.source(0, od, kd);
        for (int64_t kh = 0; d >= 0 && kh < g.kernel[1]; ++kh) {
          const int64_t h = g.source(1, oh, kh);
          if (h < 0) continue;
          const T* row = x + (d * g.in[1] + h) * g.in[2];
          const T* taps = w + (kd * g.kernel[1] + kh) * g.kernel[2];
          for (int64_t kw = 0; kw < g.kernel[2]; ++kw) {
            // Outputs o with o + pad - k * dilation = i * stride, for i inside the row.
            const int64_t shift = kw * g.dilation[2] - g.pad[2];
            const int64_t first = shift >= 0 ? 0 : (-shift + g.stride[2] - 1) / g.stride[2];
            for (int64_t i = first; i < g.in[2] && i * g.stride[2] + shift < g.out[2]; ++i) y[i * g.stride[2] + shift] += taps[kw] * row[i];
          }
        }
      }
    }
  }
}

template <class T>
void conv_transpose_typed(const ConvTranspose& op, Tensors inputs, Tensor& y) {
  const Geometry g = geometry_of(op, *inputs[0], y);
  const T* x = inputs[0]->data<T>().data();
  const T* w = inputs[1]->data<T>().data();
  const T* bias = tensor(inputs, 2) != nullptr ? inputs[2]->data<T>().data() : nullptr;
  T* to = y.data<T>().data();
  const int64_t group_in = g.channels / g.group;
  const int64_t group_out = g.filters / g.group;
  parallel_for(g.batch * g.filters, g.out_size() * g.kernel_size() * group_in, [&](int64_t plane) {
    const int64_t f = plane % g.filters;
    T* target = to + plane * g.out_size();
    std::fill_n(target, g.out_size(), bias != nullptr ? bias[f] : T{0});
    const int64_t first = f / group_out * group_in;
    for (int64_t c = first; c < first + group_in; ++c)
      add_plane(g, x + (plane / g.filters * g.channels + c) * g.in_size(), w + (c * group_out + f % group_out) * g.kernel_size(), target);
  });
}

}  // namespace

void compute(const ConvTranspose& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return conv_transpose_typed<double>(op, inputs, outputs[0]);
  conv_transpose_typed<float>(op, inputs, outputs[0]);
}

}  // namespace fcm::ops
