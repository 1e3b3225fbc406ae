#include "apps/fcm-bench/work.h"

#include <algorithm>

namespace fcm::bench {
namespace {

double input_bytes(const ModuleSpec& spec, double element) {
  const double count = static_cast<double>(spec.height) * spec.width * spec.stages.front().in_channels;
  switch (spec.input) {
    case InputTransform::nchw_f32:
      return count * 4;
    case InputTransform::nhwc_u8:
      return count;
    default:
      return count * element;
  }
}

double stage_weights(const StageSpec& s) {
  const double taps = static_cast<double>(s.kernel_h) * s.kernel_w;
  return s.op == StageOp::dw ? taps * s.out_channels : taps * s.in_channels * s.out_channels;
}

}  // namespace

Work work_of(const ModuleSpec& spec, int64_t batch) {
  Work work;
  const double n = static_cast<double>(batch);
  const double element = static_cast<double>(dtype_size(dtype_of(spec)));
  const std::vector<Plane> planes = planes_of(spec);
  double edge = input_bytes(spec, element) * n;
  work.compulsory_bytes = edge;
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    const StageSpec& s = spec.stages[i];
    const double pixels = n * planes[i + 1].height * planes[i + 1].width;
    const double weights = stage_weights(s);
    (s.op == StageOp::dw ? work.depthwise_macs : work.dense_macs) += weights * pixels;
    const double out = pixels * s.out_channels * element;
    work.unfused_bytes += edge + weights * element + out;
    work.compulsory_bytes += weights * element;
    edge = out;
  }
  work.compulsory_bytes += edge;
  if (spec.residual != geometry::Residual::none) {
    work.unfused_bytes += edge;
    if (!spec.residual_is_input) work.compulsory_bytes += edge;
  }
  return work;
}

double Bound::total_us() const {
  return step_us + std::max({memory_us, dense_us, depthwise_us});
}

const char* Bound::what() const {
  const double largest = std::max({memory_us, dense_us, depthwise_us, step_us});
  if (largest == step_us) return "step";
  if (largest == memory_us) return "memory";
  return largest == dense_us ? "dense" : "depthwise";
}

Bound bound_of(const ModuleSpec& spec, const Work& work, const Rates& rates) {
  Bound bound;
  const bool cached = work.compulsory_bytes < 0.6 * rates.l2_bytes;
  bound.memory_us = work.compulsory_bytes / (cached ? rates.l2_bytes_per_us : rates.dram_bytes_per_us);
  const bool tensor_cores = dtype_of(spec) != DType::f32;
  bound.dense_us = work.dense_macs / (tensor_cores ? rates.tensor_macs_per_us : rates.fma_macs_per_us);
  bound.depthwise_us = work.depthwise_macs / rates.fma_macs_per_us;
  bound.step_us = rates.step_us;
  return bound;
}

}  // namespace fcm::bench
