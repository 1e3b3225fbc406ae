// Building a CUDA engine: plan, steps, kernels, weights. Everything that a context reads is fixed when the constructor returns.
#include "runtime/engine/cuda_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <tuple>

#include "planner/fused.h"
#include "planner/plan_file.h"
#include "runtime/device/stream.h"
#include "runtime/engine/cuda_context.h"
#include "runtime/engine/device_rates.h"
#include "runtime/engine/fusion_tuner.h"
#include "runtime/engine/ports.h"
#include "runtime/support/env.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

using ops::cuda::StepBuild;

Precision resolve(Precision asked, bool tf32, const DeviceInfo& device) {
  if (asked == Precision::automatic) return device.tensor_cores && !tf32 ? Precision::f16 : Precision::f32;
  if (asked == Precision::bf16 && !device.bf16)
    throw Error(ErrorCode::unsupported, fmt::format("{} has no BF16 tensor cores; accepted: fp32, fp16, auto", device.name));
  return asked;
}

// Activations that a step reads and writes, and the constants among its nodes' inputs in the plan's precision, each once.
double operand_bytes(const Graph& graph, const PlanOptions& options, const PlanVariant& variant, const PlanStep& step, int64_t batch) {
  std::set<BufferId> buffers;
  for (const auto* list : {&step.inputs, &step.outputs}) {
    for (const BufferId b : *list) {
      if (b != kNoBuffer) buffers.insert(b);
    }
  }
  double bytes = 0;
  for (const BufferId b : buffers) {
    const PlanBuffer& buffer = variant.buffer(b);
    bytes += static_cast<double>(layout_bytes(buffer.layout, at_batch(buffer.shape, batch)));
  }
  std::vector<NodeId> nodes = {step.node};
  if (step.module) nodes = step.module->stage_nodes;
  for (const NodeId n : nodes) {
    if (n == kNoNode) continue;
    for (const ValueId v : graph.nodes[static_cast<size_t>(n)].inputs) {
      if (v == kNoValue || !graph.is_constant(v)) continue;
      const Tensor& constant = *graph.value(v).constant;
      const DType dtype = is_float(constant.dtype()) ? compute_dtype(options.precision) : constant.dtype();
      bytes += static_cast<double>(element_count(constant.dims())) * static_cast<double>(dtype_size(dtype));
    }
  }
  return bytes;
}

}  // namespace

CudaEngine::CudaEngine(std::shared_ptr<const Graph> graph, const EngineOptions& options)
    : graph_(std::move(graph)),
      device_(device_info(options.device.ordinal)),
      source_{options.allocator.allocate, options.allocator.release, options.allocator.user},
      memory_limit_(options.memory_limit),
      inputs_(ports_of(*graph_, graph_->inputs)),
      outputs_(ports_of(*graph_, graph_->outputs)),
      programmatic_launch_(options.programmatic_launch && device_.target.major >= 9) {
  const Precision precision = resolve(options.precision, options.tf32, device_);
  if (options.tf32 && !device_.bf16) throw Error(ErrorCode::unsupported, device_.name + " has no TF32 tensor cores");
  make_plan(PlanOptions{precision, options.tf32 && precision == Precision::f32}, options);
  const DeviceGuard guard(device_.ordinal);
  handles_ = std::make_unique<ops::cuda::LibraryHandles>();
  build(options);
  hash_ = plan_.hash();
  log(LogLevel::info, "{}: {} steps in {} on {}, plan {}", graph_->name, steps_.front().size(), precision_name(), device_name(), hash_);
}

CudaEngine::~CudaEngine() {
  try {
    // Library handles and weights go on the device they were made on.
    const DeviceGuard guard(device_.ordinal);
    handles_.reset();
    weights_ = DeviceBuffer();
  } catch (const Error& e) {
    log(LogLevel::warning, "while releasing an engine: {}", e.what());
  }
}

void CudaEngine::make_plan(const PlanOptions& how, const EngineOptions& options) {
  if (!options.fuse && options.plan_file.empty()) {
    plan_ = plan_unfused(*graph_, how, cuda_backend(device_), full_precision_nodes(*graph_, options.fusion.overrides));
    return;
  }
  std::string note;
  const DeviceModel model = model_of_device(device_, &note);
  if (!note.empty()) log(LogLevel::info, "{}", note);
  if (!options.plan_file.empty()) {
    plan_ = saved_plan(how, options, model);
    return;
  }
  plan_ = plan_fused(*graph_, how, cuda_backend(device_), model, options.fusion);
}

// A saved plan brings its own decisions; options that would make others contradict it.
Plan CudaEngine::saved_plan(const PlanOptions& how, const EngineOptions& options, const DeviceModel& model) const {
  const auto contradicted = [&](const char* what) {
    return Error(ErrorCode::command_line,
                 fmt::format("plan {}: a saved plan runs as it is; it cannot be combined with {}", options.plan_source, what));
  };
  if (!options.fuse) throw contradicted("running without fusion");
  if (options.tune) throw contradicted("tuning");
  if (!options.fusion.overrides.empty()) throw contradicted("settings of single nodes");
  Plan plan = read_plan_file(options.plan_file, options.plan_source, *graph_, cuda_backend(device_), model);
  if (options.precision != Precision::automatic && plan.options.precision != how.precision) throw contradicted("another precision");
  resolve(plan.options.precision, plan.options.tf32, device_);
  return plan;
}

void CudaEngine::build(const EngineOptions& options) {
  const auto report = [&](const char* stage, double fraction) {
    if (options.progress) options.progress(stage, fraction);
  };
  report("plan", 1.0);
  ops::cuda::WeightStore store;
  ops::cuda::KernelSet kernels;
  StepBuild build{device_, store, kernels, plan_.options.tf32};
  modules_ = std::make_unique<ModuleSet>(device_.target, !env().pdl_jitter.empty());
  for (const PlanVariant& variant : plan_.variants) steps_.push_back(build_steps(*graph_, variant, build, modules_.get()));
  weight_bytes_ = store.bytes();
  check_memory_limit("the engine's weights", weight_bytes_, memory_limit_);
  const jit::DiskCache cache = options.kernel_cache ? jit::DiskCache::standard() : jit::DiskCache::none();
  compile_kernels(*modules_, kernels, device_.target, cache, [&](double fraction) { report("compile", fraction); });
  kernels.load();
  modules_->load();
  report("upload", 0.0);
  weights_ = DeviceBuffer(weight_bytes_, source_);
  const Stream stream;
  store.upload(weights_.data(), stream.get());
  report("upload", 1.0);
}

std::string CudaEngine::device_name() const {
  return fmt::format("{} (cuda:{})", device_.name, device_.ordinal);
}

std::string CudaEngine::precision_name() const {
  switch (plan_.options.precision) {
    case Precision::f16:
      return "fp16";
    case Precision::bf16:
      return "bf16";
    default:
      return plan_.options.tf32 ? "tf32" : "fp32";
  }
}

std::string CudaEngine::plan_text() const {
  std::string text = to_string(plan_);
  for (size_t v = 0; v < steps_.size(); ++v) {
    for (size_t i = 0; i < steps_[v].size(); ++i) {
      const CudaStep& s = steps_[v][i];
      const std::string what = s.step ? s.step->describe() : s.module ? s.module->describe() : s.border->describe();
      text += fmt::format("  run {}.{} {}{}\n", v, i, what, s.image ? " | " + s.image->describe() : "");
    }
  }
  return text;
}

std::string CudaEngine::plan_file() const {
  return plan_file_text(*graph_, plan_);
}

ContextSizes CudaEngine::sizes(int64_t max_batch) const {
  check_batch(1, max_batch);
  const DeviceGuard guard(device_.ordinal);
  const std::lock_guard lock(mutex_);
  const auto known = sizes_.find(max_batch);
  if (known != sizes_.end()) return known->second;
  ContextSizes sizes;
  sizes.border = place_border(plan_.variants.front(), max_batch);
  for (size_t v = 0; v <= variant_of(max_batch); ++v) {
    const PlanVariant& variant = plan_.variants[v];
    const int64_t largest = variant.max_batch == 0 ? max_batch : std::min(variant.max_batch, max_batch);
    sizes.arenas.push_back(place_buffers(variant, largest));
    sizes.arena_bytes = std::max(sizes.arena_bytes, sizes.arenas.back().bytes);
    for (const CudaStep& s : steps_[v]) {
      if (s.step) sizes.workspace = std::max(sizes.workspace, s.step->workspace_bytes(largest, *handles_));
    }
  }
  constexpr size_t kAlignment = 256;
  sizes.workspace = (sizes.workspace + kAlignment - 1) / kAlignment * kAlignment;
  return sizes_.emplace(max_batch, std::move(sizes)).first->second;
}

MemoryUse CudaEngine::memory(int64_t max_batch) const {
  const ContextSizes needed = sizes(max_batch);
  MemoryUse use;
  use.weights = weight_bytes_;
  use.activations = needed.arena_bytes + needed.border.bytes;
  use.workspace = needed.workspace;
  use.io = needed.border.bytes;
  return use;
}

std::vector<StepInfo> CudaEngine::step_infos(int64_t batch) const {
  check_batch(1, batch);
  const PlanVariant& planned = variant(batch);
  std::vector<StepInfo> infos;
  for (const PlanStep& step : planned.steps) {
    StepInfo info;
    info.name = step.name;
    info.text = step.op;
    info.kind = step.op.substr(0, step.op.find_first_of(" ("));
    info.bytes = operand_bytes(*graph_, plan_.options, planned, step, batch);
    info.predicted = step.predicted.value_or(Prediction{});
    infos.push_back(std::move(info));
  }
  return infos;
}

std::unique_ptr<Context> CudaEngine::create_context(int64_t max_batch) const {
  return std::make_unique<CudaContext>(std::static_pointer_cast<const CudaEngine>(shared_from_this()), max_batch);
}

int CudaEngine::choice(size_t step, int64_t batch) const {
  const std::map<int64_t, int>& choices = variant(batch).steps[step].choices;
  const auto tuned = choices.find(batch);
  return tuned == choices.end() ? 0 : tuned->second;
}

// Choices of an earlier measurement: one number a step. Anything else counts as absent.
static std::vector<int> parse_choices(const std::string& text, size_t steps) {
  std::istringstream in(text);
  std::vector<int> choices;
  for (int choice = 0; in >> choice;) choices.push_back(choice);
  if (choices.size() != steps || !in.eof()) choices.clear();
  return choices;
}

void CudaEngine::tune(const std::vector<int64_t>& batches) {
  const jit::DiskCache cache = env().jit_cache ? jit::DiskCache::standard() : jit::DiskCache::none();
  std::vector<std::tuple<size_t, int64_t, int>> found;  // entered at the end: each key is the text of the untuned plan
  for (const int64_t batch : batches) {
    // The text of the untuned plan names device and steps; library and driver versions can change which algorithms there are.
    const std::string key = text_hash(
        fmt::format("tune 1 batch {} driver {} runtime {}\n{}", batch, device_.driver_version, device_.runtime_version, plan_text()));
    const auto stored = cache.load("tune-" + key);
    std::vector<int> choices = stored ? parse_choices(*stored, steps(batch).size()) : std::vector<int>();
    CudaContext context(std::static_pointer_cast<const CudaEngine>(shared_from_this()), batch);
    if (!choices.empty()) choices = context.valid_choices(batch, choices);
    if (choices.empty()) {
      choices = context.fastest_choices(batch);
      cache.store("tune-" + key, fmt::format("{}", fmt::join(choices, " ")));
    }
    for (size_t s = 0; s < choices.size(); ++s) {
      if (choices[s] != 0) found.emplace_back(s, batch, choices[s]);
    }
  }
  for (const auto& [step, batch, choice] : found) plan_.variants[variant_of(batch)].steps[step].choices[batch] = choice;
  hash_ = plan_.hash();
}

std::shared_ptr<const Engine> create_cuda_engine(std::shared_ptr<const Graph> graph, const EngineOptions& options) {
  if (!options.tune) return std::make_shared<CudaEngine>(std::move(graph), options);
  EngineOptions tuned = options;
  if (options.fuse && options.plan_file.empty()) {
    const DeviceInfo device = device_info(options.device.ordinal);
    const Precision precision = resolve(options.precision, options.tf32, device);
    tuned.fusion = tune_fusion(graph, options, {precision, options.tf32 && precision == Precision::f32});
  }
  auto engine = std::make_shared<CudaEngine>(std::move(graph), tuned);
  engine->tune(options.tune_batches);
  return engine;
}

}  // namespace fcm
