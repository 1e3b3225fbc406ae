// Engine and Context: an engine is a graph made ready for one device, immutable and shared; a context runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "planner/device_model.h"
#include "planner/fuse_options.h"
#include "planner/plan.h"
#include "runtime/graph/graph.h"

namespace fcm {

struct DeviceChoice {
  enum class Kind : uint8_t { automatic, cpu, cuda };
  Kind kind = Kind::automatic;  ///< automatic: CUDA device 0 when there is one, else CPU
  int ordinal = 0;
};

/// Callbacks for device memory; both null: cudaMalloc / cudaFree.
struct DeviceAllocator {
  void* (*allocate)(void* user, size_t bytes) = nullptr;  ///< returns null when it cannot
  void (*release)(void* user, void* pointer) = nullptr;
  void* user = nullptr;
};

struct EngineOptions {
  DeviceChoice device;
  Precision precision = Precision::automatic;  ///< automatic: f16 on a GPU with tensor cores (f32 when `tf32`), else f32
  bool tf32 = false;
  bool tune = false;                        ///< measure modules, cuDNN and cuBLASLt algorithms (cached, hashed into the plan)
  bool tune_everything = false;             ///< measure every legal segment, not only those that may win: for proofs, slow
  std::vector<int64_t> tune_batches = {1};  ///< the batch sizes that `tune` measures; others run the default algorithms
  bool fuse = true;                         ///< CUDA: run fused modules where the planner expects them to be faster
  std::string plan_file;                    ///< CUDA: text of a saved plan to run in place of planning; empty: none
  std::string plan_source;                  ///< where that text came from, for messages
  FuseOptions fusion;                       ///< how; read when `fuse`
  bool kernel_cache = true;                 ///< CUDA: false compiles every kernel anew and stores none
  bool programmatic_launch = true;          ///< CUDA: kernels of ours may start before the one ahead has ended (where the device can)
  size_t memory_limit = 0;                  ///< bytes of device memory an engine and its contexts may take each; 0: no limit
  DeviceAllocator allocator;
  std::function<void(const std::string& stage, double fraction)> progress;
};

/// One input or output of the model.
struct Port {
  std::string name;
  DType dtype = DType::f32;  ///< the model's dtype, which callers see whatever the precision
  Shape shape;
};

/// Bytes by kind; exact for what the library allocates itself.
struct MemoryUse {
  size_t weights = 0;      ///< device (or host, on the CPU) bytes of the engine's packed weights
  size_t activations = 0;  ///< the context's arena and the device's copies of inputs and outputs, inside its single allocation
  size_t workspace = 0;    ///< scratch of library steps, inside the same single allocation as the arena
  size_t io = 0;           ///< pinned staging (host)
};

enum class MemorySpace : uint8_t { host, device };
enum class InputFormat : uint8_t {
  as_model,  ///< the port's dtype and shape, row-major
  nhwc_u8,   ///< uint8 [N,H,W,C] for a float port of shape [N,C,H,W] or [N,H,W,C]; normalised as (x - mean[c]) / std[c]
};
struct InputBuffer {
  const void* data = nullptr;
  MemorySpace space = MemorySpace::host;
  InputFormat format = InputFormat::as_model;
  float mean[4] = {0, 0, 0, 0};
  float std[4] = {1, 1, 1, 1};
};
struct OutputBuffer {
  void* data = nullptr;
  MemorySpace space = MemorySpace::host;
};

/// What a run took, in microseconds; zero where it does not apply.
struct RunTimes {
  double upload_us = 0;
  double compute_us = 0;
  double download_us = 0;
};

/// A step of the plan, for people who look at where the time goes.
struct StepInfo {
  std::string name;      ///< of the node in the model (of a module: its last node), or "convert NAME"
  std::string kind;      ///< "Conv", "PWDWPW", "convert"
  std::string text;      ///< the operator with its attributes; a module's spec and tile
  double bytes = 0;      ///< operands, weights and results, each once
  Prediction predicted;  ///< zeros where no cost model chose the step
};

/// One step of a plan, looked at from the host.
struct StepCheck {
  size_t step = 0;   ///< position in the plan
  size_t steps = 0;  ///< of the plan
  std::string name;
  std::string what;                ///< the operator, or the module with its tile
  std::vector<std::string> nodes;  ///< that it covers
  size_t count = 0;                ///< elements written
  size_t nonfinite = 0;            ///< of them, infinities and NaN
  double max_abs = 0;              ///< largest error
  double scale = 0;                ///< largest reference value
  double tolerance = 0;            ///< largest error accepted, as a share of `scale`
  bool differs = false;
};

class Context;

/// Immutable after creation; every method is safe from any number of threads.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  /// `graph` is normalised (see passes/passes.h). Throws Error.
  static std::shared_ptr<const Engine> create(std::shared_ptr<const Graph> graph, const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const std::vector<Port>& inputs() const = 0;
  virtual const std::vector<Port>& outputs() const = 0;
  virtual std::string device_name() const = 0;     ///< "CPU (2 threads)", "NVIDIA H200 (cuda:0)"
  virtual std::string precision_name() const = 0;  ///< "fp32", "tf32", "fp16", "bf16"
  virtual std::string plan_hash() const = 0;       ///< 16 hex digits
  virtual std::string plan_text() const = 0;
  virtual size_t step_count() const = 0;  ///< of one run at batch 1: kernels, copies and conversions that the plan lists
  /// The plan that runs; null on the CPU, which has none.
  virtual const Plan* plan() const { return nullptr; }
  /// The plan as a file (planner/plan_file.h); empty on the CPU.
  virtual std::string plan_file() const { return {}; }
  /// Exact bytes a context for batches up to `max_batch` will take, before anything is allocated.
  virtual MemoryUse memory(int64_t max_batch) const = 0;
  /// What a run of `batch` items executes, in order.
  virtual std::vector<StepInfo> step_infos(int64_t batch) const = 0;
  /// Contexts may run at the same time. While there is one, kernels of small grids claim their multiprocessors for themselves, which is
  /// fastest for one run at a time; what a context prepares (at its first run of a batch) while there are others leaves them room.
  virtual std::unique_ptr<Context> create_context(int64_t max_batch) const = 0;
};

/// One thread at a time. Keeps its engine alive.
class Context {
 public:
  virtual ~Context() = default;
  /// Allocates, runs once uncaptured and captures what `run(batch)` needs; afterwards `run(batch)` allocates nothing.
  /// 1 <= batch <= max_batch, else Error(bad_input).
  virtual void prepare(int64_t batch) = 0;
  /// Buffers by port position, each holding `batch` items. `stream`: a cudaStream_t to order with (device buffers), or null for the
  /// context's own; returns after completion when any buffer is in host memory or `stream` is null, else when enqueued.
  /// Calls prepare(batch) when that has not happened. Outputs are untouched on error.
  virtual void run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, void* stream = nullptr) = 0;
  /// For profilers: a run whose steps are enqueued one by one, as plain launches that do not overlap and without a captured graph.
  /// `before` is called on this thread with the index of each step before it is enqueued, and with the number of steps after the last.
  /// Waits for completion.
  virtual void trace(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs,
                     const std::function<void(size_t step)>& before) = 0;
  /// Times of the last completed run, measured when `enable_timing(true)`.
  virtual void enable_timing(bool on) = 0;
  virtual RunTimes times() const = 0;

  /// By step of the plan's variant for this batch, microseconds of one execution among repetitions of itself in a CUDA graph (modules
  /// overlap as they do in plans); 0 for borders. Throws Error(unsupported) on the CPU.
  virtual std::vector<double> step_times(int64_t batch) = 0;
  /// Steps [first, last] of the plan against the CPU reference, each on the reference's inputs; see runtime/engine/step_check.h.
  /// `report` receives them in order and returns whether to go on. Inputs in host memory. Throws Error(unsupported) on the CPU.
  virtual void check_steps(int64_t batch, std::span<const InputBuffer> inputs, size_t first, size_t last,
                           const std::function<bool(const StepCheck&)>& report) = 0;
  /// The first step that makes a value that is not finite from these inputs (in host memory), or nothing.
  virtual std::optional<StepCheck> find_nonfinite(int64_t batch, std::span<const InputBuffer> inputs) = 0;
};

/// What the planner knows of a CUDA device: the shipped model of the card, or one measured here (runtime/engine/device_rates.h). `note`
/// (may be null) says what was done for a card without a model of its own. Throws Error(device).
DeviceModel model_of_device(int ordinal, std::string* note = nullptr);
/// The measured one, also of a card that has a shipped model.
DeviceModel measured_model(int ordinal);

/// CUDA devices usable by this build; 0 without CUDA support, driver or device. `reason` says why there is none.
int cuda_device_count(std::string* reason = nullptr);

}  // namespace fcm
