// Normalize of row-major tensors: a few lanes a row that their registers hold, else a group of threads a group of elements.
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

/// How rows that fit the registers of a warp are cut: accesses of `vector` elements, `parts` of them by each of `lanes` threads.
struct RowCut {
  int vector = 1, lanes = 1, parts = 0;  ///< parts 0: the rows are too long
};
RowCut cut_rows(int64_t inner, DType in, DType out) {
  constexpr int kFew = 32, kMost = 64;  // elements a lane: what is good, and what registers hold
  RowCut cut;
  const int64_t widest = 16 / static_cast<int64_t>(std::max(dtype_size(in), dtype_size(out)));
  while (cut.vector < widest && inner % (2 * cut.vector) == 0) cut.vector *= 2;
  const int64_t vectors = inner / cut.vector;
  double most = 0;
  for (int lanes = 1; lanes <= 32; lanes *= 2) {
    const int64_t parts = (vectors + lanes - 1) / lanes;
    const double busy = static_cast<double>(vectors) / static_cast<double>(parts * lanes);
    if (parts * cut.vector > (lanes == 32 && cut.parts == 0 ? kMost : kFew) || busy <= most) continue;
    most = busy;
    cut.lanes = lanes, cut.parts = static_cast<int>(parts);
  }
  return cut;
}

bool is_float_of_32(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16;
}

}  // namespace

std::unique_ptr<Step> make_normalize(const Request& r, const Normalize& op) {
  const Source x = r.source(0);
  const DType in = x.tensor.layout.dtype, out = r.outputs[0].layout.dtype;
  const NormalizeExtents e = normalize_extents(op, r.outputs[0].shape);
  const auto [scale, scale_type] = parameter(r, op, 1, e);
  const auto [bias, bias_type] = parameter(r, op, 2, e);
  const bool floats = is_float_of_32(in) && is_float_of_32(out);
  RowCut cut;
  if (op.fn != NormFn::group && floats && e.inner > 0) cut = cut_rows(e.inner, in, out);
  const bool rows = cut.parts > 0;
  int lanes = 1;
  while (lanes * 2 <= std::min<int64_t>(256, e.inner / 2)) lanes *= 2;
  if (rows) lanes = cut.lanes;
  const unsigned block = rows ? 128 : 256;  // few rows spread over more multiprocessors
  const std::string index =
      op.fn == NormFn::group ? fmt::format("group % {}LL * {}LL + i / {}LL", e.groups, e.group_channels, e.spatial) : "i";
  const std::string body = fmt::format(
      "struct P {{\n  using TI = {};\n  using TS = {};\n  using TB = {};\n  using TO = {};\n  static constexpr int kLanes = {};\n"
      "  static constexpr int kBlock = {};\n  static constexpr bool kLanesInner = true;\n  static constexpr int kVector = {};\n"
      "  static constexpr int kParts = {};\n  static constexpr int64 kInner = {};\n"
      "  static constexpr bool kRms = {};\n  static constexpr bool kScale = {};\n  static constexpr bool kBias = {};\n"
      "  __device__ __forceinline__ static int64 count(int64 batch) {{ return {}; }}\n"
      "  __device__ __forceinline__ static int64 parameter(int64 group, int64 i) {{ return {}; }}\n"
      "  __device__ __forceinline__ static double epsilon() {{ return {}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__({}) normalize(const void* x, const void* scale, const void* bias, void* y, int64 "
      "batch) {{\n  {}<P>(x, scale, bias, y, batch);\n}}\n",
      device_type(in), scale_type, bias_type, device_type(out), lanes, block, cut.vector, cut.parts, std::max<int64_t>(e.inner, 1),
      op.fn == NormFn::rms, r.has(1), r.has(2), expression(e.outer), index, literal(op.epsilon), block,
      rows ? "normalize_rows_kernel" : "normalize_kernel");
  auto kernel = r.build.kernels.add(kernel_program("normalize", rows ? "normalize_rows.cuh" : "normalize.cuh", body), "normalize");
  Dim threads = e.outer;
  threads.factor = e.inner == 0 ? 0 : threads.factor * lanes;
  return r.sequence({{std::move(kernel), {x.place, scale, bias, Place::output(0)}, threads, block}},
                    fmt::format("{} {}", to_string(r.node.op), to_string(r.outputs[0].shape)));
}

}  // namespace fcm::ops::cuda
