// Normalize of row-major tensors: a group of threads a group of elements.
#include <algorithm>

#include "ops/broadcast.h"
#include "ops/cuda/request.h"
#include "ops/normalize/normalize.h"

namespace fcm::ops::cuda {
namespace {

// A constant scale or bias spread over the normalised axes (layer, rms) or the channels (group), as float.
Place spread_parameter(const Request& r, const Normalize& op, size_t i, const NormalizeExtents& e) {
  const std::vector<float> values = float_values(r.constant(i));
  std::vector<float> spread;
  if (op.fn == NormFn::group) {
    for (int64_t c = 0; c < e.groups * e.group_channels; ++c)
      spread.push_back(values[static_cast<size_t>(op.scale_by_group ? c / e.group_channels : c)]);
    return float_weights(spread, spread.size(), r.build.weights);
  }
  Dims axes;
  const Shape& x = r.outputs[0].shape;
  for (size_t axis = static_cast<size_t>(op.axis); axis < x.size(); ++axis) axes.push_back(x[axis].factor);
  Dims dims = r.constant(i).dims();
  if (dims.size() > axes.size()) dims.erase(dims.begin(), dims.end() - static_cast<std::ptrdiff_t>(axes.size()));
  const ops::Walk<1> walk(axes, {ops::broadcast_strides(dims, axes)});
  for (int64_t n = 0; n < e.inner; ++n)
    spread.push_back(values[static_cast<size_t>(walk.offsets(n / walk.inner())[0] + n % walk.inner() * walk.inner_stride(0))]);
  return float_weights(spread, spread.size(), r.build.weights);
}

// Where scale (1) or bias (2) is, and its device type.
std::pair<Place, std::string> parameter(const Request& r, const Normalize& op, size_t i, const NormalizeExtents& e) {
  if (!r.has(i)) return {Place::none(), "float"};
  if (r.is_constant(i)) return {spread_parameter(r, op, i, e), "float"};
  const Source source = r.source(i);
  return {source.place, device_type(source.tensor.layout.dtype)};
}

}  // namespace

std::unique_ptr<Step> make_normalize(const Request& r, const Normalize& op) {
  const Source x = r.source(0);
  const NormalizeExtents e = normalize_extents(op, r.outputs[0].shape);
  const auto [scale, scale_type] = parameter(r, op, 1, e);
  const auto [bias, bias_type] = parameter(r, op, 2, e);
  int lanes = 1;
  while (lanes * 2 <= std::min<int64_t>(256, e.inner / 2)) lanes *= 2;
  const std::string index =
      op.fn == NormFn::group ? fmt::format("group % {}LL * {}LL + i / {}LL", e.groups, e.group_channels, e.spatial) : "i";
  const std::string body = fmt::format(
      "struct P {{\n  using TI = {};\n  using TS = {};\n  using TB = {};\n  using TO = {};\n  static constexpr int kLanes = {};\n"
      "  static constexpr int kBlock = 256;\n  static constexpr bool kLanesInner = true;\n  static constexpr int64 kInner = {};\n"
      "  static constexpr bool kRms = {};\n  static constexpr bool kScale = {};\n  static constexpr bool kBias = {};\n"
      "  __device__ __forceinline__ static int64 count(int64 batch) {{ return {}; }}\n"
      "  __device__ __forceinline__ static int64 parameter(int64 group, int64 i) {{ return {}; }}\n"
      "  __device__ __forceinline__ static double epsilon() {{ return {}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) normalize(const void* x, const void* scale, const void* bias, void* y, int64 "
      "batch) {{\n  normalize_kernel<P>(x, scale, bias, y, batch);\n}}\n",
      device_type(x.tensor.layout.dtype), scale_type, bias_type, device_type(r.outputs[0].layout.dtype), lanes,
      std::max<int64_t>(e.inner, 1), op.fn == NormFn::rms, r.has(1), r.has(2), expression(e.outer), index, literal(op.epsilon));
  auto kernel = r.build.kernels.add(kernel_program("normalize", "normalize.cuh", body), "normalize");
  Dim threads = e.outer;
  threads.factor = e.inner == 0 ? 0 : threads.factor * lanes;
  return r.sequence({{std::move(kernel), {x.place, scale, bias, Place::output(0)}, threads, 256}},
                    fmt::format("{} {}", to_string(r.node.op), to_string(r.outputs[0].shape)));
}

}  // namespace fcm::ops::cuda
