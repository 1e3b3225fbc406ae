// A module's kernel on a device: loads a compiled program and launches it as its LaunchPlan says. The one place of this room that needs
// the CUDA runtime (target fcm_modules_cuda).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "fcm/emit.h"
#include "fcm/kernels/args.h"
#include "runtime/jit/jit.h"

namespace fcm {

/// Ready to launch on the device that was current at construction. Immutable: shared by any number of streams and threads.
class LoadedModule {
 public:
  /// Loads the kernel and raises its limits (dynamic shared memory, cluster size). Throws Error(device).
  LoadedModule(const LaunchPlan& plan, const jit::Binary& binary);

  /// Blocks that the device holds at a time, by the occupancy calculator; whole clusters.
  int64_t resident_blocks() const { return resident_blocks_; }
  /// Launches on `stream`; `pdl`: with programmatic stream serialisation, where the plan allows it. `args.batch` gives the grid.
  void launch(cudaStream_t stream, const ModuleArgs& args, bool pdl) const;
  const LaunchPlan& plan() const { return plan_; }

 private:
  LaunchPlan plan_;
  jit::Module module_;
  const void* kernel_ = nullptr;
  int64_t resident_blocks_ = 0;
};

}  // namespace fcm
