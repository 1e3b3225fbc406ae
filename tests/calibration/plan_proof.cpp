// fcm-plan-proof: how far plans are from the best that measuring everything finds. Times every legal segment of a network with the tiles
// that the planner likes best, and every node alone, appends the results to a table, and compares covers of the network by those times: the
// best one, the plan of --tune, and the plan without measurements; and each as a whole on the device. What the table holds is not measured
// again, so that a run can be cut into several.
//
//   fcm-plan-proof MODEL.onnx... --batch 1,64 --table times.tsv [--tiles 4] [--seconds 200]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include <CLI/CLI.hpp>

#include "planner/tuning.h"
#include "runtime/device/info.h"
#include "runtime/engine/device_rates.h"
#include "runtime/engine/fusion_tuner.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"
#include "tests/calibration/on_device.h"
#include "tests/calibration/table.h"

namespace fcm::calibration {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> models;
  std::vector<int64_t> batches = {1, 64};
  std::string table;
  size_t tiles = 4;
  double seconds = 1e9;
};

/// Another measurer, with the times of single kernels kept in a table.
class Remembered final : public Measure {
 public:
  Remembered(std::unique_ptr<Measure> measure, const std::string& table, Clock::time_point end)
      : measure_(std::move(measure)), table_(table), end_(end) {
    for (const Row& r : read_rows(table)) known_[calibration::key_of(r.spec, r.tile, r.batch)] = r.us;
  }

  std::vector<double> modules(const std::vector<TuneJob>& jobs) override {
    constexpr size_t kSlice = 128;
    std::vector<TuneJob> missing;
    for (const TuneJob& j : jobs) {
      if (!known_.contains(key_of(j))) missing.push_back(j);
    }
    std::ofstream out(table_, std::ios::app);
    for (size_t at = 0; at < missing.size(); at += kSlice) {
      if (Clock::now() > end_) throw Error(ErrorCode::internal, fmt::format("{} kernels are left: run again", missing.size() - at));
      const std::vector<TuneJob> slice(missing.begin() + static_cast<ptrdiff_t>(at),
                                       missing.begin() + static_cast<ptrdiff_t>(std::min(at + kSlice, missing.size())));
      const std::vector<double> us = measure_->modules(slice);
      for (size_t i = 0; i < slice.size(); ++i) {
        known_[key_of(slice[i])] = us[i];
        if (std::isfinite(us[i])) out << to_string(Row{static_cast<int>(slice[i].images), us[i], slice[i].spec, slice[i].tile}) << "\n";
      }
      out.flush();
    }
    measured_ += missing.size();
    std::vector<double> us;
    for (const TuneJob& j : jobs) us.push_back(known_.at(key_of(j)));
    return us;
  }
  double chain(const std::vector<TuneJob>& steps) override { return measure_->chain(steps); }
  std::map<NodeId, double> nodes(int64_t batch) override {
    if (nodes_.empty()) nodes_ = measure_->nodes(batch);
    return nodes_;
  }
  size_t measured() const { return measured_; }

 private:
  static std::string key_of(const TuneJob& j) { return calibration::key_of(j.spec, j.tile, static_cast<int>(j.images)); }

  std::unique_ptr<Measure> measure_;
  std::string table_;
  Clock::time_point end_;
  std::map<std::string, double> known_;
  std::map<NodeId, double> nodes_;
  size_t measured_ = 0;
};

/// Median of synchronised runs on zeros, microseconds.
double replay_us(const Engine& engine, int64_t batch) {
  constexpr int kWarm = 20, kRuns = 200;
  const std::unique_ptr<Context> context = engine.create_context(batch);
  context->enable_timing(true);
  std::vector<std::vector<std::byte>> memory;
  const auto room = [&](const Port& p) {
    return memory.emplace_back(static_cast<size_t>(element_count(at_batch(p.shape, batch))) * dtype_size(p.dtype)).data();
  };
  std::vector<InputBuffer> inputs;
  std::vector<OutputBuffer> outputs;
  for (const Port& p : engine.inputs()) inputs.push_back({room(p), MemorySpace::host, InputFormat::as_model});
  for (const Port& p : engine.outputs()) outputs.push_back({room(p), MemorySpace::host});
  std::vector<double> runs;
  for (int i = -kWarm; i < kRuns; ++i) {
    context->run(batch, inputs, outputs);
    if (i >= 0) runs.push_back(context->times().compute_us);
  }
  std::sort(runs.begin(), runs.end());
  return runs[runs.size() / 2];
}

/// A cover of the network, costed by measured times.
struct Cover {
  const char* name;
  Partition by_table;
  double replay_us = 0;
};

class Proof {
 public:
  Proof(const std::string& file, int64_t batch, const Options& options, Clock::time_point end)
      : name_(fmt::format("{} batch {}", std::filesystem::path(file).stem().string(), batch)),
        batch_(batch),
        device_(model_of_device(device_info(0))) {
    Graph graph = onnx::import_file(file);
    passes::free_batch(graph, batch == 1 ? 0 : batch);
    passes::normalize(graph);
    graph_ = std::make_shared<const Graph>(std::move(graph));
    engine_.device.kind = DeviceChoice::Kind::cuda;
    engine_.precision = Precision::f16;
    engine_.tune_batches = {batch};
    engine_.fusion.max_batch = batch;
    measure_ = std::make_unique<Remembered>(device_measure(graph_, engine_), options.table, end);
    everything_.tiles = options.tiles;
  }

  void run() {
    PartitionOptions how{DType::f16, false, engine_.fusion, nullptr};
    const auto tuned_with = [&](const TuneEffort& effort) {
      PartitionOptions tuned = how;
      const TuneReport report = tune(*graph_, device_, tuned, batch_, *measure_, effort, &times_);
      fmt::print("{}: {} of {} segments, {} kernels\n", name_, report.measured, report.segments, report.kernels);
      return tuned.fuse;
    };
    const FuseOptions everything = tuned_with(everything_), tuned = tuned_with({});
    const auto cover = [&](const char* name, const FuseOptions& fuse) {
      PartitionOptions measured = how;
      measured.fuse = fuse;
      measured.measured = &times_;
      covers_.push_back({name, partition(*graph_, device_, measured, batch_), replayed(fuse)});
    };
    const auto fixed = [&](const Partition& p) {
      FuseOptions fuse = how.fuse;
      fuse.fixed[batch_] = segments_of(p);
      return fuse;
    };
    const Partition analytic = partition(*graph_, device_, how, batch_);
    PartitionOptions measured = how;
    measured.measured = &times_;
    cover("best", fixed(partition(*graph_, device_, measured, batch_)));
    cover("best, in place", everything);
    cover("tuned", tuned);
    cover("analytic", fixed(analytic));
    print();
  }

 private:
  double replayed(const FuseOptions& fuse) const {
    EngineOptions options = engine_;
    options.fusion = fuse;
    return replay_us(*Engine::create(graph_, options), batch_);
  }

  void print() const {
    const double best = covers_[0].by_table.total.time_us;
    const double best_replay = std::min(covers_[0].replay_us, covers_[1].replay_us);
    for (const Cover& c : covers_) {
      const double sum = c.by_table.total.time_us;
      fmt::print("{:34} {:14} sum of kernels {:8.1f} us {:+6.1f} %   replay {:8.1f} us {:+6.1f} %\n", name_, c.name, sum,
                 100 * (sum / best - 1), c.replay_us, 100 * (c.replay_us / best_replay - 1));
    }
    for (const size_t i : {size_t{2}, size_t{3}}) misses(covers_[i], i == 2 ? 1.02 : 1.10);
    std::fflush(stdout);
  }

  /// Fused segments that are slower than their nodes one by one, or by more than `slack` than the best cover of these nodes.
  void misses(const Cover& c, double slack) const {
    for (const Choice& choice : c.by_table.choices) {
      if (!choice.group.module) continue;
      const double us = choice.group.cost.time_us, alone = choice.unfused.cost.time_us;
      double best = alone;
      std::string by = "one by one";
      if (!choice.runner_up.text.empty() && choice.runner_up.cost.time_us < best)
        best = choice.runner_up.cost.time_us, by = choice.runner_up.text;
      if (const double same = fastest(choice.group); same < best) best = same, by = "the same with other tiles";
      if (us <= 1.02 * alone && us <= slack * best) continue;
      std::string tiles;
      for (const TileConfig& t : choice.group.tiles) tiles += " " + fcm::to_string(t);
      fmt::print("  {} {} {}: {:.2f} us, one by one {:.2f} ({:+.0f} %), {} {:.2f} ({:+.0f} %) |{}\n", c.name, choice.group.text(),
                 graph_->nodes[static_cast<size_t>(choice.group.nodes.back())].origin.name, us, alone, 100 * (us / alone - 1), by, best,
                 100 * (us / best - 1), tiles);
    }
  }

  /// A group with the fastest measured tile of each part.
  double fastest(const Group& group) const {
    double sum = 0;
    for (size_t i = 0; i < group.tiles.size(); ++i) {
      const auto known = times_.modules.find(tile_key(group.segment.parts[i].spec, group.segment.images.at(batch_)));
      if (known == times_.modules.end()) return std::numeric_limits<double>::infinity();
      double least = std::numeric_limits<double>::infinity();
      for (const auto& [tile, us] : known->second) least = std::min(least, us);
      sum += least;
    }
    return sum;
  }

  std::string name_;
  int64_t batch_;
  DeviceModel device_;
  std::shared_ptr<const Graph> graph_;
  EngineOptions engine_;
  std::unique_ptr<Remembered> measure_;
  TuneEffort everything_{4, 0};
  MeasuredTimes times_;
  std::vector<Cover> covers_;
};

int run(const Options& options) {
  if (!has_device()) return 0;
  const auto start = Clock::now();
  const Clock::time_point end = start + std::chrono::milliseconds(static_cast<int64_t>(std::min(options.seconds, 1e6) * 1000));
  fmt::print("{}\n", device_info(0).name);
  int left = 0;
  for (const int64_t batch : options.batches) {
    for (const std::string& model : options.models) {
      if (Clock::now() > end) {
        fmt::print("{} batch {}: not begun, run again\n", model, batch);
        ++left;
        continue;
      }
      try {
        Proof(model, batch, options, end).run();
      } catch (const Error& e) {
        if (Clock::now() <= end) throw;
        fmt::print("{} batch {}: {}\n", model, batch, e.what());
        ++left;
      }
      fmt::print("[{:.0f} s]\n", std::chrono::duration<double>(Clock::now() - start).count());
      std::fflush(stdout);
    }
  }
  return left == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fcm::calibration

int main(int argc, char** argv) {
  fcm::calibration::Options options;
  CLI::App app("Compares plans with the best cover that measuring every legal segment finds.", "fcm-plan-proof");
  app.add_option("MODEL", options.models, ".onnx files")->required();
  app.add_option("--batch", options.batches, "Batch sizes")->delimiter(',')->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--table", options.table, "Times of single kernels; results are appended")->required();
  app.add_option("--tiles", options.tiles, "Tiles of a module, the best of the planner's search")->capture_default_str();
  app.add_option("--seconds", options.seconds, "No kernels are begun after this time");
  CLI11_PARSE(app, argc, argv);
  try {
    return fcm::calibration::run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fcm-plan-proof: {}\n", e.what());
    return 2;
  }
}
