// Elementwise operators: each is one map, its function an expression of the operands.
#include <cmath>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

std::string describe_map(const Request& r, const std::string& what) {
  return fmt::format("{} {} {}", what, to_string(r.outputs[0].shape), layout_text(r.outputs[0].layout));
}

}  // namespace

std::unique_ptr<Step> make_elementwise(const Request& r, const UnaryOp& op) {
  const std::string text = unary_text(op.u, "a0");
  return r.sequence({map_launch("unary", {r.source(0)}, r.result(), text, r.build)}, describe_map(r, to_string(op.u)));
}

std::unique_ptr<Step> make_elementwise(const Request& r, const Binary& op) {
  const auto floating = [&](size_t i) { return is_float(r.graph.value(r.node.inputs[i]).dtype); };
  std::string text = fmt::format("fn::{}(a0, a1)", binary_name(op.fn));
  if (op.fn == BinaryFn::pow && floating(0) != floating(1)) {  // the only operator of two types: in double, as the reference
    text = "fn::pow(static_cast<double>(a0), static_cast<double>(a1))";
    // A result that is whole may come out an ulp or two below, and would lose one where it is cut off.
    text = floating(0) ? "static_cast<float>(" + text + ")" : "static_cast<int64>(" + text + " * 1.0000000000000009)";
  }
  text = unary_text(op.activation, text);
  return r.sequence({map_launch("binary", {r.source(0), r.source(1)}, r.result(), text, r.build)}, describe_map(r, binary_name(op.fn)));
}

std::unique_ptr<Step> make_elementwise(const Request& r, const Elementwise& op) {
  std::vector<Source> sources;
  for (size_t i = 0; i < r.node.inputs.size(); ++i) sources.push_back(r.source(i));
  const auto operand = [&](size_t i) { return i < sources.size() ? fmt::format("a{}", i) : fmt::format("p{}", i - sources.size()); };
  std::string text = "[&] {";
  for (size_t i = 0; i < op.parts.size(); ++i) {
    const Elementwise::Part& part = op.parts[i];
    const std::string x =
        part.fn ? fmt::format("fn::{}({}, {})", binary_name(*part.fn), operand(part.a), operand(part.b)) : operand(part.a);
    text += fmt::format(" const float p{} = {};", i, unary_text(part.activation, x));
  }
  text += fmt::format(" return p{}; }}()", op.parts.size() - 1);
  return r.sequence({map_launch("elementwise", sources, r.result(), text, r.build)}, describe_map(r, "elementwise"));
}

std::unique_ptr<Step> make_elementwise(const Request& r, const Select& /*op*/) {
  return r.sequence({map_launch("select", {r.source(0), r.source(1), r.source(2)}, r.result(), "a0 != 0 ? a1 : a2", r.build)},
                    describe_map(r, "select"));
}

// y = x * s + t with s = scale / sqrt(variance + epsilon), t = bias - mean * s, computed here in double.
std::unique_ptr<Step> make_elementwise(const Request& r, const BatchNorm& op) {
  const std::vector<float> scale = float_values(r.constant(1));
  const std::vector<float> bias = float_values(r.constant(2));
  const std::vector<float> mean = float_values(r.constant(3));
  const std::vector<float> variance = float_values(r.constant(4));
  const auto channels = static_cast<int64_t>(scale.size());
  const size_t rank = r.outputs[0].shape.size();
  Dims dims(rank < 2 ? 1 : rank - 1, 1);
  dims[0] = channels;
  Tensor s(DType::f32, dims);
  Tensor t(DType::f32, dims);
  for (size_t c = 0; c < scale.size(); ++c) {
    const double factor = double{scale[c]} / std::sqrt(double{variance[c]} + double{op.epsilon});
    s.data<float>()[c] = static_cast<float>(factor);
    t.data<float>()[c] = static_cast<float>(double{bias[c]} - double{mean[c]} * factor);
  }
  const std::vector<Source> operands = {r.source(0), constant_source(s, r.build.weights), constant_source(t, r.build.weights)};
  return r.sequence({map_launch("batch_norm", operands, r.result(), "a0 * a1 + a2", r.build)}, describe_map(r, "batch_norm"));
}

std::unique_ptr<Step> make_copy(const Request& r) {
  return r.sequence({map_launch("copy", {r.source(0)}, r.result(), "a0", r.build)}, describe_map(r, "copy"));
}

std::unique_ptr<Step> make_fill(const Request& r, const ConstantOfShape& op) {
  std::string text = "0LL";
  if (op.value.count() == 1) {
    const bool floating = is_float(op.value.dtype());
    text =
        floating ? literal(op.value.cast(DType::f32).data<float>()[0]) : fmt::format("{}LL", op.value.cast(DType::i64).data<int64_t>()[0]);
  }
  return r.sequence({map_launch("fill", {}, r.result(), text, r.build)}, describe_map(r, "fill"));
}

std::unique_ptr<Step> make_convert(const DeviceTensor& input, const DeviceTensor& output, StepBuild& build) {
  const Source from{input, Place::input(0), 0};
  const Source to{output, Place::output(0), 0};
  return std::make_unique<KernelSequence>(
      std::vector<Launch>{map_launch("convert", {from}, to, "a0", build)},
      fmt::format("convert {} {} to {}", to_string(input.shape), layout_text(input.layout), layout_text(output.layout)));
}

}  // namespace fcm::ops::cuda
