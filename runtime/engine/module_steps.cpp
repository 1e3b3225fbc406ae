// Building and running of fused modules; see module_steps.h.
#include "runtime/engine/module_steps.h"

#include <fmt/format.h>

#include <cstring>

#include "planner/segments.h"
#include "runtime/support/error.h"

namespace fcm {

size_t ModuleSet::add(const ModuleSpec& spec, const TileConfig& tile) {
  const auto [entry, fresh] = index_.try_emplace(to_string(spec) + " " + to_string(tile), emitted_.size());
  if (fresh) emitted_.push_back(emit(spec, tile, target_, jitter_));
  return entry->second;
}

void ModuleSet::compile(const jit::DiskCache& cache, int threads, const ops::cuda::KernelSet::Progress& progress) {
  constexpr size_t kAtATime = 32;  // so that progress can be told
  while (binaries_.size() < emitted_.size()) {
    std::vector<jit::Program> programs;
    for (size_t i = binaries_.size(); i < emitted_.size() && programs.size() < kAtATime; ++i) programs.push_back(emitted_[i].program);
    for (jit::Binary& b : jit::compile_all(programs, target_, cache, threads)) binaries_.push_back(std::move(b));
    if (progress) progress(static_cast<double>(binaries_.size()) / static_cast<double>(emitted_.size()));
  }
}

void ModuleSet::load() {
  for (size_t i = kernels_.size(); i < binaries_.size(); ++i) kernels_.emplace_back(binaries_[i], emitted_[i].launch);
}

const ModuleKernel& ModuleSet::kernel(size_t at) const {
  if (at >= kernels_.size()) throw Error(ErrorCode::internal, "a module kernel is used before it is loaded");
  return kernels_[at];
}

ModuleStep::ModuleStep(const Graph& graph, const PlanStep& step, ops::cuda::WeightStore& weights, ModuleSet& modules)
    : module_(*step.module), modules_(modules) {
  try {
    kernel_ = modules.add(module_.spec, module_.tile);
    const std::vector<uint8_t> packed = pack_weights(module_.spec, module_.tile, weights_of(graph, module_.spec, module_.stage_nodes));
    std::vector<std::byte> bytes(packed.size());
    if (!packed.empty()) std::memcpy(bytes.data(), packed.data(), packed.size());
    weights_at_ = weights.add(std::move(bytes));
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: module of \"{}\": {}", graph.name, step.name, e.what()));
  }
  seed_ = static_cast<unsigned>(kernel_ * 2654435761u + 1);
}

ModuleArgs ModuleStep::arguments(const ops::cuda::StepArgs& args) const {
  ModuleArgs a;
  a.input = args.inputs[0];
  a.residual = args.inputs[1];
  a.gate = args.inputs[2];
  a.weights = static_cast<const std::byte*>(args.weights) + weights_at_;
  a.output = args.outputs[0];
  a.pool = static_cast<float*>(args.outputs[1]);
  a.batch = static_cast<int>(module_.images.at(args.batch));
  a.next_waits = args.programmatic && args.before_own;
  a.jitter = modules_.jitter() ? seed_ : 0;
  return a;
}

void ModuleStep::enqueue(const ops::cuda::StepArgs& args, bool programmatic) const {
  const ModuleArgs a = arguments(args);
  if (a.batch > 0) kernel().launch(a, args.stream, programmatic, args.shares_device);
}

std::string ModuleStep::describe() const {
  const LaunchPlan& l = modules_.launch(kernel_);
  return fmt::format("{}, {} threads, {} bytes shared{}{}", l.kernel, l.threads, l.shared_bytes,
                     l.cluster > 1 ? fmt::format(", clusters of {}", l.cluster) : std::string(), l.lone_bytes > 0 ? ", lone blocks" : "");
}

ModuleArgs ModuleBorder::arguments(const Args& args) const {
  const void* const inputs[3] = {args.source, nullptr, nullptr};
  void* const outputs[2] = {args.target, nullptr};
  ops::cuda::StepArgs step;
  step.batch = args.batch;
  step.inputs = inputs;
  step.outputs = outputs;
  step.weights = args.weights;
  step.before_own = args.next_waits != 0;
  ModuleArgs a = module_->arguments(step);
  for (int c = 0; c < 4; ++c) {
    a.scale[c] = 1.0f / args.std[c];
    a.shift[c] = -args.mean[c] / args.std[c];
  }
  return a;
}

void ModuleBorder::enqueue(cudaStream_t stream, const Args& args, bool programmatic) const {
  const ModuleArgs a = arguments(args);
  if (a.batch > 0) module_->kernel().launch(a, stream, programmatic, args.shares_device);
}

cudaKernelNodeParams ModuleBorder::node_params(const Args& args, Launch& launch) const {
  static_assert(sizeof(ModuleArgs) <= sizeof launch.block);
  const ModuleArgs a = arguments(args);
  std::memcpy(launch.block, &a, sizeof a);
  launch.pointers[0] = launch.block;
  const ModuleKernel& kernel = module_->kernel();
  cudaKernelNodeParams params{};
  params.func = kernel.handle();
  params.gridDim = dim3(static_cast<unsigned>(kernel.grid(a.batch)));
  params.blockDim = dim3(static_cast<unsigned>(kernel.plan().threads));
  params.sharedMemBytes = static_cast<unsigned>(kernel.shared_bytes(args.shares_device));
  params.kernelParams = launch.pointers;
  return params;
}

}  // namespace fcm
