#include "ops/resize/table.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace fcm::ops {
namespace {

float coordinate(ResizeCoordinates mode, float at, float scale, float outputs, float extent) {
  switch (mode) {
    case ResizeCoordinates::half_pixel:
      return (at + 0.5f) / scale - 0.5f;
    case ResizeCoordinates::half_pixel_symmetric: {
      const float adjustment = outputs / (scale * extent);
      const float offset = extent / 2.0f * (1.0f - adjustment);
      return offset + (at + 0.5f) / scale - 0.5f;
    }
    case ResizeCoordinates::pytorch_half_pixel:
      return outputs > 1.0f ? (at + 0.5f) / scale - 0.5f : 0.0f;
    case ResizeCoordinates::align_corners:
      return outputs == 1.0f ? 0.0f : at * (extent - 1.0f) / (outputs - 1.0f);
    case ResizeCoordinates::asymmetric:
      return at / scale;
    case ResizeCoordinates::tf_half_pixel_for_nn:
      return (at + 0.5f) / scale;
  }
  return at;
}

float rounded(ResizeRounding rounding, float x, float scale) {
  switch (rounding) {
    case ResizeRounding::prefer_floor:
      return x == std::floor(x) + 0.5f ? std::floor(x) : std::round(x);
    case ResizeRounding::prefer_ceil:
      return x == std::floor(x) + 0.5f ? std::ceil(x) : std::round(x);
    case ResizeRounding::floor:
      return std::floor(x);
    case ResizeRounding::ceil:
      return std::ceil(x);
    case ResizeRounding::by_direction:
      return scale < 1.0f ? std::ceil(x) : std::floor(x);
  }
  return x;
}

std::array<float, 4> cubic_weights(float a, float t) {
  const auto near = [a](float d) { return ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f; };
  const auto far = [a](float d) { return ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a; };
  return {far(t + 1.0f), near(t), near(1.0f - t), far(2.0f - t)};
}

int32_t inside(float at, int64_t extent) {
  return static_cast<int32_t>(std::clamp(at, 0.0f, static_cast<float>(extent - 1)));
}

void add_linear(ResizeTable& table, float x, int64_t extent) {
  const float at = std::clamp(x, 0.0f, static_cast<float>(extent - 1));
  const float first = std::floor(at);
  table.index.push_back(inside(first, extent));
  table.index.push_back(inside(first + 1.0f, extent));
  table.weight.push_back(1.0f - (at - first));
  table.weight.push_back(at - first);
}

void add_cubic(ResizeTable& table, const Resize& op, float x, int64_t extent) {
  const float first = std::floor(x);
  std::array<float, 4> weights = cubic_weights(op.cubic_a, x - first);
  float sum = 0.0f;
  for (size_t k = 0; k < 4; ++k) {
    const float at = first + static_cast<float>(k) - 1.0f;
    if (op.exclude_outside && (at < 0.0f || at >= static_cast<float>(extent))) weights[k] = 0.0f;
    sum += weights[k];
    table.index.push_back(inside(at, extent));
  }
  for (const float w : weights) table.weight.push_back(op.exclude_outside ? w / sum : w);
}

}  // namespace

ResizeTable resize_table(const Resize& op, size_t i, int64_t extent) {
  ResizeTable table;
  table.taps = op.mode == ResizeMode::nearest ? 1 : op.mode == ResizeMode::linear ? 2 : 4;
  const float scale = op.scales[i];
  const auto outputs = static_cast<float>(op.sizes[i]);
  for (int64_t o = 0; o < op.sizes[i]; ++o) {
    const float x = coordinate(op.coordinates, static_cast<float>(o), scale, outputs, static_cast<float>(extent));
    if (op.mode == ResizeMode::nearest) {
      table.index.push_back(inside(rounded(op.rounding, x, scale), extent));
      table.weight.push_back(1.0f);
    } else if (op.mode == ResizeMode::linear) {
      add_linear(table, x, extent);
    } else {
      add_cubic(table, op, x, extent);
    }
  }
  return table;
}

}  // namespace fcm::ops
