// Where the elements of a value lie in the value that it was made from by moving elements alone: Reshape, Transpose, Slice, Split, Gather
// by constant indices, Expand, and Concat of parts of one value (a cyclic shift). Passes that look through such chains ask for a view, so
// that they do not depend on how an exporter spells them.
#pragma once

#include <optional>
#include <vector>

#include "runtime/passes/rewriter.h"

namespace fcm::passes {

/// A part of an axis: index i along it adds i * step to the element offset or, with a table, to the position in that table, whose entry is
/// added to the offset.
struct Factor {
  Dim extent;
  Dim step;
  int table = -1;  ///< in View::tables; -1: none
};

/// Element [i0, i1, ...] of a value is element `offset` + what its axes add of `source`, which is dense and row-major. An axis is a product
/// of factors, outermost first; none for an axis of one element.
struct View {
  ValueId source = kNoValue;
  int64_t offset = 0;
  std::vector<std::vector<Factor>> axes;
  std::vector<Ints> tables;
  double scale = 1.0;  ///< `trace` through scalars: what the elements were multiplied with
  bool relu = false;   ///< `trace` through ReLU: whether they are positive parts

  /// The value itself.
  static View of(ValueId v, const Shape& shape);

  /// The same elements with other axes; false, with nothing changed, where an axis would cut a factor unevenly.
  bool reshape(const Shape& target);
  void transpose(const Ints& perm);
  /// Repeats axes of one element.
  void expand(const Shape& target);
  /// Element start + i * step of an axis, i < count. False for an axis with the batch in it, unless that is the whole axis.
  bool slice(size_t axis, int64_t start, int64_t step, int64_t count);
  /// Elements by index. False for an axis with the batch in it.
  bool take(size_t axis, const Ints& indices);
  /// An axis by what its positions add to the offset.
  void set_axis(size_t axis, Ints positions);
  /// From a source [N,C,H,W] to its elements in the order [N,H,W,C]. False, with nothing changed, where a factor crosses channels and
  /// pixels together, or there is a table.
  bool put_channels_last(const Shape& source_shape);

  Dim extent(size_t axis) const;
  /// The step of an axis that is one factor without a table, 0 for one of one element; nullopt for others and steps with the batch.
  std::optional<int64_t> stride(size_t axis) const;
  /// What the positions along neighbouring axes [first, last) add to the offset, the last axis fastest; nullopt when the batch is in them
  /// or a table has factors elsewhere.
  std::optional<Ints> offsets(size_t first, size_t last) const;

 private:
  /// Gives each axis a table of its own, or none, where the axes that table `t` couples add up independently after all.
  void decouple(int t);
};

/// Whether the view is all of a source of this shape, in order.
bool is_whole(const View& view, const Shape& source_shape);

/// Whether a node is of a kind that moves elements in ways that views express.
bool is_move(const Graph& graph, const Node& node);

/// What `trace` sees through beside moves.
struct Through {
  bool scale = false;  ///< products with and quotients by positive numbers
  bool relu = false;
};
/// The view of `v` in the earliest value that moves alone connect it to; of `v` in itself when there is none. Its shape must be known.
View trace(const Rewriter& rewriter, ValueId v, Through through = {});

}  // namespace fcm::passes
