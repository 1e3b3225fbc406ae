// A model made ready, and runs of groups of items.
#include "apps/fcm-infer/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "apps/common/terminal.h"

namespace fcm::apps {
namespace {

api::Engine make_engine(const api::Model& model, const Arguments& arguments, bool unfused = false) {
  Progress progress(!arguments.common.quiet);
  api::Options options = arguments.common.to_api();
  if (unfused) options.set("fuse", "0").set("tune", "0");
  if (arguments.batch > 0) options.set("tune_batches", fmt::format("{}", arguments.batch));
  // Images run one by one unless told otherwise; tensors bring batches of their own, so that every range is planned for.
  const bool tensors =
      std::any_of(arguments.inputs.begin(), arguments.inputs.end(), [](const std::string& i) { return i.ends_with(".npy"); });
  if (arguments.batch > 0 || !tensors) options.set("max_batch", fmt::format("{}", std::max<int64_t>(arguments.batch, 1)));
  const auto callback = [](void* user, const char* stage, double fraction) { static_cast<Progress*>(user)->update(stage, fraction); };
  api::check(fcm_options_set_progress(options.get(), callback, &progress));
  return api::Engine(model, options);
}

api::Options model_options(const Arguments& arguments) {
  api::Options options = arguments.common.to_api();
  options.set("batch", fmt::format("{}", arguments.batch));
  return options;
}

bool has_batch_dim(const fcm_port& port) {
  return std::any_of(port.batch_dims, port.batch_dims + port.rank, [](int64_t d) { return d != 0; });
}

}  // namespace

Session::Session(const Arguments& arguments)
    : arguments_(arguments),
      model_(arguments.model, model_options(arguments)),
      engine_(make_engine(model_, arguments)),
      inputs_(engine_.inputs()),
      outputs_(engine_.outputs()) {
  batch_free_ = std::any_of(inputs_.begin(), inputs_.end(), has_batch_dim);
  if (!batch_free_ && !inputs_.empty() && inputs_[0].rank > 0) fixed_items_ = std::max<int64_t>(inputs_[0].dims[0], 1);
  for (const fcm_port& port : outputs_) output_layouts_.push_back(item_layout(port, fixed_items_));
}

int64_t Session::items_per_run(int64_t wanted, int64_t fallback) const {
  if (batch_free_) return wanted > 0 ? wanted : fallback;
  if (wanted > 0 && wanted != fixed_items_) {
    throw Failure(kCommandLine, fmt::format("--batch {}: the model's batch is fixed at {}", wanted, fixed_items_));
  }
  return fixed_items_;
}

void Session::prepare(int64_t items) {
  const int64_t batch = batch_free_ ? items : 1;
  context_.emplace(engine_, batch);
  api::check(fcm_context_enable_timing(context_->get(), 1));
  context_->prepare(batch);
}

Group Session::run(std::vector<std::string> names, const std::vector<fcm_input>& inputs, int64_t repeat) {
  Group group;
  group.names = std::move(names);
  const int64_t run_items = batch_free_ ? group.items() : fixed_items_;
  const int64_t batch = batch_free_ ? group.items() : 1;
  std::vector<HostTensor> results;
  std::vector<fcm_output> buffers;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    results.emplace_back(outputs_[i].dtype, output_layouts_[i].dims_of(run_items));
    buffers.push_back(api::host_output(results[i].data(), results[i].bytes()));
  }
  context_->prepare(batch);  // the last group may be smaller; its preparation is not part of the times
  for (int64_t i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    context_->run(batch, inputs, buffers);
    group.timing.total = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    fcm_times times = {};
    api::check(fcm_context_times(context_->get(), &times));
    group.timing.upload = times.upload_us;
    group.timing.compute = times.compute_us;
    group.timing.download = times.download_us;
    group.compute_us.push_back(times.compute_us);
    group.total_us.push_back(group.timing.total);
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (run_items == group.items() || !output_layouts_[i].axis) {
      group.outputs.push_back(std::move(results[i]));
      continue;
    }
    HostTensor kept(outputs_[i].dtype, output_layouts_[i].dims_of(group.items()));
    copy_items(output_layouts_[i], results[i].data(), run_items, 0, kept.data(), group.items(), 0, group.items());
    group.outputs.push_back(std::move(kept));
  }
  return group;
}

namespace {

using StepReport = std::function<void(const fcm_step_check&)>;

int call_report(void* user, const fcm_step_check* check) {
  (*static_cast<const StepReport*>(user))(*check);
  return 1;
}

/// The nodes of the first step that is not finite: 0 when there is none.
size_t first_nonfinite(const api::Context& context, int64_t batch, const std::vector<fcm_input>& inputs, const StepReport& report) {
  size_t nodes = 0;
  const StepReport counted = [&](const fcm_step_check& check) {
    nodes = std::max<size_t>(check.node_count, 1);
    report(check);
  };
  api::check(
      fcm_context_find_nonfinite(context.get(), batch, inputs.data(), inputs.size(), call_report, const_cast<StepReport*>(&counted)));
  return nodes;
}

}  // namespace

void Session::check_steps(int64_t items, const std::vector<fcm_input>& inputs, size_t first, size_t last, const StepReport& report) {
  const int64_t batch = batch_free_ ? items : 1;
  api::check(fcm_context_check_steps(context_->get(), batch, inputs.data(), inputs.size(), first, last, call_report,
                                     const_cast<StepReport*>(&report)));
}

bool Session::find_nonfinite(int64_t items, const std::vector<fcm_input>& inputs, const StepReport& report) {
  const int64_t batch = batch_free_ ? items : 1;
  const size_t nodes = first_nonfinite(*context_, batch, inputs, report);
  if (nodes > 1) {
    const api::Engine layers = make_engine(model_, arguments_, true);
    const api::Context context(layers, batch);
    first_nonfinite(context, batch, inputs, report);
  }
  return nodes > 0;
}

}  // namespace fcm::apps
