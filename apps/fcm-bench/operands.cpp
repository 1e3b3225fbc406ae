#include "apps/fcm-bench/operands.h"

#include <cmath>
#include <cstring>
#include <random>

#include "runtime/device/cuda_check.h"

namespace fcm::bench {
namespace {

std::vector<float> uniform(std::mt19937_64& random, size_t count, float scale) {
  std::uniform_real_distribution<float> draw(-scale, scale);
  std::vector<float> values(count);
  for (float& v : values) v = draw(random);
  return values;
}

StageWeights random_weights(const StageSpec& s, std::mt19937_64& random) {
  const size_t taps = static_cast<size_t>(s.kernel_h) * static_cast<size_t>(s.kernel_w);
  const size_t depth = s.op == StageOp::dw ? taps : taps * static_cast<size_t>(s.in_channels);
  StageWeights weights;
  if (s.op == StageOp::pool) return weights;
  weights.weight = uniform(random, depth * static_cast<size_t>(s.out_channels), 1.7f / std::sqrt(static_cast<float>(depth)));
  weights.bias = uniform(random, static_cast<size_t>(s.out_channels), 0.5f);
  return weights;
}

// A repeating run of random values: drawing every element of a batch-64 map would take longer than everything measured with it. The
// period is prime, so that no two pixels, rows or images line up.
class RandomRun {
 public:
  explicit RandomRun(std::mt19937_64& random) : values_(uniform(random, 65537, 1.0f)) {}
  float operator[](size_t i) const { return values_[i % values_.size()]; }

 private:
  std::vector<float> values_;
};

// [N][H][W][C] with zero pad lanes.
std::vector<float> padded_map(std::mt19937_64& random, size_t pixels, int channels, int pitch) {
  const RandomRun run(random);
  std::vector<float> values(pixels * static_cast<size_t>(pitch), 0.0f);
  size_t drawn = 0;
  for (size_t p = 0; p < pixels; ++p) {
    for (int c = 0; c < channels; ++c) values[p * static_cast<size_t>(pitch) + static_cast<size_t>(c)] = run[drawn++];
  }
  return values;
}

}  // namespace

int padded(int channels, DType dtype) {
  const int lanes = static_cast<int>(16 / dtype_size(dtype));
  return (channels + lanes - 1) / lanes * lanes;
}

Operands::Operands(const ModuleSpec& spec, int64_t batch, uint64_t seed) {
  std::mt19937_64 random(seed);
  const DType dtype = dtype_of(spec);
  for (const StageSpec& s : spec.stages) weights.stages.push_back(random_weights(s, random));
  const size_t in_pixels = static_cast<size_t>(batch) * static_cast<size_t>(spec.height) * static_cast<size_t>(spec.width);
  const int in_channels = spec.stages.front().in_channels;
  if (spec.input == InputTransform::nchw_f32) {
    input = upload(padded_map(random, in_pixels, in_channels, in_channels), DType::f32);
  } else {
    input = upload(padded_map(random, in_pixels, in_channels, padded(in_channels, dtype)), dtype);
  }
  const Plane out = output_plane(spec);
  const size_t out_pixels = static_cast<size_t>(batch) * static_cast<size_t>(out.height) * static_cast<size_t>(out.width);
  const int out_pitch = output_pitch(spec);
  if (spec.residual != geometry::Residual::none && !spec.residual_is_input)
    residual = upload(padded_map(random, out_pixels, output_channels(spec), out_pitch), dtype);
  output = DeviceBuffer(out_pixels * static_cast<size_t>(out_pitch) * dtype_size(output_dtype(spec)));
}

DeviceBuffer upload(const std::vector<float>& values, DType dtype) {
  DeviceBuffer buffer(values.size() * dtype_size(dtype));
  if (dtype == DType::f32) {
    cuda_check(cudaMemcpy(buffer.data(), values.data(), buffer.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
    return buffer;
  }
  std::vector<uint16_t> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = dtype == DType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
  cuda_check(cudaMemcpy(buffer.data(), rounded.data(), buffer.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  return buffer;
}

std::vector<float> download(const DeviceBuffer& buffer, size_t count, DType dtype) {
  std::vector<float> values(count);
  if (dtype == DType::f32) {
    cuda_check(cudaMemcpy(values.data(), buffer.data(), count * 4, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }
  std::vector<uint16_t> stored(count);
  cuda_check(cudaMemcpy(stored.data(), buffer.data(), count * 2, cudaMemcpyDeviceToHost), "cudaMemcpy");
  for (size_t i = 0; i < count; ++i) values[i] = dtype == DType::f16 ? f16_to_f32(stored[i]) : bf16_to_f32(stored[i]);
  return values;
}

}  // namespace fcm::bench
