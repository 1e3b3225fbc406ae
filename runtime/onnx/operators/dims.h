// Arithmetic on the extents of a value, as nodes: folding turns them into constants and multiples of the batch.
#pragma once

#include "runtime/onnx/node_context.h"

namespace fcm::onnx {

/// Extents as values: each a list of one i64.
class DimNodes {
 public:
  explicit DimNodes(NodeContext& node) : node_(node) {}

  /// The extent of axis `i` of `x`; negative `i` counts from the end.
  ValueId of(ValueId x, int64_t i) const;
  ValueId number(int64_t value) const { return node_.add_ints("extent", {value}); }
  ValueId times(ValueId a, ValueId b) const { return node_.emit_step(Binary{BinaryFn::mul, {}}, {a, b}, "extent"); }
  ValueId divided(ValueId a, int64_t by) const { return node_.emit_step(Binary{BinaryFn::div, {}}, {a, number(by)}, "extent"); }
  /// 0, 1, ... up to an extent.
  ValueId numbers(ValueId count) const;
  /// The list of all `dims`, which must not be empty.
  ValueId list(const std::vector<ValueId>& dims) const;

 private:
  NodeContext& node_;
};

}  // namespace fcm::onnx
