// What fcm-infer tells a program: one JSON document at the end. A number that is not finite becomes null.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/common/program.h"
#include "apps/fcm-infer/report.h"

namespace fcm::apps {
namespace {

using nlohmann::json;

json to_json(const Spread& s) {
  return {{"min", s.min}, {"mean", s.mean}, {"median", s.median}, {"p90", s.p90}, {"p95", s.p95}, {"p99", s.p99}, {"max", s.max}};
}

json to_json(const Classification& item) {
  json classes = json::array();
  for (const NamedClass& c : item.classes) {
    json entry = {{"index", c.score.index}, {"probability", c.score.probability}, {"score", c.score.score}};
    if (!c.label.empty()) entry["label"] = c.label;
    classes.push_back(std::move(entry));
  }
  return {{"input", item.name}, {"classes", std::move(classes)}, {"nonfinite", item.nonfinite}};
}

json to_json(const OutputSummary& o) {
  return {{"name", o.name}, {"dtype", o.dtype}, {"shape", o.dims},         {"min", o.min},
          {"mean", o.mean}, {"max", o.max},     {"nonfinite", o.nonfinite}};
}

json to_json(const fcm_step_check& c) {
  json nodes = json::array();
  for (size_t i = 0; i < c.node_count; ++i) nodes.push_back(c.nodes[i]);
  return {{"step", c.step},   {"steps", c.steps},         {"name", c.name},           {"what", c.what},
          {"nodes", nodes},   {"count", c.count},         {"nonfinite", c.nonfinite}, {"max_abs", c.max_abs},
          {"scale", c.scale}, {"tolerance", c.tolerance}, {"differs", c.differs != 0}};
}

class JsonReporter : public Reporter {
 public:
  void start(const RunInfo& info) override {
    document_["version"] = fmt::format("{}.{}.{}", FCM_VERSION_MAJOR, FCM_VERSION_MINOR, FCM_VERSION_PATCH);
    document_["model"] = info.model;
    document_["device"] = info.device;
    document_["precision"] = info.precision;
    document_["plan"] = info.plan_hash;
    document_["steps"] = std::stoll(info.steps);
    if (!info.preprocess.empty()) document_["preprocess"] = info.preprocess;
    document_["groups"] = json::array();
    document_["errors"] = json::array();
  }

  void memory(const fcm_memory& use, int64_t max_batch) override {
    document_["memory"] = {{"weights", use.weights},
                           {"activations", use.activations},
                           {"workspace", use.workspace},
                           {"staging", use.staging},
                           {"batch", max_batch}};
  }

  void group(const GroupReport& group) override {
    json entry = {{"inputs", group.names}};
    if (group.classifier) {
      entry["results"] = json::array();
      for (const Classification& item : group.classifications) entry["results"].push_back(to_json(item));
    } else {
      entry["outputs"] = json::array();
      for (const OutputSummary& output : group.outputs) entry["outputs"].push_back(to_json(output));
    }
    const Timing& t = group.timing;
    entry["us"] = {{"decode", t.decode},   {"preprocess", t.preprocess}, {"upload", t.upload},
                   {"compute", t.compute}, {"download", t.download},     {"total", t.total}};
    document_["groups"].push_back(std::move(entry));
  }

  void step(const fcm_step_check& check) override { document_["steps"].push_back(to_json(check)); }

  void nonfinite(const fcm_step_check* check) override {
    json& list = document_["nonfinite"];
    if (list.is_null()) list = json::array();
    if (check != nullptr) list.push_back(to_json(*check));
  }

  void unreadable(const std::string& input, const std::string& message) override {
    document_["errors"].push_back({{"input", input}, {"message", message}});
  }

  void repeats(const Spread& compute_us, const Spread& total_us, size_t runs) override {
    document_["repeat"] = {{"runs", runs}, {"compute_us", to_json(compute_us)}, {"total_us", to_json(total_us)}};
  }

  void saved(const std::vector<std::string>& paths) override { document_["saved"] = paths; }

  void checked(const std::vector<Comparison>& results, const Tolerance& tolerance) override {
    json outputs = json::array();
    for (const Comparison& r : results) {
      outputs.push_back({{"output", r.output},
                         {"max_abs", r.max_abs},
                         {"max_rel", r.max_rel},
                         {"cosine", r.cosine},
                         {"top1", r.top1},
                         {"beyond", r.beyond},
                         {"count", r.count},
                         {"passed", r.passed()}});
    }
    document_["check"] = {{"atol", tolerance.absolute}, {"rtol", tolerance.relative}, {"outputs", std::move(outputs)}};
  }

  void finish(size_t inputs, size_t failed, int exit_code) override {
    document_["inputs"] = inputs;
    document_["failed"] = failed;
    document_["exit_code"] = exit_code;
    fmt::print("{}\n", document_.dump(2, ' ', false, json::error_handler_t::replace));
  }

 private:
  json document_;
};

}  // namespace

std::unique_ptr<Reporter> make_json_reporter() {
  return std::make_unique<JsonReporter>();
}

}  // namespace fcm::apps
