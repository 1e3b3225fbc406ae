#include "runtime/engine/cuda_steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/engine/ports.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

using ops::cuda::DeviceTensor;
using ops::cuda::StepBuild;

DeviceTensor tensor(const PlanVariant& variant, BufferId id) {
  const PlanBuffer& b = variant.buffer(id);
  return DeviceTensor{b.shape, b.layout};
}

CudaStep build_node(const Graph& graph, const PlanVariant& variant, const PlanStep& step, StepBuild& build) {
  std::vector<std::optional<DeviceTensor>> inputs;
  std::vector<DeviceTensor> outputs;
  for (const BufferId b : step.inputs) inputs.push_back(b == kNoBuffer ? std::nullopt : std::optional(tensor(variant, b)));
  for (const BufferId b : step.outputs) outputs.push_back(tensor(variant, b));
  const Node& node = graph.nodes[static_cast<size_t>(step.node)];
  CudaStep built;
  try {
    built.step = ops::cuda::make_step(graph, node, inputs, outputs, build);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", graph.name, e.what()));
  }
  return built;
}

int position(const std::vector<BufferId>& list, BufferId b) {
  if (std::count(list.begin(), list.end(), b) != 1) return -1;
  return static_cast<int>(std::find(list.begin(), list.end(), b) - list.begin());
}

// A module; one that reads the user's tensor is a border, with a twin for bytes where the port takes images.
CudaStep build_module(const Graph& graph, const PlanVariant& variant, const std::vector<Port>& ports, const PlanStep& step,
                      StepBuild& build, ModuleSet& modules) {
  CudaStep built;
  built.module = std::make_shared<const ModuleStep>(graph, step, build.weights, modules);
  if (step.module->spec.input != InputTransform::nchw_f32) return built;
  built.input_port = position(variant.inputs, step.inputs[0]);
  if (built.input_port < 0) throw Error(ErrorCode::internal, fmt::format("{}: module of \"{}\" reads no input", graph.name, step.name));
  built.border = std::make_unique<ModuleBorder>(built.module);
  const Port& port = ports[static_cast<size_t>(built.input_port)];
  if (!is_image(port) || channels_last(port)) return built;
  PlanStep twin = step;
  twin.module->spec.input = InputTransform::nhwc_u8;
  built.image = std::make_unique<ModuleBorder>(std::make_shared<const ModuleStep>(graph, twin, build.weights, modules));
  return built;
}

// A conversion from an input port or to an output port is a border; one between two of our buffers a plain step. A buffer that
// serves several output ports is filled once and copied from there.
CudaStep build_convert(const PlanVariant& variant, const std::vector<Port>& ports, const PlanStep& step, StepBuild& build) {
  const BufferId from = step.inputs[0];
  const BufferId to = step.outputs[0];
  CudaStep built;
  built.input_port = position(variant.inputs, from);
  built.output_port = position(variant.outputs, to);
  if (built.input_port < 0 && built.output_port < 0) {
    built.step = ops::cuda::make_convert(tensor(variant, from), tensor(variant, to), build);
    return built;
  }
  built.border = ops::cuda::make_border(tensor(variant, from), tensor(variant, to), build);
  if (built.input_port >= 0) {
    const Port& port = ports[static_cast<size_t>(built.input_port)];
    // A map whose last axis is as narrow as an image's channels, but which lies in NHWC, is none.
    const bool image = is_image(port) && !(channels_last(port) && variant.buffer(to).layout.order == Order::nhwc);
    if (image) built.image = ops::cuda::make_image_border(tensor(variant, to), channels_last(port), build);
  }
  return built;
}

}  // namespace

std::vector<CudaStep> build_steps(const Graph& graph, const PlanVariant& variant, StepBuild& build, ModuleSet* modules) {
  const std::vector<Port> ports = ports_of(graph, graph.inputs);
  std::vector<CudaStep> steps;
  steps.reserve(variant.steps.size());
  for (const PlanStep& step : variant.steps) {
    switch (step.kind) {
      case PlanStep::Kind::convert:
        steps.push_back(build_convert(variant, ports, step, build));
        break;
      case PlanStep::Kind::node:
        steps.push_back(build_node(graph, variant, step, build));
        break;
      case PlanStep::Kind::module:
        if (modules == nullptr) throw Error(ErrorCode::internal, graph.name + ": a plan with modules needs a set of them");
        steps.push_back(build_module(graph, variant, ports, step, build, *modules));
        break;
    }
  }
  return steps;
}

void compile_kernels(ModuleSet& modules, ops::cuda::KernelSet& kernels, const jit::Target& target, const jit::DiskCache& cache,
                     const ops::cuda::KernelSet::Progress& progress) {
  const auto programs = static_cast<double>(kernels.programs().size()), all = static_cast<double>(modules.size()) + programs;
  const double share = all > 0 ? 1 - programs / all : 1;
  const auto report = [&](double done) {
    if (progress) progress(done);
  };
  modules.compile(cache, 0, [&](double fraction) { report(fraction * share); });
  kernels.compile(target, cache, 0, [&](double fraction) { report(share + fraction * (1 - share)); });
}

}  // namespace fcm
