// Between plan and device operators: the executable steps of a plan. Needs no device.
#pragma once

#include <memory>
#include <vector>

#include "ops/cuda/step.h"
#include "planner/plan.h"
#include "runtime/engine/cuda_rules.h"
#include "runtime/engine/module_steps.h"

namespace fcm {

/// One step of the plan as it runs: an operator, a fused module, or a border that reads or writes a caller's buffer; the others are null,
/// but a module that reads a caller's buffer is a border too.
struct CudaStep {
  std::unique_ptr<ops::cuda::Step> step;
  std::shared_ptr<const ModuleStep> module;
  std::unique_ptr<ops::cuda::Border> border;
  std::unique_ptr<ops::cuda::Border> image;  ///< the border's twin for nhwc_u8; null where the port is no image
  int input_port = -1;                       ///< the port that the border reads; -1: a buffer of ours
  int output_port = -1;                      ///< the port that the border writes; -1: a buffer of ours

  /// All of its kernels are ours and wait for what they follow, so that the next one of ours may be launched early.
  bool own() const { return step == nullptr || step->own(); }
};

/// The steps of a plan in its order; their weights and kernels are collected in `build` and, of modules, in `modules` (which may be null
/// for a plan without any). Throws Error naming the graph and the node.
std::vector<CudaStep> build_steps(const Graph& graph, const PlanVariant& variant, ops::cuda::StepBuild& build,
                                  ModuleSet* modules = nullptr);

/// Compiles all that steps were built with; needs NVRTC, no device.
void compile_kernels(ModuleSet& modules, ops::cuda::KernelSet& kernels, const jit::Target& target, const jit::DiskCache& cache,
                     const ops::cuda::KernelSet::Progress& progress = {});

}  // namespace fcm
