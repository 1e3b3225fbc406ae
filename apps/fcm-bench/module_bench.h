// fcm-bench --modules: each module of a list as one fused kernel, against its layers on cuDNN and against its own bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/fcm-bench/cudnn_layers.h"
#include "apps/fcm-bench/graph_timer.h"
#include "apps/fcm-bench/module_list.h"
#include "apps/fcm-bench/rates.h"
#include "apps/fcm-bench/work.h"

namespace fcm::bench {

struct ModuleBenchOptions {
  std::vector<int64_t> batches = {1};
  DType dtype = DType::f16;
  bool tf32 = false;
  int tune = 0;         ///< measure the best so many tiles of the planner's search and keep the fastest; 0: its first
  bool unfused = true;  ///< compare with cuDNN
  size_t plans = 6;     ///< cuDNN engine configurations tried a layer and form
  LayerChoices known;   ///< forms of layers that are not searched again, of an earlier run's ModuleBenchResult::layers
  bool pdl = true;
  TimerOptions timer;
};

struct ModuleResultRow {
  std::string name, spec, tile;
  int64_t batch = 1;
  Timing fused, unfused;
  bool compared = false;
  std::string unfused_form;  ///< how cuDNN ran each layer, or why it did not
  double difference = 0;     ///< largest difference of the two outputs over the largest output
  bool differs = false;      ///< ... is beyond what the dtype explains
  Work work;
  Bound bound;
  double rated_cycles = 0;  ///< the tile model's prediction
  std::string error;        ///< why there is no result
};

struct ChainResult {
  int64_t batch = 1;
  Timing timing;  ///< all modules of the list in one graph, each once
  size_t modules = 0;
};

struct ModuleBenchResult {
  std::string list, date, device, driver, cudnn;
  Rates rates;
  LayerChoices layers;  ///< how cuDNN ran each
  std::vector<ModuleResultRow> rows;
  std::vector<ChainResult> chains;
};

/// A module that a profiler has seen, under every name that it has in the list.
struct TracedModule {
  std::vector<std::string> names;
  ModuleResultRow row;
};

/// For a profiler that counts between cudaProfilerStart and cudaProfilerStop (tests/gpu/traffic.sh): runs each different module warm, then
/// once fused and once on cuDNN with the marker kernel `empty_step` before, between and after, and returns what was run in that order.
/// With `known` layers nothing is timed, which takes long under a profiler.
std::vector<TracedModule> trace_modules(const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options, int device);

/// Equal modules are measured once at each batch. `partial` gets the result so far after each of them.
ModuleBenchResult run_module_bench(const std::string& list_name, const std::vector<ModuleCase>& cases, const ModuleBenchOptions& options,
                                   int device, const std::function<void(const ModuleBenchResult&)>& partial);

}  // namespace fcm::bench
