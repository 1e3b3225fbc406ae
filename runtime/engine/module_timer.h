// Times module kernels on the current device as they run in plans: captured, repeated, overlapping. Compiled only where the toolkit is.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "fcm/launch.h"
#include "planner/tuning.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"

namespace fcm {

/// Operands for module kernels, large enough for a set of them and filled with the same small number in any float format.
class ModuleOperands {
 public:
  /// Throws Error(out_of_memory).
  ModuleOperands(const std::vector<TuneJob>& jobs, const jit::Target& target);
  ModuleArgs args(const ModuleSpec& spec, int64_t images) const;

 private:
  DeviceBuffer input_, output_, residual_, weights_, gate_, pool_;
};

/// A kernel with copies of its code, more than a multiprocessor's instruction cache holds: launched in turn they find it as cold as in a
/// network, where other kernels have run since. At small batches that is up to a third of a kernel's time.
class ColdKernel {
 public:
  /// Loads the copies on the current device. Throws Error(device).
  ColdKernel(const jit::Binary& binary, const LaunchPlan& plan);
  const ModuleKernel& copy(size_t launch) const { return copies_[launch % copies_.size()]; }

 private:
  std::vector<ModuleKernel> copies_;
};

/// Microseconds of a launch among launches of itself in a CUDA graph: the median of a few rounds of about a millisecond.
double time_module(const ColdKernel& kernel, const ModuleArgs& args, const Stream& stream);

/// The same; infinity, with the reason in the log, for a kernel that this device cannot launch. Throws Error(device_lost).
double try_module(const ColdKernel& kernel, const ModuleArgs& args, const Stream& stream);

/// Microseconds of modules that run one after another in one graph, as in a network: each on what the one before wrote, with weights of its
/// own. The median of a few rounds. `kernels`: by step.
double time_chain(const std::vector<TuneJob>& steps, const std::vector<const ModuleKernel*>& kernels, const jit::Target& target);

/// A compiled job, or why it could not be compiled.
struct CompiledJob {
  size_t job = 0;
  jit::Binary binary;
  std::string error;
};
/// Compiles jobs in order on all cores, some way ahead of `take`, which receives them on the calling thread as they are done. Stops
/// beginning new ones after `seconds`. An exception of `take` ends it.
void compile_jobs(const std::vector<TuneJob>& jobs, const jit::Target& target, const jit::DiskCache& cache,
                  const std::function<void(const CompiledJob&)>& take, double seconds = std::numeric_limits<double>::infinity());

}  // namespace fcm
