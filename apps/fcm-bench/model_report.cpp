#include "apps/fcm-bench/model_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "apps/common/program.h"
#include "apps/common/table.h"

namespace fcm::bench {
namespace {

using nlohmann::json;

constexpr size_t kSamplesKept = 500;

double rounded(double value) {
  return std::round(value * 1000) / 1000;
}

// At most `kSamplesKept` of the samples, evenly spaced, in their order.
json samples_json(const std::vector<double>& samples) {
  json kept = json::array();
  const size_t count = std::min(samples.size(), kSamplesKept);
  for (size_t i = 0; i < count; ++i) kept.push_back(rounded(samples[i * samples.size() / count]));
  return kept;
}

json spread_json(const std::vector<double>& samples) {
  if (samples.empty()) return nullptr;
  const apps::Spread s = apps::spread_of(samples);
  return {{"count", samples.size()},     {"min", rounded(s.min)}, {"mean", rounded(s.mean)},
          {"median", rounded(s.median)}, {"p90", rounded(s.p90)}, {"p95", rounded(s.p95)},
          {"p99", rounded(s.p99)},       {"max", rounded(s.max)}, {"samples", samples_json(samples)}};
}

template <class T>
json optional_json(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json range_json(const ClockRange& range) {
  if (!range.low) return nullptr;
  return {{"low", *range.low}, {"high", *range.high}};
}

json energy_json(const std::optional<Energy>& energy) {
  if (!energy) return nullptr;
  if (!energy->unavailable.empty()) return {{"unavailable", energy->unavailable}};
  return {{"seconds", energy->busy.seconds},
          {"joules", energy->busy.joules},
          {"images", energy->busy.images},
          {"watts", energy->busy.watts()},
          {"idle_watts", optional_json(energy->idle_w)},
          {"mj_per_image", energy->mj_per_image()},
          {"mj_per_image_above_idle", energy->idle_w ? json(energy->mj_above_idle()) : json(nullptr)}};
}

json profile_json(const std::optional<Profile>& profile) {
  if (!profile) return nullptr;
  if (!profile->unavailable.empty()) return {{"unavailable", profile->unavailable}};
  json rows = json::array();
  for (const ProfileRow& r : profile->rows) {
    rows.push_back({{"name", r.name},
                    {"kind", r.kind},
                    {"text", r.text},
                    {"us", rounded(r.us)},
                    {"kernels", r.kernels},
                    {"kernel_names", r.kernel_names},
                    {"bytes", r.bytes},
                    {"predicted_us", r.predicted_us > 0 ? json(rounded(r.predicted_us)) : json(nullptr)},
                    {"predicted_l2_bytes", r.predicted_l2_bytes},
                    {"predicted_dram_bytes", r.predicted_dram_bytes},
                    {"bound_us", r.bound_us > 0 ? json(rounded(r.bound_us)) : json(nullptr)},
                    {"bound_by", r.bound_by}});
  }
  json whole = nullptr;
  if (profile->whole) {
    whole = {{"record_us", rounded(profile->whole->record_us)},
             {"events_us", rounded(profile->whole->events_us)},
             {"launch_us", rounded(profile->whole->launch_us)}};
  }
  return {{"method", profile->method}, {"sum_us", rounded(profile->sum_us)}, {"whole", std::move(whole)}, {"steps", std::move(rows)}};
}

json result_json(const ModelResult& r) {
  json transfers = nullptr;
  if (r.transfers) {
    transfers = {{"host_us", spread_json(r.transfers->host_us)},
                 {"upload_us", r.transfers->upload_us},
                 {"compute_us", r.transfers->compute_us},
                 {"download_us", r.transfers->download_us}};
  }
  return {{"model", r.model},
          {"file", r.file},
          {"batch", r.batch},
          {"device", r.device},
          {"precision", r.precision},
          {"fused", r.fused},
          {"plan_hash", r.plan_hash},
          {"replays", r.replays},
          {"median_us", rounded(apps::median_of(r.rounds_us))},
          {"rounds_us", samples_json(r.rounds_us)},
          {"gpu_us", spread_json(r.gpu_us)},
          {"host_us", spread_json(r.host_us)},
          {"enqueue_us", spread_json(r.enqueue_us)},
          {"enqueue_share", r.enqueue_share},
          {"images_per_second", r.images_per_second},
          {"streams", r.streams},
          {"images_per_second_streams", optional_json(r.images_per_second_streams)},
          {"memory",
           {{"weights", r.memory.weights},
            {"activations", r.memory.activations},
            {"workspace", r.memory.workspace},
            {"staging", r.memory.staging},
            {"device_measured", optional_json(r.device_bytes)}}},
          {"build",
           {{"load_ms", r.build.load_ms},
            {"build_ms", r.build.build_ms},
            {"cold_ms", optional_json(r.build.cold_ms)},
            {"cached_ms", optional_json(r.build.cached_ms)}}},
          {"energy", energy_json(r.energy)},
          {"transfers", std::move(transfers)},
          {"profile", profile_json(r.profile)},
          {"sm_mhz", range_json(r.sm_mhz)},
          {"temperature_c", range_json(r.temperature_c)},
          {"warnings", r.warnings}};
}

std::string spread_line(const char* title, const std::vector<double>& samples) {
  if (samples.empty()) return {};
  const apps::Spread s = apps::spread_of(samples);
  return fmt::format("  {:<22} {:9.1f} {:9.1f} {:9.1f} {:9.1f} {:9.1f} {:9.1f} {:9.1f}\n", title, s.min, s.mean, s.median, s.p90, s.p95,
                     s.p99, s.max);
}

std::string energy_text(const Energy& e) {
  if (!e.unavailable.empty()) return fmt::format("  energy                 not available: {}\n", e.unavailable);
  std::string text = fmt::format("  energy                 {:.2f} mJ/image at {:.0f} W", e.mj_per_image(), e.busy.watts());
  if (e.idle_w) text += fmt::format("; {:.2f} mJ/image above idle ({:.0f} W)", e.mj_above_idle(), *e.idle_w);
  return text + fmt::format("; over {:.1f} s, {:.0f} images\n", e.busy.seconds, e.busy.images);
}

std::string rate_text(const ProfileRow& r) {
  if (r.us <= 0) return "-";
  const double gb_per_s = r.bytes / r.us / 1000;
  return gb_per_s >= 10 ? fmt::format("{:.0f}", gb_per_s) : fmt::format("{:.2f}", gb_per_s);
}

std::string profile_text(const ModelResult& r) {
  const Profile& p = *r.profile;
  if (!p.unavailable.empty()) return fmt::format("  profile                not available: {}\n", p.unavailable);
  apps::Table table({">", "step", "kind", ">us", ">kernels", ">bytes", ">GB/s", ">bound us", "by", ">predicted us"});
  for (size_t i = 0; i < p.rows.size(); ++i) {
    const ProfileRow& row = p.rows[i];
    const auto number = [](double value) { return value > 0 ? fmt::format("{:.2f}", value) : std::string("-"); };
    table.add({fmt::to_string(i), row.name, row.kind, fmt::format("{:.2f}", row.us), row.kernels > 0 ? fmt::to_string(row.kernels) : "",
               apps::bytes_text(static_cast<size_t>(row.bytes)), rate_text(row), number(row.bound_us), row.bound_by,
               number(row.predicted_us)});
  }
  std::string text = fmt::format("  profile, a pass of its own: {}\n{}  sum of the steps {:.1f} us", p.method, table.text(4), p.sum_us);
  if (r.gpu_us.empty()) return text + "\n";
  const double run_us = apps::median_of(r.gpu_us);
  text += fmt::format("; one run {:.1f} us, a difference of {:+.1f} us: launches, less overlap", run_us, run_us - p.sum_us);
  if (p.whole) {
    text += fmt::format(
        "\n  CUPTI's record of a whole run {:.1f} us; between events around the same runs {:.1f} us, of which entering and leaving a graph "
        "takes {:.1f} us: {:+.1f} us apart",
        p.whole->record_us, p.whole->events_us, p.whole->launch_us, p.whole->rest_us());
  }
  return text + "\n";
}

}  // namespace

json to_json(const Environment& e, const ModelBenchOptions& o, const std::vector<ModelResult>& results) {
  json list = json::array();
  for (const ModelResult& r : results) list.push_back(result_json(r));
  return {{"schema", kSchema},
          {"environment",
           {{"date", e.date},
            {"device", e.device},
            {"host_cpu", e.host_cpu},
            {"driver", e.driver},
            {"versions", e.versions},
            {"monitor_unavailable", e.monitor.empty() ? json(nullptr) : json(e.monitor)},
            {"power_limit_w", optional_json(e.power_limit_w)},
            {"max_sm_mhz", optional_json(e.max_sm_mhz)},
            {"idle_w", optional_json(e.idle_w)}}},
          {"options",
           {{"rounds", o.rounds},
            {"replays", o.replays},
            {"duration_s", o.duration_s},
            {"warmup_s", o.warmup_s},
            {"iterations", o.iterations},
            {"streams", o.streams}}},
          {"results", std::move(list)}};
}

std::string to_text(const ModelResult& r) {
  const auto [low, high] = std::minmax_element(r.rounds_us.begin(), r.rounds_us.end());
  std::string text =
      fmt::format("{}, batch {}, {}{}, {}, plan {}\n", r.model, r.batch, r.precision, r.fused ? "" : " (not fused)", r.device, r.plan_hash);
  text += fmt::format("  back to back           {:.1f} us a run ({} rounds of {}: {:.1f} .. {:.1f})\n", apps::median_of(r.rounds_us),
                      r.rounds_us.size(), r.replays, *low, *high);
  text += fmt::format("  {:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "one run, us", "min", "mean", "median", "p90", "p95", "p99",
                      "max");
  text += spread_line("GPU, between events", r.gpu_us) + spread_line("host, call to result", r.host_us) +
          spread_line("host, enqueue only", r.enqueue_us);
  if (r.transfers) {
    text += spread_line("host, with transfers", r.transfers->host_us);
    text += fmt::format("  transfers              upload {:.1f} us, compute {:.1f} us, download {:.1f} us (medians)\n",
                        r.transfers->upload_us, r.transfers->compute_us, r.transfers->download_us);
  }
  text += fmt::format("  throughput             {:.0f} images/s", r.images_per_second);
  if (r.images_per_second_streams) text += fmt::format("; {:.0f} images/s with {} streams", *r.images_per_second_streams, r.streams);
  text += "\n";
  if (r.energy) text += energy_text(*r.energy);
  text += fmt::format("  memory                 weights {}, activations {}, workspace {}, staging {}", apps::bytes_text(r.memory.weights),
                      apps::bytes_text(r.memory.activations), apps::bytes_text(r.memory.workspace), apps::bytes_text(r.memory.staging));
  if (r.device_bytes) text += fmt::format("; taken on the device, driver included: {}", apps::bytes_text(*r.device_bytes));
  text += fmt::format("\n  build                  load {:.0f} ms, engine {:.0f} ms", r.build.load_ms, r.build.build_ms);
  if (r.build.cold_ms) text += fmt::format("; without the kernel cache {:.0f} ms", *r.build.cold_ms);
  if (r.build.cached_ms) text += fmt::format(", with everything in it {:.0f} ms", *r.build.cached_ms);
  text += "\n";
  if (r.sm_mhz.low) {
    text += fmt::format("  clocks                 {} .. {} MHz", *r.sm_mhz.low, *r.sm_mhz.high);
    if (r.temperature_c.high) text += fmt::format(", up to {} C", *r.temperature_c.high);
    text += "\n";
  }
  if (r.profile) text += profile_text(r);
  for (const std::string& warning : r.warnings) text += "  warning: " + warning + "\n";
  return text;
}

std::string to_text(const Environment& e) {
  std::string text = e.device;
  if (!e.driver.empty()) text += ", driver " + e.driver;
  if (e.power_limit_w) text += fmt::format(", power limit {:.0f} W", *e.power_limit_w);
  if (e.max_sm_mhz) text += fmt::format(", up to {} MHz", *e.max_sm_mhz);
  text += fmt::format("; host {}; {}\n", e.host_cpu, e.date);
  return text;
}

json read_document(const std::string& path, const std::string& schema) {
  std::ifstream file(path);
  if (!file) throw apps::Failure(apps::kBadInput, fmt::format("'{}' cannot be read", path));
  json document = json::parse(file, nullptr, false);
  if (document.is_discarded()) throw apps::Failure(apps::kBadInput, fmt::format("'{}' is not JSON", path));
  const std::string found = document.is_object() && document.contains("schema") && document["schema"].is_string()
                                ? document["schema"].get<std::string>()
                                : "none";
  if (found != schema || !document.contains("results") || !document["results"].is_array())
    throw apps::Failure(apps::kBadInput, fmt::format("'{}' has the schema \"{}\"; accepted is \"{}\"", path, found, schema));
  return document;
}

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::faster:
      return "faster";
    case Verdict::slower:
      return "slower";
    case Verdict::same:
      return "same";
    case Verdict::unclear:
      return "unclear";
  }
  return "unclear";
}

Verdict judge(const apps::Interval& ratio) {
  if (ratio.high < 1 - kRepeatability) return Verdict::faster;
  if (ratio.low > 1 + kRepeatability) return Verdict::slower;
  return ratio.low >= 1 - kRepeatability && ratio.high <= 1 + kRepeatability ? Verdict::same : Verdict::unclear;
}

std::vector<Comparison> compare(const json& now, const json& before) {
  std::vector<Comparison> comparisons;
  constexpr std::array kKeys = {"model", "batch", "precision", "fused"};
  const auto same = [&](const json& a, const json& b) {
    return std::all_of(kKeys.begin(), kKeys.end(), [&](const char* key) { return a.at(key) == b.at(key); });
  };
  for (const json& result : now.at("results")) {
    for (const json& old : before.at("results")) {
      if (!same(result, old)) continue;
      Comparison c;
      c.model = result.at("model");
      c.batch = result.at("batch");
      c.precision = result.at("precision");
      c.fused = result.at("fused");
      c.device = result.at("device");
      c.before_device = old.at("device");
      const std::vector<double> rounds = result.at("rounds_us");
      const std::vector<double> old_rounds = old.at("rounds_us");
      if (rounds.empty() || old_rounds.empty()) continue;
      c.now_us = apps::median_of(rounds);
      c.before_us = apps::median_of(old_rounds);
      c.ratio = apps::bootstrap_ratio(rounds, old_rounds);
      c.verdict = judge(c.ratio);
      comparisons.push_back(std::move(c));
      break;
    }
  }
  return comparisons;
}

std::string to_text(const std::vector<Comparison>& comparisons) {
  if (comparisons.empty()) return "nothing to compare: the older file has none of these models, batches and precisions\n";
  apps::Table table({"model", ">batch", "precision", ">before us", ">now us", ">change", "95 % interval", "verdict"});
  bool other_device = false;
  for (const Comparison& c : comparisons) {
    table.add({c.model + (c.fused ? "" : " (not fused)"), fmt::to_string(c.batch), c.precision, fmt::format("{:.1f}", c.before_us),
               fmt::format("{:.1f}", c.now_us), fmt::format("{:+.1f} %", 100 * (c.now_us / c.before_us - 1)),
               fmt::format("{:+.1f} .. {:+.1f} %", 100 * (c.ratio.low - 1), 100 * (c.ratio.high - 1)), to_string(c.verdict)});
    other_device = other_device || c.device != c.before_device;
  }
  std::string text = table.text();
  text += fmt::format("faster and slower are beyond the {:.0f} % by which runs of one program differ\n", 100 * kRepeatability);
  if (other_device)
    text += fmt::format("warning: the older file is from {}, this one from {}\n", comparisons.front().before_device,
                        comparisons.front().device);
  return text;
}

}  // namespace fcm::bench
