#include "runtime/graph/op.h"

#include <array>

namespace fcm {

Op::Op() = default;
Op::Op(const Op&) = default;
Op::Op(Op&&) noexcept = default;
Op& Op::operator=(const Op&) = default;
Op& Op::operator=(Op&&) noexcept = default;
Op::~Op() = default;

std::string_view op_kind(const Op& op) {
  static constexpr std::array<std::string_view, std::variant_size_v<AnyOp>> kNames = {
      "Conv",           "Pool",     "GlobalPool",    "Gemm",      "MatMul",    "BatchNorm",       "UnaryOp", "Binary",
      "Select",         "Cast",     "Identity",      "ShapeOf",   "SizeOf",    "ConstantOfShape", "Range",   "Reshape",
      "Transpose",      "Concat",   "Slice",         "Split",     "Gather",    "Expand",          "Tile",    "Pad",
      "Reduce",         "Softmax",  "ConvTranspose", "Normalize", "Resize",    "ArgReduce",       "TopK",    "CumSum",
      "GatherElements", "GatherND", "ScatterND",     "Trilu",     "Attention", "Elementwise"};
  return kNames[op.index()];
}

}  // namespace fcm
