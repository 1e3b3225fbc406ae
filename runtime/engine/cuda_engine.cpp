// Building a CUDA engine: plan, steps, kernels, weights. Everything that a context reads is fixed when the constructor returns.
#include "runtime/engine/cuda_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "runtime/device/stream.h"
#include "runtime/engine/cuda_context.h"
#include "runtime/engine/ports.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

using ops::cuda::Border;
using ops::cuda::DeviceTensor;
using ops::cuda::OrderRule;
using ops::cuda::StepBuild;

// What distinguishes devices whose plans may differ.
std::string model_text(const DeviceInfo& d) {
  return fmt::format("{} sm_{} {} SMs {} MHz {} MiB L2", d.name, d.target.text(), d.sm_count, d.clock_khz / 1000, d.l2_bytes >> 20);
}

Precision resolve(Precision asked, bool tf32, const DeviceInfo& device) {
  if (asked == Precision::automatic) return device.tensor_cores && !tf32 ? Precision::f16 : Precision::f32;
  if (asked == Precision::bf16 && !device.bf16)
    throw Error(ErrorCode::unsupported, fmt::format("{} has no BF16 tensor cores; accepted: fp32, fp16, auto", device.name));
  return asked;
}

OrderNeed order_need(const Graph& graph, const Node& node) {
  switch (ops::cuda::order_rule(graph, node)) {
    case OrderRule::rows:
      return OrderNeed::rows;
    case OrderRule::nhwc:
      return OrderNeed::nhwc;
    case OrderRule::any:
      break;
  }
  return OrderNeed::any;
}

// As `ops::cuda::supported` says: these store f32 from 16-bit operands.
bool stores_as(const Node& node, DType compute, DType stored) {
  if (stored != DType::f32 || (compute != DType::f16 && compute != DType::bf16)) return false;
  return std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op) || std::holds_alternative<UnaryOp>(node.op) ||
         std::holds_alternative<Binary>(node.op);
}

PlanBackend cuda_backend(const DeviceInfo& device) {
  PlanBackend backend;
  backend.device_model = model_text(device);
  backend.refusal = [](const Graph& graph, const Node& node) {
    std::string reason;
    if (ops::cuda::supported(graph, node, &reason)) return std::string();
    return reason.empty() ? std::string("not supported") : reason;
  };
  backend.order = order_need;
  backend.stores_as = stores_as;
  return backend;
}

bool is_image(const Port& port) {
  try {
    channels_last(port);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

CudaEngine::CudaEngine(std::shared_ptr<const Graph> graph, const EngineOptions& options)
    : graph_(std::move(graph)),
      device_(device_info(options.device.ordinal)),
      source_{options.allocator.allocate, options.allocator.release, options.allocator.user},
      memory_limit_(options.memory_limit),
      inputs_(ports_of(*graph_, graph_->inputs)),
      outputs_(ports_of(*graph_, graph_->outputs)) {
  const Precision precision = resolve(options.precision, options.tf32, device_);
  if (options.tf32 && !device_.bf16) throw Error(ErrorCode::unsupported, device_.name + " has no TF32 tensor cores");
  plan_ = plan_unfused(*graph_, PlanOptions{precision, options.tf32 && precision == Precision::f32}, cuda_backend(device_));
  const DeviceGuard guard(device_.ordinal);
  handles_ = std::make_unique<ops::cuda::LibraryHandles>();
  build(options);
  hash_ = plan_.hash();
  log(LogLevel::info, "{}: {} steps in {} on {}, plan {}", graph_->name, steps_.size(), precision_name(), device_name(), hash_);
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

void CudaEngine::build(const EngineOptions& options) {
  const auto report = [&](const char* stage, double fraction) {
    if (options.progress) options.progress(stage, fraction);
  };
  report("plan", 1.0);
  ops::cuda::WeightStore store;
  ops::cuda::KernelSet kernels;
  StepBuild build{device_, store, kernels, plan_.options.tf32};
  steps_.reserve(variant().steps.size());
  for (const PlanStep& step : variant().steps) steps_.push_back(build_step(step, build));
  weight_bytes_ = store.bytes();
  check_memory_limit("the engine's weights", weight_bytes_, memory_limit_);
  kernels.compile(device_.target, jit::DiskCache::standard(), 0, [&](double fraction) { report("compile", fraction); });
  kernels.load();
  report("upload", 0.0);
  weights_ = DeviceBuffer(weight_bytes_, source_);
  const Stream stream;
  store.upload(weights_.data(), stream.get());
  report("upload", 1.0);
}

DeviceTensor CudaEngine::tensor(BufferId id) const {
  const PlanBuffer& b = variant().buffer(id);
  return DeviceTensor{b.shape, b.layout};
}

CudaStep CudaEngine::build_step(const PlanStep& step, StepBuild& build) const {
  if (step.kind == PlanStep::Kind::convert) return build_convert(step, build);
  std::vector<std::optional<DeviceTensor>> inputs;
  std::vector<DeviceTensor> outputs;
  for (const BufferId b : step.inputs) inputs.push_back(b == kNoBuffer ? std::nullopt : std::optional(tensor(b)));
  for (const BufferId b : step.outputs) outputs.push_back(tensor(b));
  const Node& node = graph_->nodes[static_cast<size_t>(step.node)];
  CudaStep built;
  try {
    built.step = ops::cuda::make_step(*graph_, node, inputs, outputs, build);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}: {}", graph_->name, describe(node.origin), e.what()));
  }
  return built;
}

// A conversion from an input port or to an output port is a border; one between two of our buffers a plain step. A buffer that
// serves several output ports is filled once and copied from there.
CudaStep CudaEngine::build_convert(const PlanStep& step, StepBuild& build) const {
  const BufferId from = step.inputs[0];
  const BufferId to = step.outputs[0];
  const auto position = [](const std::vector<BufferId>& list, BufferId b) {
    if (std::count(list.begin(), list.end(), b) != 1) return -1;
    return static_cast<int>(std::find(list.begin(), list.end(), b) - list.begin());
  };
  CudaStep built;
  built.input_port = position(variant().inputs, from);
  built.output_port = position(variant().outputs, to);
  if (built.input_port < 0 && built.output_port < 0) {
    built.step = ops::cuda::make_convert(tensor(from), tensor(to), build);
    return built;
  }
  built.border = ops::cuda::make_border(tensor(from), tensor(to), build);
  if (built.input_port >= 0) {
    const Port& port = inputs_[static_cast<size_t>(built.input_port)];
    if (is_image(port)) built.image = ops::cuda::make_image_border(tensor(to), channels_last(port), build);
  }
  return built;
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
  for (size_t i = 0; i < steps_.size(); ++i) {
    const CudaStep& s = steps_[i];
    text +=
        fmt::format("  run {} {}{}\n", i, s.step ? s.step->describe() : s.border->describe(), s.image ? " | " + s.image->describe() : "");
  }
  return text;
}

ContextSizes CudaEngine::sizes(int64_t max_batch) const {
  check_batch(1, max_batch);
  const DeviceGuard guard(device_.ordinal);
  const std::lock_guard lock(mutex_);
  const auto known = sizes_.find(max_batch);
  if (known != sizes_.end()) return known->second;
  ContextSizes sizes;
  sizes.arena = place_buffers(variant(), max_batch);
  sizes.border = place_border(variant(), max_batch);
  for (const CudaStep& s : steps_) {
    if (s.step) sizes.workspace = std::max(sizes.workspace, s.step->workspace_bytes(max_batch, *handles_));
  }
  constexpr size_t kAlignment = 256;
  sizes.workspace = (sizes.workspace + kAlignment - 1) / kAlignment * kAlignment;
  return sizes_.emplace(max_batch, std::move(sizes)).first->second;
}

MemoryUse CudaEngine::memory(int64_t max_batch) const {
  const ContextSizes needed = sizes(max_batch);
  MemoryUse use;
  use.weights = weight_bytes_;
  use.activations = needed.arena.bytes + needed.border.bytes;
  use.workspace = needed.workspace;
  use.io = needed.border.bytes;
  return use;
}

std::unique_ptr<Context> CudaEngine::create_context(int64_t max_batch) const {
  return std::make_unique<CudaContext>(std::static_pointer_cast<const CudaEngine>(shared_from_this()), max_batch);
}

int CudaEngine::choice(size_t step, int64_t batch) const {
  const auto tuned = variant().steps[step].choices.find(batch);
  return tuned == variant().steps[step].choices.end() ? 0 : tuned->second;
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
  const jit::DiskCache cache = jit::DiskCache::standard();
  std::vector<std::tuple<size_t, int64_t, int>> found;  // entered at the end: each key is the text of the untuned plan
  for (const int64_t batch : batches) {
    // The text of the untuned plan names device and steps; library and driver versions can change which algorithms there are.
    const std::string key = text_hash(
        fmt::format("tune 1 batch {} driver {} runtime {}\n{}", batch, device_.driver_version, device_.runtime_version, plan_text()));
    const auto stored = cache.load("tune-" + key);
    std::vector<int> choices = stored ? parse_choices(*stored, steps_.size()) : std::vector<int>();
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
  for (const auto& [step, batch, choice] : found) plan_.variants.front().steps[step].choices[batch] = choice;
  hash_ = plan_.hash();
}

std::shared_ptr<const Engine> create_cuda_engine(std::shared_ptr<const Graph> graph, const EngineOptions& options) {
  auto engine = std::make_shared<CudaEngine>(std::move(graph), options);
  if (options.tune) engine->tune(options.tune_batches);
  return engine;
}

}  // namespace fcm
