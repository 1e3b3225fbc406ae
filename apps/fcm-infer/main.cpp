// fcm-infer: a model and images or tensors in; classes, tensors, times out.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "apps/common/terminal.h"
#include "apps/fcm-infer/image_port.h"
#include "apps/fcm-infer/inputs.h"
#include "apps/fcm-infer/outputs.h"
#include "apps/fcm-infer/report.h"

namespace fcm::apps {
namespace {

using Labels = std::unique_ptr<fcm_labels, decltype(&fcm_labels_release)>;
using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

OutputSummary summarise(const fcm_port& port, const HostTensor& tensor) {
  OutputSummary summary{port.name, dtype_text(port.dtype), tensor.dims()};
  const std::vector<double> values = to_numbers(tensor.dtype(), tensor.data(), tensor.bytes() / dtype_bytes(tensor.dtype()));
  double sum = 0;
  size_t finite = 0;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    summary.min = finite == 0 ? v : std::min(summary.min, v);
    summary.max = finite == 0 ? v : std::max(summary.max, v);
    sum += v;
    ++finite;
  }
  if (finite > 0) summary.mean = sum / static_cast<double>(finite);
  summary.nonfinite = values.size() - finite;
  return summary;
}

class Infer {
 public:
  explicit Infer(const Arguments& arguments)
      : arguments_(arguments),
        session_(arguments),
        report_(arguments.json ? make_json_reporter() : make_text_reporter()),
        progress_(arguments.json && !arguments.common.quiet),
        classifier_(is_classifier(session_.outputs(), session_.output_layouts())),
        softmax_(session_.engine().property("softmax") == "1") {
    if (!arguments.save.empty() || !arguments.check.empty()) kept_.emplace(session_.outputs(), session_.output_layouts());
  }

  int run() {
    const InputList inputs = list_inputs(arguments_.inputs);
    load_labels();
    if (inputs.images.empty() && inputs.tensors.empty()) {
      start("");
      show_memory(session_.batch_free() ? std::max<int64_t>(arguments_.batch, 1) : 1);
    } else if (inputs.tensors.empty()) {
      run_images(inputs.images);
    } else {
      run_tensors(inputs.tensors);
    }
    return finish();
  }

 private:
  void load_labels() {
    if (!classifier_ && !arguments_.labels.empty())
      fmt::print(stderr, "fcm-infer: --labels is not used: the model has no classifier head\n");
    if (!classifier_) return;
    fcm_labels* labels = nullptr;
    if (!arguments_.labels.empty()) {
      api::check(fcm_labels_load(arguments_.labels.c_str(), &labels));
    } else {
      api::check(fcm_labels_from_model(session_.model().get(), &labels));
    }
    labels_.reset(labels);
    const auto& layout = session_.output_layouts()[0];
    const size_t classes = layout.bytes(1) / layout.element;
    if (labels == nullptr || fcm_labels_count(labels) == classes) return;
    const std::string source = arguments_.labels.empty() ? "the model's metadata" : "'" + arguments_.labels + "'";
    throw Failure(kBadInput,
                  fmt::format("labels: {} has {} names, but the model has {} classes", source, fcm_labels_count(labels), classes));
  }

  void start(const std::string& preprocess) {
    const api::Engine& engine = session_.engine();
    if (arguments_.check_steps &&
        std::string(engine.property("plan_file")).empty())  // the CPU has no plan; said before anything is printed
      throw Failure(kUnsupported, "--check-steps compares the steps of a GPU with the CPU: choose a CUDA device");
    report_->start({arguments_.model, engine.property("device"), engine.property("precision"), engine.property("plan_hash"),
                    engine.property("steps"), preprocess});
  }

  void show_memory(int64_t batch) {
    if (arguments_.memory) report_->memory(session_.engine().memory(batch), batch);
  }

  /// Before the first run: what it will take, then allocate.
  void prepare(int64_t items) {
    show_memory(session_.batch_free() ? items : 1);
    session_.prepare(items);
  }

  void run_images(const std::vector<std::string>& paths) {
    if (session_.inputs().size() != 1) {
      throw Failure(kUnsupported,
                    fmt::format("the model has {} inputs, so that an image does not tell all of them; give each as name=file.npy",
                                session_.inputs().size()));
    }
    ImagePort port(session_.inputs()[0], arguments_.layout);
    api::Preprocess preprocess(session_.model());
    for (const auto& [key, value] : arguments_.preprocess) preprocess.set(key, value);
    const int64_t per_run = session_.items_per_run(arguments_.batch, 1);
    const auto most = static_cast<int64_t>(std::min<size_t>(paths.size(), static_cast<size_t>(per_run)));
    start(fcm_preprocess_text(preprocess.get()));
    prepare(session_.batch_free() ? most : per_run);

    std::vector<std::byte> pixels(port.bytes_per_image() * static_cast<size_t>(per_run));
    std::vector<std::string> names;
    Timing timing;
    const auto flush = [&] {
      if (names.empty()) return;
      const size_t count = session_.batch_free() ? names.size() : static_cast<size_t>(per_run);
      const std::vector<fcm_input> buffers = {port.input(pixels.data(), port.bytes_per_image() * count)};
      diagnose(static_cast<int64_t>(count), buffers);
      take(session_.run(std::move(names), buffers, arguments_.repeat), timing);
      names.clear();
      timing = {};
    };
    inputs_ = paths.size();
    for (size_t i = 0; i < paths.size(); ++i) {
      progress_.update(paths[i], static_cast<double>(i) / static_cast<double>(paths.size()));
      if (!read_image(paths[i], preprocess, port, pixels.data() + port.bytes_per_image() * names.size(), timing)) continue;
      names.push_back(paths[i]);
      if (names.size() == static_cast<size_t>(per_run)) flush();
    }
    flush();
  }

  /// False, and reported, when the file is no image that can be used.
  bool read_image(const std::string& path, const api::Preprocess& preprocess, ImagePort& port, std::byte* to, Timing& timing) {
    try {
      const auto start = Clock::now();
      const api::Image image(path);
      timing.decode += microseconds_since(start);
      const auto decoded = Clock::now();
      port.write(preprocess, image, to);
      timing.preprocess += microseconds_since(decoded);
      return true;
    } catch (const api::Error& e) {
      if (e.code() != FCM_STATUS_BAD_INPUT) throw;
      ++failed_;
      report_->unreadable(path, e.what());
      return false;
    }
  }

  void run_tensors(const std::vector<TensorArgument>& arguments) {
    constexpr int64_t kDefaultBatch = 64;
    if (!arguments_.preprocess.empty())
      throw Failure(kCommandLine, "--" + arguments_.preprocess[0].first + " is for images; the inputs are tensors");
    const TensorInputs inputs = load_tensors(arguments, session_.inputs(), session_.batch_free(), session_.fixed_items());
    const int64_t per_run = std::min(session_.items_per_run(arguments_.batch, kDefaultBatch), inputs.items);
    start("");
    prepare(per_run);
    inputs_ = arguments.size();
    for (int64_t at = 0; at < inputs.items; at += per_run) {
      const int64_t count = std::min(per_run, inputs.items - at);
      std::vector<std::string> names;
      for (int64_t i = at; i < at + count; ++i)
        names.push_back(inputs.items == 1 ? arguments[0].path : fmt::format("{}[{}]", arguments[0].path, i));
      std::vector<HostTensor> parts;
      std::vector<fcm_input> buffers;
      for (size_t i = 0; i < inputs.tensors.size(); ++i) {
        const HostTensor& whole = inputs.tensors[i];
        const ItemLayout layout = item_layout(session_.inputs()[i], session_.fixed_items());
        parts.emplace_back(whole.dtype(), layout.dims_of(count));
        copy_items(layout, whole.data(), inputs.items, at, parts[i].data(), count, 0, count);
        buffers.push_back(api::host_input(parts[i].data(), parts[i].bytes()));
      }
      diagnose(count, buffers);
      take(session_.run(std::move(names), buffers, arguments_.repeat), {});
    }
  }

  /// --check-steps and --find-nonfinite, on the first group.
  void diagnose(int64_t items, const std::vector<fcm_input>& buffers) {
    if (diagnosed_) return;
    diagnosed_ = true;
    if (arguments_.check_steps) {
      session_.check_steps(items, buffers, arguments_.check_steps->first, arguments_.check_steps->second, [&](const fcm_step_check& check) {
        report_->step(check);
        faulty_ = faulty_ || check.differs != 0;
      });
    }
    if (!arguments_.find_nonfinite) return;
    const bool found = session_.find_nonfinite(items, buffers, [&](const fcm_step_check& check) { report_->nonfinite(&check); });
    if (!found) report_->nonfinite(nullptr);
    faulty_ = faulty_ || found;
  }

  /// Reports a group and keeps what is needed later.
  void take(Group group, const Timing& before) {
    group.timing.decode = before.decode;
    group.timing.preprocess = before.preprocess;
    compute_us_.insert(compute_us_.end(), group.compute_us.begin(), group.compute_us.end());
    total_us_.insert(total_us_.end(), group.total_us.begin(), group.total_us.end());
    GroupReport report{group.names, classifier_, {}, {}, group.timing};
    if (classifier_) {
      for (int64_t i = 0; i < group.items(); ++i) report.classifications.push_back(classify(group, i));
    } else {
      for (size_t i = 0; i < group.outputs.size(); ++i) report.outputs.push_back(summarise(session_.outputs()[i], group.outputs[i]));
    }
    report_->group(report);
    if (kept_) kept_->add(std::move(group.outputs), group.items());
  }

  Classification classify(const Group& group, int64_t item) const {
    const ItemLayout& layout = session_.output_layouts()[0];
    HostTensor row(session_.outputs()[0].dtype, layout.dims_of(1));
    copy_items(layout, group.outputs[0].data(), group.items(), item, row.data(), 1, 0, 1);
    const std::vector<double> scores = to_numbers(row.dtype(), row.data(), row.bytes() / layout.element);
    Classification result{group.names[static_cast<size_t>(item)], {}, 0};
    for (const ClassScore& c : top_classes(scores, static_cast<size_t>(arguments_.top), softmax_)) {
      const char* label = fcm_labels_get(labels_.get(), c.index);
      result.classes.push_back({c, label == nullptr ? "" : label});
    }
    result.nonfinite = static_cast<size_t>(std::count_if(scores.begin(), scores.end(), [](double s) { return !std::isfinite(s); }));
    return result;
  }

  int finish() {
    int code = failed_ > 0 ? kBadInput : kOk;
    progress_.clear();
    if (arguments_.repeat > 1 && !total_us_.empty()) report_->repeats(spread_of(compute_us_), spread_of(total_us_), total_us_.size());
    if (kept_ && !total_us_.empty()) {
      const std::vector<HostTensor> outputs = kept_->join();
      if (!arguments_.save.empty()) save(outputs);
      if (!arguments_.check.empty() && !check(outputs)) code = kCheckFailed;
    }
    if (faulty_) code = kCheckFailed;
    report_->finish(inputs_, failed_, code);
    return code;
  }

  void save(const std::vector<HostTensor>& outputs) {
    save_outputs(*kept_, outputs, arguments_.save);
    std::vector<std::string> paths;
    for (size_t i = 0; i < outputs.size(); ++i) paths.push_back(kept_->path(arguments_.save, i));
    report_->saved(paths);
  }

  bool check(const std::vector<HostTensor>& outputs) {
    Tolerance tolerance = default_tolerance(session_.engine().property("precision"));
    tolerance.absolute = arguments_.atol.value_or(tolerance.absolute);
    tolerance.relative = arguments_.rtol.value_or(tolerance.relative);
    const std::vector<Comparison> results = check_outputs(*kept_, session_.outputs(), outputs, arguments_.check, tolerance);
    report_->checked(results, tolerance);
    return std::all_of(results.begin(), results.end(), [](const Comparison& r) { return r.passed(); });
  }

  const Arguments& arguments_;
  Session session_;
  std::unique_ptr<Reporter> report_;
  Progress progress_;
  bool classifier_;
  bool softmax_;
  std::optional<OutputSet> kept_;  ///< when they are saved or checked
  Labels labels_{nullptr, &fcm_labels_release};
  std::vector<double> compute_us_;
  std::vector<double> total_us_;
  size_t inputs_ = 0;
  size_t failed_ = 0;
  bool diagnosed_ = false;
  bool faulty_ = false;  ///< a step differs from the reference, or makes infinities
};

}  // namespace
}  // namespace fcm::apps

int main(int argc, char** argv) {
  using namespace fcm::apps;
  return run_program("fcm-infer", has_argument(argc, argv, "--json"), [&]() -> int {
    Arguments arguments;
    if (!parse_infer_arguments(argc, argv, arguments)) return kOk;
    return Infer(arguments).run();
  });
}
