// Reduce, GlobalPool and Softmax: one position of the kept axes a group of threads.
#include <algorithm>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

// The axes of X that are combined, and the rest.
struct Plan {
  std::vector<bool> reduced;  // by axis of X
  Walk outer;                 // operands: X, Y; reduced axes left out
  Walk inner;                 // operands: X, Y (softmax) over the reduced axes, in X's memory order
  int64_t count = 1;          // reduced elements
};

// Axis of Y that axis `i` of X becomes.
size_t kept_axis(const std::vector<bool>& reduced, size_t i, bool keeps_rank) {
  if (keeps_rank) return i;
  size_t axis = 0;
  for (size_t k = 0; k < i; ++k) axis += reduced[k] ? 0 : 1;
  return axis;
}

// `keeps_rank`: Y has the rank of X; `drops_reduced`: reduced axes have extent 1 in Y, and are walked so that pad lanes are written.
Plan make_plan(const Request& r, std::vector<bool> reduced, bool keeps_rank, bool is_softmax) {
  const Source in = r.source(0);
  const DeviceTensor& x = in.tensor;
  const DeviceTensor& y = r.outputs[0];
  const Shape xs = strides_of(x);
  const Shape ys = strides_of(y);
  Plan plan;
  plan.reduced = std::move(reduced);
  Operand from{x.layout.dtype, Shape(ys.size(), Dim(0)), Dim(0), Dim(0), 0, true};
  for (size_t i = 0; i < xs.size(); ++i)
    if (!plan.reduced[i]) from.strides[kept_axis(plan.reduced, i, keeps_rank)] = xs[i];
  DeviceTensor kept = y;
  if (is_softmax) {  // a group walks the reduced axes of Y itself
    for (size_t i = 0; i < xs.size(); ++i)
      if (plan.reduced[i]) kept.shape[i] = Dim(1);
  }
  plan.outer = output_walk({from}, {kept, Place::output(0), 0});
  for (size_t k = 0; k < ys.size(); ++k) plan.outer.operands[1].strides[k] = ys[memory_order(y)[k]];
  if (is_softmax && y.layout.order == Order::nhwc && plan.reduced[1]) {
    plan.outer.extents.back() = Dim(1);
    plan.outer.valid = 0;
  }
  plan.outer.simplify();
  plan.inner.operands = {{x.layout.dtype, {}, Dim(0), Dim(0), 0, true}, {y.layout.dtype, {}, Dim(0), Dim(0), 0, true}};
  for (const size_t axis : memory_order(x)) {
    if (!plan.reduced[axis]) continue;
    plan.count *= x.shape[axis].factor;
    plan.inner.extents.push_back(x.shape[axis]);
    plan.inner.operands[0].strides.push_back(xs[axis]);
    plan.inner.operands[1].strides.push_back(is_softmax ? ys[axis] : Dim(0));
  }
  plan.inner.simplify();
  return plan;
}

// Device function: element r of the reduced axes -> offset of operand `i`.
std::string offset_function(const Plan& plan, size_t i, const char* name) {
  const Walk& walk = plan.inner;
  std::string text =
      fmt::format("  __device__ __forceinline__ static int64 {}(int64 r, [[maybe_unused]] int64 batch) {{\n    int64 offset = 0;\n", name);
  for (size_t axis = walk.extents.size(); axis-- > 0;) {
    const std::string stride = expression(walk.operands[i].strides[axis]);  // of the batch, where images lie inside of a reduced axis
    if (axis == 0) {
      text += fmt::format("    offset += r * ({});\n", stride);
    } else {
      text += fmt::format("    offset += r % {0}LL * ({1});\n    r /= {0}LL;\n", std::max<int64_t>(1, walk.extents[axis].factor), stride);
    }
  }
  return text + "    return offset;\n  }\n";
}

// Reduced elements that lie together are shared among neighbouring threads; otherwise neighbouring threads take neighbouring positions.
bool lanes_inner(const Plan& plan) {
  return plan.inner.operands[0].strides.back() == Dim(1) || plan.outer.operands[0].strides.back().factor != 1;
}

int lane_count(const Plan& plan) {
  const int64_t most = lanes_inner(plan) ? 256 : 32;
  const int64_t wanted = lanes_inner(plan) ? plan.count / 2 : plan.count / 8;
  int lanes = 1;
  while (lanes * 2 <= std::min(most, wanted)) lanes *= 2;
  return lanes;
}

std::string common_members(const Request& r, const Plan& plan, int lanes) {
  return fmt::format(
      "  struct Outer {{\n{}  }};\n  using TI = {};\n  using TO = {};\n  using A = compute_t<TI>;\n  static constexpr int kLanes = {};\n"
      "  static constexpr int kBlock = 256;\n  static constexpr bool kLanesInner = {};\n  static constexpr int64 kCount = {};\n"
      "  __device__ __forceinline__ static int64 count(int64 batch) {{ return Outer::count(batch); }}\n"
      "  __device__ __forceinline__ static void locate(int64 position, int64 batch, int64& in, int64& out, bool& pad) {{\n"
      "    int64 offset[2];\n    int inner;\n    Outer::locate(position, batch, offset, inner);\n    in = offset[0];\n    out = "
      "offset[1];\n"
      "    pad = Outer::kMasked && inner >= Outer::kValid;\n  }}\n{}",
      plan.outer.emit(1), device_type(plan.outer.operands[0].dtype), device_type(r.outputs[0].layout.dtype), lanes, lanes_inner(plan),
      plan.count, offset_function(plan, 0, "reduced"));
}

std::string least_member(DType dtype) {
  const bool floating = is_float(dtype);
  return fmt::format("  __device__ __forceinline__ static A least() {{ return {}; }}\n",
                     floating ? "static_cast<A>(__longlong_as_double(0xfff0000000000000LL))" : "(-0x7fffffffffffffffLL - 1)");
}

struct Formula {
  const char* start;
  const char* element;
  const char* combine;
  std::string finish;
};

Formula formula_of(ReduceFn fn, int64_t count) {
  switch (fn) {
    case ReduceFn::mean:
      return {"A(0)", "x", "a + b", fmt::format("acc / A({})", std::max<int64_t>(count, 1))};
    case ReduceFn::sum:
      return {"A(0)", "x", "a + b", "acc"};
    case ReduceFn::max:
      return {"least()", "x", "fn::max(a, b)", "acc"};
    case ReduceFn::min:
      return {"most()", "x", "fn::min(a, b)", "acc"};
    case ReduceFn::prod:
      return {"A(1)", "x", "a * b", "acc"};
    case ReduceFn::l1:
      return {"A(0)", "fn::abs(x)", "a + b", "acc"};
    case ReduceFn::l2:
      return {"A(0)", "x * x", "a + b", "fn::sqrt_(acc)"};
    case ReduceFn::sum_square:
      return {"A(0)", "x * x", "a + b", "acc"};
    case ReduceFn::log_sum:
      return {"A(0)", "x", "a + b", "fn::log_(acc)"};
    case ReduceFn::log_sum_exp:
      return {"A(0)", "fn::exp_(x - shift)", "a + b", "fn::log_(acc) + shift"};
  }
  throw Error(ErrorCode::internal, "an unknown reduction");
}

std::unique_ptr<Step> reduce_step(const Request& r, ReduceFn fn, std::vector<bool> reduced, bool keeps_rank) {
  const Plan plan = make_plan(r, std::move(reduced), keeps_rank, false);
  const int lanes = lane_count(plan);
  const Formula f = formula_of(fn, plan.count);
  const DType in = plan.outer.operands[0].dtype;
  const std::string body = fmt::format(
      "struct P {{\n{}{}  __device__ __forceinline__ static A most() {{ return {}; }}\n  static constexpr bool kShifted = {};\n"
      "  __device__ __forceinline__ static A start() {{ return {}; }}\n"
      "  __device__ __forceinline__ static A element(A x, A shift) {{ return {}; }}\n"
      "  __device__ __forceinline__ static A combine(A a, A b) {{ return {}; }}\n"
      "  __device__ __forceinline__ static A finish(A acc, A shift) {{ return {}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) reduce(const void* x, void* y, int64 batch) {{\n  reduce_kernel<P>(x, y, "
      "batch);\n}}\n",
      common_members(r, plan, lanes), least_member(in), is_float(in) ? "-least()" : "0x7fffffffffffffffLL", fn == ReduceFn::log_sum_exp,
      f.start, f.element, f.combine, f.finish);
  auto kernel = r.build.kernels.add(kernel_program("reduce", "reduce.cuh", body), "reduce");
  Dim threads = plan.outer.threads(1);
  threads.factor *= lanes;
  return r.sequence({{std::move(kernel), {r.source(0).place, Place::output(0)}, threads, 256}},
                    fmt::format("{} {} to {}", to_string(r.node.op), to_string(r.shape(0)), to_string(r.outputs[0].shape)));
}

}  // namespace

std::unique_ptr<Step> make_reduce(const Request& r, const Reduce& op) {
  const size_t rank = r.shape(0).size();
  std::vector<bool> reduced(rank, !op.axes.has_value() || op.axes->empty());
  if (op.axes && op.axes->empty() && op.noop_with_empty_axes) reduced.assign(rank, false);
  if (!op.axes && op.noop_with_empty_axes) reduced.assign(rank, false);
  if (op.axes) {
    for (const int64_t axis : *op.axes) reduced[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis)] = true;
  }
  return reduce_step(r, op.fn, std::move(reduced), op.keep_dims);
}

std::unique_ptr<Step> make_reduce(const Request& r, const GlobalPool& op) {
  std::vector<bool> reduced(r.shape(0).size(), true);
  reduced[0] = reduced[1] = false;
  return reduce_step(r, op.fn == PoolFn::max ? ReduceFn::max : ReduceFn::mean, std::move(reduced), true);
}

std::unique_ptr<Step> make_reduce(const Request& r, const Softmax& op) {
  const auto rank = static_cast<int64_t>(r.shape(0).size());
  const int64_t first = op.axis < 0 ? op.axis + rank : op.axis;
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  for (int64_t axis = first; axis < rank; ++axis) reduced[static_cast<size_t>(axis)] = axis == first || op.flatten_from_axis;
  const Plan plan = make_plan(r, reduced, true, true);
  const int lanes = lane_count(plan);
  const Layout& out = r.outputs[0].layout;
  const int64_t written = out.order == Order::nhwc && reduced[1] ? out.channel_pitch : plan.count;
  const std::string body = fmt::format(
      "struct P {{\n{}{}{}  static constexpr bool kLog = {};\n  static constexpr int64 kOutCount = {};\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) softmax(const void* x, void* y, int64 batch) {{\n  softmax_kernel<P>(x, y, "
      "batch);\n}}\n",
      common_members(r, plan, lanes), offset_function(plan, 1, "written"), least_member(plan.outer.operands[0].dtype), op.log, written);
  auto kernel = r.build.kernels.add(kernel_program("softmax", "reduce.cuh", body), "softmax");
  Dim threads = plan.outer.threads(1);
  threads.factor *= lanes;
  return r.sequence({{std::move(kernel), {r.source(0).place, Place::output(0)}, threads, 256}},
                    fmt::format("{} {}", to_string(r.node.op), to_string(r.shape(0))));
}

}  // namespace fcm::ops::cuda
