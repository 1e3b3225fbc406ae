#include "apps/fcm-bench/module_bench.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <map>
#include <memory>
#include <optional>

#include <cuda_profiler_api.h>

#include "apps/fcm-bench/gpu.h"
#include "apps/fcm-bench/nvml.h"
#include "apps/fcm-bench/operands.h"
#include "apps/fcm-bench/unfused.h"
#include "fcm/emit.h"
#include "fcm/launch.h"
#include "planner/tile_search.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/cudnn.h"
#include "runtime/engine/device_rates.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm::bench {
namespace {

// A module with its operands and one loaded kernel.
class FusedModule {
 public:
  FusedModule(const ModuleSpec& spec, const TileConfig& tile, const Emitted& emitted, const jit::Binary& binary, int64_t batch,
              Operands& operands, bool pdl)
      : module_(binary, emitted.launch), batch_(batch), pdl_(pdl) {
    const std::vector<uint8_t> packed = pack_weights(spec, tile, operands.weights);
    weights_ = DeviceBuffer(packed.size());
    cuda_check(cudaMemcpy(weights_.data(), packed.data(), packed.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
    if (emitted.launch.pool_floats > 0) pool_ = DeviceBuffer(static_cast<size_t>(emitted.launch.pool_floats * batch) * 4);
    args_.input = operands.input.data();
    args_.residual = spec.residual_is_input ? operands.input.data() : operands.residual.data();
    args_.weights = weights_.data();
    args_.output = operands.output.data();
    args_.pool = static_cast<float*>(pool_.data());
    args_.batch = static_cast<int>(batch_);
  }

  void enqueue(cudaStream_t stream) const { module_.launch(args_, stream, pdl_); }

 private:
  ModuleKernel module_;
  int64_t batch_;
  bool pdl_;
  DeviceBuffer weights_, pool_;
  ModuleArgs args_;
};

using Clock = std::chrono::steady_clock;

constexpr double kGraphUs = 100, kToldEverySeconds = 5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A module of the list in the precision asked for, under all its names.
struct DistinctModule {
  ModuleSpec spec;
  std::vector<std::string> names;
};

std::vector<DistinctModule> distinct_modules(const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options) {
  std::vector<DistinctModule> modules;
  std::map<std::string, size_t> known;
  for (const ModuleCase& item : cases) {
    ModuleSpec spec = with_precision(item.spec, options.dtype, options.tf32);
    const auto [entry, fresh] = known.try_emplace(to_string(spec), modules.size());
    if (fresh) modules.push_back({std::move(spec), {}});
    modules[entry->second].names.push_back(item.name);
  }
  return modules;
}

class ModuleBench {
 public:
  ModuleBench(const ModuleBenchOptions& options, const DeviceInfo& device)
      : options_(options),
        device_(device),
        model_(model_of_device(device)),
        search_(model_, {}, static_cast<size_t>(std::max(1, options.tune))),
        cache_(jit::DiskCache::standard()) {}

  /// Compiles everything that the modules need on all cores: the tiles that `row` will look at, and what cuDNN proposes for the layers.
  void prepare(const std::vector<DistinctModule>& modules, int64_t batch) {
    const Clock::time_point start = Clock::now();
    const size_t kernels = compile(modules, batch);
    log(LogLevel::info, "batch {}: {} kernels of {} modules compiled in {:.1f} s", batch, kernels, modules.size(), seconds_since(start));
    if (!options_.unfused) return;
    const Clock::time_point then = Clock::now();
    std::vector<CudnnConvSpec> layers;
    for (const DistinctModule& module : modules) {
      const std::vector<CudnnConvSpec> own = cudnn_layers_of(module.spec, batch);
      layers.insert(layers.end(), own.begin(), own.end());
    }
    const size_t plans = cudnn_layers().build(layers);
    log(LogLevel::info, "batch {}: {} cuDNN plans built in {:.1f} s", batch, plans, seconds_since(then));
  }

  ModuleResultRow row(const ModuleSpec& spec, int64_t batch) {
    ModuleResultRow result;
    result.spec = to_string(spec);
    result.batch = batch;
    try {
      measure(spec, batch, result);
    } catch (const Error& e) {
      if (e.code() == ErrorCode::device_lost) throw;
      result.error = e.what();
    }
    return result;
  }

  LayerChoices layers() const { return cudnn_ ? cudnn_->choices() : LayerChoices(); }

  // One traced execution; see trace_modules.
  ModuleResultRow trace(const ModuleSpec& spec, int64_t batch, const std::function<void(cudaStream_t)>& marker) {
    ModuleResultRow result;
    result.spec = to_string(spec);
    result.batch = batch;
    result.work = work_of(spec, batch);
    try {
      Operands operands(spec, batch, 1);
      TileConfig tile;
      const std::unique_ptr<FusedModule> fused = fastest(spec, batch, operands, tile);
      result.tile = to_string(tile);
      const UnfusedModule unfused(cudnn_layers(), spec, batch, operands);
      const Stream stream;
      const auto both = [&](const std::function<void(cudaStream_t)>& mark) {
        mark(stream.get());
        fused->enqueue(stream.get());
        mark(stream.get());
        unfused.enqueue(stream.get());
        mark(stream.get());
        synchronize(stream.get());
      };
      both([](cudaStream_t) {});
      both([](cudaStream_t) {});
      cuda_check(cudaProfilerStart(), "cudaProfilerStart");
      both(marker);
      cuda_check(cudaProfilerStop(), "cudaProfilerStop");
    } catch (const Error& e) {
      if (e.code() == ErrorCode::device_lost) throw;
      result.error = e.what();
    }
    return result;
  }

  Timing chain(const std::vector<ModuleCase>& cases, const std::vector<ModuleResultRow>& rows, int64_t batch) {
    std::vector<std::unique_ptr<Operands>> operands;
    std::vector<std::unique_ptr<FusedModule>> modules;
    for (const ModuleCase& item : cases) {
      const ModuleSpec spec = with_precision(item.spec, options_.dtype, options_.tf32);
      const std::string text = to_string(spec);
      const auto row = std::find_if(rows.begin(), rows.end(), [&](const ModuleResultRow& r) { return r.spec == text && r.batch == batch; });
      if (row == rows.end() || !row->error.empty()) continue;
      operands.push_back(std::make_unique<Operands>(spec, batch, operands.size() + 1));
      modules.push_back(make(spec, parse_tile(row->tile), batch, *operands.back()));
    }
    TimerOptions timer = options_.timer;
    timer.repetitions = 1;
    std::vector<TimedGraph> graphs;
    graphs.emplace_back(
        [&](cudaStream_t stream) {
          for (const auto& module : modules) module->enqueue(stream);
        },
        timer);
    return time_in_turn(graphs, timer).front();
  }

 private:
  size_t compile(const std::vector<DistinctModule>& modules, int64_t batch) {
    std::vector<jit::Program> programs;
    std::vector<std::string> keys;
    for (const DistinctModule& module : modules) {
      if (!refusal(module.spec, device_.target).empty()) continue;
      for (const TileConfig& tile : tiles(module.spec, batch)) {
        const std::string key = to_string(module.spec) + to_string(tile);
        if (!binaries_.try_emplace(key).second) continue;
        keys.push_back(key);
        programs.push_back(emit(module.spec, tile, device_.target).program);
      }
    }
    std::vector<jit::Binary> built = jit::compile_all(programs, device_.target, cache_);
    for (size_t i = 0; i < keys.size(); ++i) binaries_[keys[i]] = std::move(built[i]);
    return keys.size();
  }

  std::vector<TileConfig> tiles(const ModuleSpec& spec, int64_t batch) {
    std::vector<TileConfig> list;
    for (const CostedTile& t : search_.tiles(spec, batch)) list.push_back(t.tile);
    return list;
  }

  std::unique_ptr<FusedModule> make(const ModuleSpec& spec, const TileConfig& tile, int64_t batch, Operands& operands) {
    const Emitted emitted = emit(spec, tile, device_.target);
    jit::Binary& binary = binaries_[to_string(spec) + to_string(tile)];
    if (binary.cubin.empty()) binary = jit::compile(emitted.program, device_.target, cache_);
    return std::make_unique<FusedModule>(spec, tile, emitted, binary, batch, operands, options_.pdl);
  }

  // As many repetitions as make a graph of about 100 us, so that its own launch does not show; of each form its own, so that it shows
  // alike in both.
  TimerOptions adapted(const std::function<void(cudaStream_t)>& enqueue) const {
    TimerOptions probe = options_.timer;
    probe.repetitions = 1;
    probe.rounds = 1;
    probe.replays = 3;
    std::vector<TimedGraph> graphs;
    graphs.emplace_back(enqueue, probe);
    const double us = time_in_turn(graphs, probe).front().median_us;
    TimerOptions timer = options_.timer;
    timer.repetitions = std::clamp(static_cast<int>(kGraphUs / us), 1, options_.timer.repetitions);
    return timer;
  }

  // The fastest of the tiles, by a quick measurement where there is more than one.
  std::unique_ptr<FusedModule> fastest(const ModuleSpec& spec, int64_t batch, Operands& operands, TileConfig& chosen) {
    const std::vector<TileConfig> list = tiles(spec, batch);
    if (list.empty())
      throw Error(ErrorCode::unsupported, fmt::format("no tile fits sm_{} {}", device_.target.text(), refusal(spec, device_.target)));
    std::unique_ptr<FusedModule> best;
    double best_us = 0;
    for (const TileConfig& tile : list) {
      std::unique_ptr<FusedModule> module = make(spec, tile, batch, operands);
      double us = 0;
      if (list.size() > 1) {
        const auto enqueue = [&](cudaStream_t stream) { module->enqueue(stream); };
        TimerOptions quick = adapted(enqueue);
        quick.rounds = 3;
        quick.replays = 20;
        std::vector<TimedGraph> graphs;
        graphs.emplace_back(enqueue, quick);
        us = time_in_turn(graphs, quick).front().median_us;
      }
      if (best == nullptr || us < best_us) {
        best = std::move(module);
        best_us = us;
        chosen = tile;
      }
    }
    return best;
  }

  void measure(const ModuleSpec& spec, int64_t batch, ModuleResultRow& result) {
    result.work = work_of(spec, batch);
    const std::string reason = refusal(spec, device_.target);
    if (!reason.empty()) throw Error(ErrorCode::unsupported, reason);
    Operands operands(spec, batch, 1);
    TileConfig tile;
    const std::unique_ptr<FusedModule> fused = fastest(spec, batch, operands, tile);
    result.tile = to_string(tile);
    result.rated_cycles = rate(spec, tile, static_cast<int>(batch), {device_.target, device_.sm_count}).total;

    std::optional<UnfusedModule> unfused;
    if (options_.unfused) {
      try {
        unfused.emplace(cudnn_layers(), spec, batch, operands);
        result.unfused_form = unfused->describe();
      } catch (const Error& e) {
        if (e.code() == ErrorCode::device_lost) throw;
        result.unfused_form = e.what();
      }
    }
    std::vector<TimedGraph> graphs;
    const auto add = [&](const std::function<void(cudaStream_t)>& enqueue) { graphs.emplace_back(enqueue, adapted(enqueue)); };
    add([&](cudaStream_t stream) { fused->enqueue(stream); });
    if (unfused) add([&](cudaStream_t stream) { unfused->enqueue(stream); });
    const std::vector<Timing> timings = time_in_turn(graphs, options_.timer);
    result.fused = timings[0];
    if (!unfused) return;
    result.compared = true;
    result.unfused = timings[1];
    // A first convolution's unfused form reads another image, so that its values say nothing.
    if (spec.input == InputTransform::nhwc) compare(spec, operands, *unfused, result);
  }

  void compare(const ModuleSpec& spec, const Operands& operands, const UnfusedModule& unfused, ModuleResultRow& result) {
    const DType dtype = dtype_of(spec);
    if (!difference_) difference_ = std::make_unique<DifferenceKernel>(device_, dtype);
    result.difference = (*difference_)(operands.output.data(), unfused.output().data(), operands.output.size() / dtype_size(dtype));
    // Edges between layers are rounded in both forms; a few units of the dtype's precision are what order of summation explains.
    const double tolerance = dtype == DType::f32 ? (spec.tf32 ? 4e-3 : 2e-5) : dtype == DType::f16 ? 4e-3 : 3e-2;
    result.differs = !(result.difference <= tolerance);
  }

  CudnnLayers& cudnn_layers() {
    if (!cudnn_) cudnn_ = std::make_unique<CudnnLayers>(device_, options_.tf32, options_.plans, options_.known);
    return *cudnn_;
  }

  const ModuleBenchOptions& options_;
  const DeviceInfo& device_;
  DeviceModel model_;
  TileSearch search_;
  jit::DiskCache cache_;
  std::map<std::string, jit::Binary> binaries_;
  std::unique_ptr<CudnnLayers> cudnn_;
  std::unique_ptr<DifferenceKernel> difference_;
};

}  // namespace

std::vector<TracedModule> trace_modules(const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options, int device) {
  const DeviceGuard guard(device);
  const DeviceInfo info = device_info(device);
  const jit::Module markers(jit::compile(rate_program(), info.target, jit::DiskCache::standard()));
  const DeviceBuffer value(4);
  const auto marker = [&](cudaStream_t stream) {
    void* out = value.data();
    void* arguments[] = {&out};
    cuda_check(cudaLaunchKernel(markers.kernel("empty_step"), dim3(1), dim3(32), arguments, 0, stream), "empty_step");
  };
  const std::vector<DistinctModule> modules = distinct_modules(cases, options);
  ModuleBench bench(options, info);
  std::vector<TracedModule> traced;
  for (const int64_t batch : options.batches) {
    bench.prepare(modules, batch);
    for (const DistinctModule& module : modules) traced.push_back({module.names, bench.trace(module.spec, batch, marker)});
  }
  return traced;
}

ModuleBenchResult run_module_bench(const std::string& list_name, const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options,
                                   int device, const std::function<void(const ModuleBenchResult&)>& partial) {
  const DeviceGuard guard(device);
  const DeviceInfo info = device_info(device);
  const std::vector<DistinctModule> modules = distinct_modules(cases, options);
  ModuleBenchResult result;
  result.list = list_name;
  result.date = fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)));
  result.device = info.name;
  std::string reason;
  const std::unique_ptr<GpuMonitor> monitor = open_gpu_monitor(open_gpu(device)->pci_address(), reason);
  result.driver = monitor ? monitor->driver() : "";
  result.cudnn = options.unfused ? cudnn().version_text : "not used";
  result.rates = rates_of(info);
  ModuleBench bench(options, info);
  for (const int64_t batch : options.batches) {
    bench.prepare(modules, batch);
    const Clock::time_point start = Clock::now();
    Clock::time_point told = start;
    size_t done = 0;
    for (const DistinctModule& module : modules) {
      ModuleResultRow row = bench.row(module.spec, batch);
      row.bound = bound_of(module.spec, row.work, result.rates);
      for (const std::string& name : module.names) {
        row.name = name;
        result.rows.push_back(row);
      }
      result.layers = bench.layers();
      partial(result);
      ++done;
      if (done < modules.size() && seconds_since(told) < kToldEverySeconds) continue;
      log(LogLevel::info, "batch {}: {} of {} modules measured in {:.1f} s", batch, done, modules.size(), seconds_since(start));
      told = Clock::now();
    }
    ChainResult chain;
    chain.batch = batch;
    chain.modules = static_cast<size_t>(std::count_if(result.rows.begin(), result.rows.end(),
                                                      [&](const ModuleResultRow& r) { return r.batch == batch && r.error.empty(); }));
    if (chain.modules > 0) {
      chain.timing = bench.chain(cases, result.rows, batch);
      result.chains.push_back(chain);
    }
  }
  return result;
}

}  // namespace fcm::bench
