// fcm-plan: which layers become which modules with which tiles on a GPU, what that is expected to take, and what lost.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>

#include "apps/common/options.h"
#include "apps/common/program.h"
#include "apps/fcm-plan/digest.h"
#include "apps/fcm-plan/views.h"
#include "planner/dram.h"
#include "planner/fused.h"
#include "planner/plan_file.h"
#include "runtime/engine/ahead.h"
#include "runtime/engine/cuda_rules.h"
#include "runtime/engine/engine.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"

namespace fcm::apps {
namespace {

struct Arguments {
  std::string model, gpu, precision = "auto", objective = "time", explain, html, dot, save, load;
  std::vector<std::string> shapes, set;
  int64_t batch = 1;
  bool json = false, tiles = false, text = false, tf32 = false, measure = false, tune = false, trace = false, compile = false,
       device_model = false, digest = false;
};

void declare(CLI::App& app, Arguments& a) {
  std::string known;
  for (const std::string& key : known_devices()) known += (known.empty() ? "" : ", ") + key;
  app.set_version_flag("--version", version_text, "Show the versions of library, CUDA, cuDNN and driver, and the devices");
  app.add_option("MODEL", a.model, "An .onnx file");
  app.add_option("--gpu", a.gpu, "Plan for this GPU, which need not be present: " + known + "; else the one that is")->type_name("NAME");
  app.add_option("--precision", a.precision, "auto, fp32, fp16 or bf16; auto is fp16 on a GPU with tensor cores, else fp32")
      ->check(CLI::IsMember({"auto", "fp32", "fp16", "bf16"}))
      ->capture_default_str();
  app.add_flag("--tf32", a.tf32, "Let FP32 modules use TF32 tensor cores");
  app.add_option("--batch", a.batch, "Batch size to plan for")->check(CLI::Range(int64_t{1}, int64_t{65536}))->capture_default_str();
  app.add_option("--objective", a.objective, "time, or gma: the fewest accesses to global memory")
      ->check(CLI::IsMember({"time", "gma"}))
      ->capture_default_str();
  app.add_option("--set", a.set, "NODE=nofuse, NODE=fp32 or NODE=tile:TEXT; repeatable")->type_name("TEXT")->allow_extra_args(false);
  app.add_option("--shape", a.shapes, "Fix the free dimensions of an input, for example input=1x3x224x224; repeatable")
      ->type_name("NAME=DIMS")
      ->allow_extra_args(false);
  app.add_flag("--measure", a.measure, "Also build the plan and time its steps on the GPU that is here, beside the network without fusion");
  app.add_flag("--tune", a.tune,
               "Measure the best few candidates of each segment on the GPU that is here (cached) and plan with the results");
  app.add_flag(
      "--compile", a.compile,
      "Also compile the plan's kernels into the kernel cache (FCM_CACHE_DIR), where the first run on that GPU finds them; needs no GPU");
  app.add_flag("--device-model", a.device_model,
               "Print what the planner knows of the GPU of --gpu, or measures of the one that is here, as a file of planner/devices");
  app.add_flag("--digest", a.digest,
               "Print two digests of what the passes leave of the model, without names, and nothing else: one covers the weights, one does "
               "not; models of one digest are the same work");
  app.add_flag("--trace", a.trace, "Also run the steps once between profiler marks, after warm runs (see tests/gpu/predicted_traffic.sh)");
  app.add_option("--save", a.save, "Write the plan for fcm-infer --plan")->type_name("FILE");
  app.add_option("--load", a.load, "Show a saved plan in place of making one")->type_name("FILE");
  app.add_option("--explain", a.explain, "Everything about the step that holds this node")->type_name("NODE");
  app.add_flag("--tiles", a.tiles, "Show the tiles in the table");
  app.add_flag("--steps", a.text, "The plan's steps and buffers, as they are hashed");
  app.add_flag("--json", a.json, "One JSON document on standard output");
  app.add_option("--dot", a.dot, "Also write a Graphviz file")->type_name("FILE");
  app.add_option("--html", a.html, "Also write a page")->type_name("FILE");
  app.footer(
      "Examples:\n"
      "  fcm-plan --gpu h200 mobilenetv2.onnx\n"
      "  fcm-plan --gpu rtx-a4000 --batch 8 --html plan.html mobilenetv2.onnx\n"
      "  fcm-plan --gpu h200 --explain features/3/conv/1 mobilenetv2.onnx\n"
      "  fcm-plan --gpu h200 --precision fp16 --batch 8 --compile mobilenetv2.onnx\n"
      "  fcm-plan --tune --measure --batch 8 --save plan.json mobilenetv2.onnx\n"
      "Times are predictions of the cost model, except in the columns that say measured.");
}

std::pair<std::string, std::string> split_last(const std::string& option, const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) throw Failure(kCommandLine, fmt::format("{}: '{}' holds no NAME=", option, text));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

Graph load(const Arguments& a) {
  onnx::ImportOptions options;
  for (const std::string& text : a.shapes) {
    const auto [name, value] = split_last("--shape", text);
    Dims& dims = options.shapes[name];
    for (const std::string& part : CLI::detail::split(value, 'x')) {
      int64_t dim = 0;
      if (!CLI::detail::lexical_cast(part, dim) || dim < 1) throw Failure(kCommandLine, fmt::format("--shape: '{}' is no dimension", part));
      dims.push_back(dim);
    }
  }
  Graph graph = onnx::import_file(a.model, options);
  if (a.shapes.empty()) passes::free_batch(graph, a.batch == 1 ? 0 : a.batch);
  passes::normalize(graph);
  return graph;
}

DeviceModel find_device(const Arguments& a) {
  if (!a.gpu.empty()) return device_model(a.gpu);
  std::string reason;
  if (device_count(&reason) > 0) {
    std::string note;
    DeviceModel model = model_of_device(0, &note);
    if (!note.empty()) fmt::print(stderr, "fcm-plan: {}\n", note);
    return model;
  }
  std::string known;
  for (const std::string& key : known_devices()) known += (known.empty() ? "" : ", ") + key;
  throw Failure(kDevice, fmt::format("no GPU here ({}): name one with --gpu: {}", reason, known));
}

PlanOptions plan_options(const Arguments& a, const DeviceModel& device) {
  PlanOptions options;
  options.precision = a.precision == "fp16"       ? Precision::f16
                      : a.precision == "bf16"     ? Precision::bf16
                      : a.precision == "fp32"     ? Precision::f32
                      : device.has_tensor_cores() ? Precision::f16
                                                  : Precision::f32;
  options.tf32 = a.tf32 && options.precision == Precision::f32;
  return options;
}

FuseOptions fuse_options(const Arguments& a) {
  FuseOptions options;
  options.objective = a.objective == "gma" ? Objective::gma : Objective::time;
  options.max_batch = a.batch;
  for (const std::string& text : a.set) {
    const auto [node, what] = split_last("--set", text);
    if (what == "nofuse") {
      options.overrides[node].fuse = false;
    } else if (what == "fp32") {
      options.overrides[node].full_precision = true;
    } else if (what.starts_with("tile:")) {
      options.overrides[node].tile = what.substr(5);
    } else {
      throw Failure(kCommandLine, fmt::format("--set: '{}' is not NODE=nofuse, NODE=fp32 or NODE=tile:TEXT", text));
    }
  }
  return options;
}

void write_file(const std::string& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw Failure(kBadInput, fmt::format("'{}' cannot be written", file));
}

std::string read_file(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) throw Failure(kBadInput, fmt::format("'{}' cannot be read", file));
  return text;
}

/// Host memory for the inputs (zeros) and outputs of an engine.
struct Buffers {
  std::vector<std::vector<std::byte>> memory;
  std::vector<InputBuffer> inputs;
  std::vector<OutputBuffer> outputs;

  Buffers(const Engine& engine, int64_t batch) {
    const auto room = [&](const Port& p) {
      return memory.emplace_back(static_cast<size_t>(element_count(at_batch(p.shape, batch))) * dtype_size(p.dtype)).data();
    };
    for (const Port& p : engine.inputs()) inputs.push_back({room(p), MemorySpace::host, InputFormat::as_model});
    for (const Port& p : engine.outputs()) outputs.push_back({room(p), MemorySpace::host});
  }
};

/// Kernels for a GPU that need not be here, into the cache.
void compile_kernels_of(const Graph& graph, const Plan& plan, const DeviceInfo& device) {
  const jit::DiskCache cache = jit::DiskCache::standard();
  if (cache.folder().empty()) throw Failure(kCommandLine, "--compile: there is no folder for the kernel cache; set FCM_CACHE_DIR");
  const auto start = std::chrono::steady_clock::now();
  const size_t kernels = compile_ahead(graph, plan, device, cache);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print(stderr, "fcm-plan: {} kernels for sm_{} are in {}, {:.1f} s\n", kernels, device.target.text(), cache.folder().string(),
             seconds);
}

/// What --tune, --measure and --trace need beyond a plan: the GPU that is here.
class Device {
 public:
  Device(const Arguments& a, std::shared_ptr<const Graph> graph) : batch_(a.batch), graph_(std::move(graph)) {
    std::string reason;
    if (device_count(&reason) == 0) throw Failure(kDevice, fmt::format("--measure, --tune and --trace need a GPU: {}", reason));
    if (!a.gpu.empty()) throw Failure(kCommandLine, "--measure, --tune and --trace use the GPU that is here; leave --gpu out");
    options_.device.kind = DeviceChoice::Kind::cuda;
  }

  std::shared_ptr<const Engine> engine(const PlanOptions& how, const FuseOptions& fuse, bool fused, bool tune,
                                       const std::string& plan) const {
    EngineOptions options = options_;
    options.precision = how.precision;
    options.tf32 = how.tf32;
    options.fuse = fused;
    options.fusion = fuse;
    options.tune = tune;
    options.tune_batches = {batch_};
    if (!plan.empty()) options.plan_file = plan, options.plan_source = "to measure", options.fusion = {};
    return Engine::create(graph_, options);
  }

  /// The steps once, one by one, for a profiler, after runs that warm the caches.
  void trace(const Engine& engine) const {
    constexpr int kWarm = 3;
    const std::unique_ptr<Context> context = engine.create_context(batch_);
    Buffers buffers(engine, batch_);
    const auto run = [&](bool marked) {
      context->trace(batch_, buffers.inputs, buffers.outputs, [&](size_t step) {
        if (marked && (step == 0 || step == engine.plan()->variant_for(batch_).steps.size())) mark_profile(step == 0);
      });
    };
    for (int i = 0; i < kWarm; ++i) run(false);
    run(true);
  }

  MeasuredPlan measure(const Engine& fused, const Engine& unfused) const {
    MeasuredPlan measured;
    each_step(fused, [&](const PlanStep& step, double us) {
      if (step.module) measured.group_us[step.module->nodes] += us;
      if (step.node != kNoNode) measured.group_us[{step.node}] += us;
    });
    each_step(unfused, [&](const PlanStep& step, double us) {
      if (step.node != kNoNode) measured.node_us[step.node] += us;
    });
    measured.replay_us = replay_us(fused);
    measured.unfused_replay_us = replay_us(unfused);
    return measured;
  }

 private:
  void each_step(const Engine& engine, const std::function<void(const PlanStep&, double)>& visit) const {
    const std::vector<double> us = engine.create_context(batch_)->step_times(batch_);
    const std::vector<PlanStep>& steps = engine.plan()->variant_for(batch_).steps;
    for (size_t i = 0; i < us.size(); ++i) visit(steps[i], us[i]);
  }

  /// Median of synchronised runs on zeros.
  double replay_us(const Engine& engine) const {
    constexpr int kWarm = 20, kRuns = 200;
    const std::unique_ptr<Context> context = engine.create_context(batch_);
    context->enable_timing(true);
    Buffers buffers(engine, batch_);
    std::vector<double> runs;
    for (int i = -kWarm; i < kRuns; ++i) {
      context->run(batch_, buffers.inputs, buffers.outputs);
      if (i >= 0) runs.push_back(context->times().compute_us);
    }
    std::sort(runs.begin(), runs.end());
    return runs[runs.size() / 2];
  }

  int64_t batch_;
  std::shared_ptr<const Graph> graph_;
  EngineOptions options_;
};

int run(const Arguments& a) {
  if (a.device_model) {
    std::string reason;
    if (a.gpu.empty() && device_count(&reason) == 0) throw Failure(kDevice, fmt::format("no GPU to measure: {}", reason));
    fmt::print("{}", to_json(a.gpu.empty() ? measured_model(0) : device_model(a.gpu)));
    return kOk;
  }
  if (a.model.empty()) throw Failure(kCommandLine, "MODEL is required: an .onnx file (see --help)");
  const auto graph = std::make_shared<const Graph>(load(a));
  if (a.digest) {
    fmt::print("{} {}\n", graph_contents(*graph, Weights::bytes), graph_contents(*graph, Weights::shapes));
    return kOk;
  }
  const DeviceModel device = find_device(a);
  PlanOptions options = plan_options(a, device);
  const FuseOptions fuse = fuse_options(a);
  const PlanBackend backend = a.gpu.empty() ? cuda_backend(device_info(0)) : cuda_backend(device.name);
  std::optional<Device> gpu;
  if (a.measure || a.tune || a.trace) gpu.emplace(a, graph);
  const auto start = std::chrono::steady_clock::now();
  Plan plan = !a.load.empty() ? read_plan_file(read_file(a.load), a.load, *graph, backend, device)
              : a.tune        ? *gpu->engine(options, fuse, true, true, "")->plan()
                              : plan_fused(*graph, options, backend, device, fuse);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!a.load.empty()) options = plan.options;
  PartitionOptions how{compute_dtype(options.precision), options.tf32, fuse, nullptr};
  if (!a.load.empty() || a.tune) how.fuse.fixed[a.batch] = segments_of(plan.variant_for(a.batch));
  Partition parts = partition(*graph, device, how, a.batch);
  const PlanVariant& variant = plan.variant_for(a.batch);
  take_dram_bytes(parts, variant, dram_bytes(*graph, variant, a.batch, device));
  leave_out_views(parts, variant);
  PlanView view;
  view.graph = graph.get();
  view.device = &device;
  view.partition = &parts;
  view.model = std::filesystem::path(a.model).filename().string();
  view.precision = options.precision == Precision::f16    ? "fp16"
                   : options.precision == Precision::bf16 ? "bf16"
                   : options.tf32                         ? "tf32"
                                                          : "fp32";
  view.plan_hash = plan.hash();
  view.objective = fuse.objective;
  view.planning_ms = ms;
  MeasuredPlan measured;
  if (a.measure) {
    const auto fused = gpu->engine(options, {}, true, false, plan_file_text(*graph, plan));
    measured = gpu->measure(*fused, *gpu->engine(options, fuse, false, false, ""));
    view.measured = &measured;
  }
  if (a.trace) gpu->trace(*gpu->engine(options, {}, true, false, plan_file_text(*graph, plan)));
  if (a.compile) compile_kernels_of(*graph, plan, a.gpu.empty() ? device_info(0) : described_device(device));
  if (!a.save.empty()) write_file(a.save, plan_file_text(*graph, plan));
  if (!a.html.empty()) write_file(a.html, html_text(view));
  if (!a.dot.empty()) write_file(a.dot, dot_text(view));
  fmt::print("{}", a.json               ? json_text(view)
                   : !a.explain.empty() ? explain_text(view, a.explain)
                   : a.text             ? to_string(plan)
                                        : table_text(view, a.tiles));
  return kOk;
}

}  // namespace
}  // namespace fcm::apps

int main(int argc, char** argv) {
  using namespace fcm::apps;
  return run_program("fcm-plan", has_argument(argc, argv, "--json"), [&] {
    CLI::App app("Shows the plan of a model: fused modules, tiles, predicted times, and what lost.", "fcm-plan");
    Arguments arguments;
    declare(app, arguments);
    if (!parse_arguments(app, argc, argv)) return static_cast<int>(kOk);
    try {
      return run(arguments);
    } catch (const fcm::Error& e) {
      const int code = static_cast<int>(e.code());
      throw Failure(code > kInternal ? kDevice : static_cast<ExitCode>(code), e.what());
    }
  });
}
