// Small graphs built by hand; shapes are given, since no import or shape inference stands here.
#pragma once

#include <string>
#include <utility>

#include "runtime/graph/graph.h"

namespace fcm::test {

class GraphBuilder {
 public:
  Graph graph;

  ValueId input(const std::string& name, Shape shape, DType dtype = DType::f32) {
    const ValueId v = graph.add_value(name, dtype, std::move(shape));
    graph.inputs.push_back(v);
    return v;
  }
  ValueId constant(const std::string& name, Dims dims, float start = 0.01f) {
    Tensor t(DType::f32, std::move(dims));
    float x = start;
    for (float& e : t.data<float>()) {
      e = x;
      x = x > 0.2f ? -0.19f : x + 0.037f;
    }
    return graph.add_constant(name, std::move(t));
  }
  ValueId node(const std::string& name, Op op, std::vector<ValueId> inputs, Shape shape, DType dtype = DType::f32) {
    const ValueId y = graph.add_value(name + "_y", dtype, std::move(shape));
    graph.add_node(std::move(op), std::move(inputs), {y}, Origin{name, "", 17, ""});
    return y;
  }
  /// k x k, stride s, "same" padding for odd k; `groups` == channels is depthwise.
  ValueId conv(const std::string& name, ValueId x, int64_t out, int64_t k, int64_t s, bool depthwise = false, ValueId residual = kNoValue) {
    const Shape in = *graph.value(x).shape;
    const int64_t groups = depthwise ? in[1].factor : 1;
    const int64_t pad = k / 2;
    Conv op;
    op.window = Window{{k, k}, {s, s}, {1, 1}, {pad, pad}, {pad, pad}, AutoPad::explicit_pads};
    op.group = groups;
    op.activation = depthwise ? Unary{UnaryFn::clip, 0.0f, 6.0f} : Unary{};
    std::vector<ValueId> inputs = {x, constant(name + "_w", {out, in[1].factor / groups, k, k}), constant(name + "_b", {out})};
    if (residual != kNoValue) inputs.push_back(residual);
    const auto size = [&](const Dim& d) { return (d.factor + 2 * pad - k) / s + 1; };
    return node(name, op, std::move(inputs), Shape{in[0], out, size(in[2]), size(in[3])});
  }
  ValueId global_pool(const std::string& name, ValueId x) {
    const Shape in = *graph.value(x).shape;
    return node(name, GlobalPool{}, {x}, Shape{in[0], in[1], 1, 1});
  }
  ValueId reshape(const std::string& name, ValueId x, Shape shape) {
    Reshape op;
    op.target = shape;
    return node(name, op, {x}, std::move(shape), graph.value(x).dtype);
  }
  ValueId gemm(const std::string& name, ValueId x, int64_t out) {
    const Shape in = *graph.value(x).shape;
    Gemm op;
    op.trans_b = true;
    return node(name, op, {x, constant(name + "_w", {out, in[1].factor}), constant(name + "_b", {out})}, Shape{in[0], out});
  }
  ValueId unary(const std::string& name, ValueId x, Unary u) { return node(name, UnaryOp{u}, {x}, *graph.value(x).shape); }
  ValueId add(const std::string& name, ValueId a, ValueId b, Shape shape) { return node(name, Binary{}, {a, b}, std::move(shape)); }
  Graph finish(std::vector<ValueId> outputs) {
    graph.name = "test.onnx";
    graph.outputs = std::move(outputs);
    graph.validate();
    return std::move(graph);
  }
};

/// Outputs of several kinds: a map that is read again, a pooled map, a softmax.
inline Graph many_outputs_net() {
  GraphBuilder b;
  const Dim batch(1, true);
  const ValueId x = b.input("x", {batch, 8, 6, 6});
  const ValueId c = b.conv("conv", x, 16, 3, 1);
  const ValueId pooled = b.global_pool("pool", c);
  const ValueId squashed = b.unary("sigmoid", c, {UnaryFn::sigmoid, 0, 0});
  const ValueId product = b.node("matmul", MatMul{}, {b.reshape("flat", pooled, {batch, 16}), b.constant("m", {16, 4})}, {batch, 4});
  Softmax softmax;
  softmax.axis = 1;
  const ValueId top = b.node("softmax", softmax, {product}, {batch, 4});
  return b.finish({squashed, b.global_pool("again", squashed), top});
}

/// The shape of EfficientNet-Lite0: stem, inverted residuals, head, pool, classifier. `width` 1.0 and `side` 224 are the real ones.
inline Graph lite_like(int64_t side, double width, int64_t classes, int64_t most_blocks = 100) {
  const auto scaled = [&](int64_t c) { return std::max<int64_t>(8, static_cast<int64_t>(static_cast<double>(c) * width) / 8 * 8); };
  struct Stage {
    int64_t repeats, kernel, stride, expand, channels;
  };
  const Stage stages[] = {{1, 3, 1, 1, 16},  {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80},
                          {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320}};
  GraphBuilder b;
  ValueId x = b.input("image", Shape{Dim(1, true), 3, side, side});
  x = b.conv("stem", x, 32, 3, 2);
  int64_t blocks = 0;
  for (const Stage& stage : stages) {
    for (int64_t r = 0; r < stage.repeats && blocks < most_blocks; ++r, ++blocks) {
      const std::string name = "block" + std::to_string(blocks);
      const int64_t in = (*b.graph.value(x).shape)[1].factor;
      const int64_t stride = r == 0 ? stage.stride : 1;
      const bool residual = stride == 1 && in == scaled(stage.channels);
      ValueId h = stage.expand == 1 ? x : b.conv(name + "/expand", x, in * stage.expand, 1, 1);
      h = b.conv(name + "/depthwise", h, in * stage.expand, stage.kernel, stride, true);
      x = b.conv(name + "/project", h, scaled(stage.channels), 1, 1, false, residual ? x : kNoValue);
    }
  }
  x = b.conv("head", x, scaled(1280), 1, 1);
  x = b.global_pool("pool", x);
  x = b.reshape("flatten", x, Shape{Dim(1, true), scaled(1280)});
  return b.finish({b.gemm("classifier", x, classes)});
}

}  // namespace fcm::test
