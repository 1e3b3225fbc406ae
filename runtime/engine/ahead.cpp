// Compiling ahead; see ahead.h.
#include "runtime/engine/ahead.h"

#include "runtime/support/error.h"
#if FCM_HAS_CUDA
#include "runtime/engine/cuda_steps.h"
#endif

namespace fcm {

size_t compile_ahead(const Graph& graph, const Plan& plan, const DeviceInfo& device, const jit::DiskCache& cache) {
#if FCM_HAS_CUDA
  ops::cuda::WeightStore weights;
  ops::cuda::KernelSet kernels;
  ModuleSet modules(device.target, false);
  ops::cuda::StepBuild build{device, weights, kernels, plan.options.tf32};
  for (const PlanVariant& variant : plan.variants) build_steps(graph, variant, build, &modules);
  compile_kernels(modules, kernels, device.target, cache);
  return modules.size() + kernels.programs().size();
#else
  static_cast<void>(graph), static_cast<void>(plan), static_cast<void>(device), static_cast<void>(cache);
  throw Error(ErrorCode::unsupported, "this build has no CUDA support: nothing can be compiled for a GPU");
#endif
}

}  // namespace fcm
