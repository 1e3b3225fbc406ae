// Fused modules of a plan as they run: kernels emitted for the device, compiled once each, and the weights packed for their tiles.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fcm/launch.h"
#include "ops/cuda/step.h"
#include "planner/plan.h"

namespace fcm {

/// The module kernels of an engine. Equal specs and tiles share one.
class ModuleSet {
 public:
  /// `jitter` emits kernels with random spins around the programmatic wait (FCM_PDL_JITTER).
  ModuleSet(const jit::Target& target, bool jitter) : target_(target), jitter_(jitter) {}

  /// Position of the kernel. Throws Error(unsupported) when the tile is refused.
  size_t add(const ModuleSpec& spec, const TileConfig& tile);
  /// Compiles what is not compiled yet; needs NVRTC, no device. Progress from 0 to 1.
  void compile(const jit::DiskCache& cache, int threads, const ops::cuda::KernelSet::Progress& progress = {});
  /// Loads everything compiled on the current device.
  void load();
  const ModuleKernel& kernel(size_t at) const;
  const LaunchPlan& launch(size_t at) const { return emitted_[at].launch; }
  size_t size() const { return emitted_.size(); }
  const jit::Binary& binary(size_t at) const { return binaries_[at]; }
  bool jitter() const { return jitter_; }

 private:
  jit::Target target_;
  bool jitter_;
  std::vector<Emitted> emitted_;
  std::map<std::string, size_t> index_;  // spec and tile
  std::vector<jit::Binary> binaries_;
  std::vector<ModuleKernel> kernels_;
};

/// One module of a plan. Immutable; enqueued from any thread once its set is loaded.
class ModuleStep {
 public:
  /// Collects kernel and packed weights. `modules` outlives the step.
  ModuleStep(const Graph& graph, const PlanStep& step, ops::cuda::WeightStore& weights, ModuleSet& modules);

  /// Inputs: map (or sums), residual, gate; outputs: map, sums; null where the module has none. `programmatic`: the kernel ahead in the
  /// stream is ours too, and this one may start before that has ended: every block waits before it reads or writes activations.
  void enqueue(const ops::cuda::StepArgs& args, bool programmatic) const;
  /// The arguments of a launch; its batch is 0 where there is nothing to do.
  ModuleArgs arguments(const ops::cuda::StepArgs& args) const;
  const ModuleKernel& kernel() const { return modules_.kernel(kernel_); }
  std::string describe() const;

 private:
  PlanModule module_;
  const ModuleSet& modules_;
  size_t kernel_;
  size_t weights_at_;
  unsigned seed_;
};

/// A module that reads a caller's tensor itself: the first convolution, on NCHW floats or NHWC bytes.
class ModuleBorder final : public ops::cuda::Border {
 public:
  explicit ModuleBorder(std::shared_ptr<const ModuleStep> module) : module_(std::move(module)) {}
  void enqueue(cudaStream_t stream, const Args& args, bool programmatic) const override;
  cudaKernelNodeParams node_params(const Args& args, Launch& launch) const override;
  std::string describe() const override { return module_->describe(); }

 private:
  ModuleArgs arguments(const Args& args) const;
  std::shared_ptr<const ModuleStep> module_;
};

}  // namespace fcm
