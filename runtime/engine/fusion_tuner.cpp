// Rounds of planning and measuring; see fusion_tuner.h.
#include "runtime/engine/fusion_tuner.h"

#include <fmt/format.h>

#include <set>

#include "planner/fused.h"
#include "planner/tuning.h"
#include "runtime/engine/cuda_context.h"
#include "runtime/support/env.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

constexpr int kTileRanks = 4;   // tiles measured a module
constexpr int kMostRounds = 3;  // what is rejected in one round gives way to segments that the next one measures

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

/// An engine with its step times at some batches.
struct Measured {
  std::shared_ptr<CudaEngine> engine;
  std::map<int64_t, std::vector<double>> us;

  Measured(const std::shared_ptr<const Graph>& graph, const EngineOptions& options, const std::set<int64_t>& batches)
      : engine(std::make_shared<CudaEngine>(graph, options)) {
    for (const int64_t batch : batches) us[batch] = CudaContext(engine, batch).step_times(batch);
  }
  MeasuredVariant at(int64_t batch) const { return {&engine->variant(batch), us.at(batch)}; }
};

/// What the lessons depend on: the plan before them, the driver, and the batches.
std::string cache_key(const CudaEngine& analytic, const std::set<int64_t>& batches) {
  std::string text = fmt::format("fusion 1 driver {} runtime {} plan {} batches", analytic.device().driver_version,
                                 analytic.device().runtime_version, analytic.plan_hash());
  for (const int64_t b : batches) text += fmt::format(" {}", b);
  return "fusion-" + text_hash(text);
}

bool recall(const jit::DiskCache& cache, const std::string& key, FuseOptions& fuse) {
  const auto stored = cache.load(key);
  if (!stored) return false;
  FuseOptions known = fuse;
  try {
    read_lessons(*stored, known);
  } catch (const Error& e) {
    log(LogLevel::warning, "measured again: {}", e.what());
    return false;
  }
  fuse = std::move(known);
  return true;
}

}  // namespace

FuseOptions tune_fusion(const std::shared_ptr<const Graph>& graph, const EngineOptions& options) {
  const std::set<int64_t> batches = planned_batches(options);
  const jit::DiskCache cache = env().jit_cache ? jit::DiskCache::standard() : jit::DiskCache::none();
  EngineOptions trial = options;
  trial.tune = false;
  const std::string key = cache_key(CudaEngine(graph, trial), batches);
  FuseOptions fuse = options.fusion;
  if (recall(cache, key, fuse)) return fuse;
  EngineOptions plain = trial;
  plain.fuse = false;
  const Measured unfused(graph, plain, batches);
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<Measured> fused;
    for (int rank = 0; rank < kTileRanks; ++rank) {
      trial.fusion = fuse;
      trial.fusion.tile_rank = rank;
      fused.emplace_back(graph, trial, batches);
    }
    for (const int64_t batch : batches) {
      std::vector<MeasuredVariant> variants;
      for (const Measured& m : fused) variants.push_back(m.at(batch));
      learn(*graph, batch, variants, unfused.at(batch), fuse);
    }
    trial.fusion = fuse;
    const CudaEngine next(graph, trial);
    bool known = true;
    for (const int64_t batch : batches) known = known && all_learnt(next.variant(batch), batch, fuse);
    if (known) break;
  }
  log(LogLevel::info, "{}: {} modules measured, {} segments rejected", graph->name, fuse.tiles.size(), fuse.rejected.size());
  cache.store(key, lessons_text(fuse));
  return fuse;
}

}  // namespace fcm
