// Random operands of a module, on the host and on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "fcm/pack.h"
#include "fcm/spec.h"
#include "runtime/device/memory.h"

namespace fcm::bench {

/// Channels as the kernels and cuDNN see them: whole 16-byte vectors.
int padded(int channels, DType dtype);

struct Operands {
  ModuleWeights weights;
  DeviceBuffer input;     ///< as the spec's transform says
  DeviceBuffer residual;  ///< empty without one of its own
  DeviceBuffer output;
  DeviceBuffer pool;

  /// Deterministic in `seed`. Weights are scaled so that activations keep about unit size.
  Operands(const ModuleSpec& spec, int64_t batch, uint64_t seed);
};

/// Floats rounded to `dtype` on the device.
DeviceBuffer upload(const std::vector<float>& values, DType dtype);
/// `count` elements that repeat `values`, rounded to `dtype`.
DeviceBuffer repeated(const std::vector<float>& values, size_t count, DType dtype);

}  // namespace fcm::bench
