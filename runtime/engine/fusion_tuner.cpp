// Measuring for planner/tuning.h; see fusion_tuner.h.
#include "runtime/engine/fusion_tuner.h"

#include <fmt/format.h>

#include <chrono>
#include <limits>
#include <map>
#include <set>

#include "fcm/emit.h"
#include "planner/fused.h"
#include "planner/plan_file.h"
#include "runtime/engine/cuda_context.h"
#include "runtime/engine/device_rates.h"
#include "runtime/engine/module_timer.h"
#include "runtime/support/env.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

/// Batches at which the ranges that hold the tuned ones are planned.
std::set<int64_t> planned_batches(const EngineOptions& options) {
  std::set<int64_t> planned;
  for (const int64_t batch : options.tune_batches) {
    for (const BatchRange& range : batch_ranges(options.fusion.max_batch)) {
      if (range.up_to != 0 && batch > range.up_to) continue;
      planned.insert(range.planned_at);
      break;
    }
  }
  return planned;
}

class DeviceMeasure final : public Measure {
 public:
  DeviceMeasure(const std::shared_ptr<const Graph>& graph, const EngineOptions& options, const DeviceInfo& device)
      : graph_(graph), options_(options), device_(device) {
    options_.fuse = false;
    options_.tune = false;
  }

  std::vector<double> modules(const std::vector<TuneJob>& jobs) override {
    std::vector<double> us(jobs.size(), std::numeric_limits<double>::infinity());
    const DeviceGuard guard(device_.ordinal);
    const ModuleOperands operands(jobs, device_.target);
    const Stream stream;
    size_t done = 0;
    compile_jobs(jobs, device_.target, cache(), [&](const CompiledJob& compiled) {
      const TuneJob& job = jobs[compiled.job];
      if (options_.progress) options_.progress("tune", static_cast<double>(++done) / static_cast<double>(jobs.size()));
      if (!compiled.error.empty()) throw Error(ErrorCode::device, fmt::format("{}: {}", graph_->name, compiled.error));
      const ColdKernel kernel(compiled.binary, keep(job, compiled.binary).plan());
      us[compiled.job] = try_module(kernel, operands.args(job.spec, job.images), stream);
    });
    return us;
  }

  double chain(const std::vector<TuneJob>& steps) override {
    const DeviceGuard guard(device_.ordinal);
    std::vector<const ModuleKernel*> kernels;
    for (const TuneJob& step : steps) kernels.push_back(&kernel_of(step));
    return time_chain(steps, kernels, device_.target);
  }

  std::map<NodeId, double> nodes(int64_t batch) override {
    const auto engine = std::make_shared<CudaEngine>(graph_, options_);
    engine->tune({batch});  // with the algorithms that the plan will run
    const std::vector<double> us = CudaContext(engine, batch).step_times(batch);
    std::map<NodeId, double> nodes;
    for (size_t i = 0; i < us.size(); ++i) {
      const PlanStep& step = engine->variant(batch).steps[i];
      if (step.kind == PlanStep::Kind::node) nodes[step.node] += us[i];
    }
    return nodes;
  }

 private:
  jit::DiskCache cache() const { return options_.kernel_cache ? jit::DiskCache::standard() : jit::DiskCache::none(); }
  const ModuleKernel& keep(const TuneJob& job, const jit::Binary& binary) {  // for chains
    auto& kernel = kernels_[key_of(job)];
    kernel = std::make_unique<ModuleKernel>(binary, emit(job.spec, job.tile, device_.target).launch);
    return *kernel;
  }
  /// Times may be known without this object having made the kernel.
  const ModuleKernel& kernel_of(const TuneJob& job) {
    const auto known = kernels_.find(key_of(job));
    if (known != kernels_.end()) return *known->second;
    return keep(job, jit::compile(emit(job.spec, job.tile, device_.target).program, device_.target, cache()));
  }
  static std::string key_of(const TuneJob& job) { return to_string(job.spec) + " " + to_string(job.tile); }

  std::shared_ptr<const Graph> graph_;
  EngineOptions options_;
  DeviceInfo device_;
  std::map<std::string, std::unique_ptr<ModuleKernel>> kernels_;
};

/// All that the measurements depend on: graph, device and its model, driver, precision, kernels, batches.
std::string cache_key(const Graph& graph, const DeviceInfo& device, const DeviceModel& model, const PartitionOptions& how,
                      const std::set<int64_t>& batches, const TuneEffort& effort) {
  std::string text = fmt::format("fusion 4 graph {} {} driver {} runtime {} precision {} tf32 {} max {} effort {} {}", graph_digest(graph),
                                 model.fingerprint(), device.driver_version, device.runtime_version, dtype_name(how.dtype),
                                 how.tf32 ? 1 : 0, how.fuse.max_batch, effort.tiles, effort.keep);
  for (const auto& [name, what] : how.fuse.overrides)
    text += fmt::format(" {}={}{}{}", name, what.fuse ? 1 : 0, what.full_precision ? 1 : 0, what.tile);
  for (const auto& [name, source] : device_sources()) text += text_hash(source);
  for (const int64_t b : batches) text += fmt::format(" {}", b);
  return "fusion-" + text_hash(text);
}

bool recall(const jit::DiskCache& cache, const std::string& key, FuseOptions& fuse) {
  const auto stored = cache.load(key);
  if (!stored) return false;
  try {
    fuse.fixed = read_lessons(*stored);
  } catch (const Error& e) {
    log(LogLevel::warning, "measured again: {}", e.what());
    return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<Measure> device_measure(const std::shared_ptr<const Graph>& graph, const EngineOptions& options) {
  return std::make_unique<DeviceMeasure>(graph, options, device_info(options.device.ordinal));
}

FuseOptions tune_fusion(const std::shared_ptr<const Graph>& graph, const EngineOptions& options, const PlanOptions& plan) {
  const auto start = std::chrono::steady_clock::now();
  const DeviceInfo device = device_info(options.device.ordinal);
  const DeviceModel model = model_of_device(device);
  const std::set<int64_t> batches = planned_batches(options);
  const TuneEffort effort = options.tune_everything ? TuneEffort{4, 0} : TuneEffort{};
  PartitionOptions how{compute_dtype(plan.precision), plan.tf32, options.fusion, nullptr};
  const jit::DiskCache cache = env().jit_cache ? jit::DiskCache::standard() : jit::DiskCache::none();
  const std::string key = cache_key(*graph, device, model, how, batches, effort);
  const auto ms = [&] { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); };
  if (recall(cache, key, how.fuse)) {
    log(LogLevel::info, "{}: measurements of an earlier run, {:.0f} ms", graph->name, ms());
    return how.fuse;
  }
  DeviceMeasure measure(graph, options, device);
  for (const int64_t batch : batches) {
    const TuneReport report = tune(*graph, model, how, batch, measure, effort);
    log(LogLevel::info,
        "{}: batch {}: {} of {} segments measured, {} kernels, {:.0f} ms; us: one by one {:.1f}, predicted best {:.1f}, best of those "
        "measured alone "
        "{:.1f}, settled in place {:.1f}",
        graph->name, batch, report.measured, report.segments, report.kernels, ms(), report.unfused_us, report.analytic_us, report.alone_us,
        report.tuned_us);
  }
  cache.store(key, lessons_text(how.fuse.fixed));
  return how.fuse;
}

}  // namespace fcm
