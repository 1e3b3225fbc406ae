#include "apps/fcm-bench/operands.h"

#include <algorithm>
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

// [N][H][W][C] with zero pad lanes: random pixels, repeated on the device, since drawing and sending every element of a batch-64 map would
// take longer than everything measured with it. The period is prime, so that no two rows or images line up.
DeviceBuffer random_map(std::mt19937_64& random, size_t pixels, int channels, int pitch, DType dtype) {
  constexpr size_t kPeriod = 1021;
  const size_t drawn = std::min(pixels, kPeriod);
  std::vector<float> values(drawn * static_cast<size_t>(pitch), 0.0f);
  for (size_t p = 0; p < drawn; ++p) {
    const std::vector<float> pixel = uniform(random, static_cast<size_t>(channels), 1.0f);
    std::copy(pixel.begin(), pixel.end(), values.begin() + static_cast<ptrdiff_t>(p * static_cast<size_t>(pitch)));
  }
  return repeated(values, pixels * static_cast<size_t>(pitch), dtype);
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
    input = random_map(random, in_pixels, in_channels, in_channels, DType::f32);
  } else {
    input = random_map(random, in_pixels, in_channels, padded(in_channels, dtype), dtype);
  }
  const Plane out = output_plane(spec);
  const size_t out_pixels = static_cast<size_t>(batch) * static_cast<size_t>(out.height) * static_cast<size_t>(out.width);
  const int out_pitch = output_pitch(spec);
  if (spec.residual != geometry::Residual::none && !spec.residual_is_input)
    residual = random_map(random, out_pixels, output_channels(spec), out_pitch, dtype);
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

DeviceBuffer repeated(const std::vector<float>& values, size_t count, DType dtype) {
  const DeviceBuffer once = upload(values, dtype);
  DeviceBuffer buffer(count * dtype_size(dtype));
  size_t filled = std::min(once.size(), buffer.size());
  cuda_check(cudaMemcpy(buffer.data(), once.data(), filled, cudaMemcpyDeviceToDevice), "cudaMemcpy");
  while (filled < buffer.size()) {  // whole periods, but for the last copy
    const size_t more = std::min(filled, buffer.size() - filled);
    cuda_check(cudaMemcpy(buffer.bytes() + filled, buffer.data(), more, cudaMemcpyDeviceToDevice), "cudaMemcpy");
    filled += more;
  }
  cuda_check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");  // copies within the device do not wait
  return buffer;
}

}  // namespace fcm::bench
