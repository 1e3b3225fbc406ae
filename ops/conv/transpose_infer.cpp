// ConvTranspose: pads from output_shape and auto_pad, then the output extents.
#include "ops/conv/conv.h"
#include "ops/window.h"

namespace fcm::ops {
namespace {

constexpr int64_t kMost = int64_t{1} << 30;

void settle_list(Ints& values, size_t rank, std::string_view attribute) {
  if (values.empty()) values.assign(rank, 0);
  if (values.size() != rank)
    bad_input("attribute {} has {} values; accepted is one for each of {} spatial axes", attribute, values.size(), rank);
  for (const int64_t v : values) {
    if (v < 0 || v > kMost) bad_input("attribute {} holds {}; accepted are 0 to {}", attribute, v, kMost);
  }
}

// Elements along axis `i` before pads are taken away.
int64_t full_extent(const ConvTranspose& op, const Dims& spatial, size_t i) {
  return op.window.strides[i] * (spatial[i] - 1) + op.output_padding[i] + dilated(op.window, i);
}

// Pads such that `wanted` elements remain; where there are too few, output padding.
void fit_axis(ConvTranspose& op, const Dims& spatial, size_t i, int64_t wanted, bool less_at_begin) {
  int64_t total = full_extent(op, spatial, i) - wanted;
  if (total < 0) {
    op.output_padding[i] -= total;
    total = 0;
  }
  const int64_t lesser = total / 2;
  op.window.pads_begin[i] = less_at_begin ? lesser : total - lesser;
  op.window.pads_end[i] = total - op.window.pads_begin[i];
}

}  // namespace

void bind_op(ConvTranspose& op, Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& w = need(inputs, 1);
  const Dims spatial = spatial_dims(x);
  if (has_batch(w.shape)) unsupported("weights have shape {}; accepted is one that is free of the batch", to_string(w.shape));
  if (w.shape.size() != x.shape.size())
    bad_input("X has shape {} but weights {}; the ranks must be equal", to_string(x.shape), to_string(w.shape));
  Ints kernel;
  for (size_t i = 2; i < w.shape.size(); ++i) kernel.push_back(w.shape[i].factor);
  if (!op.window.kernel.empty() && op.window.kernel != kernel)
    bad_input("attribute kernel_shape = [{}] differs from the weights' shape {}", fmt::join(op.window.kernel, ","), to_string(w.shape));
  op.window.kernel = kernel;
  const AutoPad auto_pad = op.window.auto_pad;
  if (auto_pad != AutoPad::explicit_pads) {
    op.window.pads_begin.clear();
    op.window.pads_end.clear();
  }
  op.window.auto_pad = AutoPad::explicit_pads;
  bind_window(op.window, spatial);
  settle_list(op.output_padding, spatial.size(), "output_padding");
  const bool same = auto_pad == AutoPad::same_upper || auto_pad == AutoPad::same_lower;
  if (op.output_shape.empty() && !same) return;
  const bool given = !op.output_shape.empty();
  if (given) settle_list(op.output_shape, spatial.size(), "output_shape");
  for (size_t i = 0; i < spatial.size(); ++i)
    fit_axis(op, spatial, i, given ? op.output_shape[i] : spatial[i] * op.window.strides[i], auto_pad == AutoPad::same_upper);
  op.output_shape.clear();
}

std::vector<Inferred> infer_op(const ConvTranspose& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const Known& w = need(inputs, 1);
  need_float(x.dtype, "X");
  need_same(x.dtype, w.dtype, "X and weights");
  const Dims spatial = spatial_dims(x);
  if (op.group < 1) bad_input("attribute group = {}; accepted are 1 and more", op.group);
  if (w.shape.size() != x.shape.size() || w.shape[0] != x.shape[1])
    bad_input("X has shape {} but weights {}; the channels must be equal", to_string(x.shape), to_string(w.shape));
  if (x.shape[1].factor % op.group != 0) bad_input("{} channels are not a multiple of group = {}", x.shape[1].factor, op.group);
  if (w.shape[1].factor < 1 || w.shape[1].factor > kMost / op.group)
    bad_input("weights have shape {} for group = {}", to_string(w.shape), op.group);
  Shape y = {x.shape[0], Dim(w.shape[1].factor * op.group)};
  for (size_t i = 0; i < spatial.size(); ++i) {
    const int64_t extent = full_extent(op, spatial, i) - op.window.pads_begin[i] - op.window.pads_end[i];
    if (extent < 1)
      bad_input("pads of {} and {} leave {} elements along spatial axis {}", op.window.pads_begin[i], op.window.pads_end[i], extent, i);
    y.emplace_back(extent);
  }
  static_cast<void>(element_count(y));
  if (const Known* bias = known(inputs, 2)) {
    need_same(x.dtype, bias->dtype, "X and bias");
    if (bias->shape != Shape{y[1]}) bad_input("bias has shape {}; accepted is [{}]", to_string(bias->shape), to_string(y[1]));
  }
  return {{x.dtype, y, std::nullopt}};
}

}  // namespace fcm::ops
