// Resize: tables of what an output reads along each axis (ops/resize/table.h) are uploaded; a thread sums over the taps of all of them.
#include <cstring>

#include "ops/cuda/request.h"
#include "ops/resize/table.h"

namespace fcm::ops::cuda {
namespace {

// The tables of all axes as one block of 4-byte words, and where the parts of each begin.
struct Tables {
  std::vector<std::byte> bytes;
  std::vector<size_t> index_at, weight_at;  // in words, by resized axis
  int64_t taps = 1;

  template <class T>
  size_t append(const std::vector<T>& values) {
    static_assert(sizeof(T) == 4);
    const size_t at = bytes.size();
    bytes.resize(at + values.size() * 4);
    if (!values.empty()) std::memcpy(bytes.data() + at, values.data(), values.size() * 4);
    return at / 4;
  }
};

Tables make_tables(const Resize& op, const Shape& x) {
  Tables tables;
  for (size_t i = 0; i < op.axes->size(); ++i) {
    const ResizeTable table = resize_table(op, i, x[static_cast<size_t>((*op.axes)[i])].factor);
    tables.taps = table.taps;
    tables.index_at.push_back(tables.append(table.index));
    tables.weight_at.push_back(tables.append(table.weight));
  }
  return tables;
}

// The loops over the taps of each axis, innermost the sum. `operand` of axis i in offset[] is i + 1.
std::string loops(const Tables& tables, const Shape& strides, const Ints& axes, const std::string& type) {
  std::string text;
  std::string at = "offset[0]";
  std::string weight = "A(1)";
  for (size_t i = 0; i < axes.size(); ++i) {
    text += fmt::format("  for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n    const int64 t{0} = offset[{2}] * {1} + k{0};\n", i, tables.taps,
                        i + 1);
    at += fmt::format(" + indices[{}LL + t{}] * ({})", tables.index_at[i], i, expression(strides[static_cast<size_t>(axes[i])]));
    if (tables.taps > 1) weight += fmt::format(" * A(weights[{}LL + t{}])", tables.weight_at[i], i);
  }
  const std::string element = fmt::format("widen(static_cast<const {}*>(x)[{}])", type, at);
  text += tables.taps > 1 ? fmt::format("    value += {} * ({});\n", element, weight) : fmt::format("    value = {};\n", element);
  return text + std::string(axes.size(), '}') + "\n";
}

}  // namespace

std::unique_ptr<Step> make_resize(const Request& r, const Resize& op) {
  const Source in = r.source(0);
  const Shape strides = strides_of(in.tensor);
  const Tables tables = make_tables(op, in.tensor.shape);
  std::vector<Operand> operands = {{in.tensor.layout.dtype, strides, Dim(0), Dim(0), 0, true}};
  for (const int64_t axis : *op.axes) {
    operands[0].strides[static_cast<size_t>(axis)] = Dim(0);
    Operand coordinate{DType::u8, Shape(strides.size(), Dim(0)), Dim(0), Dim(0), 0, true};
    coordinate.strides[static_cast<size_t>(axis)] = Dim(1);
    operands.push_back(std::move(coordinate));
  }
  Walk walk = output_walk(std::move(operands), r.result());
  walk.simplify();
  const std::string in_type = device_type(in.tensor.layout.dtype);
  const std::string out_type = device_type(r.outputs[0].layout.dtype);
  const std::string text = fmt::format(
      "struct P {{\n{0}}};\n\nextern \"C\" __global__ void __launch_bounds__(256) resize(const void* x, const void* table, void* y, int64 "
      "batch) {{\n  using A = compute_t<{1}>;\n"
      "  const int64 thread = global_thread();\n  if (thread >= P::count(batch)) return;\n  int64 offset[{2}];\n  int inner;\n"
      "  P::locate(thread, batch, offset, inner);\n  [[maybe_unused]] const auto* indices = static_cast<const int32*>(table);\n"
      "  [[maybe_unused]] const auto* weights = static_cast<const float*>(table);\n  A value = A(0);\n"
      "  if (!P::kMasked || inner < P::kValid) {{\n{3}  }}\n"
      "  static_cast<{4}*>(y)[offset[{5}]] = Store<{4}>::from(value);\n}}\n",
      walk.emit(1), in_type, walk.operands.size(), loops(tables, strides, *op.axes, in_type), out_type, walk.operands.size() - 1);
  auto kernel = r.build.kernels.add(kernel_program("resize", "math.cuh", text), "resize");
  const Place table = tables.bytes.empty() ? Place::none() : Place::weight(r.build.weights.add(tables.bytes));
  return r.sequence({{std::move(kernel), {in.place, table, Place::output(0)}, walk.threads(1), 256}},
                    fmt::format("{} {} to {}", to_string(r.node.op), to_string(in.tensor.shape), to_string(r.outputs[0].shape)));
}

}  // namespace fcm::ops::cuda
