// The patch embedding of a vision transformer: a convolution whose window is its stride, without padding, cuts the picture into patches
// that do not overlap, and is one matrix product on them. [N,C,H,W] becomes rows of patches [N,H/h,W/w,C*h*w] by one Transpose, in the
// order in which the weights lie; the rest is a Gemm. Small patches stay: a fused first convolution gathers them itself.
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

constexpr int64_t kSmallPatch = 160;  // elements
constexpr int64_t kMostChannels = 4;  // of a picture: maps of more are what convolutions of the libraries are made for

bool all_are(const Ints& list, int64_t x) {
  return list.size() == 2 && list[0] == x && list[1] == x;
}

bool tiles_picture(const Graph& graph, const Node& node, const Conv& conv) {
  const Window& w = conv.window;
  const bool plain = conv.group == 1 && w.kernel.size() == 2 && w.kernel == w.strides && all_are(w.dilations, 1) &&
                     all_are(w.pads_begin, 0) && all_are(w.pads_end, 0) && w.auto_pad == AutoPad::explicit_pads;
  if (!plain || node.input(3) != kNoValue || !graph.is_constant(node.input(1))) return false;
  if (node.input(2) != kNoValue && !graph.is_constant(node.input(2))) return false;
  const std::optional<Shape>& x = graph.value(node.input(0)).shape;
  if (!x || x->size() != 4 || (*x)[1].batch || (*x)[2].batch || (*x)[3].batch) return false;
  const int64_t channels = (*x)[1].factor, patch = channels * w.kernel[0] * w.kernel[1];
  const bool whole = (*x)[2].factor % w.kernel[0] == 0 && (*x)[3].factor % w.kernel[1] == 0;
  return whole && channels <= kMostChannels && patch > kSmallPatch;
}

}  // namespace

int split_patches(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    const Node node = rewriter.node(n);
    const auto* conv = std::get_if<Conv>(&node.op);
    if (rewriter.removed(n) || conv == nullptr || !tiles_picture(graph, node, *conv)) continue;
    const Value x = graph.value(node.input(0));
    const Dim batch = (*x.shape)[0];
    const int64_t channels = (*x.shape)[1].factor, h = conv->window.kernel[0], w = conv->window.kernel[1];
    const int64_t rows = (*x.shape)[2].factor / h, columns = (*x.shape)[3].factor / w, depth = channels * h * w;
    const auto insert = [&](Op op, ValueId from, Shape shape, const char* what) {
      return rewriter.insert_before(n, std::move(op), {from}, Value{x.name + what, x.dtype, std::move(shape), nullptr});
    };
    const Shape cut = {batch, channels, rows, h, columns, w}, turned = {batch, rows, columns, channels, h, w};
    const Shape flat = {batch, rows, columns, depth};
    ValueId patches = insert(reshape_to(cut), node.input(0), cut, ".cut");
    patches = insert(Transpose{{0, 2, 4, 1, 3, 5}}, patches, turned, ".patches");
    patches = insert(reshape_to(flat), patches, flat, ".rows");
    const Tensor& weights = *graph.value(node.input(1)).constant;
    const int64_t outputs = weights.dims()[0];
    const ValueId matrix = rewriter.add_constant(graph.value(node.input(1)).name, weights.reshaped({outputs, depth}));
    Gemm gemm;
    gemm.trans_b = true;
    gemm.activation = conv->activation;
    const Value y = graph.value(node.outputs[0]);
    const ValueId tokens = rewriter.insert_before(n, gemm, {patches, matrix, node.input(2)},
                                                  Value{y.name + ".tokens", y.dtype, Shape{batch, rows, columns, outputs}, nullptr});
    rewriter.replace(n, Transpose{{0, 3, 1, 2}}, {tokens});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
