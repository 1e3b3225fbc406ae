// fcm-plan: which layers become which modules with which tiles on a GPU, what that is expected to take, and what lost.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "apps/common/options.h"
#include "apps/common/program.h"
#include "apps/fcm-plan/views.h"
#include "planner/fused.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"

namespace fcm::apps {
namespace {

struct Arguments {
  std::string model, gpu, precision = "auto", objective = "time", explain, html, dot;
  std::vector<std::string> shapes, set;
  int64_t batch = 1;
  bool json = false, tiles = false, text = false, tf32 = false;
};

void declare(CLI::App& app, Arguments& a) {
  std::string known;
  for (const std::string& key : known_devices()) known += (known.empty() ? "" : ", ") + key;
  app.set_version_flag("--version", version_text, "Show the versions of library, CUDA, cuDNN and driver, and the devices");
  app.add_option("MODEL", a.model, "An .onnx file")->required();
  app.add_option("--gpu", a.gpu, "Plan for this GPU, which need not be present: " + known + "; else the one that is")->type_name("NAME");
  app.add_option("--precision", a.precision, "auto, fp32, fp16 or bf16; auto is fp16 on a GPU with tensor cores, else fp32")
      ->check(CLI::IsMember({"auto", "fp32", "fp16", "bf16"}))
      ->capture_default_str();
  app.add_flag("--tf32", a.tf32, "Let FP32 modules use TF32 tensor cores");
  app.add_option("--batch", a.batch, "Batch size to plan for")->check(CLI::Range(int64_t{1}, int64_t{65536}))->capture_default_str();
  app.add_option("--objective", a.objective, "time, or gma: the fewest accesses to global memory")
      ->check(CLI::IsMember({"time", "gma"}))
      ->capture_default_str();
  app.add_option("--set", a.set, "NODE=nofuse or NODE=tile:TEXT; repeatable")->type_name("TEXT")->allow_extra_args(false);
  app.add_option("--shape", a.shapes, "Fix the free dimensions of an input, for example input=1x3x224x224; repeatable")
      ->type_name("NAME=DIMS")
      ->allow_extra_args(false);
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
      "Times are predictions of the cost model, not measurements.");
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
    DeviceModel model = device_model_for(device_info(0), &note);
    if (!note.empty()) fmt::print(stderr, "fcm-plan: {}\n", note);
    return model;
  }
  std::string known;
  for (const std::string& key : known_devices()) known += (known.empty() ? "" : ", ") + key;
  throw Failure(kDevice, fmt::format("no GPU here ({}): name one with --gpu: {}", reason, known));
}

PlanOptions plan_options(const Arguments& a, const DeviceModel& device) {
  PlanOptions options;
  const bool tensor_cores = device.tensor_f16 > 2 * device.core_f32;
  options.precision = a.precision == "fp16"   ? Precision::f16
                      : a.precision == "bf16" ? Precision::bf16
                      : a.precision == "fp32" ? Precision::f32
                      : tensor_cores          ? Precision::f16
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
    } else if (what.starts_with("tile:")) {
      options.overrides[node].tile = what.substr(5);
    } else {
      throw Failure(kCommandLine, fmt::format("--set: '{}' is not NODE=nofuse or NODE=tile:TEXT", text));
    }
  }
  return options;
}

/// Operators of the CUDA backend as far as a plan without a device needs them.
PlanBackend any_backend(const DeviceModel& device) {
  PlanBackend backend;
  backend.device_model = device.name;
  backend.order = [](const Graph&, const Node& node) {
    if (std::holds_alternative<Conv>(node.op)) return OrderNeed::nhwc;
    if (std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op)) return OrderNeed::rows;
    return OrderNeed::any;
  };
  return backend;
}

void write_file(const std::string& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw Failure(kBadInput, fmt::format("'{}' cannot be written", file));
}

int run(const Arguments& a) {
  const Graph graph = load(a);
  const DeviceModel device = find_device(a);
  const PlanOptions options = plan_options(a, device);
  const FuseOptions fuse = fuse_options(a);
  const auto start = std::chrono::steady_clock::now();
  const PartitionOptions how{compute_dtype(options.precision), options.tf32, fuse};
  const Partition parts = partition(graph, device, how, a.batch);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  const Plan plan = plan_fused(graph, options, any_backend(device), device, fuse);
  PlanView view;
  view.graph = &graph;
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
