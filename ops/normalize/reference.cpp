// Normalisation on the CPU: mean and variance in double, in two passes over a group, so that a large mean does not cancel.
#include <cmath>

#include "ops/broadcast.h"
#include "ops/normalize/normalize.h"

namespace fcm::ops {
namespace {

// A parameter spread over the elements of `period` neighbouring groups; empty when it is absent.
template <class T>
std::vector<T> spread(const Normalize& op, const Tensor* parameter, const Dims& x, const NormalizeExtents& e) {
  if (parameter == nullptr) return {};
  const T* from = parameter->data<T>().data();
  std::vector<T> values(static_cast<size_t>(e.groups * e.inner));
  if (op.fn == NormFn::group) {
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t channel = static_cast<int64_t>(i) / e.spatial;
      values[i] = from[op.scale_by_group ? channel / e.group_channels : channel];
    }
    return values;
  }
  const Dims axes(x.begin() + static_cast<std::ptrdiff_t>(op.axis), x.end());
  // Leading axes of 1 that the normalised axes do not have are dropped.
  const size_t lead = parameter->dims().size() > axes.size() ? parameter->dims().size() - axes.size() : 0;
  const Dims dims(parameter->dims().begin() + static_cast<std::ptrdiff_t>(lead), parameter->dims().end());
  const Walk<1> walk(axes, {broadcast_strides(dims, axes)});
  for (int64_t i = 0; i < e.inner; ++i)
    values[static_cast<size_t>(i)] = from[walk.offsets(i / walk.inner())[0] + i % walk.inner() * walk.inner_stride(0)];
  return values;
}

struct Moments {
  double mean = 0.0;
  double factor = 1.0;  // 1 / sqrt(variance + epsilon)
};

template <class T>
Moments moments_of(const Normalize& op, const T* x, int64_t count) {
  Moments m;
  if (op.fn != NormFn::rms) {
    for (int64_t i = 0; i < count; ++i) m.mean += static_cast<double>(x[i]);
    m.mean /= static_cast<double>(count);
  }
  double squares = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(x[i]) - m.mean;
    squares += d * d;
  }
  m.factor = 1.0 / std::sqrt(squares / static_cast<double>(count) + static_cast<double>(op.epsilon));
  return m;
}

template <class T>
void normalize_typed(const Normalize& op, Tensors inputs, Tensor& y) {
  const Tensor& x = *inputs[0];
  if (x.count() == 0) return;
  const NormalizeExtents e = normalize_extents(op, to_shape(x.dims()));
  const std::vector<T> scale = spread<T>(op, tensor(inputs, 1), x.dims(), e);
  const std::vector<T> bias = spread<T>(op, tensor(inputs, 2), x.dims(), e);
  const T* from = x.data<T>().data();
  T* to = y.data<T>().data();
  parallel_for(e.outer.factor, e.inner * 4, [&](int64_t group) {
    const Moments m = moments_of(op, from + group * e.inner, e.inner);
    const size_t first = static_cast<size_t>(group % e.groups * e.inner);
    for (int64_t i = 0; i < e.inner; ++i) {
      const int64_t at = group * e.inner + i;
      T value = static_cast<T>((static_cast<double>(from[at]) - m.mean) * m.factor);
      if (!scale.empty()) value *= scale[first + static_cast<size_t>(i)];
      if (!bias.empty()) value += bias[first + static_cast<size_t>(i)];
      to[at] = value;
    }
  });
}

}  // namespace

void compute(const Normalize& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return normalize_typed<double>(op, inputs, outputs[0]);
  normalize_typed<float>(op, inputs, outputs[0]);
}

}  // namespace fcm::ops
