#include "apps/fcm-bench/bench_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "embed/bench_kernels.h"
#include "runtime/device/cuda_check.h"
#include "runtime/support/error.h"

namespace fcm::bench {
namespace {

constexpr unsigned kThreads = 256;

// The activation as a C expression of x, for the pointwise kernel.
std::string activation_text(const Unary& u) {
  switch (u.fn) {
    case UnaryFn::identity:
      return "(x)";
    case UnaryFn::relu:
      return "fmaxf((x), 0.0f)";
    case UnaryFn::clip:
      return fmt::format("fminf(fmaxf((x), {:.9e}f), {:.9e}f)", u.a, u.b);
    case UnaryFn::silu:
      return "((x) / (1.0f + __expf(-(x))))";
    case UnaryFn::sigmoid:
      return "(1.0f / (1.0f + __expf(-(x))))";
    case UnaryFn::hard_swish:
      return "((x) * __saturatef((x) * (1.0f / 6.0f) + 0.5f))";
    case UnaryFn::hard_sigmoid:
      return fmt::format("__saturatef((x) * {:.9e}f + {:.9e}f)", u.a, u.b);
    case UnaryFn::gelu:
      return "(0.5f * (x) * (1.0f + erff((x) * 0.70710678f)))";
    default:
      throw Error(ErrorCode::unsupported, "the unfused form has no pointwise kernel for " + to_string(u));
  }
}

jit::Binary compile_kernels(const DeviceInfo& device, DType dtype, const Unary& activation, int residual) {
  jit::Program program;
  program.name = "bench kernels";
  program.source = fmt::format("{}#define ACTIVATION(x) {}\n#define RESIDUAL {}\n",
                               dtype == DType::f16    ? "#define ELEMENT_F16\n"
                               : dtype == DType::bf16 ? "#define ELEMENT_BF16\n"
                                                      : "",
                               activation_text(activation), residual) +
                   embedded::bench_kernels().at("apps/fcm-bench/kernels/bench.cuh");
  return jit::compile(program, device.target, jit::DiskCache::standard());
}

}  // namespace

EpilogueKernel::EpilogueKernel(const DeviceInfo& device, DType dtype, const Unary& activation, int residual)
    : blocks_(device.sm_count * 8), module_(compile_kernels(device, dtype, activation, residual)) {}

void EpilogueKernel::launch(cudaStream_t stream, void* y, const float* bias, const void* residual, int channels, size_t vectors) const {
  unsigned long long count = vectors;
  std::array<void*, 5> arguments = {&y, &bias, &residual, &channels, &count};
  const auto blocks = static_cast<unsigned>(std::min<size_t>(static_cast<size_t>(blocks_), (vectors + kThreads - 1) / kThreads));
  cuda_check(cudaLaunchKernel(module_.kernel("epilogue"), dim3(blocks), dim3(kThreads), arguments.data(), 0, stream), "epilogue");
}

DifferenceKernel::DifferenceKernel(const DeviceInfo& device, DType dtype)
    : blocks_(device.sm_count * 8), module_(compile_kernels(device, dtype, {}, 0)), largest_(2 * sizeof(float)) {}

double DifferenceKernel::operator()(const void* ours, const void* theirs, size_t count) const {
  cuda_check(cudaMemset(largest_.data(), 0, largest_.size()), "cudaMemset");
  unsigned long long elements = count;
  void* largest = largest_.data();
  std::array<void*, 4> arguments = {&ours, &theirs, &elements, &largest};
  cuda_check(cudaLaunchKernel(module_.kernel("largest_difference"), dim3(static_cast<unsigned>(blocks_)), dim3(kThreads), arguments.data(),
                              0, nullptr),
             "largest_difference");
  std::array<float, 2> found{};
  cuda_check(cudaMemcpy(found.data(), largest_.data(), largest_.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
  const auto [difference, value] = found;
  return std::isfinite(difference) && std::isfinite(value) ? static_cast<double>(difference) / std::max(value, 1e-30f) : INFINITY;
}

}  // namespace fcm::bench
