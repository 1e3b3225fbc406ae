// What fcm-infer tells its user, for people or as JSON.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/common/stats.h"
#include "apps/fcm-infer/check.h"
#include "apps/fcm-infer/classify.h"
#include "apps/fcm-infer/session.h"

namespace fcm::apps {

struct NamedClass {
  ClassScore score;
  std::string label;  ///< empty: none known
};

/// One item of a classifier.
struct Classification {
  std::string name;
  std::vector<NamedClass> classes;
  size_t nonfinite = 0;  ///< scores that are infinite or NaN
};

/// One output of a group.
struct OutputSummary {
  std::string name;
  std::string dtype;
  std::vector<int64_t> dims;
  double min = 0, mean = 0, max = 0;  ///< over finite elements
  size_t nonfinite = 0;
};

struct GroupReport {
  std::vector<std::string> names;
  bool classifier = false;
  std::vector<Classification> classifications;  ///< of a classifier, one an item
  std::vector<OutputSummary> outputs;           ///< of any other model
  Timing timing;
};

struct RunInfo {
  std::string model, device, precision, plan_hash, steps;
  std::string preprocess;  ///< empty for tensor inputs
};

/// Called in the order of the methods; those from `memory` on where they apply.
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void start(const RunInfo& info) = 0;
  virtual void memory(const fcm_memory& use, int64_t max_batch) = 0;
  /// A step of the plan that was compared with the CPU reference.
  virtual void step(const fcm_step_check& check) = 0;
  /// The first step (then, of a fused one, the first layer without fusion) that makes an infinity or NaN; null: there is none.
  virtual void nonfinite(const fcm_step_check* check) = 0;
  virtual void group(const GroupReport& group) = 0;
  virtual void unreadable(const std::string& input, const std::string& message) = 0;
  virtual void repeats(const Spread& compute_us, const Spread& total_us, size_t runs) = 0;
  virtual void saved(const std::vector<std::string>& paths) = 0;
  virtual void checked(const std::vector<Comparison>& results, const Tolerance& tolerance) = 0;
  virtual void finish(size_t inputs, size_t failed, int exit_code) = 0;
};

std::unique_ptr<Reporter> make_text_reporter();
std::unique_ptr<Reporter> make_json_reporter();

}  // namespace fcm::apps
