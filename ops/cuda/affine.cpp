#include "ops/cuda/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/support/error.h"

namespace fcm::ops::cuda {
namespace {

constexpr int64_t kInt32Limit = int64_t{1} << 31;

// a == b * c, in the arithmetic of dimensions.
bool crosses_evenly(const Dim& outer_stride, const Dim& inner_stride, const Dim& inner_extent) {
  if (inner_stride.batch && inner_extent.batch) return false;
  return outer_stride == multiply(inner_stride, inner_extent);
}

bool merges(const Walk& walk, size_t outer) {
  const Dim& a = walk.extents[outer];
  const Dim& b = walk.extents[outer + 1];
  if (a.batch && b.batch) return false;
  return std::all_of(walk.operands.begin(), walk.operands.end(),
                     [&](const Operand& o) { return crosses_evenly(o.strides[outer], o.strides[outer + 1], b); });
}

void erase_axis(Walk& walk, size_t axis) {
  const auto at = static_cast<std::ptrdiff_t>(axis);
  walk.extents.erase(walk.extents.begin() + at);
  for (Operand& o : walk.operands) o.strides.erase(o.strides.begin() + at);
}

// The product of the constant extents after the first axis, or 0 when one is not constant or the product leaves 32 bits.
int64_t inner_product(const Shape& extents) {
  int64_t product = 1;
  for (size_t axis = 1; axis < extents.size(); ++axis) {
    if (extents[axis].batch) return 0;
    product *= std::max<int64_t>(extents[axis].factor, 1);
    if (product >= kInt32Limit) return 0;
  }
  return product;
}

std::string offset_text(const Operand& operand, size_t axes, int width) {
  std::string text = expression(operand.base);
  if (operand.extra.factor != 0) text += fmt::format(" + ({})", expression(operand.extra));
  for (size_t axis = 0; axis < axes; ++axis) {
    Dim stride = operand.strides[axis];
    if (axis + 1 == axes) stride.factor *= width;
    if (stride.factor == 0) continue;
    text += fmt::format(" + static_cast<int64>(c{}) * ({})", axis, expression(stride));
  }
  return text;
}

}  // namespace

Dim multiply(const Dim& a, const Dim& b) {
  if (a.batch && b.batch) throw Error(ErrorCode::unsupported, "a tensor whose size grows with the square of the batch");
  return {a.factor * b.factor, a.batch || b.batch};
}

std::string expression(const Dim& dim) {
  return dim.batch ? fmt::format("{}LL * batch", dim.factor) : fmt::format("{}LL", dim.factor);
}

std::string device_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::f16:
      return "half_t";
    case DType::bf16:
      return "bf16_t";
    case DType::f64:
      return "double";
    case DType::i8:
      return "int8";
    case DType::u8:
      return "uint8";
    case DType::i16:
      return "int16";
    case DType::u16:
      return "uint16";
    case DType::i32:
      return "int32";
    case DType::u32:
      return "uint32";
    case DType::i64:
      return "int64";
    case DType::u64:
      return "uint64";
    case DType::boolean:
      return "bool_t";
  }
  throw Error(ErrorCode::internal, "a dtype without a device type");
}

std::string literal(float value) {
  if (std::isinf(value)) return value > 0 ? "__longlong_as_double(0x7ff0000000000000LL)" : "__longlong_as_double(0xfff0000000000000LL)";
  if (std::isnan(value)) return "__longlong_as_double(0x7ff8000000000000LL)";
  return fmt::format("static_cast<double>({:a}f)", value);
}

Shape strides_of(const DeviceTensor& tensor) {
  const Shape& shape = tensor.shape;
  if (tensor.layout.order == Order::nhwc) {
    if (shape.size() != 4 || shape[1].batch || shape[2].batch || shape[3].batch)
      throw Error(ErrorCode::internal, "an NHWC tensor of shape " + to_string(shape));
    const int64_t pitch = tensor.layout.channel_pitch;
    if (pitch < shape[1].factor) throw Error(ErrorCode::internal, "an NHWC tensor whose pitch is below its channels");
    return {Dim(shape[2].factor * shape[3].factor * pitch), Dim(1), Dim(shape[3].factor * pitch), Dim(pitch)};
  }
  Shape strides(shape.size(), Dim(1));
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = multiply(strides[i], shape[i]);
  return strides;
}

std::vector<size_t> memory_order(const DeviceTensor& tensor) {
  if (tensor.layout.order == Order::nhwc) return {0, 2, 3, 1};
  std::vector<size_t> order(tensor.shape.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  return order;
}

Shape right_aligned(const Shape& shape, size_t rank, const Dim& fill) {
  Shape aligned(rank - shape.size(), fill);
  aligned.insert(aligned.end(), shape.begin(), shape.end());
  return aligned;
}

Shape broadcast_strides(const DeviceTensor& tensor, const Shape& out) {
  if (tensor.shape.size() > out.size()) throw Error(ErrorCode::internal, "an operand of higher rank than the result");
  const Shape extents = right_aligned(tensor.shape, out.size(), Dim(1));
  Shape strides = right_aligned(strides_of(tensor), out.size(), Dim(0));
  for (size_t i = 0; i < out.size(); ++i)
    if (extents[i] == Dim(1)) strides[i] = Dim(0);
  return strides;
}

void Walk::simplify() {
  for (size_t axis = extents.size(); axis-- > 0;) {
    const bool inner_mask = masked() && axis + 1 == extents.size();
    if (extents.size() > 1 && extents[axis] == Dim(1) && !inner_mask) erase_axis(*this, axis);
  }
  const size_t kept = masked() ? 1 : 0;
  for (size_t axis = extents.size(); axis-- > 1 + kept;) {
    const size_t outer = axis - 1 - kept;
    if (outer + 1 >= extents.size() || !merges(*this, outer)) continue;
    extents[outer + 1] = multiply(extents[outer], extents[outer + 1]);
    erase_axis(*this, outer);
  }
  if (extents.empty()) {
    extents.emplace_back(1);
    for (Operand& o : operands) o.strides.emplace_back(1);
  }
}

int Walk::vector_width() const {
  size_t widest = 1;
  for (const Operand& o : operands) widest = std::max(widest, dtype_size(o.dtype));
  int width = std::min<int>(8, static_cast<int>(16 / widest));
  while (width > 1 && extents.back().factor % width != 0) width /= 2;
  return width;
}

std::string Walk::mode(size_t i, int width) const {
  const Operand& o = operands[i];
  const bool is_output = i + 1 == operands.size();
  if (o.strides.back() == Dim(0) && !is_output) return "Mode::broadcast";
  bool even = o.aligned && o.strides.back() == Dim(1) && o.base.factor % width == 0 && o.extra.factor % width == 0;
  for (size_t axis = 0; axis + 1 < o.strides.size(); ++axis) even = even && o.strides[axis].factor % width == 0;
  if (masked() && !is_output) even = even && o.lanes >= extents.back().factor;
  return even ? "Mode::vector" : "Mode::run";
}

Dim Walk::threads(int width) const {
  Dim product(1);
  for (const Dim& extent : extents) product = multiply(product, extent);
  product.factor /= width;
  return product;
}

std::string Walk::emit(int width) const {
  Shape steps = extents;
  steps.back().factor /= width;
  const size_t axes = steps.size();
  std::string body;
  if (const int64_t product = inner_product(steps); axes > 1 && product > 0) {
    body += fmt::format("    const int64 c0 = thread / {0};\n    uint32 r = static_cast<uint32>(thread - c0 * {0});\n", product);
    for (size_t axis = axes; axis-- > 2;)
      body += fmt::format("    const uint32 c{0} = r % {1}u;\n    r /= {1}u;\n", axis, std::max<int64_t>(1, steps[axis].factor));
    body += "    const uint32 c1 = r;\n";
  } else {
    body += "    int64 r = thread;\n";
    for (size_t axis = axes; axis-- > 1;)
      body += fmt::format("    const int64 c{0} = r % ({1});\n    r /= ({1});\n", axis,
                          expression(steps[axis].factor == 0 ? Dim(1) : steps[axis]));
    body += "    const int64 c0 = r;\n";
  }
  for (size_t i = 0; i < operands.size(); ++i) body += fmt::format("    offset[{}] = {};\n", i, offset_text(operands[i], axes, width));
  body += masked() ? fmt::format("    inner = static_cast<int>(c{}) * {};\n", axes - 1, width) : "    inner = 0;\n";
  return fmt::format(
      "  static constexpr int kVector = {};\n  static constexpr bool kMasked = {};\n  static constexpr int kValid = {};\n"
      "  __device__ __forceinline__ static int64 count(int64 batch) {{ return {}; }}\n"
      "  __device__ __forceinline__ static void locate(int64 thread, int64 batch, int64 (&offset)[{}], int& inner) {{\n{}  }}\n",
      width, masked(), masked() ? valid : 0, expression(threads(width)), operands.size(), body);
}

}  // namespace fcm::ops::cuda
