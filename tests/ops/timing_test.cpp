// Time of layers like those of EfficientNet-Lite0, printed; the bound is wide, only there to notice a lost vectorisation.
#include <chrono>
#include <cstdio>

#include "tests/ops/support.h"

namespace fcm::ops::testing {
namespace {

struct Layer {
  int64_t channels, filters, size, kernel, stride, group;
  int repeats;  // how often the network has it
};

Tensor ramp(Dims dims) {
  Tensor t(DType::f32, std::move(dims));
  int i = 0;
  for (float& v : t.data<float>()) v = static_cast<float>(i++ * 37 % 101) / 101.0f - 0.5f;
  return t;
}

double milliseconds(const Layer& layer) {
  const int64_t out = (layer.size + layer.stride - 1) / layer.stride;
  Conv op;
  op.group = layer.group;
  op.window.strides = {layer.stride, layer.stride};
  op.window.auto_pad = AutoPad::same_upper;
  op.activation = {UnaryFn::clip, 0.0f, 6.0f};
  const Tensor x = ramp({1, layer.channels, layer.size, layer.size});
  const Tensor w = ramp({layer.filters, layer.channels / layer.group, layer.kernel, layer.kernel});
  const Checked checked = check(op, {Input::value(x), Input::value(w)});
  std::vector<const Tensor*> arguments = {&x, &w};
  std::vector<Tensor> results = {Tensor(DType::f32, {1, layer.filters, out, out})};
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    reference(checked.node.op, arguments, results);
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

TEST(Timing, LayersOfLite0) {
  const std::vector<Layer> layers = {
      {3, 32, 224, 3, 2, 1, 1},       {32, 32, 112, 3, 1, 32, 1},   {32, 16, 112, 1, 1, 1, 1},    {16, 96, 112, 1, 1, 1, 1},
      {96, 96, 112, 3, 2, 96, 1},     {96, 24, 56, 1, 1, 1, 1},     {24, 144, 56, 1, 1, 1, 2},    {144, 144, 56, 3, 1, 144, 2},
      {144, 24, 56, 1, 1, 1, 1},      {144, 40, 28, 1, 1, 1, 1},    {40, 240, 28, 1, 1, 1, 2},    {240, 240, 28, 5, 1, 240, 2},
      {240, 40, 28, 1, 1, 1, 1},      {80, 480, 14, 1, 1, 1, 3},    {480, 480, 14, 3, 1, 480, 3}, {480, 80, 14, 1, 1, 1, 3},
      {112, 672, 14, 1, 1, 1, 3},     {672, 672, 14, 5, 1, 672, 3}, {672, 112, 14, 1, 1, 1, 3},   {192, 1152, 7, 1, 1, 1, 4},
      {1152, 1152, 7, 5, 1, 1152, 4}, {1152, 192, 7, 1, 1, 1, 3},   {1152, 320, 7, 1, 1, 1, 1},   {320, 1280, 7, 1, 1, 1, 1}};
  double total = 0.0;
  for (const Layer& layer : layers) {
    const double time = milliseconds(layer);
    total += time * layer.repeats;
    const int64_t out = (layer.size + layer.stride - 1) / layer.stride;
    const int64_t inputs = layer.channels / layer.group * layer.kernel * layer.kernel;
    const double products = static_cast<double>(out * out * layer.filters * inputs);
    std::printf("conv %4ld to %4ld, %3ld x %3ld, k%ld s%ld g%-4ld %7.3f ms, %5.1f GMAC/s\n", layer.channels, layer.filters, layer.size,
                layer.size, layer.kernel, layer.stride, layer.group, time, products / time / 1e6);
  }
  std::printf("the network's layers together: %.1f ms\n", total);
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(total, 3000.0);
#endif
}

}  // namespace
}  // namespace fcm::ops::testing
