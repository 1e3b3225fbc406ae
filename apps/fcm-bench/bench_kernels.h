// The benchmark's own kernels (kernels/bench.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "runtime/device/info.h"
#include "runtime/device/memory.h"
#include "runtime/jit/jit.h"
#include "runtime/support/dtype.h"
#include "runtime/support/unary.h"

namespace fcm::bench {

/// bias + residual + activation in place, for what cuDNN cannot fuse. `residual`: 0 none, 1 before the activation, 2 after it.
class EpilogueKernel {
 public:
  EpilogueKernel(const DeviceInfo& device, DType dtype, const Unary& activation, int residual);
  void launch(cudaStream_t stream, void* y, const float* bias, const void* residual, int channels, size_t vectors) const;

 private:
  int blocks_;
  jit::Module module_;
};

/// How far two results are apart.
class DifferenceKernel {
 public:
  DifferenceKernel(const DeviceInfo& device, DType dtype);
  /// Largest |ours - theirs| over largest |theirs|; infinite where a value is not a number.
  double operator()(const void* ours, const void* theirs, size_t count) const;

 private:
  int blocks_;
  jit::Module module_;
  DeviceBuffer largest_;
};

}  // namespace fcm::bench
