#include "apps/fcm-bench/module_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/common/table.h"

namespace fcm::bench {
namespace {

// As --precision names it.
std::string precision_name(const ModuleBenchOptions& options) {
  if (options.tf32) return "tf32";
  return options.dtype == DType::f16 ? "fp16" : options.dtype == DType::bf16 ? "bf16" : "fp32";
}

// Geometric mean, worst and best of unfused over fused time at one batch.
struct Speedups {
  size_t count = 0;
  double log_sum = 0, worst = INFINITY, best = 0;

  void add(double speedup) {
    ++count;
    log_sum += std::log(speedup);
    worst = std::min(worst, speedup);
    best = std::max(best, speedup);
  }
  double mean() const { return std::exp(log_sum / static_cast<double>(count)); }
};

Speedups speedups_of(const ModuleBenchResult& result, int64_t batch) {
  Speedups speedups;
  for (const ModuleResultRow& row : result.rows) {
    if (row.batch == batch && row.compared) speedups.add(row.unfused.median_us / row.fused.median_us);
  }
  return speedups;
}

void add_row(apps::Table& table, const ModuleResultRow& row) {
  if (!row.error.empty()) {
    table.add({row.name, fmt::format("{}", row.batch), "", "", "", "", "", "", row.error});
    return;
  }
  const std::string speedup = row.compared ? fmt::format("{:.2f}", row.unfused.median_us / row.fused.median_us) : "";
  const std::string note = row.differs ? fmt::format("OUTPUTS DIFFER by {:.2e}", row.difference) : row.compared ? "" : row.unfused_form;
  table.add({row.name, fmt::format("{}", row.batch), fmt::format("{:.2f}", row.fused.median_us),
             row.compared ? fmt::format("{:.2f}", row.unfused.median_us) : "", speedup, fmt::format("{:.2f}", row.bound.total_us()),
             row.bound.what(), row.tile, note});
}

// To nanoseconds.
double rounded(double us) {
  return std::round(us * 1000) / 1000;
}

nlohmann::json timing_json(const Timing& t) {
  return {{"median_us", rounded(t.median_us)},
          {"min_us", rounded(t.min_us)},
          {"max_us", rounded(t.max_us)},
          {"single_replay_us", rounded(t.single_us)}};
}

}  // namespace

std::string to_text(const ModuleBenchResult& result, const ModuleBenchOptions& options) {
  const Rates& r = result.rates;
  std::string text = fmt::format("{}: {}, driver {}, {}, cuDNN {}\n", result.list, result.device,
                                 result.driver.empty() ? "unknown" : result.driver, precision_name(options), result.cudnn);
  text += fmt::format(
      "measured: L2 {:.2f} TB/s, DRAM {:.2f} TB/s (read + written), tensor cores {:.0f} TFLOP/s (mma.sync f16), FP32 {:.1f} TFLOP/s, step "
      "{:.2f} us\n",
      r.l2_bytes_per_us * 1e-6, r.dram_bytes_per_us * 1e-6, r.tensor_macs_per_us * 2e-6, r.fma_macs_per_us * 2e-6, r.step_us);
  apps::Table table({"module", ">batch", ">fused us", ">cuDNN us", ">speedup", ">bound us", "bound by", "tile", "note"});
  for (const ModuleResultRow& row : result.rows) add_row(table, row);
  text += table.text();
  for (const ChainResult& chain : result.chains) {
    const Speedups s = speedups_of(result, chain.batch);
    double sum = 0;
    for (const ModuleResultRow& row : result.rows) {
      if (row.batch == chain.batch && row.error.empty()) sum += row.fused.median_us;
    }
    text += fmt::format("batch {}: {} modules in one graph {:.1f} us (single replay {:.1f}), sum of rows {:.1f} us", chain.batch,
                        chain.modules, chain.timing.median_us, chain.timing.single_us, sum);
    if (s.count > 0)
      text += fmt::format("; against cuDNN: geometric mean {:.2f}x, worst {:.2f}x, best {:.2f}x of {}", s.mean(), s.worst, s.best, s.count);
    text += "\n";
  }
  return text;
}

nlohmann::json to_json(const ModuleBenchResult& result, const ModuleBenchOptions& options) {
  nlohmann::json rows = nlohmann::json::array();
  for (const ModuleResultRow& row : result.rows) {
    nlohmann::json item = {{"name", row.name}, {"batch", row.batch}, {"spec", row.spec}};
    if (!row.error.empty()) {
      item["error"] = row.error;
    } else {
      item["tile"] = row.tile;
      item["fused"] = timing_json(row.fused);
      item["rated_cycles"] = row.rated_cycles;
      item["bound"] = {{"total_us", rounded(row.bound.total_us())},
                       {"memory_us", rounded(row.bound.memory_us)},
                       {"dense_us", rounded(row.bound.dense_us)},
                       {"depthwise_us", rounded(row.bound.depthwise_us)},
                       {"step_us", rounded(row.bound.step_us)}};
      item["compulsory_bytes"] = row.work.compulsory_bytes;
      item["unfused_bytes"] = row.work.unfused_bytes;
      item["unfused_form"] = row.unfused_form;
      if (row.compared) {
        item["unfused"] = timing_json(row.unfused);
        item["difference"] = row.difference;
        item["differs"] = row.differs;
      }
    }
    rows.push_back(std::move(item));
  }
  nlohmann::json chains = nlohmann::json::array();
  for (const ChainResult& chain : result.chains)
    chains.push_back({{"batch", chain.batch}, {"modules", chain.modules}, {"timing", timing_json(chain.timing)}});
  const Rates& r = result.rates;
  return {{"list", result.list},
          {"date", result.date},
          {"device", result.device},
          {"driver", result.driver},
          {"cudnn", result.cudnn},
          {"precision", precision_name(options)},
          {"rates",
           {{"l2_bytes_per_us", r.l2_bytes_per_us},
            {"dram_bytes_per_us", r.dram_bytes_per_us},
            {"tensor_macs_per_us", r.tensor_macs_per_us},
            {"fma_macs_per_us", r.fma_macs_per_us},
            {"step_us", r.step_us}}},
          {"layers", result.layers},
          {"modules", std::move(rows)},
          {"chains", std::move(chains)}};
}

}  // namespace fcm::bench
