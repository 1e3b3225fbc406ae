// A compiled module kernel on the current device.
#pragma once

#include <cstdint>

#include "fcm/emit.h"
#include "fcm/kernels/args.h"
#include "runtime/jit/jit.h"

namespace fcm {

class ModuleKernel {
 public:
  /// Loads the binary and sets the kernel's shared-memory and cluster attributes on the current device. Throws Error(device).
  ModuleKernel(const jit::Binary& binary, const LaunchPlan& plan);

  /// Enqueues the kernel on `stream` (a cudaStream_t). `programmatic`: it may start before the kernel ahead of it in the stream has
  /// ended (only when the plan's `pdl` is set). `shares_device`: others run beside it, so that no block claims a multiprocessor for itself.
  /// Throws Error(device).
  void launch(const ModuleArgs& args, void* stream, bool programmatic, bool shares_device = false) const;
  /// Dynamic shared memory that a launch asks for.
  int shared_bytes(bool shares_device) const { return shares_device || plan_.lone_bytes == 0 ? plan_.shared_bytes : plan_.lone_bytes; }
  /// Blocks that a launch of `batch` images starts.
  int64_t grid(int64_t batch) const { return plan_.grid(batch, resident_blocks_); }

  /// Blocks that the current device holds at a time, where it runs alone.
  int64_t resident_blocks() const { return resident_blocks_; }
  const LaunchPlan& plan() const { return plan_; }
  /// The kernel as cudaKernel_t, for graph nodes.
  void* handle() const { return kernel_; }

 private:
  jit::Module module_;
  LaunchPlan plan_;
  void* kernel_ = nullptr;
  int64_t resident_blocks_ = 1;
};

}  // namespace fcm
