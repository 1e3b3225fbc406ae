// Chains of nodes that only move elements, in the shortest form there is:
// - one that moves nothing in the end becomes a Reshape (a window partition and its reverse, a cyclic shift and its reverse, two
// Transposes);
// - one from or to channels-last rows of an image [N,C,H,W] becomes the Transpose between [N,C,H,W] and [N,H,W,C], which costs nothing
//   where images lie in NHWC, with a Reshape on the side of the rows;
// - one that reorders whole rows beside an operator that works row by row becomes a Gather of rows [items, rows, channels] by a constant
//   table, which `sink_rows` then moves to where it meets its inverse or an Attention.
#include <algorithm>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rows.h"
#include "runtime/passes/view.h"

namespace fcm::passes {
namespace {

const Ints kToChannelsLast = {0, 2, 3, 1};
const Ints kToChannelsFirst = {0, 3, 1, 2};

Shape turned(const Shape& shape, const Ints& perm) {
  Shape result;
  for (const int64_t axis : perm) result.push_back(shape[static_cast<size_t>(axis)]);
  return result;
}

// The value behind the Reshapes that lead to `v`.
ValueId behind_reshapes(const Rewriter& rewriter, ValueId v) {
  while (rewriter.made_by<Reshape>(v) != nullptr || rewriter.made_by<Identity>(v) != nullptr)
    v = rewriter.node(rewriter.producer(v)).inputs[0];
  return v;
}

class Simplifier {
 public:
  Simplifier(Rewriter& rewriter, NodeId n)
      : rewriter_(rewriter), graph_(rewriter.graph()), n_(n), v_(rewriter.node(n).outputs[0]), view_(trace(rewriter, v_)) {}

  void run() {
    if (view_.source == v_ || !graph_.value(view_.source).shape || behind_reshapes(rewriter_, v_) == view_.source) return;
    if (become_reshape() || become_image_transpose()) return;
    if (!beside_rows()) return;
    if (become_row_gather(view_, false, false)) return;
    View image = view_;
    if (image.put_channels_last(shape(view_.source)) && become_row_gather(image, true, false)) return;
    if (shape(v_).size() != 4) return;
    View rows = view_;
    rows.transpose(kToChannelsLast);
    become_row_gather(rows, false, true);
  }

 private:
  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }
  const Value& value(ValueId v) const { return graph_.value(v); }

  ValueId insert(Op op, std::vector<ValueId> inputs, const Shape& to, const char* label) {
    return rewriter_.insert_before(n_, std::move(op), std::move(inputs), {value(v_).name + "/" + label, value(v_).dtype, to, nullptr});
  }
  void replace_by_reshape(ValueId x) { rewriter_.replace(n_, reshape_to(shape(v_)), {x}); }

  bool become_reshape() {
    if (!is_whole(view_, shape(view_.source))) return false;
    replace_by_reshape(view_.source);
    return true;
  }

  bool become_image_transpose() {
    const Node& node = rewriter_.node(n_);
    const Shape from = shape(view_.source);
    View rows = view_;
    if (shape(v_).size() == 4) {  // rows to an image
      rows.transpose(kToChannelsLast);
      if (is_whole(rows, from)) {
        const auto* transpose = std::get_if<Transpose>(&node.op);
        if (transpose != nullptr && transpose->perm == kToChannelsFirst && behind_reshapes(rewriter_, node.inputs[0]) == view_.source)
          return false;
        const ValueId x =
            insert(reshape_to(turned(shape(v_), kToChannelsLast)), {view_.source}, turned(shape(v_), kToChannelsLast), "rows");
        rewriter_.replace(n_, Transpose{kToChannelsFirst}, {x});
        return true;
      }
    }
    View image = view_;
    if (from.size() != 4 || !image.put_channels_last(from) || !is_whole(image, from)) return false;
    const NodeId last = rewriter_.producer(behind_reshapes(rewriter_, v_));
    const auto* transpose = std::get_if<Transpose>(&rewriter_.node(last).op);
    if (transpose != nullptr && transpose->perm == kToChannelsLast && rewriter_.node(last).inputs[0] == view_.source) return false;
    replace_by_reshape(insert(Transpose{kToChannelsLast}, {view_.source}, turned(from, kToChannelsLast), "channels_last"));
    return true;
  }

  // Whether an operator that works row by row makes the source or reads the result.
  bool beside_rows() const {
    const NodeId maker = rewriter_.producer(view_.source);
    if (maker != kNoNode && is_about_rows(graph_, rewriter_.node(maker))) return true;
    const std::vector<NodeId>& readers = rewriter_.consumers(v_);
    return std::any_of(readers.begin(), readers.end(), [&](NodeId r) { return is_about_rows(graph_, rewriter_.node(r)); });
  }

  // `view`: of the result as rows. `from_image`: its source is an image, read channels last; `to_image`: the result is one.
  bool become_row_gather(View view, bool from_image, bool to_image) {
    const Shape result = shape(v_);
    const Dim channels = to_image ? result[1] : result.back();
    const Dim count = element_count(result);
    if (channels.batch || channels.factor == 0 || element_count(shape(view.source)) != count) return false;
    const Dim items(1, count.batch);
    const int64_t rows = count.factor / channels.factor;
    const Shape three = {items, Dim(rows), channels};
    if (!view.reshape(three) || view.offset != 0) return false;
    if (count.batch && (view.axes[0].size() != 1 || view.axes[0][0].table >= 0 || view.axes[0][0].step != Dim(count.factor))) return false;
    if (channels.factor > 1 && view.stride(2) != 1) return false;
    const std::optional<Ints> offsets = view.offsets(1, 2);
    if (!offsets) return false;
    Ints table;
    std::vector<bool> seen(static_cast<size_t>(rows), false);
    for (const int64_t offset : *offsets) {
      const int64_t row = offset / channels.factor;
      if (offset % channels.factor != 0 || row < 0 || row >= rows || seen[static_cast<size_t>(row)]) return false;
      seen[static_cast<size_t>(row)] = true;
      table.push_back(row);
    }
    if (std::is_sorted(table.begin(), table.end()) || is_row_gather_already()) return false;
    ValueId x = view.source;
    if (from_image) x = insert(Transpose{kToChannelsLast}, {x}, turned(shape(view.source), kToChannelsLast), "channels_last");
    x = insert(reshape_to(three), {x}, three, "rows");
    const ValueId indices = rewriter_.add_constant(value(v_).name + "/order", Tensor::ints({rows}, table));
    x = insert(Gather{1}, {x, indices}, three, "reordered");
    if (!to_image) {
      replace_by_reshape(x);
    } else {
      const Shape image = turned(result, kToChannelsLast);
      x = insert(reshape_to(image), {x}, image, "image");
      rewriter_.replace(n_, Transpose{kToChannelsFirst}, {x});
    }
    return true;
  }

  // Between source and result stands nothing but one Gather of rows and image Transposes.
  bool is_row_gather_already() const {
    const auto is_image_transpose = [&](ValueId v) {
      const auto* t = rewriter_.made_by<Transpose>(v);
      return t != nullptr && (t->perm == kToChannelsLast || t->perm == kToChannelsFirst);
    };
    ValueId v = behind_reshapes(rewriter_, v_);
    if (is_image_transpose(v)) v = behind_reshapes(rewriter_, rewriter_.node(rewriter_.producer(v)).inputs[0]);
    if (rewriter_.made_by<Gather>(v) == nullptr) return false;
    v = behind_reshapes(rewriter_, rewriter_.node(rewriter_.producer(v)).inputs[0]);
    if (v == view_.source) return true;
    return is_image_transpose(v) && behind_reshapes(rewriter_, rewriter_.node(rewriter_.producer(v)).inputs[0]) == view_.source;
  }

  Rewriter& rewriter_;
  const Graph& graph_;
  NodeId n_;
  ValueId v_;
  View view_;
};

// The end of a chain: it is an output, or read by something else than a move that views see through.
bool ends_chain(const Rewriter& rewriter, ValueId v) {
  const Graph& graph = rewriter.graph();
  const std::vector<NodeId>& readers = rewriter.consumers(v);
  return graph.is_output(v) || std::any_of(readers.begin(), readers.end(), [&](NodeId r) {
           const ValueId y = rewriter.node(r).outputs[0];
           return !is_move(graph, rewriter.node(r)) || trace(rewriter, y).source == y;
         });
}

bool moves_all_floats(const Graph& graph, const Node& node) {
  const auto is_data = [&](ValueId v) {
    return v != kNoValue && !graph.is_constant(v) && graph.value(v).shape && is_float(graph.value(v).dtype);
  };
  return node.outputs.size() == 1 && is_move(graph, node) && is_data(node.inputs[0]) && is_data(node.outputs[0]);
}

}  // namespace

int simplify_moves(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (rewriter.removed(n)) continue;
    const Node& node = rewriter.node(n);
    if (!moves_all_floats(graph, node)) continue;
    if (ends_chain(rewriter, node.outputs[0])) Simplifier(rewriter, n).run();
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
