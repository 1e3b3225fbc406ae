#include "apps/fcm-bench/module_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include <cuda_profiler_api.h>

#include "apps/fcm-bench/operands.h"
#include "apps/fcm-bench/unfused.h"
#include "fcm/emit.h"
#include "fcm/launch.h"
#include "planner/tile_search.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/cudnn.h"
#include "runtime/engine/device_rates.h"
#include "runtime/support/error.h"

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

class ModuleBench {
 public:
  ModuleBench(const ModuleBenchOptions& options, const DeviceInfo& device)
      : options_(options),
        device_(device),
        model_(model_of_device(device)),
        search_(model_, {}, static_cast<size_t>(std::max(1, options.tune))),
        cache_(jit::DiskCache::standard()) {}

  // Compiles everything the list needs in parallel, once; the tiles that `row` will look at.
  void compile(const std::vector<ModuleCase>& cases) {
    std::vector<jit::Program> programs;
    std::vector<std::string> keys;
    for (const ModuleCase& item : cases) {
      const ModuleSpec spec = with_precision(item.spec, options_.dtype, options_.tf32);
      if (!refusal(spec, device_.target).empty()) continue;
      for (const int64_t batch : options_.batches) {
        for (const TileConfig& tile : tiles(spec, batch)) {
          const std::string key = to_string(spec) + to_string(tile);
          if (binaries_.contains(key)) continue;
          binaries_[key] = {};
          keys.push_back(key);
          programs.push_back(emit(spec, tile, device_.target).program);
        }
      }
    }
    std::vector<jit::Binary> built = jit::compile_all(programs, device_.target, cache_);
    for (size_t i = 0; i < keys.size(); ++i) binaries_[keys[i]] = std::move(built[i]);
  }

  ModuleResultRow row(const ModuleCase& item, int64_t batch) {
    ModuleResultRow result;
    const ModuleSpec spec = with_precision(item.spec, options_.dtype, options_.tf32);
    result.name = item.name;
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

  // One traced execution; see trace_modules.
  ModuleResultRow trace(const ModuleCase& item, int64_t batch, const std::function<void(cudaStream_t)>& marker) {
    ModuleResultRow result;
    const ModuleSpec spec = with_precision(item.spec, options_.dtype, options_.tf32);
    result.name = item.name;
    result.spec = to_string(spec);
    result.batch = batch;
    result.work = work_of(spec, batch);
    try {
      Operands operands(spec, batch, 1);
      TileConfig tile;
      const std::unique_ptr<FusedModule> fused = fastest(spec, batch, operands, tile);
      result.tile = to_string(tile);
      const UnfusedModule unfused(device_, handle(), spec, batch, operands, options_.plans);
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
      const auto row =
          std::find_if(rows.begin(), rows.end(), [&](const ModuleResultRow& r) { return r.name == item.name && r.batch == batch; });
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

  // Fewer repetitions of a long module: a graph of about 200 us hides its own launch cost.
  TimerOptions adapted(const std::function<void(cudaStream_t)>& enqueue) const {
    TimerOptions probe = options_.timer;
    probe.repetitions = 1;
    probe.rounds = 1;
    probe.replays = 3;
    std::vector<TimedGraph> graphs;
    graphs.emplace_back(enqueue, probe);
    const double us = time_in_turn(graphs, probe).front().median_us;
    TimerOptions timer = options_.timer;
    timer.repetitions = std::clamp(static_cast<int>(200.0 / us), 1, options_.timer.repetitions);
    return timer;
  }

  // The fastest of the tiles, by a quick measurement where there is more than one.
  std::unique_ptr<FusedModule> fastest(const ModuleSpec& spec, int64_t batch, Operands& operands, TileConfig& chosen) {
    const std::vector<TileConfig> list = tiles(spec, batch);
    if (list.empty())
      throw Error(ErrorCode::unsupported, fmt::format("no tile fits sm_{} {}", device_.target.text(), refusal(spec, device_.target)));
    std::unique_ptr<FusedModule> best;
    double best_us = 0;
    TimerOptions quick = options_.timer;
    quick.rounds = 3;
    quick.replays = 5;
    for (const TileConfig& tile : list) {
      std::unique_ptr<FusedModule> module = make(spec, tile, batch, operands);
      double us = 0;
      if (list.size() > 1) {
        std::vector<TimedGraph> graphs;
        graphs.emplace_back([&](cudaStream_t stream) { module->enqueue(stream); }, quick);
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
        unfused.emplace(device_, handle(), spec, batch, operands, options_.plans);
        result.unfused_form = unfused->describe();
      } catch (const Error& e) {
        if (e.code() == ErrorCode::device_lost) throw;
        result.unfused_form = e.what();
      }
    }
    const TimerOptions timer = adapted([&](cudaStream_t stream) { fused->enqueue(stream); });
    std::vector<TimedGraph> graphs;
    graphs.emplace_back([&](cudaStream_t stream) { fused->enqueue(stream); }, timer);
    if (unfused) graphs.emplace_back([&](cudaStream_t stream) { unfused->enqueue(stream); }, timer);
    const std::vector<Timing> timings = time_in_turn(graphs, timer);
    result.fused = timings[0];
    if (!unfused) return;
    result.compared = true;
    result.unfused = timings[1];
    // A first convolution's unfused form reads another image, so that its values say nothing.
    if (spec.input == InputTransform::nhwc) compare(spec, operands, *unfused, result);
  }

  void compare(const ModuleSpec& spec, const Operands& operands, const UnfusedModule& unfused, ModuleResultRow& result) const {
    const DType dtype = dtype_of(spec);
    const size_t count = operands.output.size() / dtype_size(dtype);
    const std::vector<float> ours = download(operands.output, count, dtype);
    const std::vector<float> theirs = download(unfused.output(), count, dtype);
    float largest = 0;
    float difference = 0;
    for (size_t i = 0; i < count; ++i) {
      largest = std::max(largest, std::fabs(theirs[i]));
      const float d = std::fabs(ours[i] - theirs[i]);
      difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    }
    result.difference = difference / std::max(largest, 1e-30f);
    // Edges between layers are rounded in both forms; a few units of the dtype's precision are what order of summation explains.
    const double tolerance = dtype == DType::f32 ? (spec.tf32 ? 4e-3 : 2e-5) : dtype == DType::f16 ? 4e-3 : 3e-2;
    result.differs = !(result.difference <= tolerance);
  }

  CudnnHandle& handle() {
    if (!handle_) handle_ = std::make_unique<CudnnHandle>();
    return *handle_;
  }

  const ModuleBenchOptions& options_;
  const DeviceInfo& device_;
  DeviceModel model_;
  TileSearch search_;
  jit::DiskCache cache_;
  std::map<std::string, jit::Binary> binaries_;
  std::unique_ptr<CudnnHandle> handle_;
};

}  // namespace

std::vector<ModuleResultRow> trace_modules(const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options, int device) {
  const DeviceGuard guard(device);
  const DeviceInfo info = device_info(device);
  const jit::Module markers(jit::compile(rate_program(), info.target, jit::DiskCache::standard()));
  const DeviceBuffer value(4);
  const auto marker = [&](cudaStream_t stream) {
    void* out = value.data();
    void* arguments[] = {&out};
    cuda_check(cudaLaunchKernel(markers.kernel("empty_step"), dim3(1), dim3(32), arguments, 0, stream), "empty_step");
  };
  ModuleBench bench(options, info);
  bench.compile(cases);
  std::vector<ModuleResultRow> rows;
  for (const int64_t batch : options.batches) {
    for (const ModuleCase& item : cases) rows.push_back(bench.trace(item, batch, marker));
  }
  return rows;
}

ModuleBenchResult run_module_bench(const std::string& list_name, const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options,
                                   int device, const std::function<void(const std::string&, double)>& progress) {
  const DeviceGuard guard(device);
  const DeviceInfo info = device_info(device);
  ModuleBenchResult result;
  result.list = list_name;
  result.device = info.name;
  result.cudnn = options.unfused ? cudnn().version_text : "not used";
  progress("device rates", 0);
  result.rates = rates_of(info);
  ModuleBench bench(options, info);
  progress("compiling", 0);
  bench.compile(cases);
  size_t done = 0;
  const double total = static_cast<double>(cases.size() * options.batches.size());
  for (const int64_t batch : options.batches) {
    for (const ModuleCase& item : cases) {
      progress(fmt::format("{} batch {}", item.name, batch), static_cast<double>(done++) / total);
      ModuleResultRow row = bench.row(item, batch);
      row.bound = bound_of(with_precision(item.spec, options.dtype, options.tf32), row.work, result.rates);
      result.rows.push_back(std::move(row));
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
