// What fcm-infer tells a person: results on standard output, what went wrong on standard error.
#include "apps/fcm-infer/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "apps/common/table.h"
#include "apps/common/terminal.h"

namespace fcm::apps {
namespace {

std::string milliseconds(double us) {
  return fmt::format("{:.3f}", us / 1000);
}

std::vector<std::string> spread_cells(const std::string& name, const Spread& s) {
  return {name,
          milliseconds(s.min),
          milliseconds(s.mean),
          milliseconds(s.median),
          milliseconds(s.p90),
          milliseconds(s.p99),
          milliseconds(s.max)};
}

class TextReporter : public Reporter {
 public:
  void start(const RunInfo& info) override {
    info_ = info;
    if (!info.preprocess.empty()) fmt::print("{}\n", style_.faint("preprocessing: " + info.preprocess));
  }

  void memory(const fcm_memory& use, int64_t max_batch) override {
    Table table({"memory", ">bytes", ""});
    const auto row = [&](const char* name, size_t bytes) { table.add({name, std::to_string(bytes), bytes_text(bytes)}); };
    row("weights", use.weights);
    row(fmt::format("activations (batch {})", max_batch).c_str(), use.activations);
    row("workspace", use.workspace);
    row("staging (host)", use.staging);
    fmt::print("{}", table.text());
  }

  void group(const GroupReport& group) override {
    for (const Classification& item : group.classifications) {
      fmt::print("\n{}\n", style_.strong(item.name));
      print_classes(item);
    }
    if (!group.classifier) {
      fmt::print("\n{}\n", style_.strong(group.names.size() == 1 ? group.names[0]
                                                                 : fmt::format("{} ... {}", group.names.front(), group.names.back())));
      print_outputs(group.outputs);
    }
    const std::string batch = group.names.size() > 1 ? fmt::format(", batch {}", group.names.size()) : "";
    const Timing& t = group.timing;
    fmt::print("  {}\n", style_.faint(fmt::format("{}, {}, {}, plan {}{}, ms: decode {}, preprocess {}, upload {}, compute {}, download {}",
                                                  std::filesystem::path(info_.model).filename().string(), info_.device, info_.precision,
                                                  info_.plan_hash, batch, milliseconds(t.decode), milliseconds(t.preprocess),
                                                  milliseconds(t.upload), milliseconds(t.compute), milliseconds(t.download))));
  }

  void step(const fcm_step_check& c) override {
    const double share = c.scale > 0 ? c.max_abs / c.scale : c.max_abs;
    const std::string verdict = c.differs == 0 ? style_.good("ok") : style_.bad(differing_ ? "differs" : "the first that differs");
    fmt::print("step {:>3} of {}  {:<8} error {:.2e} of {:.3g} ({:.1e}, accepted {:.1e}){}  {}: {}\n", c.step, c.steps, verdict, c.max_abs,
               c.scale, share, c.tolerance, c.nonfinite > 0 ? fmt::format(", {} not finite", c.nonfinite) : "", nodes_text(c), c.what);
    std::fflush(stdout);
    differing_ = differing_ || c.differs != 0;
  }

  void nonfinite(const fcm_step_check* c) override {
    if (c == nullptr) {
      fmt::print("every step writes finite values\n");
      return;
    }
    fmt::print("{}\n", style_.bad(fmt::format("step {} of {} is the first that writes infinities or NaN ({} of {} values){}", c->step,
                                              c->steps, c->nonfinite, c->count, nonfinite_ ? ", without fusion" : "")));
    fmt::print("  {}: {}\n", nodes_text(*c), c->what);
    nonfinite_ = true;
  }

  void unreadable(const std::string& input, const std::string& message) override {
    std::fflush(stdout);
    const bool named = message.find(input) != std::string::npos;
    fmt::print(stderr, "fcm-infer: {} {}\n", Style(stderr).bad("error:"), named ? message : fmt::format("image '{}': {}", input, message));
  }

  void repeats(const Spread& compute_us, const Spread& total_us, size_t runs) override {
    Table table({fmt::format("{} runs, ms", runs), ">min", ">mean", ">median", ">p90", ">p99", ">max"});
    table.add(spread_cells("compute", compute_us));
    table.add(spread_cells("total", total_us));
    fmt::print("\n{}", table.text());
  }

  void saved(const std::vector<std::string>& paths) override {
    fmt::print("\n");
    for (const std::string& path : paths) fmt::print("saved {}\n", path);
  }

  void checked(const std::vector<Comparison>& results, const Tolerance& tolerance) override {
    Table table({fmt::format("check (atol {:g}, rtol {:g})", tolerance.absolute, tolerance.relative), ">max abs", ">max rel", ">cosine",
                 ">top-1", ">beyond", ""});
    for (const Comparison& r : results) {
      table.add({r.output, fmt::format("{:.3g}", r.max_abs), fmt::format("{:.3g}", r.max_rel), fmt::format("{:.6f}", r.cosine),
                 fmt::format("{:.2f}%", r.top1 * 100), fmt::format("{} of {}", r.beyond, r.count),
                 r.passed() ? style_.good("ok") : style_.bad("FAILED")});
    }
    fmt::print("\n{}", table.text());
  }

  void finish(size_t inputs, size_t failed, int /*exit_code*/) override {
    std::fflush(stdout);
    if (failed > 0) fmt::print(stderr, "fcm-infer: {} of {} inputs could not be read\n", failed, inputs);
  }

 private:
  /// "block3/expand .. block3/project", or the step's own name.
  static std::string nodes_text(const fcm_step_check& c) {
    if (c.node_count < 2) return c.name;
    return fmt::format("{} .. {}", c.nodes[0], c.nodes[c.node_count - 1]);
  }

  void print_classes(const Classification& item) const {
    Table table({">", ">", ""});
    for (const NamedClass& c : item.classes) {
      const bool first = &c == item.classes.data();
      table.add({fmt::format("{:.4f}", c.score.probability), std::to_string(c.score.index), first ? style_.good(c.label) : c.label});
    }
    fmt::print("{}", table.text(2));
    if (item.nonfinite > 0) fmt::print("  {}\n", style_.bad(fmt::format("{} scores are infinite or not numbers", item.nonfinite)));
  }

  void print_outputs(const std::vector<OutputSummary>& outputs) const {
    Table table({"output", "type", "shape", ">min", ">mean", ">max", ""});
    for (const OutputSummary& o : outputs) {
      table.add({o.name, o.dtype, dims_text(o.dims), fmt::format("{:.6g}", o.min), fmt::format("{:.6g}", o.mean),
                 fmt::format("{:.6g}", o.max), o.nonfinite > 0 ? style_.bad(fmt::format("{} not finite", o.nonfinite)) : ""});
    }
    fmt::print("{}", table.text(2));
  }

  Style style_{stdout};
  RunInfo info_;
  bool differing_ = false, nonfinite_ = false;
};

}  // namespace

std::unique_ptr<Reporter> make_text_reporter() {
  return std::make_unique<TextReporter>();
}

}  // namespace fcm::apps
