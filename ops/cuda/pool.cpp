// Window pooling, in either order of input and output.
#include <array>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

// One value a spatial axis, leading ones filled up to three.
std::array<int64_t, 3> three(const Ints& values, int64_t fill) {
  std::array<int64_t, 3> result = {fill, fill, fill};
  for (size_t i = 0; i < values.size(); ++i) result[3 - values.size() + i] = values[i];
  return result;
}

std::string member(const char* name, const std::array<int64_t, 3>& v) {
  return fmt::format("  __device__ static constexpr int {0}(int axis) {{ return axis == 0 ? {1} : axis == 1 ? {2} : {3}; }}\n", name, v[0],
                     v[1], v[2]);
}

}  // namespace

std::unique_ptr<Step> make_pool(const Request& r, const Pool& op) {
  const Source in = r.source(0);
  const Shape strides = strides_of(in.tensor);
  const size_t rank = strides.size();
  const bool image = r.outputs[0].layout.order == Order::nhwc;
  Operand base{
      in.tensor.layout.dtype, strides, Dim(0), Dim(0), in.tensor.layout.order == Order::nhwc ? in.tensor.layout.channel_pitch : 0, true};
  Ints extents;
  Ints in_strides;
  for (size_t axis = 2; axis < rank; ++axis) {
    base.strides[axis] = Dim(0);
    extents.push_back(in.tensor.shape[axis].factor);
    in_strides.push_back(strides[axis].factor);
  }
  std::vector<Operand> operands = {base};
  const std::array<int64_t, 3> step = three(op.window.strides, 1);
  const std::array<int64_t, 3> pad = three(op.window.pads_begin, 0);
  std::string origin;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (axis + rank < 5) {  // fewer spatial axes than three: this one is not there
      origin += "0, ";
      continue;
    }
    Operand coordinate{DType::u8, Shape(rank, Dim(0)), Dim(0), Dim(0), 0, true};
    coordinate.strides[axis + rank - 3] = Dim(1);
    origin += fmt::format("static_cast<int>(offset[{}]) * {} - {}, ", operands.size(), step[axis], pad[axis]);
    operands.push_back(std::move(coordinate));
  }
  Walk walk = output_walk(std::move(operands), r.result());
  walk.simplify();
  const int width = image ? walk.vector_width() : 1;
  const std::string in_type = device_type(in.tensor.layout.dtype);
  const std::string body = fmt::format(
      "struct P {{\n{}  using TI = {};\n  static constexpr Mode kModeIn = {};\n  static constexpr int64 kInner = {};\n"
      "  static constexpr bool kMax = {};\n  static constexpr bool kCountPad = {};\n{}{}{}{}{}}};\n\n",
      walk.emit(width), in_type, walk.mode(0, width), width == 1 ? "1" : expression(walk.operands[0].strides.back()), op.fn == PoolFn::max,
      op.count_include_pad, member("kernel", three(op.window.kernel, 1)), member("dilation", three(op.window.dilations, 1)),
      member("pad_end", three(op.window.pads_end, 0)), member("extent", three(extents, 1)), member("in_stride", three(in_strides, 0)));
  const std::string kernel_text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__(256) pool(const void* x, void* y, int64 batch) {{\n"
      "  const int64 thread = global_thread();\n  if (thread >= P::count(batch)) return;\n  int64 offset[{}];\n  int inner;\n"
      "  P::locate(thread, batch, offset, inner);\n  const int origin[3] = {{{}}};\n  float acc[P::kVector];\n"
      "  pool_window<P>(x, offset[0], origin, inner, acc);\n#pragma unroll\n"
      "  for (int i = 0; i < P::kVector; ++i) acc[i] = P::kMasked && inner + i >= P::kValid ? 0.0f : acc[i];\n"
      "  map_store<P, {}, {}>(y, offset[{}], {}, acc);\n}}\n",
      walk.operands.size(), origin, device_type(r.outputs[0].layout.dtype), walk.mode(walk.operands.size() - 1, width),
      walk.operands.size() - 1, expression(walk.operands.back().strides.back()));
  auto kernel = r.build.kernels.add(kernel_program("pool", "pool.cuh", body + kernel_text), "pool");
  return r.sequence({{std::move(kernel), {in.place, Place::output(0)}, walk.threads(width), 256}},
                    fmt::format("{} {} {}", to_string(r.node.op), to_string(r.outputs[0].shape), layout_text(r.outputs[0].layout)));
}

}  // namespace fcm::ops::cuda
