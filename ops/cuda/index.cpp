// ArgMax, TopK, CumSum, GatherElements, GatherND, ScatterND, Trilu: plain kernels, most over row-major tensors.
#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

Dim product(const Shape& shape, size_t begin, size_t end) {
  Dim total(1);
  for (size_t i = begin; i < end; ++i) total = multiply(total, shape[i]);
  return total;
}

std::string function(const char* name, const Dim& dim) {
  return fmt::format("  __device__ __forceinline__ static int64 {}(int64 batch) {{ return {}; }}\n", name, expression(dim));
}

// Members that describe the lines along `axis`.
std::string line_members(const DeviceTensor& x, int64_t axis) {
  const auto at = static_cast<size_t>(axis);
  const Dim inner = product(x.shape, at + 1, x.shape.size());
  return fmt::format("  using T = {};\n  static constexpr int64 kCount = {};\n", device_type(x.layout.dtype), x.shape[at].factor) +
         function("lines", multiply(product(x.shape, 0, at), inner)) + function("inner", inner);
}

Dim line_count(const DeviceTensor& x, int64_t axis) {
  const auto at = static_cast<size_t>(axis);
  return multiply(product(x.shape, 0, at), product(x.shape, at + 1, x.shape.size()));
}

// A function of the position in an index tuple.
std::string by_position(const char* name, const Shape& values, size_t first, size_t count) {
  std::string text = fmt::format("  __device__ __forceinline__ static int64 {}(int k, int64 batch) {{ return ", name);
  for (size_t k = 0; k + 1 < count; ++k) text += fmt::format("k == {} ? {} : ", k, expression(values[first + k]));
  return text + expression(values[first + count - 1]) + "; }\n";
}

// What GatherND and ScatterND share: tuples of `indices` into a tensor of shape `x`.
struct Tuples {
  std::string members;
  Dim threads;
};

Tuples tuple_members(const Shape& x, const DeviceTensor& indices, size_t shared, DType data, DType out) {
  const auto length = static_cast<size_t>(indices.shape.back().factor);
  const Shape strides = strides_of({x, {Order::rows, data, 0}});
  const Dim tuples = product(indices.shape, 0, indices.shape.size() - 1);
  const Dim slice = product(x, shared + length, x.size());
  const Dim per_item = product(indices.shape, shared, indices.shape.size() - 1);
  Tuples t;
  t.members = fmt::format("  using T = {};\n  using TI = {};\n  using TO = {};\n  static constexpr int kLength = {};\n", device_type(data),
                          device_type(indices.layout.dtype), device_type(out), length) +
              function("tuples", tuples) + function("slice", slice) + function("per_item", per_item) +
              function("item_size", shared == 0 ? Dim(0) : strides[shared - 1]) + by_position("extent", x, shared, length) +
              by_position("stride", strides, shared, length);
  t.threads = multiply(tuples, slice);
  return t;
}

std::string kernel_body(const std::string& members, const char* name, const char* parameters, const char* arguments) {
  return fmt::format(
      "struct P {{\n{0}}};\n\nextern \"C\" __global__ void __launch_bounds__(256) {1}({2}, int64 batch) {{\n  {1}_kernel<P>({3}, "
      "batch);\n}}\n",
      members, name, parameters, arguments);
}

std::string describe(const Request& r) {
  return fmt::format("{} {} to {}", to_string(r.node.op), to_string(r.shape(0)), to_string(r.outputs[0].shape));
}

}  // namespace

std::unique_ptr<Step> make_index(const Request& r, const ArgReduce& op) {
  const Source x = r.source(0);
  const std::string members =
      line_members(x.tensor, op.axis) +
      fmt::format("  static constexpr bool kLargest = {};\n  static constexpr bool kLast = {};\n", op.largest, op.select_last);
  auto kernel = r.build.kernels.add(
      kernel_program("arg_reduce", "index.cuh", kernel_body(members, "arg_reduce", "const void* x, void* y", "x, y")), "arg_reduce");
  return r.sequence({{std::move(kernel), {x.place, Place::output(0)}, line_count(x.tensor, op.axis), 256}}, describe(r));
}

std::unique_ptr<Step> make_index(const Request& r, const TopK& op) {
  const Source x = r.source(0);
  const std::string members = line_members(x.tensor, op.axis) +
                              fmt::format("  using TO = {};\n  static constexpr int64 kK = {};\n  static constexpr bool kLargest = {};\n",
                                          device_type(r.outputs[0].layout.dtype), op.k.value_or(0), op.largest);
  auto kernel = r.build.kernels.add(
      kernel_program("top_k", "index.cuh", kernel_body(members, "top_k", "const void* x, void* values, void* places", "x, values, places")),
      "top_k");
  return r.sequence({{std::move(kernel), {x.place, Place::output(0), Place::output(1)}, element_count(x.tensor.shape), 256}}, describe(r));
}

std::unique_ptr<Step> make_index(const Request& r, const CumSum& op) {
  const Source x = r.source(0);
  const int64_t axis = op.axis.value_or(0);
  const std::string members =
      line_members(x.tensor, axis) +
      fmt::format("  using TO = {};\n  static constexpr bool kExclusive = {};\n  static constexpr bool kReverse = {};\n",
                  device_type(r.outputs[0].layout.dtype), op.exclusive, op.reverse);
  auto kernel = r.build.kernels.add(
      kernel_program("cum_sum", "index.cuh", kernel_body(members, "cum_sum", "const void* x, void* y", "x, y")), "cum_sum");
  return r.sequence({{std::move(kernel), {x.place, Place::output(0)}, line_count(x.tensor, axis), 256}}, describe(r));
}

// The kernel of Gather, its walk crossing X and the indices together, except along the axis that the index gives.
std::unique_ptr<Step> make_index(const Request& r, const GatherElements& op) {
  const Source x = r.source(0);
  const Source indices = r.source(1);
  const auto axis = static_cast<size_t>(op.axis);
  const Shape strides = strides_of(x.tensor);
  Operand data{x.tensor.layout.dtype, strides, Dim(0), Dim(0), 0, true};
  data.strides[axis] = Dim(0);
  const Operand index{indices.tensor.layout.dtype, strides_of(indices.tensor), Dim(0), Dim(0), 0, true};
  Walk walk = output_walk({data, index}, r.result());
  walk.simplify();
  const std::string members = walk.emit(1) +
                              fmt::format("  using T = {};\n  using TI = {};\n  using TO = {};\n", device_type(x.tensor.layout.dtype),
                                          device_type(indices.tensor.layout.dtype), device_type(r.outputs[0].layout.dtype)) +
                              function("extent", x.tensor.shape[axis]) + function("stride", strides[axis]);
  auto kernel =
      r.build.kernels.add(kernel_program("gather", "gather.cuh",
                                         kernel_body(members, "gather", "const void* x, const void* indices, void* y", "x, indices, y")),
                          "gather");
  return r.sequence({{std::move(kernel), {x.place, indices.place, Place::output(0)}, walk.threads(1), 256}}, describe(r));
}

std::unique_ptr<Step> make_index(const Request& r, const GatherND& op) {
  const Source x = r.source(0);
  const Source indices = r.source(1);
  const Tuples t =
      tuple_members(x.tensor.shape, indices.tensor, static_cast<size_t>(op.batch_dims), x.tensor.layout.dtype, r.outputs[0].layout.dtype);
  auto kernel = r.build.kernels.add(
      kernel_program("gather_nd", "index.cuh",
                     kernel_body(t.members, "gather_nd", "const void* x, const void* indices, void* y", "x, indices, y")),
      "gather_nd");
  return r.sequence({{std::move(kernel), {x.place, indices.place, Place::output(0)}, t.threads, 256}}, describe(r));
}

// A copy of X, then the updates over it.
std::unique_ptr<Step> make_index(const Request& r, const ScatterND& /*op*/) {
  const Source x = r.source(0);
  const Source indices = r.source(1);
  const Source updates = r.source(2);
  const Tuples t = tuple_members(x.tensor.shape, indices.tensor, 0, updates.tensor.layout.dtype, r.outputs[0].layout.dtype);
  auto kernel = r.build.kernels.add(
      kernel_program("scatter_nd", "index.cuh",
                     kernel_body(t.members, "scatter_nd", "const void* updates, const void* indices, void* y", "updates, indices, y")),
      "scatter_nd");
  return r.sequence({map_launch("copy", {x}, r.result(), "a0", r.build),
                     {std::move(kernel), {updates.place, indices.place, Place::output(0)}, t.threads, 256}},
                    describe(r));
}

std::unique_ptr<Step> make_index(const Request& r, const Trilu& op) {
  const Source x = r.source(0);
  const Shape& shape = r.outputs[0].shape;
  const Shape strides = strides_of(x.tensor);
  std::vector<Operand> operands = {{x.tensor.layout.dtype, strides, Dim(0), Dim(0), 0, true}};
  for (size_t axis = shape.size() - 2; axis < shape.size(); ++axis) {
    Operand coordinate{DType::u8, Shape(shape.size(), Dim(0)), Dim(0), Dim(0), 0, true};
    coordinate.strides[axis] = Dim(1);
    operands.push_back(std::move(coordinate));
  }
  Walk walk = output_walk(std::move(operands), r.result());
  walk.simplify();
  const std::string in_type = device_type(x.tensor.layout.dtype);
  const std::string out_type = device_type(r.outputs[0].layout.dtype);
  const std::string text = fmt::format(
      "struct P {{\n{0}}};\n\nextern \"C\" __global__ void __launch_bounds__(256) trilu(const void* x, void* y, int64 batch) {{\n"
      "  const int64 thread = global_thread();\n  if (thread >= P::count(batch)) return;\n  int64 offset[4];\n  int inner;\n"
      "  P::locate(thread, batch, offset, inner);\n  const bool kept = (!P::kMasked || inner < P::kValid) && offset[2] - offset[1] {1} "
      "{2}LL;\n  compute_t<{3}> value = 0;\n  if (kept) value = widen(static_cast<const {3}*>(x)[offset[0]]);\n"
      "  static_cast<{4}*>(y)[offset[3]] = Store<{4}>::from(value);\n}}\n",
      walk.emit(1), op.upper ? ">=" : "<=", op.k.value_or(0), in_type, out_type);
  auto kernel = r.build.kernels.add(kernel_program("trilu", "math.cuh", text), "trilu");
  return r.sequence({{std::move(kernel), {x.place, Place::output(0)}, walk.threads(1), 256}}, describe(r));
}

}  // namespace fcm::ops::cuda
