#include "ops/cuda/sequence.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "embed/ops_cuda_kernels.h"
#include "embed/shared_headers.h"
#include "runtime/support/error.h"

namespace fcm::ops::cuda {
namespace {

constexpr size_t kMaxPointers = 8;

void* offset_by(const void* base, size_t bytes) {
  return const_cast<std::byte*>(static_cast<const std::byte*>(base) + bytes);
}

std::string kernel_text(const Walk& walk, int width, const std::string& expression_text) {
  const size_t inputs = walk.operands.size() - 1;
  std::string parameters;
  std::string body;
  std::string arguments;
  std::string declared;
  for (size_t i = 0; i < inputs; ++i) {
    const Operand& o = walk.operands[i];
    parameters += fmt::format("const void* p{}, ", i);
    body += fmt::format("  compute_t<{1}> v{0}[P::kVector];\n  map_load<P, {1}, {2}>(p{0}, offset[{0}], {3}, inner, v{0});\n", i,
                        device_type(o.dtype), walk.mode(i, width), expression(o.strides.back()));
    arguments += fmt::format("{}v{}[i]", i == 0 ? "" : ", ", i);
    declared += fmt::format("{}compute_t<{}> a{}", i == 0 ? "" : ", ", device_type(o.dtype), i);
  }
  const Operand& out = walk.operands.back();
  const std::string first = arguments.empty() ? "" : [&] {
    std::string text = arguments;
    for (size_t at = 0; (at = text.find("[i]", at)) != std::string::npos;) text.replace(at, 3, "[0]");
    return text;
  }();
  return fmt::format(
      "struct P {{\n{0}  __device__ __forceinline__ static auto apply({1}) {{ return {2}; }}\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) map({3}void* y, int64 batch) {{\n"
      "  const int64 thread = global_thread();\n  if (thread >= P::count(batch)) return;\n"
      "  int64 offset[{4}];\n  int inner;\n  P::locate(thread, batch, offset, inner);\n{5}"
      "  decltype(P::apply({6})) result[P::kVector];\n#pragma unroll\n"
      "  for (int i = 0; i < P::kVector; ++i) {{\n    result[i] = 0;\n    if (!P::kMasked || inner + i < P::kValid) result[i] = "
      "P::apply({7});\n  }}\n"
      "  map_store<P, {8}, {9}>(y, offset[{10}], {11}, result);\n}}\n",
      walk.emit(width), declared, expression_text, parameters, walk.operands.size(), body, first, arguments, device_type(out.dtype),
      walk.mode(inputs, width), inputs, expression(out.strides.back()));
}

// The kernel's last parameter, and `follow` (numeric.cuh) as its first statement.
std::string with_protocol(std::string body) {
  const size_t kernel = body.find("extern \"C\" __global__");
  const size_t opening = kernel == std::string::npos ? kernel : body.find(") {\n", kernel);
  if (opening == std::string::npos) throw Error(ErrorCode::internal, "a kernel without a body");
  return body.replace(opening, 4, ", int next_waits) {\n  follow(next_waits);\n");
}

}  // namespace

void* Place::resolve(const StepArgs& args) const {
  switch (kind) {
    case Kind::none:
      return nullptr;
    case Kind::input:
      return const_cast<void*>(args.inputs[index]);
    case Kind::output:
      return args.outputs[index];
    case Kind::weight:
      return offset_by(args.weights, index);
    case Kind::workspace:
      return offset_by(args.workspace, index);
  }
  return nullptr;
}

void Launch::enqueue(const StepArgs& args) const {
  const int64_t count = threads.at(args.batch);
  if (count == 0) return;
  const int64_t blocks = (count + block - 1) / block;
  if (blocks > 0x7fffffff)
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: {} threads are more than a grid can hold; use a smaller batch", kernel->name(), count));
  std::array<void*, kMaxPointers> pointers{};
  std::array<void*, kMaxPointers + 2> arguments{};
  for (size_t i = 0; i < places.size(); ++i) {
    pointers[i] = places[i].resolve(args);
    arguments[i] = &pointers[i];
  }
  int64_t batch = args.batch;
  arguments[places.size()] = &batch;
  int next_waits = args.programmatic && args.before_own ? 1 : 0;
  arguments[places.size() + 1] = &next_waits;
  kernel->launch(args.stream, dim3(static_cast<unsigned>(blocks)), dim3(block), 0, arguments.data(), args.programmatic && args.overlaps);
}

void enqueue_in_turn(const std::vector<Launch>& launches, const StepArgs& args) {
  StepArgs now = args;
  for (size_t i = 0; i < launches.size(); ++i) {
    now.overlaps = i > 0 || args.overlaps;
    now.before_own = i + 1 < launches.size() || args.before_own;
    launches[i].enqueue(now);
  }
}

size_t KernelSequence::workspace_bytes(int64_t max_batch, LibraryHandles& /*handles*/) const {
  return static_cast<size_t>(workspace_.at(max_batch));
}

void KernelSequence::enqueue(const StepArgs& args) const {
  enqueue_in_turn(launches_, args);
}

jit::Program kernel_program(const std::string& name, const std::string& header, const std::string& body) {
  jit::Program program{name, fmt::format("#include \"{}\"\n\n{}", header, with_protocol(body)), embedded::ops_cuda_kernels(), {}};
  program.headers.insert(embedded::shared_headers().begin(), embedded::shared_headers().end());
  return program;
}

Source constant_source(const Tensor& tensor, WeightStore& weights) {
  const Tensor constant = tensor.dtype() == DType::f64 ? tensor.cast(DType::f32) : tensor;  // kernels compute in float32
  // Vectors may be read up to a whole number of 16-byte accesses: the store's alignment leaves room, zero-filled here.
  const size_t item = dtype_size(constant.dtype());
  const size_t rounded = (static_cast<size_t>(constant.count()) + 15) / 16 * 16;
  std::vector<std::byte> bytes(rounded * item);
  if (constant.bytes() > 0) std::memcpy(bytes.data(), constant.raw(), constant.bytes());
  const Place place = Place::weight(weights.add(std::move(bytes)));
  return {{to_shape(constant.dims()), {Order::rows, constant.dtype(), 0}}, place, static_cast<int64_t>(rounded)};
}

std::vector<float> float_values(const Tensor& constant) {
  const Tensor wide = constant.dtype() == DType::f32 ? constant : constant.cast(DType::f32);
  const auto values = wide.data<float>();
  return {values.begin(), values.end()};
}

std::vector<std::byte> to_bytes(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * dtype_size(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::f32) {
      std::memcpy(bytes.data() + i * 4, &values[i], 4);
    } else {
      const uint16_t bits = dtype == DType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      std::memcpy(bytes.data() + i * 2, &bits, 2);
    }
  }
  return bytes;
}

Place float_weights(const std::vector<float>& values, size_t length, WeightStore& weights) {
  std::vector<float> padded = values;
  padded.resize(length, 0.0f);
  return Place::weight(weights.add(to_bytes(padded, DType::f32)));
}

Walk output_walk(std::vector<Operand> operands, const Source& output) {
  const std::vector<size_t> order = memory_order(output.tensor);
  const auto ordered = [&](const Shape& by_axis) {
    Shape result;
    for (const size_t axis : order) result.push_back(by_axis[axis]);
    return result;
  };
  operands.push_back({output.tensor.layout.dtype, strides_of(output.tensor), Dim(0), Dim(0), 0, true});
  Walk walk;
  walk.extents = ordered(output.tensor.shape);
  for (Operand& operand : operands) {
    operand.strides = ordered(operand.strides);
    walk.operands.push_back(std::move(operand));
  }
  if (output.tensor.layout.order == Order::nhwc && output.tensor.layout.channel_pitch != output.tensor.shape[1].factor) {
    walk.valid = output.tensor.shape[1].factor;
    walk.extents.back() = Dim(output.tensor.layout.channel_pitch);
  }
  return walk;
}

Walk broadcast_walk(const std::vector<Source>& inputs, const Source& output) {
  std::vector<Operand> operands;
  const Shape& shape = output.tensor.shape;
  for (const Source& in : inputs) {
    Operand operand{in.tensor.layout.dtype, broadcast_strides(in.tensor, shape), Dim(0), Dim(0), 0, true};
    if (in.tensor.layout.order == Order::nhwc) {
      operand.lanes = in.tensor.layout.channel_pitch;
    } else {
      // Lanes of a packed vector may be read only when nothing but its channel axis moves.
      bool vector = true;
      for (size_t i = 0; i < shape.size(); ++i) vector = vector && (i == 1 || operand.strides[i] == Dim(0));
      operand.lanes = vector ? in.lanes : 0;
    }
    operands.push_back(std::move(operand));
  }
  return output_walk(std::move(operands), output);
}

jit::Program walk_program(const std::string& name, const Walk& walk, const std::string& expression_text) {
  return kernel_program(name, "map.cuh", kernel_text(walk, walk.vector_width(), expression_text));
}

Launch walk_launch(const std::string& name, Walk walk, std::vector<Place> places, const std::string& expression_text, StepBuild& build) {
  walk.simplify();
  auto kernel = build.kernels.add(walk_program(name, walk, expression_text), "map");
  return {std::move(kernel), std::move(places), walk.threads(walk.vector_width()), 256};
}

Launch map_launch(const std::string& name, const std::vector<Source>& inputs, const Source& output, const std::string& expression_text,
                  StepBuild& build) {
  std::vector<Place> places;
  for (const Source& in : inputs) places.push_back(in.place);
  places.push_back(output.place);
  return walk_launch(name, broadcast_walk(inputs, output), std::move(places), expression_text, build);
}

std::string unary_text(const Unary& u, const std::string& x) {
  constexpr std::array kNames = {"identity",   "relu", "clip",      "leaky_relu", "elu",         "sigmoid",    "hard_sigmoid", "silu",
                                 "hard_swish", "gelu", "gelu_tanh", "tanh",       "softplus",    "mish",       "softsign",     "abs",
                                 "neg",        "ceil", "floor",     "round",      "sqrt",        "reciprocal", "exp",          "log",
                                 "erf",        "sin",  "cos",       "sign",       "logical_not", "is_nan"};
  static_assert(kNames.size() == static_cast<size_t>(UnaryFn::is_nan) + 1);
  const char* name = kNames[static_cast<size_t>(u.fn)];
  if (u.fn == UnaryFn::identity) return x;
  if (u.fn == UnaryFn::clip || u.fn == UnaryFn::hard_sigmoid) return fmt::format("fn::{}({}, {}, {})", name, x, literal(u.a), literal(u.b));
  if (u.fn == UnaryFn::leaky_relu || u.fn == UnaryFn::elu) return fmt::format("fn::{}({}, {})", name, x, literal(u.a));
  return fmt::format("fn::{}({})", name, x);
}

std::string binary_name(BinaryFn fn) {
  constexpr std::array kNames = {"add",     "sub",           "mul",         "div",        "pow",         "mod",
                                 "fmod",    "min",           "max",         "equal",      "less",        "less_equal",
                                 "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "prelu"};
  static_assert(kNames.size() == static_cast<size_t>(BinaryFn::prelu) + 1);
  return kNames[static_cast<size_t>(fn)];
}

}  // namespace fcm::ops::cuda
