// The CUDA engine: a plan whose steps are built, compiled and packed for one device. Compiled only where the toolkit is.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "ops/cuda/step.h"
#include "planner/device_model.h"
#include "planner/placement.h"
#include "runtime/device/memory.h"
#include "runtime/engine/cuda_steps.h"
#include "runtime/engine/engine.h"

namespace fcm {

/// Throws Error(device) without a device, Error(unsupported) with every node that cannot run, Error(out_of_memory).
std::shared_ptr<const Engine> create_cuda_engine(std::shared_ptr<const Graph> graph, const EngineOptions& options);

/// What a context for a largest batch takes.
struct ContextSizes {
  std::vector<BufferPlaces> arenas;  ///< by variant, at the largest batch of it that the context runs
  size_t arena_bytes = 0;            ///< of the largest
  BorderPlaces border;
  size_t workspace = 0;
  /// The one device allocation: arena, workspace, border, in this order, each 256-byte aligned.
  size_t device_bytes() const { return arena_bytes + workspace + border.bytes; }
};

class CudaEngine final : public Engine {
 public:
  CudaEngine(std::shared_ptr<const Graph> graph, const EngineOptions& options);
  ~CudaEngine() override;

  const std::vector<Port>& inputs() const override { return inputs_; }
  const std::vector<Port>& outputs() const override { return outputs_; }
  std::string device_name() const override;
  std::string precision_name() const override;
  std::string plan_hash() const override { return hash_; }
  std::string plan_text() const override;
  size_t step_count() const override { return variant(1).steps.size(); }
  const Plan* plan() const override { return &plan_; }
  std::string plan_file() const override;
  MemoryUse memory(int64_t max_batch) const override;
  std::vector<StepInfo> step_infos(int64_t batch) const override;
  std::unique_ptr<Context> create_context(int64_t max_batch) const override;

  /// Measures the algorithms at these batch sizes, or takes the figures from the cache; before any other thread has the engine.
  void tune(const std::vector<int64_t>& batches);

  /// Counts a context among those that exist.
  class Guest {
   public:
    explicit Guest(const CudaEngine& engine) : engine_(engine) { ++engine_.contexts_; }
    ~Guest() { --engine_.contexts_; }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;
    /// Whether others exist.
    bool in_company() const { return engine_.contexts_ > 1; }

   private:
    const CudaEngine& engine_;
  };

  // For contexts and tuning.
  const Graph& graph() const { return *graph_; }
  const DeviceInfo& device() const { return device_; }
  /// Position of the variant that runs a batch.
  size_t variant_of(int64_t batch) const { return plan_.index_for(batch); }
  const PlanVariant& variant(int64_t batch) const { return plan_.variants[variant_of(batch)]; }
  const std::vector<CudaStep>& steps(int64_t batch) const { return steps_[variant_of(batch)]; }
  bool programmatic_launch() const { return programmatic_launch_; }
  const void* weights() const { return weights_.data(); }
  size_t memory_limit() const { return memory_limit_; }
  const DeviceMemorySource& memory_source() const { return source_; }
  /// Asks the libraries for workspace sizes once a `max_batch`; locks.
  ContextSizes sizes(int64_t max_batch) const;
  /// Which candidate each step runs at this batch: 0 unless the batch was tuned.
  int choice(size_t step, int64_t batch) const;

 private:
  void make_plan(const PlanOptions& how, const EngineOptions& options);
  Plan saved_plan(const PlanOptions& how, const EngineOptions& options, const DeviceModel& model) const;
  void build(const EngineOptions& options);

  std::shared_ptr<const Graph> graph_;
  DeviceInfo device_;
  DeviceMemorySource source_;
  size_t memory_limit_ = 0;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  Plan plan_;
  std::string hash_;
  bool programmatic_launch_ = true;
  std::unique_ptr<ModuleSet> modules_;        // outlives the steps
  std::vector<std::vector<CudaStep>> steps_;  // by variant
  size_t weight_bytes_ = 0;
  DeviceBuffer weights_;
  mutable std::atomic<int> contexts_ = 0;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::map<int64_t, ContextSizes> sizes_;
  mutable std::unique_ptr<ops::cuda::LibraryHandles> handles_;
};

}  // namespace fcm
