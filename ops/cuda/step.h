// One executable device step: a graph node (or a layout conversion) made ready for given layouts. Steps belong to the engine: they
// are immutable after construction and safe to enqueue from any number of threads; whatever is mutable (library handles, workspace,
// stream) comes with the call.
//
// Building an engine:
//   StepBuild build{device, weights, kernels, tf32};
//   for each plan step: steps.push_back(make_step(...));       // collects weights and kernel programs, touches no device
//   kernels.compile(target, cache, threads, progress);         // NVRTC, in parallel; equal programs once
//   kernels.load();                                            // needs a device
//   void* base = allocate(weights.bytes()); weights.upload(base, stream);
// Running: step->enqueue({.batch, .inputs, .outputs, .workspace, .weights = base, .handles, .stream}).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ops/cuda/rules.h"
#include "planner/plan.h"
#include "runtime/device/info.h"
#include "runtime/jit/jit.h"

struct cudnnContext;
struct cublasLtContext;

namespace fcm::ops::cuda {

/// How a value lies in device memory; no pointer.
struct DeviceTensor {
  Shape shape;  ///< ONNX axis order
  Layout layout;
};

/// cuDNN and cuBLASLt handles, each created at first use (opening the library then). One thread at a time: one a context.
/// Handles belong to the device that is current at first use.
class LibraryHandles {
 public:
  LibraryHandles() = default;
  ~LibraryHandles();
  LibraryHandles(const LibraryHandles&) = delete;
  LibraryHandles& operator=(const LibraryHandles&) = delete;

  cudnnContext* cudnn();         ///< cudnnHandle_t; throws Error(device) when cuDNN cannot be opened
  cublasLtContext* cublas_lt();  ///< cublasLtHandle_t; likewise

 private:
  cudnnContext* cudnn_ = nullptr;
  cublasLtContext* cublas_lt_ = nullptr;
};

/// Packed constants of an engine, in one block. `add` while building, then `upload` once.
class WeightStore {
 public:
  /// Bytes to place at a 256-byte aligned offset, which is returned. Equal bytes are stored once.
  size_t add(std::vector<std::byte> bytes);
  /// Size of the block so far.
  size_t bytes() const { return total_; }
  /// Copies everything to `base` (device memory of `bytes()` bytes) and waits; then frees the host copy.
  void upload(void* base, cudaStream_t stream);

 private:
  struct Entry {
    size_t offset = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<Entry> entries_;
  std::multimap<uint64_t, size_t> by_hash_;  // FNV-1a of the bytes -> entry
  size_t total_ = 0;
};

/// A kernel of a KernelSet; launchable after `KernelSet::load`.
class Kernel {
 public:
  /// Launches `grid` x `block` on `stream`; `args` are pointers to the kernel's arguments. Throws Error(device).
  /// `programmatic`: it may start before the kernel ahead has ended; it waits for that itself (kernel_program).
  void launch(cudaStream_t stream, dim3 grid, dim3 block, size_t dynamic_shared, void** args, bool programmatic = false) const;
  /// cudaKernel_t as the function pointer that launches and graph nodes take. Throws Error(internal) before `load`.
  void* function() const;
  const std::string& name() const { return name_; }

 private:
  friend class KernelSet;
  std::string name_;
  std::shared_ptr<const jit::Module> module_;  // keeps the code loaded
  void* function_ = nullptr;
  size_t dynamic_shared_ = 0;  // the most that launches take
};

/// The kernels that an engine's steps need. Equal programs are compiled once.
class KernelSet {
 public:
  using Progress = std::function<void(double fraction)>;

  /// `program` defines the extern "C" kernel `kernel`, whose launches take up to `dynamic_shared` bytes. The result lives as long as any of
  /// its holders.
  std::shared_ptr<const Kernel> add(const jit::Program& program, const std::string& kernel, size_t dynamic_shared = 0);
  /// Compiles what is not compiled yet; needs NVRTC, no device.
  void compile(const jit::Target& target, const jit::DiskCache& cache, int threads = 0, const Progress& progress = {});
  /// Loads everything compiled; from then on the kernels can be launched.
  void load();
  /// The compiled binaries by program, in order of `add` (for figures and saved engines).
  const std::vector<jit::Binary>& binaries() const { return binaries_; }
  const std::vector<jit::Program>& programs() const { return programs_; }

 private:
  std::vector<jit::Program> programs_;
  std::map<std::string, size_t> index_;                                  // program text -> position
  std::vector<std::map<std::string, std::shared_ptr<Kernel>>> kernels_;  // by program, by kernel name
  std::vector<jit::Binary> binaries_;
  std::vector<std::shared_ptr<jit::Module>> modules_;
};

/// What steps are built with.
struct StepBuild {
  const DeviceInfo& device;
  WeightStore& weights;
  KernelSet& kernels;
  bool tf32 = false;  ///< TF32 tensor cores for FP32 convolutions and GEMMs
};

/// Arguments of one execution.
struct StepArgs {
  int64_t batch = 1;                    ///< B
  std::span<const void* const> inputs;  ///< by input position; null for constants and absent inputs
  std::span<void* const> outputs;       ///< by output position; never overlapping inputs or each other
  void* workspace = nullptr;            ///< `workspace_bytes(batch)` bytes, 256-byte aligned
  const void* weights = nullptr;        ///< base of the uploaded WeightStore
  LibraryHandles* handles = nullptr;
  cudaStream_t stream = nullptr;
  int choice = 0;              ///< which of `candidates`
  bool programmatic = true;    ///< kernels of ours may be launched before what is ahead of them has ended
  bool overlaps = false;       ///< a step is ahead in the stream: a kernel of ours may begin as it ends, and waits for its end
  bool before_own = false;     ///< what is behind is a kernel of ours, which may start early (not so a library's: some do not wait)
  bool shares_device = false;  ///< other contexts of the engine run beside this one
};

class Step {
 public:
  virtual ~Step() = default;

  /// Scratch bytes that suffice for every batch up to `max_batch` and every candidate; never falls as `max_batch` grows.
  /// May ask cuDNN or cuBLASLt (thread-safe as long as `handles` is used by one thread at a time).
  virtual size_t workspace_bytes(int64_t max_batch, LibraryHandles& handles) const;
  /// How many algorithms can be chosen from at this batch; 1 for a step with nothing to choose. Candidate 0 is the default: the
  /// first deterministic algorithm of the library's heuristics. All candidates are deterministic.
  virtual int candidates(int64_t batch, LibraryHandles& handles) const;
  /// Enqueues on args.stream; may be captured into a graph, after one uncaptured run at the same batch. Allocates no device memory
  /// and never synchronises.
  virtual void enqueue(const StepArgs& args) const = 0;
  /// Whether all that it enqueues are kernels of ours, the last of which is ahead of the next step.
  virtual bool own() const { return false; }
  /// One line for logs and profiles: "depthwise 3x3 s2 C=32 f16", "cublasLt 32x96".
  virtual std::string describe() const = 0;
};

/// Builds the step for a node. `inputs` by input position (nullopt for constants, taken from the graph, and absent inputs).
/// Throws Error(unsupported) as `supported` says, Error(internal) for layouts against `order_rule`.
std::unique_ptr<Step> make_step(const Graph& graph, const Node& node, std::span<const std::optional<DeviceTensor>> inputs,
                                std::span<const DeviceTensor> outputs, StepBuild& build);

/// Layout and dtype conversion of one value (one input, one output of equal shape).
std::unique_ptr<Step> make_convert(const DeviceTensor& input, const DeviceTensor& output, StepBuild& build);

/// A step whose far side is a caller's buffer: a conversion, or a module that reads it itself. It is one kernel launch, so that a captured
/// graph can be pointed at other buffers: take `node_params`, then cudaGraphExecKernelNodeSetParams.
class Border {
 public:
  struct Args {
    int64_t batch = 1;
    const void* source = nullptr;
    void* target = nullptr;
    const void* weights = nullptr;  ///< base of the uploaded WeightStore
    float mean[4] = {0, 0, 0, 0};   ///< image inputs only: y = (x - mean[c]) / std[c]
    float std[4] = {1, 1, 1, 1};
    int next_waits = 0;  ///< what is behind in the stream is a kernel of ours, which may start early
    bool shares_device = false;
  };
  /// Argument values of a launch; outlives the use of the cudaKernelNodeParams that point into it.
  struct Launch {
    Args values;
    float transform[8] = {};
    alignas(16) std::byte block[128] = {};  ///< an argument struct of the kernel's own
    void* pointers[5] = {};
  };

  virtual ~Border() = default;
  virtual void enqueue(cudaStream_t stream, const Args& args, bool programmatic = false) const = 0;
  virtual cudaKernelNodeParams node_params(const Args& args, Launch& launch) const = 0;
  virtual std::string describe() const = 0;
};

/// Caller's row-major tensor (`input`) to the plan's layout, or back: shapes equal, orders and dtypes may differ.
std::unique_ptr<Border> make_border(const DeviceTensor& input, const DeviceTensor& output, StepBuild& build);
/// uint8 [N,H,W,C] image (C <= 4) to a float value of shape [N,C,H,W] (or [N,H,W,C] when `channels_last`) in any layout, normalised with
/// the run-time `mean` and `std`.
std::unique_ptr<Border> make_image_border(const DeviceTensor& output, bool channels_last, StepBuild& build);

}  // namespace fcm::ops::cuda
