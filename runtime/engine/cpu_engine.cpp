// The CPU engine runs a float32 twin of the graph: 16-bit constants are widened once, nodes run one after another on the reference
// operators, and every activation lies in one arena. All mutable state belongs to the context.
#include "runtime/engine/cpu_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <type_traits>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "ops/op.h"
#include "runtime/engine/arena/arena.h"
#include "runtime/engine/ports.h"
#include "runtime/engine/step_check.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

DType widened(DType t) {
  return t == DType::f16 || t == DType::bf16 ? DType::f32 : t;
}

// The graph with every 16-bit float value and constant in f32. Constants of other types are shared with the original.
Graph widen(const Graph& graph) {
  Graph wide = graph;
  for (Value& v : wide.values) {
    if (v.constant && widened(v.dtype) != v.dtype) v.constant = std::make_shared<const Tensor>(v.constant->cast(DType::f32));
    v.dtype = widened(v.dtype);
  }
  for (Node& node : wide.nodes) {
    if (auto* cast = std::get_if<Cast>(&node.op)) cast->to = widened(cast->to);
    if (auto* fill = std::get_if<ConstantOfShape>(&node.op)) fill->value = fill->value.cast(widened(fill->value.dtype()));
  }
  return wide;
}

std::string cpu_name() {
#ifdef _OPENMP
  const int threads = omp_get_max_threads();
#else
  const int threads = 1;
#endif
  return fmt::format("CPU ({} thread{})", threads, threads == 1 ? "" : "s");
}

class CpuEngine final : public Engine {
 public:
  CpuEngine(std::shared_ptr<const Graph> graph, const EngineOptions& options)
      : graph_(std::move(graph)), wide_(widen(*graph_)), limit_(options.memory_limit), name_(cpu_name()) {
    inputs_ = ports_of(*graph_, graph_->inputs);
    outputs_ = ports_of(*graph_, graph_->outputs);
    text_ = to_string(*graph_);
    find_steps();
    std::set<const std::byte*> seen;  // a tensor that several values share is one block of memory
    for (const Value& v : wide_.values) {
      if (v.constant && seen.insert(v.constant->raw()).second) weight_bytes_ += v.constant->bytes();
    }
    check_memory_limit("the engine's weights", weight_bytes_, limit_);
  }

  const std::vector<Port>& inputs() const override { return inputs_; }
  const std::vector<Port>& outputs() const override { return outputs_; }
  std::string device_name() const override { return name_; }
  std::string precision_name() const override { return "fp32"; }
  std::string plan_hash() const override { return text_hash(text_); }
  std::string plan_text() const override { return text_; }
  size_t step_count() const override { return wide_.nodes.size(); }
  MemoryUse memory(int64_t max_batch) const override {
    check_batch(1, max_batch);
    MemoryUse use;
    use.weights = weight_bytes_;
    use.activations = place(max_batch).bytes;
    return use;
  }
  std::vector<StepInfo> step_infos(int64_t batch) const override;
  std::unique_ptr<Context> create_context(int64_t max_batch) const override;

  const Graph& wide() const { return wide_; }
  size_t limit() const { return limit_; }
  const std::vector<ValueId>& placed_values() const { return placed_; }
  /// Where the activations of `placed_values()` lie at a batch.
  ArenaLayout place(int64_t batch) const {
    std::vector<ArenaBlock> blocks;
    blocks.reserve(placed_.size());
    for (size_t i = 0; i < placed_.size(); ++i) {
      const Value& v = wide_.value(placed_[i]);
      blocks.push_back(ArenaBlock{static_cast<size_t>(element_count(at_batch(*v.shape, batch))) * dtype_size(v.dtype), steps_[i]});
    }
    return plan_arena(blocks);
  }

 private:
  // The steps that touch each value: the load of inputs is step 0, node i is step i + 1, the store of outputs comes last.
  void find_steps() {
    std::vector<std::vector<int32_t>> by_value(wide_.values.size());
    const auto touch = [&](ValueId v, size_t step) {
      if (v == kNoValue || wide_.is_constant(v)) return;
      auto& list = by_value[static_cast<size_t>(v)];
      if (list.empty() || list.back() != static_cast<int32_t>(step)) list.push_back(static_cast<int32_t>(step));
    };
    for (const ValueId v : wide_.inputs) touch(v, 0);
    for (size_t i = 0; i < wide_.nodes.size(); ++i) {
      for (const ValueId v : wide_.nodes[i].inputs) touch(v, i + 1);
      for (const ValueId v : wide_.nodes[i].outputs) touch(v, i + 1);
    }
    for (const ValueId v : wide_.outputs) touch(v, wide_.nodes.size() + 1);
    for (size_t v = 0; v < by_value.size(); ++v) {
      if (by_value[v].empty()) continue;
      placed_.push_back(static_cast<ValueId>(v));
      steps_.push_back(std::move(by_value[v]));
    }
  }

  std::shared_ptr<const Graph> graph_;
  Graph wide_;
  size_t limit_;
  std::string name_;
  std::string text_;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  std::vector<ValueId> placed_;              // values that need memory
  std::vector<std::vector<int32_t>> steps_;  // beside placed_
  size_t weight_bytes_ = 0;
};

std::vector<StepInfo> CpuEngine::step_infos(int64_t batch) const {
  check_batch(1, batch);
  std::vector<StepInfo> infos;
  for (const Node& node : wide_.nodes) {
    StepInfo info;
    info.name = node.origin.name;
    info.kind = op_kind(node.op);
    info.text = to_string(node.op);
    std::set<ValueId> values(node.inputs.begin(), node.inputs.end());
    values.insert(node.outputs.begin(), node.outputs.end());
    for (const ValueId v : values) {
      if (v == kNoValue) continue;
      const Value& value = wide_.value(v);
      info.bytes += static_cast<double>(element_count(at_batch(*value.shape, batch))) * static_cast<double>(dtype_size(value.dtype));
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

// The arena: aligned for every vector type, its bytes handed out as tensors that share its ownership.
std::shared_ptr<std::byte[]> allocate_arena(size_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  try {
    auto* memory = static_cast<std::byte*>(::operator new(std::max<size_t>(bytes, 1), kAlignment));
    return {memory, [](std::byte* p) { ::operator delete(p, kAlignment); }};
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, fmt::format("out of host memory for {} bytes of activations", bytes));
  }
}

class CpuContext final : public Context {
 public:
  CpuContext(std::shared_ptr<const CpuEngine> engine, int64_t max_batch)
      : engine_(std::move(engine)), max_batch_(max_batch), largest_(engine_->place(max_batch)) {
    check_memory_limit("a context's activations", largest_.bytes, engine_->limit());
    arena_ = allocate_arena(largest_.bytes);
  }

  void prepare(int64_t batch) override {
    check_batch(batch, max_batch_);
    if (prepared_.count(batch) == 0) prepared_.emplace(batch, make_calls(batch));
  }

  void run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, void* stream) override {
    if (stream != nullptr) throw Error(ErrorCode::bad_input, "a CUDA stream was given to a CPU context");
    trace(batch, inputs, outputs, {});
  }

  void trace(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs,
             const std::function<void(size_t)>& before) override {
    check_buffers(engine_->inputs(), inputs, engine_->outputs(), outputs);
    const auto on_device = [](const auto& b) { return b.space == MemorySpace::device; };
    if (std::any_of(inputs.begin(), inputs.end(), on_device) || std::any_of(outputs.begin(), outputs.end(), on_device))
      throw Error(ErrorCode::bad_input, "a device buffer was given to a CPU context; accepted: host buffers");
    prepare(batch);
    const auto started = std::chrono::steady_clock::now();
    const Prepared& prepared = prepared_.at(batch);
    const Graph& graph = engine_->wide();
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto v = static_cast<size_t>(graph.inputs[i]);
      if (Tensor* tensor = prepared.owned[v]) load_input(engine_->inputs()[i], inputs[i], batch, tensor->dtype(), tensor->raw());
    }
    for (size_t i = 0; i < prepared.calls.size(); ++i) {
      if (before) before(i);
      execute(graph.nodes[i], prepared.calls[i]);
    }
    if (before) before(prepared.calls.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Tensor& tensor = *prepared.read[static_cast<size_t>(graph.outputs[i])];
      store_output(engine_->outputs()[i], batch, tensor.dtype(), tensor.raw(), outputs[i].data);
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - started;
    if (timing_) times_.compute_us = took.count();
  }

  void enable_timing(bool on) override {
    timing_ = on;
    times_ = {};
  }
  RunTimes times() const override { return times_; }

  std::vector<double> step_times(int64_t /*batch*/) override {
    throw Error(ErrorCode::unsupported, "the CPU runs no plan whose steps could be timed");
  }
  void check_steps(int64_t /*batch*/, std::span<const InputBuffer> /*inputs*/, size_t /*first*/, size_t /*last*/,
                   const std::function<bool(const StepCheck&)>& /*report*/) override {
    throw Error(ErrorCode::unsupported, "steps are checked against the CPU: choose a CUDA device");
  }
  std::optional<StepCheck> find_nonfinite(int64_t batch, std::span<const InputBuffer> inputs) override {
    check_batch(batch, max_batch_);
    return fcm::find_nonfinite(engine_->wide(), reference_values(engine_->wide(), batch, inputs));
  }

 private:
  // One node's operands, ready to be given to the operator.
  struct Call {
    std::vector<const Tensor*> inputs;
    std::vector<Tensor> outputs;
  };
  struct Prepared {
    std::vector<std::unique_ptr<Tensor>> tensors;
    std::vector<Tensor*> owned;       // by ValueId; null for constants and values nobody uses
    std::vector<const Tensor*> read;  // by ValueId, constants too
    std::vector<Call> calls;          // by node
  };

  static void execute(const Node& node, const Call& call) {
    try {
      std::vector<Tensor> outputs = call.outputs;  // tensors are handles: the bytes are the arena's
      ops::reference(node.op, call.inputs, outputs);
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}: {}", describe(node.origin), e.what()));
    }
  }

  Prepared make_calls(int64_t batch) const {
    const Graph& graph = engine_->wide();
    // A smaller batch mostly fits more tightly; where the heuristic needs more room than the largest batch, that one's offsets serve.
    ArenaLayout layout = engine_->place(batch);
    if (layout.bytes > largest_.bytes) layout = largest_;
    Prepared prepared;
    prepared.owned.resize(graph.values.size());
    prepared.read.resize(graph.values.size());
    for (size_t v = 0; v < graph.values.size(); ++v) prepared.read[v] = graph.values[v].constant.get();
    const auto& placed = engine_->placed_values();
    for (size_t i = 0; i < placed.size(); ++i) {
      const Value& value = graph.value(placed[i]);
      const std::shared_ptr<std::byte[]> storage(arena_, arena_.get() + layout.offsets[i]);
      prepared.tensors.push_back(std::make_unique<Tensor>(Tensor::over(value.dtype, at_batch(*value.shape, batch), storage)));
      prepared.owned[static_cast<size_t>(placed[i])] = prepared.tensors.back().get();
      prepared.read[static_cast<size_t>(placed[i])] = prepared.tensors.back().get();
    }
    for (const Node& node : graph.nodes) {
      Call call;
      for (const ValueId v : node.inputs) call.inputs.push_back(v == kNoValue ? nullptr : prepared.read[static_cast<size_t>(v)]);
      for (const ValueId v : node.outputs) call.outputs.push_back(*prepared.owned[static_cast<size_t>(v)]);
      prepared.calls.push_back(std::move(call));
    }
    return prepared;
  }

  std::shared_ptr<const CpuEngine> engine_;
  int64_t max_batch_;
  ArenaLayout largest_;
  std::shared_ptr<std::byte[]> arena_;
  std::map<int64_t, Prepared> prepared_;
  bool timing_ = false;
  RunTimes times_;
};

std::unique_ptr<Context> CpuEngine::create_context(int64_t max_batch) const {
  check_batch(1, max_batch);
  return std::make_unique<CpuContext>(std::static_pointer_cast<const CpuEngine>(shared_from_this()), max_batch);
}

}  // namespace

std::shared_ptr<const Engine> create_cpu_engine(std::shared_ptr<const Graph> graph, const EngineOptions& options) {
  if (options.precision != Precision::automatic && options.precision != Precision::f32) {
    throw Error(ErrorCode::unsupported,
                fmt::format("precision {} is not available on the CPU; accepted: fp32, or auto (which is fp32 there)",
                            options.precision == Precision::f16 ? "fp16" : "bf16"));
  }
  if (!options.plan_file.empty())
    throw Error(ErrorCode::unsupported, fmt::format("plan {}: the CPU runs no plans; choose a CUDA device", options.plan_source));
  return std::make_shared<CpuEngine>(std::move(graph), options);
}

}  // namespace fcm
