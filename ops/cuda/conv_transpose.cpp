// ConvTranspose of row-major tensors.
#include <array>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

// A device function of the spatial axis; leading ones filled up to three.
std::string member(const char* name, const Ints& values, int64_t fill) {
  std::array<int64_t, 3> v = {fill, fill, fill};
  for (size_t i = 0; i < values.size(); ++i) v[3 - values.size() + i] = values[i];
  return fmt::format("  __device__ static constexpr int {0}(int axis) {{ return axis == 0 ? {1} : axis == 1 ? {2} : {3}; }}\n", name, v[0],
                     v[1], v[2]);
}

Ints spatial(const Shape& shape) {
  Ints extents;
  for (size_t axis = 2; axis < shape.size(); ++axis) extents.push_back(shape[axis].factor);
  return extents;
}

}  // namespace

std::unique_ptr<Step> make_conv_transpose(const Request& r, const ConvTranspose& op) {
  const Source x = r.source(0);
  const Source w = r.source(1);
  const Source bias = r.has(2) ? r.source(2) : Source{};
  const DeviceTensor& y = r.outputs[0];
  const Dim images = x.tensor.shape[0];
  const std::string body = fmt::format(
      "struct P {{\n  using T = {};\n  using TW = {};\n  using TB = {};\n  using TO = {};\n  static constexpr int64 kBatchFactor = {};\n"
      "  static constexpr int kC = {};\n  static constexpr int kF = {};\n  static constexpr int kGroup = {};\n"
      "  static constexpr bool kBias = {};\n{}{}{}{}{}{}}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) conv_transpose(const void* x, const void* weights, const void* bias, void* y, "
      "int64 batch) {{\n  conv_transpose_kernel<P>(x, weights, bias, y, {});\n}}\n",
      device_type(x.tensor.layout.dtype), device_type(w.tensor.layout.dtype), r.has(2) ? device_type(bias.tensor.layout.dtype) : "float",
      device_type(y.layout.dtype), images.factor, x.tensor.shape[1].factor, y.shape[1].factor, op.group, r.has(2),
      member("extent", spatial(x.tensor.shape), 1), member("out_extent", spatial(y.shape), 1), member("kernel", op.window.kernel, 1),
      member("stride", op.window.strides, 1), member("pad", op.window.pads_begin, 0), member("dilation", op.window.dilations, 1),
      images.batch ? "batch" : "1");
  auto kernel = r.build.kernels.add(kernel_program("conv_transpose", "conv_transpose.cuh", body), "conv_transpose");
  return r.sequence({{std::move(kernel), {x.place, w.place, bias.place, Place::output(0)}, element_count(y.shape), 256}},
                    fmt::format("{} {} to {}", to_string(r.node.op), to_string(x.tensor.shape), to_string(y.shape)));
}

}  // namespace fcm::ops::cuda
