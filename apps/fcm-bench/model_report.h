// A measured model as text and as JSON, and the comparison of two JSON documents.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/common/stats.h"
#include "apps/fcm-bench/model_bench.h"

namespace fcm::bench {

inline constexpr const char* kSchema = "fcm-bench 1";

/// The document that --json writes: schema, environment, options, results. Single runs are thinned to at most 500 samples a series.
nlohmann::json to_json(const Environment& environment, const ModelBenchOptions& options, const std::vector<ModelResult>& results);

/// What a person reads, of one result.
std::string to_text(const ModelResult& result);
/// Two lines about device and clocks.
std::string to_text(const Environment& environment);

/// The document in a file. Throws apps::Failure naming the file: unreadable, no JSON, or not of this schema.
nlohmann::json read_document(const std::string& path, const std::string& schema);

enum class Verdict { faster, slower, same, unclear };
const char* to_string(Verdict verdict);

/// Beyond this a median differs from that of another run of the same program on the same card; see docs/benchmarks.md.
inline constexpr double kRepeatability = 0.03;

/// faster or slower: the whole interval of the ratio now / before lies beyond the repeatability; same: within it; else unclear.
Verdict judge(const apps::Interval& ratio);

struct Comparison {
  std::string model, precision, device, before_device;
  int64_t batch = 1;
  bool fused = true;
  double now_us = 0, before_us = 0;
  apps::Interval ratio;  ///< 95 % confidence, by bootstrap over the rounds
  Verdict verdict = Verdict::unclear;
};

/// Results of `now` that `before` has, too: the same model, batch, precision and fusion.
std::vector<Comparison> compare(const nlohmann::json& now, const nlohmann::json& before);
std::string to_text(const std::vector<Comparison>& comparisons);

}  // namespace fcm::bench
