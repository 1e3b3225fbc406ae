// From node to step.
#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

struct Maker {
  const Request& r;

  std::unique_ptr<Step> operator()(const Conv& op) const { return make_conv(r, op); }
  std::unique_ptr<Step> operator()(const Pool& op) const { return make_pool(r, op); }
  std::unique_ptr<Step> operator()(const GlobalPool& op) const { return make_reduce(r, op); }
  std::unique_ptr<Step> operator()(const Reduce& op) const { return make_reduce(r, op); }
  std::unique_ptr<Step> operator()(const Softmax& op) const { return make_reduce(r, op); }
  std::unique_ptr<Step> operator()(const Gemm& op) const { return make_gemm(r, op); }
  std::unique_ptr<Step> operator()(const MatMul& op) const { return make_gemm(r, op); }
  std::unique_ptr<Step> operator()(const BatchNorm& op) const { return make_elementwise(r, op); }
  std::unique_ptr<Step> operator()(const UnaryOp& op) const { return make_elementwise(r, op); }
  std::unique_ptr<Step> operator()(const Binary& op) const { return make_elementwise(r, op); }
  std::unique_ptr<Step> operator()(const Elementwise& op) const { return make_elementwise(r, op); }
  std::unique_ptr<Step> operator()(const Select& op) const { return make_elementwise(r, op); }
  std::unique_ptr<Step> operator()(const Cast& /*op*/) const { return make_copy(r); }
  std::unique_ptr<Step> operator()(const Identity& /*op*/) const { return make_copy(r); }
  std::unique_ptr<Step> operator()(const ConstantOfShape& op) const { return make_fill(r, op); }
  std::unique_ptr<Step> operator()(const ShapeOf& /*op*/) const { return refused(); }
  std::unique_ptr<Step> operator()(const SizeOf& /*op*/) const { return refused(); }
  std::unique_ptr<Step> operator()(const Range& /*op*/) const { return refused(); }
  std::unique_ptr<Step> operator()(const ConvTranspose& op) const { return make_conv_transpose(r, op); }
  std::unique_ptr<Step> operator()(const Normalize& op) const { return make_normalize(r, op); }
  std::unique_ptr<Step> operator()(const Resize& op) const { return make_resize(r, op); }
  std::unique_ptr<Step> operator()(const Attention& op) const { return make_attention(r, op); }
  std::unique_ptr<Step> operator()(const ArgReduce& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const TopK& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const CumSum& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const GatherElements& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const GatherND& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const ScatterND& op) const { return make_index(r, op); }
  std::unique_ptr<Step> operator()(const Trilu& op) const { return make_index(r, op); }
  template <class MoveOp>
  std::unique_ptr<Step> operator()(const MoveOp& op) const {
    return make_move(r, op);
  }

  [[noreturn]] std::unique_ptr<Step> refused() const { throw Error(ErrorCode::internal, "a node that the backend refuses reached it"); }
};

}  // namespace

const Tensor& Request::constant(size_t i) const {
  if (!is_constant(i)) throw Error(ErrorCode::internal, fmt::format("input {} is not constant", i));
  return *graph.value(node.input(i)).constant;
}

Shape Request::shape(size_t i) const {
  if (is_constant(i)) return to_shape(constant(i).dims());
  if (i >= inputs.size() || !inputs[i]) throw Error(ErrorCode::internal, fmt::format("input {} has no device tensor", i));
  return inputs[i]->shape;
}

Source Request::source(size_t i) const {
  if (is_constant(i)) return constant_source(constant(i), build.weights);
  if (i >= inputs.size() || !inputs[i]) throw Error(ErrorCode::internal, fmt::format("input {} has no device tensor", i));
  return {*inputs[i], Place::input(i), 0};
}

std::unique_ptr<Step> Request::sequence(std::vector<Launch> launches, const std::string& text, Dim workspace) const {
  return std::make_unique<KernelSequence>(std::move(launches), text, workspace);
}

std::string layout_text(const Layout& layout) {
  return fmt::format("{}{}", dtype_name(layout.dtype), layout.order == Order::nhwc ? " nhwc" : "");
}

std::unique_ptr<Step> make_step(const Graph& graph, const Node& node, std::span<const std::optional<DeviceTensor>> inputs,
                                std::span<const DeviceTensor> outputs, StepBuild& build) {
  std::string reason;
  if (!supported(graph, node, &reason)) throw Error(ErrorCode::unsupported, fcm::describe(node.origin) + ": " + reason);
  const Request request{graph, node, inputs, outputs, build};
  try {
    return std::visit(Maker{request}, node.op);
  } catch (const Error& error) {
    throw Error(error.code(), fcm::describe(node.origin) + ": " + error.what());
  }
}

}  // namespace fcm::ops::cuda
