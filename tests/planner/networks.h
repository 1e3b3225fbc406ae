// Whole networks in normal form (batch norm folded, activations and sums in the convolutions), with random weights that keep unit scale.
#pragma once

#include <cmath>
#include <random>
#include <string>

#include "tests/planner/graphs.h"

namespace fcm::test {

class NetBuilder : public GraphBuilder {
 public:
  explicit NetBuilder(uint32_t seed = 1) : random_(seed) {}

  /// Zero mean, variance 2 / depth (1 / depth before no activation).
  ValueId weights(const std::string& name, Dims dims, double gain) {
    Tensor t(DType::f32, dims);
    double depth = 1;
    for (size_t i = 1; i < dims.size(); ++i) depth *= static_cast<double>(dims[i]);
    std::normal_distribution<float> normal(0.0f, static_cast<float>(std::sqrt(gain / depth)));
    for (float& x : t.data<float>()) x = normal(random_);
    return graph.add_constant(name, std::move(t));
  }
  ValueId bias(const std::string& name, int64_t count) {
    Tensor t(DType::f32, {count});
    std::uniform_real_distribution<float> uniform(-0.3f, 0.3f);
    for (float& x : t.data<float>()) x = uniform(random_);
    return graph.add_constant(name, std::move(t));
  }
  /// k x k convolution with "same" padding.
  ValueId layer(const std::string& name, ValueId x, int64_t out, int64_t k, int64_t s, Unary act, bool depthwise = false,
                ValueId residual = kNoValue) {
    return grouped(name, x, out, k, s, act, depthwise ? channels(x) : 1, residual);
  }
  ValueId grouped(const std::string& name, ValueId x, int64_t out, int64_t k, int64_t s, Unary act, int64_t groups,
                  ValueId residual = kNoValue) {
    const Shape in = *graph.value(x).shape;
    const int64_t pad = k / 2;
    Conv op;
    op.window = Window{{k, k}, {s, s}, {1, 1}, {pad, pad}, {pad, pad}, AutoPad::explicit_pads};
    op.group = groups;
    op.activation = act;
    const Dims dims = {out, in[1].factor / op.group, k, k};
    std::vector<ValueId> inputs = {x, weights(name + "_w", dims, act.is_identity() ? 1.0 : 2.0), bias(name + "_b", out)};
    if (residual != kNoValue) inputs.push_back(residual);
    const auto size = [&](const Dim& d) { return (d.factor + 2 * pad - k) / s + 1; };
    return node(name, op, std::move(inputs), Shape{in[0], out, size(in[2]), size(in[3])});
  }
  ValueId classifier(ValueId x, int64_t classes) {
    const Shape in = *graph.value(x).shape;
    x = reshape("flatten", global_pool("pool", x), Shape{in[0], in[1]});
    Gemm op;
    op.trans_b = true;
    return node("classifier", op, {x, weights("classifier_w", {classes, in[1].factor}, 4.0), bias("classifier_b", classes)},
                Shape{in[0], classes});
  }
  int64_t channels(ValueId v) const { return (*graph.value(v).shape)[1].factor; }

 private:
  std::mt19937 random_;
};

inline constexpr Unary kRelu6{UnaryFn::clip, 0.0f, 6.0f};

struct Widths {
  double width = 1.0;
  int64_t side = 224;
  int64_t classes = 1000;
  int64_t at(int64_t c) const { return std::max<int64_t>(8, static_cast<int64_t>(static_cast<double>(c) * width) / 8 * 8); }
};

/// Bottlenecks with grouped convolutions (as RegNet's), which a library runs between modules.
inline Graph grouped_net(const Widths& w = {}) {
  NetBuilder b;
  ValueId x = b.input("image", Shape{Dim(1, true), 3, w.side, w.side});
  x = b.layer("stem", x, w.at(64), 3, 2, Unary{UnaryFn::relu});
  for (int i = 0; i < 8; ++i) {
    const std::string name = "block" + std::to_string(i);
    ValueId y = b.layer(name + "/reduce", x, w.at(64), 1, 1, Unary{UnaryFn::relu});
    y = b.grouped(name + "/grouped", y, w.at(64), 3, 1, Unary{UnaryFn::relu}, w.at(64) / 8);
    x = b.layer(name + "/expand", y, w.at(64), 1, 1, Unary{UnaryFn::relu}, false, x);
  }
  return b.finish({b.classifier(x, w.classes)});
}

inline Graph mobilenet_v1(const Widths& w = {}) {
  NetBuilder b;
  ValueId x = b.input("image", Shape{Dim(1, true), 3, w.side, w.side});
  x = b.layer("stem", x, w.at(32), 3, 2, kRelu6);
  const int64_t outs[] = {64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024};
  const int64_t strides[] = {1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1};
  for (size_t i = 0; i < 13; ++i) {
    const std::string name = "block" + std::to_string(i);
    x = b.layer(name + "/depthwise", x, b.channels(x), 3, strides[i], kRelu6, true);
    x = b.layer(name + "/pointwise", x, w.at(outs[i]), 1, 1, kRelu6);
  }
  return b.finish({b.classifier(x, w.classes)});
}

inline Graph mobilenet_v2(const Widths& w = {}) {
  struct Stage {
    int64_t expand, channels, repeats, stride;
  };
  const Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  NetBuilder b;
  ValueId x = b.input("image", Shape{Dim(1, true), 3, w.side, w.side});
  x = b.layer("stem", x, w.at(32), 3, 2, kRelu6);
  int index = 0;
  for (const Stage& s : stages) {
    for (int64_t r = 0; r < s.repeats; ++r, ++index) {
      const std::string name = "block" + std::to_string(index);
      const int64_t stride = r == 0 ? s.stride : 1, in = b.channels(x);
      ValueId h = s.expand == 1 ? x : b.layer(name + "/expand", x, in * s.expand, 1, 1, kRelu6);
      h = b.layer(name + "/depthwise", h, in * s.expand, 3, stride, kRelu6, true);
      const bool residual = stride == 1 && in == w.at(s.channels);
      x = b.layer(name + "/project", h, w.at(s.channels), 1, 1, Unary{}, false, residual ? x : kNoValue);
    }
  }
  x = b.layer("head", x, w.at(1280), 1, 1, kRelu6);
  return b.finish({b.classifier(x, w.classes)});
}

/// MobileNetV2's shape with squeeze-and-excitation and SiLU in every block, kernels of 3 and 5: like EfficientNet-B0.
inline Graph efficient_net(const Widths& w = {}) {
  struct Stage {
    int64_t expand, channels, repeats, stride, kernel;
  };
  const Stage stages[] = {{1, 16, 1, 1, 3},  {6, 24, 2, 2, 3},  {6, 40, 2, 2, 5}, {6, 80, 3, 2, 3},
                          {6, 112, 3, 1, 5}, {6, 192, 4, 2, 5}, {6, 320, 1, 1, 3}};
  const Unary silu{UnaryFn::silu, 0, 0};
  NetBuilder b;
  ValueId x = b.input("image", Shape{Dim(1, true), 3, w.side, w.side});
  x = b.layer("stem", x, w.at(32), 3, 2, silu);
  int index = 0;
  for (const Stage& s : stages) {
    for (int64_t r = 0; r < s.repeats; ++r, ++index) {
      const std::string name = "block" + std::to_string(index);
      const int64_t stride = r == 0 ? s.stride : 1, in = b.channels(x), mid = in * s.expand;
      ValueId h = s.expand == 1 ? x : b.layer(name + "/expand", x, mid, 1, 1, silu);
      h = b.layer(name + "/depthwise", h, mid, s.kernel, stride, silu, true);
      ValueId gate = b.layer(name + "/reduce", b.global_pool(name + "/squeeze", h), std::max<int64_t>(8, in / 4), 1, 1, silu);
      gate = b.layer(name + "/excite", gate, mid, 1, 1, Unary{UnaryFn::sigmoid, 0, 0});
      Binary mul;
      mul.fn = BinaryFn::mul;
      h = b.node(name + "/scale", mul, {h, gate}, *b.graph.value(h).shape);
      const bool residual = stride == 1 && in == w.at(s.channels);
      x = b.layer(name + "/project", h, w.at(s.channels), 1, 1, Unary{}, false, residual ? x : kNoValue);
    }
  }
  x = b.layer("head", x, w.at(1280), 1, 1, silu);
  return b.finish({b.classifier(x, w.classes)});
}

/// ConvNeXt blocks on tokens [N,H,W,C] between Transposes, then MLP blocks on tokens [N,L,C]: layer norms whose scale is in the layer
/// behind, residuals in the last layer, as the passes leave them.
inline Graph token_net(const Widths& w = {}) {
  NetBuilder b;
  const Dim batch(1, true);
  const int64_t c = w.at(64);
  const Unary gelu{UnaryFn::gelu, 0, 0};
  const auto linear = [&](const std::string& name, ValueId x, int64_t out, Unary act, ValueId residual = kNoValue) {
    Shape shape = *b.graph.value(x).shape;
    Gemm op;
    op.trans_b = true;
    op.activation = act;
    std::vector<ValueId> inputs = {x, b.weights(name + "_w", {out, shape.back().factor}, 1.0), b.bias(name + "_b", out)};
    if (residual != kNoValue) inputs.push_back(residual);
    shape.back() = out;
    return b.node(name, op, std::move(inputs), shape);
  };
  const auto norm = [&](const std::string& name, ValueId x) {
    const Shape shape = *b.graph.value(x).shape;
    return b.node(name, Normalize{NormFn::layer, static_cast<int64_t>(shape.size()) - 1, 0, false, 1e-6f}, {x}, shape);
  };
  ValueId x = b.layer("stem", b.input("image", Shape{batch, 3, w.side, w.side}), c, 4, 4, Unary{});
  const Shape map = *b.graph.value(x).shape, tokens = {batch, map[2], map[3], c};
  for (int i = 0; i < 2; ++i) {
    const std::string name = "block" + std::to_string(i);
    const ValueId d = b.layer(name + "/depthwise", x, c, 7, 1, Unary{}, true);
    const ValueId rows = b.node(name + "/in", Transpose{{0, 2, 3, 1}}, {x}, tokens);
    ValueId h = norm(name + "/norm", b.node(name + "/rows", Transpose{{0, 2, 3, 1}}, {d}, tokens));
    h = linear(name + "/project", linear(name + "/expand", h, 4 * c, gelu), c, Unary{}, rows);
    x = b.node(name + "/map", Transpose{{0, 3, 1, 2}}, {h}, map);
  }
  x = b.layer("down", x, c, 3, 2, gelu, true);
  const Shape small = *b.graph.value(x).shape;
  x = b.node("rows", Transpose{{0, 2, 3, 1}}, {x}, {batch, small[2], small[3], c});
  x = b.reshape("tokens", x, {batch, small[2].factor * small[3].factor, c});
  for (int i = 0; i < 2; ++i) {
    const std::string name = "mlp" + std::to_string(i);
    const ValueId first = linear(name + "/first", norm(name + "/norm1", x), 3 * c, Unary{UnaryFn::silu, 0, 0});
    x = linear(name + "/second", first, c, Unary{}, x);
    x = linear(name + "/project", linear(name + "/expand", norm(name + "/norm2", x), 4 * c, gelu), c, Unary{}, x);
  }
  x = b.node("mean", Reduce{ReduceFn::mean, Ints{1}, false, false}, {norm("norm", x)}, {batch, c});
  return b.finish({linear("classifier", x, w.classes, Unary{})});
}

/// Expansion, depthwise, projection, and the sum where shapes allow it.
inline ValueId inverted_residual(NetBuilder& b, const std::string& name, ValueId x, int64_t inner, int64_t out, int64_t kernel,
                                 int64_t stride, Unary act, int64_t reduced = 0, Unary gate_act = {UnaryFn::sigmoid, 0, 0}) {
  const int64_t in = b.channels(x);
  ValueId h = inner == in ? x : b.layer(name + "/expand", x, inner, 1, 1, act);
  h = b.layer(name + "/depthwise", h, inner, kernel, stride, act, true);
  if (reduced > 0) {
    ValueId gate = b.layer(name + "/reduce", b.global_pool(name + "/squeeze", h), reduced, 1, 1, {UnaryFn::relu, 0, 0});
    gate = b.layer(name + "/excite", gate, inner, 1, 1, gate_act);
    Binary mul;
    mul.fn = BinaryFn::mul;
    h = b.node(name + "/scale", mul, {h, gate}, *b.graph.value(h).shape);
  }
  return b.layer(name + "/project", h, out, 1, 1, Unary{}, false, stride == 1 && in == out ? x : kNoValue);
}

/// ProxylessNAS-GPU with every depthwise kernel at 3x3, as the FCM paper has it.
inline Graph proxyless_nas(int64_t side = 224) {
  struct Block {
    int64_t expand, channels, stride;
  };
  const Block blocks[] = {{1, 24, 1},  {3, 32, 2},  {3, 56, 2},  {3, 56, 1},  {6, 112, 2}, {3, 112, 1}, {6, 128, 1},
                          {3, 128, 1}, {3, 128, 1}, {6, 256, 2}, {6, 256, 1}, {6, 256, 1}, {6, 256, 1}, {6, 432, 1}};
  NetBuilder b;
  ValueId x = b.layer("stem", b.input("image", Shape{Dim(1, true), 3, side, side}), 40, 3, 2, kRelu6);
  int index = 0;
  for (const Block& k : blocks)
    x = inverted_residual(b, "block" + std::to_string(index++), x, b.channels(x) * k.expand, k.channels, 3, k.stride, kRelu6);
  return b.finish({b.classifier(b.layer("head", x, 1280, 1, 1, kRelu6), 1000)});
}

inline Graph mobilenet_v3_large(int64_t side = 224) {
  struct Block {
    int64_t kernel, inner, channels, reduced;
    bool swish;
    int64_t stride;
  };
  const Block blocks[] = {{3, 16, 16, 0, false, 1},    {3, 64, 24, 0, false, 2},    {3, 72, 24, 0, false, 1},
                          {5, 72, 40, 24, false, 2},   {5, 120, 40, 32, false, 1},  {5, 120, 40, 32, false, 1},
                          {3, 240, 80, 0, true, 2},    {3, 200, 80, 0, true, 1},    {3, 184, 80, 0, true, 1},
                          {3, 184, 80, 0, true, 1},    {3, 480, 112, 120, true, 1}, {3, 672, 112, 168, true, 1},
                          {5, 672, 160, 168, true, 2}, {5, 960, 160, 240, true, 1}, {5, 960, 160, 240, true, 1}};
  const Unary relu{UnaryFn::relu, 0, 0}, swish{UnaryFn::hard_swish, 0, 0}, hard{UnaryFn::hard_sigmoid, 1.0f / 6, 0.5f};
  NetBuilder b;
  ValueId x = b.layer("stem", b.input("image", Shape{Dim(1, true), 3, side, side}), 16, 3, 2, swish);
  int index = 0;
  for (const Block& k : blocks)
    x = inverted_residual(b, "block" + std::to_string(index++), x, k.inner, k.channels, k.kernel, k.stride, k.swish ? swish : relu,
                          k.reduced, hard);
  x = b.global_pool("pool", b.layer("head", x, 960, 1, 1, swish));
  x = b.layer("hidden", x, 1280, 1, 1, swish);
  return b.finish({b.gemm("classifier", b.reshape("flatten", x, Shape{Dim(1, true), 1280}), 1000)});
}

/// Xception in normal form: batch norms folded, a sum is the epilogue of the convolution or stands alone behind a pooling.
inline Graph xception(int64_t side = 224) {
  const Unary relu{UnaryFn::relu, 0, 0};
  NetBuilder b;
  int sums = 0;
  const auto separable = [&](const std::string& name, ValueId x, int64_t out, Unary act, ValueId residual = kNoValue) {
    return b.layer(name + "/pointwise", b.layer(name + "/depthwise", x, b.channels(x), 3, 1, Unary{}, true), out, 1, 1, act, false,
                   residual);
  };
  const auto down = [&](const std::string& name, ValueId h, ValueId x, int64_t out) {  // max pooling, and the projected shortcut
    const Shape in = *b.graph.value(h).shape;
    Pool pool;
    pool.window = Window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, AutoPad::explicit_pads};
    const auto half = [](const Dim& d) { return (d.factor - 1) / 2 + 1; };
    h = b.node(name + "/pool", pool, {h}, Shape{in[0], in[1], half(in[2]), half(in[3])});
    return b.layer(name + "/shortcut" + std::to_string(sums++), x, out, 1, 2, Unary{}, false, h);
  };
  ValueId x = b.layer("stem1", b.input("image", Shape{Dim(1, true), 3, side, side}), 32, 3, 2, relu);
  x = b.layer("stem2", x, 64, 3, 1, relu);
  for (const int64_t out : {128, 256, 728}) {
    const std::string name = "entry" + std::to_string(out);
    const ValueId first = out == 128 ? x : b.unary(name + "/relu", x, relu);
    x = down(name, separable(name + "/second", separable(name + "/first", first, out, relu), out, Unary{}), x, out);
  }
  for (int i = 0; i < 8; ++i) {
    const std::string name = "middle" + std::to_string(i);
    ValueId h = b.unary(name + "/relu", x, relu);
    h = separable(name + "/second", separable(name + "/first", h, 728, relu), 728, relu);
    x = separable(name + "/third", h, 728, Unary{}, x);
  }
  ValueId h = separable("exit/second", separable("exit/first", b.unary("exit/relu", x, relu), 728, relu), 1024, Unary{});
  x = down("exit", h, x, 1024);
  return b.finish({b.classifier(separable("exit/fourth", separable("exit/third", x, 1536, relu), 2048, relu), 1000)});
}

}  // namespace fcm::test
