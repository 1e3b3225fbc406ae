// Data movement. What is affine (transpose, slice, split, concat, expand, tile, reshape) is a map with other strides; Gather and Pad have
// kernels of their own.
#include "ops/cuda/request.h"
#include "ops/move/ranges.h"

namespace fcm::ops::cuda {
namespace {

std::string describe_move(const Request& r, const char* what) {
  return fmt::format("{} {} to {} {}", what, to_string(r.shape(0)), to_string(r.outputs[0].shape), layout_text(r.outputs[0].layout));
}

// Channels of an NHWC pixel that may be read from channel `first` on.
int64_t lanes_from(const DeviceTensor& tensor, int64_t first) {
  return tensor.layout.order == Order::nhwc ? tensor.layout.channel_pitch - first : 0;
}

size_t to_index(int64_t axis) {
  return static_cast<size_t>(axis);
}

// One launch that copies the elements of `output` from `in`, read with `strides` by output axis.
Launch copy_launch(const char* name, const Source& in, Operand operand, const Source& output, StepBuild& build) {
  operand.dtype = in.tensor.layout.dtype;
  return walk_launch(name, output_walk({std::move(operand)}, output), {in.place, output.place}, "a0", build);
}

// Offset of element `at` (a multiple of the batch, plus a constant) along an axis of stride `stride`.
void set_base(Operand& operand, const Dim& at, int64_t plus, const Dim& stride) {
  const auto add = [&](const Dim& offset) {
    if (offset.factor == 0) return;
    Dim& slot = operand.base.factor == 0 || operand.base.batch == offset.batch ? operand.base : operand.extra;
    slot = Dim(slot.factor + offset.factor, offset.batch);
  };
  add(multiply(at, stride));
  add(multiply(Dim(plus), stride));
}

// Where a slice of an axis begins: counted from the front, or (negative) from an end that moves with the batch.
void slice_axis(const Slice& op, size_t i, const Dim& extent, Operand& operand) {
  const size_t axis = to_index(op.axes[i]);
  const Dim stride = operand.strides[axis];
  int64_t start = op.starts[i];
  if (!extent.batch) start = slice_range(op.starts[i], op.ends[i], op.steps[i], extent.factor).start;
  const bool from_end = extent.batch && (start < 0 || (op.steps[i] < 0 && start >= extent.factor));
  if (from_end && start >= 0) start = -1;
  set_base(operand, from_end ? extent : Dim(0), start, stride);
  operand.strides[axis].factor *= op.steps[i];
}

}  // namespace

std::unique_ptr<Step> make_move(const Request& r, const Reshape& /*op*/) {
  Walk walk;
  walk.extents = {element_count(r.outputs[0].shape)};
  const Source in = r.source(0);
  walk.operands = {{in.tensor.layout.dtype, {Dim(1)}, Dim(0), Dim(0), 0, true},
                   {r.outputs[0].layout.dtype, {Dim(1)}, Dim(0), Dim(0), 0, true}};
  return r.sequence({walk_launch("reshape", walk, {in.place, Place::output(0)}, "a0", r.build)}, describe_move(r, "reshape"));
}

std::unique_ptr<Step> make_move(const Request& r, const Transpose& op) {
  const Source in = r.source(0);
  const Shape strides = strides_of(in.tensor);
  Operand operand;
  for (const int64_t axis : op.perm) operand.strides.push_back(strides[to_index(axis)]);
  return r.sequence({copy_launch("transpose", in, operand, r.result(), r.build)}, describe_move(r, "transpose"));
}

std::unique_ptr<Step> make_move(const Request& r, const Slice& op) {
  const Source in = r.source(0);
  Operand operand;
  operand.strides = strides_of(in.tensor);
  int64_t first_channel = 0;
  for (size_t i = 0; i < op.axes.size(); ++i) {
    const Dim extent = in.tensor.shape[to_index(op.axes[i])];
    slice_axis(op, i, extent, operand);
    if (op.axes[i] == 1 && !extent.batch) first_channel = slice_range(op.starts[i], op.ends[i], op.steps[i], extent.factor).start;
  }
  operand.lanes = lanes_from(in.tensor, first_channel);
  return r.sequence({copy_launch("slice", in, operand, r.result(), r.build)}, describe_move(r, "slice"));
}

std::unique_ptr<Step> make_move(const Request& r, const Split& op) {
  const Source in = r.source(0);
  const size_t axis = to_index(op.axis);
  std::vector<Launch> launches;
  Dim at(0);
  for (size_t i = 0; i < r.outputs.size(); ++i) {
    Operand operand;
    operand.strides = strides_of(in.tensor);
    operand.base = multiply(at, operand.strides[axis]);
    operand.lanes = lanes_from(in.tensor, axis == 1 ? at.factor : 0);
    launches.push_back(copy_launch("split", in, operand, r.result(i), r.build));
    const Dim size = r.outputs[i].shape[axis];
    at = Dim(at.factor + size.factor, size.batch);
  }
  return r.sequence(std::move(launches), describe_move(r, "split"));
}

// One launch an input, each writing its own part. Along padded channels the last input's launch also writes the pad lanes.
std::unique_ptr<Step> make_move(const Request& r, const Concat& op) {
  const DeviceTensor& out = r.outputs[0];
  const size_t axis = to_index(op.axis);
  const bool channels = out.layout.order == Order::nhwc && axis == 1;
  std::vector<Launch> launches;
  Dim at(0);
  size_t last = r.node.inputs.size();
  while (last > 1 && r.shape(last - 1)[axis].factor == 0) --last;
  for (size_t i = 0; i < last; ++i) {
    const Source in = r.source(i);
    const Dim size = in.tensor.shape[axis];
    DeviceTensor part = out;
    part.shape[axis] = size;
    Operand operand{in.tensor.layout.dtype, broadcast_strides(in.tensor, part.shape), Dim(0), Dim(0), lanes_from(in.tensor, 0), true};
    Walk walk = output_walk({operand}, {part, Place::output(0), 0});
    Operand& target = walk.operands.back();
    const Shape strides = strides_of(out);
    const std::vector<size_t> order = memory_order(out);
    for (size_t k = 0; k < order.size(); ++k) target.strides[k] = strides[order[k]];
    target.base = multiply(at, strides[axis]);
    if (channels) {
      const int64_t pads = i + 1 == last ? out.layout.channel_pitch - out.shape[1].factor : 0;
      walk.extents.back() = Dim(size.factor + pads);
      walk.valid = pads > 0 ? size.factor : 0;
    }
    if (size.factor > 0) launches.push_back(walk_launch("concat", std::move(walk), {in.place, Place::output(0)}, "a0", r.build));
    at = Dim(at.factor + size.factor, size.batch);
  }
  return r.sequence(std::move(launches), describe_move(r, "concat"));
}

std::unique_ptr<Step> make_move(const Request& r, const Expand& /*op*/) {
  return r.sequence({map_launch("expand", {r.source(0)}, r.result(), "a0", r.build)}, describe_move(r, "expand"));
}

// Each axis becomes two: the repetition, which the input does not see, and the element.
std::unique_ptr<Step> make_move(const Request& r, const Tile& /*op*/) {
  const Source in = r.source(0);
  const DeviceTensor& out = r.outputs[0];
  const Shape in_strides = strides_of(in.tensor);
  const Shape out_strides = strides_of(out);
  Walk walk;
  walk.operands = {{in.tensor.layout.dtype, {}, Dim(0), Dim(0), 0, true}, {out.layout.dtype, {}, Dim(0), Dim(0), 0, true}};
  const auto push = [&](const Dim& extent, const Dim& in_stride, const Dim& out_stride) {
    walk.extents.push_back(extent);
    walk.operands[0].strides.push_back(in_stride);
    walk.operands[1].strides.push_back(out_stride);
  };
  for (size_t axis = 0; axis < out.shape.size(); ++axis) {
    const Dim extent = in.tensor.shape[axis];
    const int64_t repeats = extent.factor == 0 ? 0 : out.shape[axis].factor / extent.factor;
    const bool batch_repeats = out.shape[axis].batch && !extent.batch;
    push(Dim(repeats, batch_repeats), Dim(0), multiply(extent, out_strides[axis]));
    push(extent, in_strides[axis], out_strides[axis]);
  }
  return r.sequence({walk_launch("tile", std::move(walk), {in.place, Place::output(0)}, "a0", r.build)}, describe_move(r, "tile"));
}

std::unique_ptr<Step> make_move(const Request& r, const Gather& op) {
  const Source in = r.source(0);
  const Source indices = r.source(1);
  const size_t axis = to_index(op.axis);
  const size_t index_rank = indices.tensor.shape.size();
  const Shape in_strides = strides_of(in.tensor);
  const Shape index_strides = strides_of(indices.tensor);
  Operand data{in.tensor.layout.dtype, {}, Dim(0), Dim(0), 0, true};
  Operand index{in.tensor.layout.dtype, {}, Dim(0), Dim(0), 0, true};  // its own type plays no part in the width
  for (size_t i = 0; i < r.outputs[0].shape.size(); ++i) {
    const bool inside = i >= axis && i < axis + index_rank;
    index.strides.push_back(inside ? index_strides[i - axis] : Dim(0));
    data.strides.push_back(inside ? Dim(0) : in_strides[i < axis ? i : i - index_rank + 1]);
  }
  Walk walk = output_walk({data, index}, r.result());
  walk.simplify();
  const int widest = walk.vector_width();
  const bool rows = !walk.masked() && walk.operands[1].strides.back() == Dim(0) && walk.mode(0, widest) == "Mode::vector" &&
                    walk.mode(2, widest) == "Mode::vector" && in_strides[axis].factor % widest == 0;
  const int width = rows ? widest : 1;
  const std::string body = fmt::format(
      "struct P {{\n{}  using T = {};\n  using TI = {};\n  using TO = {};\n  __device__ static int64 extent(int64 batch) {{ return {}; }}\n"
      "  __device__ static int64 stride(int64 batch) {{ return {}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) gather(const void* x, const void* indices, void* y, int64 batch) {{\n"
      "  gather_kernel<P>(x, indices, y, batch);\n}}\n",
      walk.emit(width), device_type(in.tensor.layout.dtype), device_type(indices.tensor.layout.dtype),
      device_type(r.outputs[0].layout.dtype), expression(in.tensor.shape[axis]), expression(in_strides[axis]));
  auto kernel = r.build.kernels.add(kernel_program("gather", "gather.cuh", body), "gather");
  return r.sequence({{std::move(kernel), {in.place, indices.place, Place::output(0)}, walk.threads(width), 256}},
                    describe_move(r, "gather"));
}

namespace {

const char* pad_struct(PadMode mode) {
  switch (mode) {
    case PadMode::constant:
      return "PadConstant";
    case PadMode::reflect:
      return "PadReflect";
    case PadMode::edge:
      return "PadEdge";
    case PadMode::wrap:
      return "PadWrap";
  }
  return "PadConstant";
}

}  // namespace

// The walk carries, beside the input, one coordinate for each padded axis: an operand of stride 1 along it alone.
std::unique_ptr<Step> make_move(const Request& r, const Pad& op) {
  const Source in = r.source(0);
  const Shape strides = strides_of(in.tensor);
  std::vector<Operand> operands = {{in.tensor.layout.dtype, strides, Dim(0), Dim(0), 0, true}};
  std::string body;
  for (size_t axis = 0; axis < strides.size(); ++axis) {
    if (op.begin[axis] == 0 && op.end[axis] == 0) continue;
    operands[0].strides[axis] = Dim(0);
    Operand coordinate{DType::u8, Shape(strides.size(), Dim(0)), Dim(0), Dim(0), 0, true};
    coordinate.strides[axis] = Dim(1);
    body +=
        fmt::format("  const int64 s{0} = {1}::source(offset[{0}] - {2}LL, {3});\n  inside = inside && s{0} >= 0;\n  at += s{0} * ({4});\n",
                    operands.size(), pad_struct(op.mode), op.begin[axis], expression(in.tensor.shape[axis]), expression(strides[axis]));
    operands.push_back(std::move(coordinate));
  }
  Walk walk = output_walk(std::move(operands), r.result());
  walk.simplify();
  const std::string in_type = device_type(in.tensor.layout.dtype);
  const std::string out_type = device_type(r.outputs[0].layout.dtype);
  const std::string text = fmt::format(
      "struct P {{\n{0}}};\n\nextern \"C\" __global__ void __launch_bounds__(256) pad(const void* x, void* y, int64 batch) {{\n"
      "  const int64 thread = global_thread();\n  if (thread >= P::count(batch)) return;\n  int64 offset[{1}];\n  int inner;\n"
      "  P::locate(thread, batch, offset, inner);\n  const bool lane = !P::kMasked || inner < P::kValid;\n  bool inside = lane;\n"
      "  int64 at = offset[0];\n{2}"
      "  auto value = lane ? static_cast<compute_t<{3}>>({4}) : compute_t<{3}>(0);\n"
      "  if (inside) value = widen(static_cast<const {3}*>(x)[at]);\n"
      "  static_cast<{5}*>(y)[offset[{6}]] = Store<{5}>::from(value);\n}}\n",
      walk.emit(1), walk.operands.size(), body, in_type, literal(op.value), out_type, walk.operands.size() - 1);
  auto kernel = r.build.kernels.add(kernel_program("pad", "pad.cuh", text), "pad");
  return r.sequence({{std::move(kernel), {in.place, Place::output(0)}, walk.threads(1), 256}}, describe_move(r, "pad"));
}

}  // namespace fcm::ops::cuda
