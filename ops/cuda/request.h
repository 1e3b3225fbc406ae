// One call of make_step, with the lookups that every family needs.
#pragma once

#include <fmt/format.h>

#include "ops/cuda/sequence.h"
#include "runtime/support/error.h"

namespace fcm::ops::cuda {

struct Request {
  const Graph& graph;
  const Node& node;
  std::span<const std::optional<DeviceTensor>> inputs;
  std::span<const DeviceTensor> outputs;
  StepBuild& build;

  bool has(size_t i) const { return node.input(i) != kNoValue; }
  bool is_constant(size_t i) const { return graph.is_constant(node.input(i)); }
  /// The contents of a constant input; Error(internal) otherwise.
  const Tensor& constant(size_t i) const;
  /// The shape of an input, constant or not.
  Shape shape(size_t i) const;
  /// Where input `i` is; constants are uploaded.
  Source source(size_t i) const;
  Source result(size_t i = 0) const { return {outputs[i], Place::output(i), 0}; }
  /// A step of own kernels; `text` describes it, `workspace` in bytes.
  std::unique_ptr<Step> sequence(std::vector<Launch> launches, const std::string& text, Dim workspace = Dim(0)) const;
};

/// "f16", "f16 nhwc".
std::string layout_text(const Layout& layout);

std::unique_ptr<Step> make_elementwise(const Request& r, const UnaryOp& op);
std::unique_ptr<Step> make_elementwise(const Request& r, const Binary& op);
std::unique_ptr<Step> make_elementwise(const Request& r, const Elementwise& op);
std::unique_ptr<Step> make_elementwise(const Request& r, const Select& op);
std::unique_ptr<Step> make_elementwise(const Request& r, const BatchNorm& op);
/// Cast and Identity: the output's dtype is its layout's.
std::unique_ptr<Step> make_copy(const Request& r);
std::unique_ptr<Step> make_fill(const Request& r, const ConstantOfShape& op);

std::unique_ptr<Step> make_move(const Request& r, const Reshape& op);
std::unique_ptr<Step> make_move(const Request& r, const Transpose& op);
std::unique_ptr<Step> make_move(const Request& r, const Concat& op);
std::unique_ptr<Step> make_move(const Request& r, const Slice& op);
std::unique_ptr<Step> make_move(const Request& r, const Split& op);
std::unique_ptr<Step> make_move(const Request& r, const Expand& op);
std::unique_ptr<Step> make_move(const Request& r, const Tile& op);
std::unique_ptr<Step> make_move(const Request& r, const Gather& op);
std::unique_ptr<Step> make_move(const Request& r, const Pad& op);

std::unique_ptr<Step> make_pool(const Request& r, const Pool& op);
std::unique_ptr<Step> make_reduce(const Request& r, const Reduce& op);
std::unique_ptr<Step> make_reduce(const Request& r, const GlobalPool& op);
std::unique_ptr<Step> make_reduce(const Request& r, const Softmax& op);

std::unique_ptr<Step> make_conv(const Request& r, const Conv& op);
std::unique_ptr<Step> make_conv_transpose(const Request& r, const ConvTranspose& op);
std::unique_ptr<Step> make_normalize(const Request& r, const Normalize& op);
std::unique_ptr<Step> make_attention(const Request& r, const Attention& op);
std::unique_ptr<Step> make_resize(const Request& r, const Resize& op);

std::unique_ptr<Step> make_index(const Request& r, const ArgReduce& op);
std::unique_ptr<Step> make_index(const Request& r, const TopK& op);
std::unique_ptr<Step> make_index(const Request& r, const CumSum& op);
std::unique_ptr<Step> make_index(const Request& r, const GatherElements& op);
std::unique_ptr<Step> make_index(const Request& r, const GatherND& op);
std::unique_ptr<Step> make_index(const Request& r, const ScatterND& op);
std::unique_ptr<Step> make_index(const Request& r, const Trilu& op);

std::unique_ptr<Step> make_gemm(const Request& r, const Gemm& op);
std::unique_ptr<Step> make_gemm(const Request& r, const MatMul& op);

}  // namespace fcm::ops::cuda
