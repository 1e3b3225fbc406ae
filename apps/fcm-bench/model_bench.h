// Measures a model at a batch: device time of runs back to back and of single ones, latency as the host sees it, what enqueuing takes,
// throughput, energy, memory, building.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/fcm-bench/energy.h"
#include "apps/fcm-bench/nvml.h"
#include "apps/fcm-bench/profile.h"
#include "fcm/fcm.hpp"
#include "planner/device_model.h"

namespace fcm::bench {

struct ModelBenchOptions {
  int rounds = 7;
  int replays = 200;      ///< back to back in a round; fewer where rounds would pass `duration_s`
  double duration_s = 3;  ///< of the rounds together, and of single runs
  double warmup_s = 0.2;
  int iterations = 0;  ///< single runs; 0: as many as `duration_s` holds, at most 2000
  int streams = 1;     ///< contexts kept busy at the same time for the throughput, a thread each
  bool energy = false;
  bool profile = false;
  bool transfers = false;
  bool build = false;  ///< measure the build without and with the kernel cache
};

struct ClockRange {
  std::optional<int> low, high;
  void add(std::optional<int> value);
};

struct BuildTimes {
  double load_ms = 0;   ///< the ONNX file: parse, check, normalise
  double build_ms = 0;  ///< the engine, with whatever the kernel cache held
  std::optional<double> cold_ms, cached_ms;
};

struct Transfers {
  std::vector<double> host_us;                            ///< a run on host buffers, as the host sees it
  double upload_us = 0, compute_us = 0, download_us = 0;  ///< medians
};

struct ModelResult {
  std::string model;  ///< the file's stem
  std::string file;
  int64_t batch = 1;
  std::string device, precision, plan_hash;
  bool fused = true;

  int replays = 0;                 ///< in each round
  std::vector<double> rounds_us;   ///< a run, by round
  std::vector<double> gpu_us;      ///< single synchronised runs between events, the host's handing over included; empty on the CPU
  std::vector<double> host_us;     ///< single runs, call to completion
  std::vector<double> enqueue_us;  ///< the call alone; empty on the CPU
  double enqueue_share = 0;        ///< of a round's time, that the host took to enqueue it

  int streams = 1;
  double images_per_second = 0;                     ///< one context, back to back
  std::optional<double> images_per_second_streams;  ///< `streams` contexts at once

  fcm_memory memory{};
  std::optional<size_t> device_bytes;  ///< by how much free device memory fell from before the engine to after the first run
  BuildTimes build;
  std::optional<Energy> energy;
  std::optional<Transfers> transfers;
  std::optional<Profile> profile;
  ClockRange sm_mhz, temperature_c;
  std::vector<std::string> warnings;
};

/// Where it was measured.
struct Environment {
  std::string date;  ///< ISO 8601, UTC
  std::string host_cpu;
  std::string versions;  ///< as --version tells
  std::string device;
  std::string driver;   ///< of NVML; empty when unknown
  std::string monitor;  ///< why NVML is not available; empty when it is
  std::optional<double> power_limit_w, idle_w;
  std::optional<int> max_sm_mhz;
};

/// Measures models one after another and remembers what it needs of the device once.
class ModelBench {
 public:
  using Report = std::function<void(const std::string& stage, double fraction)>;

  /// `device`: as --device.
  ModelBench(const ModelBenchOptions& options, const std::string& device, Report progress);

  /// One result a batch. `api_options` has everything but the precision. Throws api::Error.
  std::vector<ModelResult> run(const std::string& file, const std::string& precision, const std::vector<int64_t>& batches, bool fused,
                               const std::function<api::Options()>& api_options);
  const Environment& environment() const { return environment_; }

 private:
  void meet_device(const std::string& device);
  ModelResult measure(const api::Engine& engine, int64_t batch, const std::string& what);
  std::unique_ptr<Gpu> gpu() const;
  void warm_up(Runner& runner) const;
  void time_rounds(Runner& runner, ModelResult& result);
  void time_singles(Runner& runner, ModelResult& result) const;
  void time_transfers(Runner& runner, ModelResult& result) const;
  double throughput_of_streams(const api::Engine& engine, int64_t batch) const;
  Energy energy_of(Runner& runner, double run_us);
  void warn(ModelResult& result) const;

  ModelBenchOptions options_;
  Report progress_;
  Environment environment_;
  std::optional<int> ordinal_;  // of the GPU; nothing on the CPU
  std::optional<DeviceModel> model_;
  std::unique_ptr<GpuMonitor> monitor_;
};

}  // namespace fcm::bench
