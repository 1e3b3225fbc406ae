// Convolution of row-major tensors: one or three spatial axes, or weights that the model computes.
#include <array>

#include "ops/cuda/conv.h"

namespace fcm::ops::cuda {
namespace {

std::array<int64_t, 3> three(const Ints& values, int64_t fill) {
  std::array<int64_t, 3> result = {fill, fill, fill};
  for (size_t i = 0; i < values.size(); ++i) result[3 - values.size() + i] = values[i];
  return result;
}

Ints spatial(const Shape& shape) {
  Ints extents;
  for (size_t axis = 2; axis < shape.size(); ++axis) extents.push_back(shape[axis].factor);
  return extents;
}

std::string member(const char* name, const std::array<int64_t, 3>& v) {
  return fmt::format("  __device__ static constexpr int {0}(int axis) {{ return axis == 0 ? {1} : axis == 1 ? {2} : {3}; }}\n", name, v[0],
                     v[1], v[2]);
}

}  // namespace

std::unique_ptr<Step> make_conv_rows(const Request& r, const Conv& op) {
  const Source x = r.source(0);
  const Source w = r.source(1);
  const Source bias = r.has(2) ? r.source(2) : Source{};
  const Source residual = r.has(3) ? r.source(3) : Source{};
  const DeviceTensor& y = r.outputs[0];
  const Dim images = x.tensor.shape[0];
  const std::string body = fmt::format(
      "struct P {{\n  using T = {};\n  using TW = {};\n  using TB = {};\n  using TR = {};\n  using TO = {};\n"
      "  static constexpr int64 kBatchFactor = {};\n  static constexpr int kC = {};\n  static constexpr int kF = {};\n  static constexpr "
      "int kGroup = {};\n"
      "  static constexpr bool kBias = {};\n  static constexpr bool kResidual = {};\n{}{}{}{}{}{}"
      "  __device__ __forceinline__ static float activate(float x, float residual) {{ return {}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) conv_rows(const void* x, const void* weights, const void* bias, const void* "
      "residual, void* y,\n"
      "                                                            int64 batch) {{\n  conv_rows_kernel<P>(x, weights, bias, residual, y, "
      "{});\n}}\n",
      device_type(x.tensor.layout.dtype), device_type(w.tensor.layout.dtype), r.has(2) ? device_type(bias.tensor.layout.dtype) : "float",
      r.has(3) ? device_type(residual.tensor.layout.dtype) : "float", device_type(y.layout.dtype), images.factor, x.tensor.shape[1].factor,
      y.shape[1].factor, op.group, r.has(2), r.has(3), member("extent", three(spatial(x.tensor.shape), 1)),
      member("out_extent", three(spatial(y.shape), 1)), member("kernel", three(op.window.kernel, 1)),
      member("stride", three(op.window.strides, 1)), member("pad", three(op.window.pads_begin, 0)),
      member("dilation", three(op.window.dilations, 1)), epilogue_text(op, "x", r.has(3) ? "residual" : ""), images.batch ? "batch" : "1");
  auto kernel = r.build.kernels.add(kernel_program("conv_rows", "conv_rows.cuh", body), "conv_rows");
  const Dim threads = element_count(y.shape);
  return r.sequence({{std::move(kernel), {x.place, w.place, bias.place, residual.place, Place::output(0)}, threads, 256}},
                    fmt::format("conv_rows {} to {}", to_string(x.tensor.shape), to_string(y.shape)));
}

}  // namespace fcm::ops::cuda
