// MaxPool and AveragePool on the CPU. Cells outside the input do not count, except that an average with count_include_pad divides by
// the cells inside the padded input. A window without any cell of the input (a dilated one can miss it) gives the lowest value, or 0.
// NaN wins a maximum. Averages of float32 are summed in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/parallel.h"
#include "ops/pool/pool.h"

namespace fcm::ops {
namespace {

// One spatial axis of the pooling; layers of fewer than three have leading axes of 1.
struct Axis {
  int64_t in = 1;
  int64_t out = 1;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_begin = 0;
  int64_t pad_end = 0;
};
using Axes = std::array<Axis, 3>;

Axes axes_of(const Window& window, const Dims& in, const Dims& out) {
  Axes axes;
  const size_t rank = in.size() - 2;
  for (size_t i = 0; i < rank; ++i) {
    axes[3 - rank + i] = {in[i + 2],           out[i + 2],           window.kernel[i],  window.strides[i],
                          window.dilations[i], window.pads_begin[i], window.pads_end[i]};
  }
  return axes;
}

// Kernel positions [begin, end) of a window that lie in the input, the first input index, and how many lie in the padded input.
struct Span {
  int64_t first;
  int64_t count;
  int64_t padded;
};

Span span_at(const Axis& a, int64_t o) {
  const int64_t start = o * a.stride - a.pad_begin;
  const int64_t skipped = start >= 0 ? 0 : (-start + a.dilation - 1) / a.dilation;
  const auto cells_below = [&](int64_t limit) { return limit <= start ? 0 : std::min(a.kernel, (limit - 1 - start) / a.dilation + 1); };
  return {start + skipped * a.dilation, std::max<int64_t>(cells_below(a.in) - skipped, 0), cells_below(a.in + a.pad_end)};
}

template <class T, class F>
void visit_window(const Axes& axes, const std::array<Span, 3>& spans, const T* plane, F&& f) {
  for (int64_t d = 0; d < spans[0].count; ++d) {
    for (int64_t h = 0; h < spans[1].count; ++h) {
      const int64_t row = (spans[0].first + d * axes[0].dilation) * axes[1].in + spans[1].first + h * axes[1].dilation;
      const T* p = plane + row * axes[2].in + spans[2].first;
      for (int64_t w = 0; w < spans[2].count; ++w) f(p[w * axes[2].dilation]);
    }
  }
}

template <class T>
T largest(const Axes& axes, const std::array<Span, 3>& spans, const T* plane) {
  using Limits = std::numeric_limits<T>;
  T best = Limits::has_infinity ? static_cast<T>(-Limits::infinity()) : Limits::lowest();
  visit_window(axes, spans, plane, [&](T v) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(best)) return;
      if (std::isnan(v)) best = v;
    }
    if (v > best) best = v;
  });
  return best;
}

template <class T>
T average(const Axes& axes, const std::array<Span, 3>& spans, const T* plane, bool count_pads) {
  double total = 0.0;
  visit_window(axes, spans, plane, [&](T v) { total += static_cast<double>(v); });
  int64_t cells = 1;
  for (const Span& s : spans) cells *= count_pads ? s.padded : s.count;
  return cells == 0 ? T{0} : static_cast<T>(total / static_cast<double>(cells));
}

template <class T>
void pool_typed(const Pool& op, const Tensor& x, Tensor& y) {
  const Axes axes = axes_of(op.window, x.dims(), y.dims());
  const int64_t in_size = axes[0].in * axes[1].in * axes[2].in;
  const int64_t out_size = axes[0].out * axes[1].out * axes[2].out;
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  const int64_t cells = axes[0].kernel * axes[1].kernel * axes[2].kernel;
  parallel_for(x.dims()[0] * x.dims()[1], out_size * cells, [&](int64_t plane) {
    T* out = to + plane * out_size;
    for (int64_t i = 0; i < out_size; ++i) {
      const std::array spans = {span_at(axes[0], i / (axes[1].out * axes[2].out)), span_at(axes[1], i / axes[2].out % axes[1].out),
                                span_at(axes[2], i % axes[2].out)};
      const T* image = from + plane * in_size;
      out[i] = op.fn == PoolFn::max ? largest(axes, spans, image) : average(axes, spans, image, op.count_include_pad);
    }
  });
}

}  // namespace

void compute(const Pool& op, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& x = *inputs[0];
  Tensor& y = outputs[0];
  switch (x.dtype()) {
    case DType::f32:
      return pool_typed<float>(op, x, y);
    case DType::f64:
      return pool_typed<double>(op, x, y);
    case DType::i8:
      return pool_typed<int8_t>(op, x, y);
    case DType::u8:
      return pool_typed<uint8_t>(op, x, y);
    default:
      unsupported("pooling of type {}", dtype_name(x.dtype()));
  }
}

}  // namespace fcm::ops
