// Running a plan on a device. `prepare` runs the steps once as they are (libraries load and initialise what they need then) and once
// more into a captured graph; `run` points the graph's border kernels at the caller's buffers and launches it.
#include "runtime/engine/cuda_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/device/cuda_check.h"
#include "runtime/engine/ports.h"
#include "runtime/engine/step_check.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

using ops::cuda::Border;

// Border kernels read and write whole elements; a caller's pointer that is not aligned to them goes through our copy.
bool is_aligned(const void* pointer, size_t element) {
  return reinterpret_cast<uintptr_t>(pointer) % element == 0;
}

bool same_binding(const Border::Args& a, const Border::Args& b) {
  return a.source == b.source && a.target == b.target && std::equal(a.mean, a.mean + 4, b.mean) && std::equal(a.std, a.std + 4, b.std);
}

// A stream in capture; what was captured is dropped unless `finish` is reached.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    active_ = true;
  }
  ~Capture() {
    if (!active_) return;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // an invalidated capture is reported by the error that broke it
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // The node that was captured last; null before the first one.
  cudaGraphNode_t last_node() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaGraphNode_t* nodes = nullptr;
    const cudaGraphEdgeData* edges = nullptr;
    size_t count = 0;
    cuda_check(cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, &edges, &count), "cudaStreamGetCaptureInfo");
    if (status != cudaStreamCaptureStatusActive || count > 1)
      throw Error(ErrorCode::internal, fmt::format("a step left {} nodes at the head of the capture", count));
    return count == 0 ? nullptr : nodes[0];
  }
  cudaGraph_t finish() {
    active_ = false;
    cudaGraph_t graph = nullptr;
    cuda_check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    return graph;
  }

 private:
  cudaStream_t stream_;
  bool active_ = false;
};

}  // namespace

// Runs `body` on the engine's device. After an error nothing of ours is in flight any more, and a sticky one ends the context's life.
template <class Body>
void CudaContext::guarded(Body&& body) {
  if (lost_) throw Error(ErrorCode::device_lost, fmt::format("{} was lost earlier; create a new context", engine_->device_name()));
  const DeviceGuard guard(engine_->device().ordinal);
  try {
    body();
  } catch (const Error& e) {
    lost_ = e.code() == ErrorCode::device_lost || is_sticky(cudaStreamSynchronize(stream_->get())) ||
            is_sticky(cudaEventSynchronize(done_->get()));
    cudaGetLastError();
    throw;
  }
}

CudaContext::CudaContext(std::shared_ptr<const CudaEngine> engine, int64_t max_batch)
    : engine_(std::move(engine)), guest_(*engine_), max_batch_(max_batch), sizes_(engine_->sizes(max_batch)) {
  check_memory_limit("a context", sizes_.device_bytes(), engine_->memory_limit());
  const DeviceGuard guard(engine_->device().ordinal);
  memory_ = DeviceBuffer(sizes_.device_bytes(), engine_->memory_source());
  staging_ = PinnedBuffer(sizes_.border.bytes);
  stream_ = std::make_unique<Stream>();
  done_ = std::make_unique<Event>();
  handles_ = std::make_unique<ops::cuda::LibraryHandles>();
}

CudaContext::~CudaContext() {
  try {
    const DeviceGuard guard(engine_->device().ordinal);
    cudaStreamSynchronize(stream_->get());
    cudaEventSynchronize(done_->get());
    prepared_.clear();
    handles_.reset();
    marks_.clear();
    done_.reset();
    stream_.reset();
    staging_ = PinnedBuffer();
    memory_ = DeviceBuffer();
  } catch (const Error& e) {
    log(LogLevel::warning, "while releasing a context: {}", e.what());
  }
}

void CudaContext::prepare(int64_t batch) {
  check_batch(batch, max_batch_);
  guarded([&] { prepare_graph(batch); });
}

// Orders `stream` after a run that was enqueued on another one and not waited for: they share the arena.
void CudaContext::follow(cudaStream_t stream) {
  if (last_ != nullptr && last_ != stream) cuda_check(cudaStreamWaitEvent(stream, done_->get(), 0), "cudaStreamWaitEvent");
}

void CudaContext::prepare_graph(int64_t batch) {
  if (prepared_.count(batch) > 0) return;
  follow(stream_->get());
  const std::vector<Call> calls = make_calls(batch);
  // Zeros are valid contents for every input, indices included.
  fill_async(border_base(), 0, sizes_.border.bytes, stream_->get());
  enqueue_all(batch, calls);
  synchronize(stream_->get());
  prepared_.emplace(batch, capture(batch, calls));
}

// By buffer, where it lies on the device; null for those that a batch does not place.
std::vector<std::byte*> CudaContext::addresses(int64_t batch) const {
  const PlanVariant& variant = engine_->variant(batch);
  const BufferPlaces places = place_within(variant, batch, sizes_.arenas[engine_->variant_of(batch)]);
  std::vector<std::byte*> at(variant.buffers.size(), nullptr);
  for (size_t b = 0; b < at.size(); ++b) {
    if (places.offsets[b] != BufferPlaces::kOutside) at[b] = memory_.bytes() + places.offsets[b];
  }
  const auto place_ports = [&](const std::vector<BufferId>& buffers, const std::vector<size_t>& offsets) {
    for (size_t i = 0; i < buffers.size(); ++i) {
      if (buffers[i] != kNoBuffer) at[static_cast<size_t>(variant.root(buffers[i]))] = border_base() + offsets[i];
    }
  };
  place_ports(variant.inputs, sizes_.border.inputs);
  place_ports(variant.outputs, sizes_.border.outputs);
  for (size_t b = 0; b < at.size(); ++b) at[b] = at[static_cast<size_t>(variant.root(static_cast<BufferId>(b)))];
  return at;
}

std::vector<CudaContext::Call> CudaContext::make_calls(int64_t batch) const {
  const PlanVariant& variant = engine_->variant(batch);
  const std::vector<std::byte*> at = addresses(batch);
  const auto address = [&](BufferId b) { return b == kNoBuffer ? nullptr : at[static_cast<size_t>(b)]; };
  std::vector<Call> calls;
  calls.reserve(variant.steps.size());
  for (const PlanStep& step : variant.steps) {
    Call call;
    for (const BufferId b : step.inputs) call.inputs.push_back(address(b));
    for (const BufferId b : step.outputs) call.outputs.push_back(address(b));
    calls.push_back(std::move(call));
  }
  return calls;
}

ops::cuda::StepArgs CudaContext::step_args(int64_t batch, const Call& call, int choice) const {
  ops::cuda::StepArgs args;
  args.batch = batch;
  args.inputs = call.inputs;
  args.outputs = call.outputs;
  args.workspace = memory_.bytes() + sizes_.arena_bytes;
  args.weights = engine_->weights();
  args.handles = handles_.get();
  args.stream = stream_->get();
  args.choice = choice;
  args.programmatic = engine_->programmatic_launch();
  args.shares_device = shares_device_;
  return args;
}

void CudaContext::enqueue_step(size_t step, int64_t batch, const Call& call, int choice, bool programmatic) {
  const std::vector<CudaStep>& steps = engine_->steps(batch);
  const CudaStep& s = steps[step];
  // A kernel of ours may begin as a library's ends, too: it waits for that end, and a library's begins after all that is ahead of it.
  const bool overlaps = programmatic && step > 0;
  const bool releases = programmatic && before_own(batch, step);
  if (s.border) {
    s.border->enqueue(stream_->get(), own_border(batch, call, releases), overlaps);
    return;
  }
  ops::cuda::StepArgs args = step_args(batch, call, choice);
  args.programmatic = programmatic;
  args.overlaps = overlaps;
  args.before_own = releases;
  if (s.module) {
    s.module->enqueue(args, overlaps);
  } else {
    s.step->enqueue(args);
  }
}

// Whether the step behind `step` begins with a kernel of ours.
bool CudaContext::before_own(int64_t batch, size_t step) const {
  const std::vector<CudaStep>& steps = engine_->steps(batch);
  return step + 1 < steps.size() && steps[step + 1].own();
}

// A border between our own copy of the caller's buffer and the arena.
Border::Args CudaContext::own_border(int64_t batch, const Call& call, bool releases) const {
  Border::Args args;
  args.batch = batch;
  args.source = call.inputs[0];
  args.target = call.outputs[0];
  args.weights = engine_->weights();
  args.next_waits = releases ? 1 : 0;
  args.shares_device = shares_device_;
  return args;
}

CudaContext::Prepared CudaContext::capture(int64_t batch, const std::vector<Call>& calls) {
  Prepared prepared;
  shares_device_ = guest_.in_company();
  Capture capture(stream_->get());
  for (size_t i = 0; i < calls.size(); ++i) {
    const CudaStep& s = engine_->steps(batch)[i];
    const cudaGraphNode_t before = s.border ? capture.last_node() : nullptr;
    enqueue_step(i, batch, calls[i], engine_->choice(i, batch), engine_->programmatic_launch());
    const cudaGraphNode_t after = s.border ? capture.last_node() : nullptr;
    if (after == before) continue;  // no border, or one without elements
    BorderNode node;
    node.step = i;
    node.node = after;
    node.border = s.border.get();
    node.args = own_border(batch, calls[i], engine_->programmatic_launch() && before_own(batch, i));
    prepared.borders.push_back(node);
  }
  prepared.graph.reset(capture.finish());
  prepared.exec = GraphExec(prepared.graph.get());
  return prepared;
}

void CudaContext::enqueue_all(int64_t batch, const std::vector<Call>& calls) {
  for (size_t i = 0; i < calls.size(); ++i) enqueue_step(i, batch, calls[i], engine_->choice(i, batch), engine_->programmatic_launch());
}

void CudaContext::trace(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs,
                        const std::function<void(size_t)>& before) {
  check_batch(batch, max_batch_);
  check_buffers(engine_->inputs(), inputs, engine_->outputs(), outputs);
  guarded([&] {
    prepare_graph(batch);
    cudaStream_t on = stream_->get();
    follow(on);
    const std::vector<const void*> sources = upload_all(inputs, batch, on);
    const std::vector<Call> calls = make_calls(batch);
    for (size_t i = 0; i < calls.size(); ++i) {
      before(i);
      if (engine_->steps(batch)[i].border) {
        const Binding bound = bind(i, own_border(batch, calls[i], false), inputs, sources, outputs);
        bound.border->enqueue(stream_->get(), bound.args);
      } else {
        enqueue_step(i, batch, calls[i], engine_->choice(i, batch), false);
      }
    }
    before(calls.size());
    for (size_t i = 0; i < outputs.size(); ++i) download(i, outputs[i], batch, on);
    synchronize(on);
    store_host_outputs(batch, outputs);
  });
}

void CudaContext::run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, void* stream) {
  check_batch(batch, max_batch_);
  check_buffers(engine_->inputs(), inputs, engine_->outputs(), outputs);
  const auto on_host = [](const auto& b) { return b.space == MemorySpace::host; };
  const bool waits =
      stream == nullptr || std::any_of(inputs.begin(), inputs.end(), on_host) || std::any_of(outputs.begin(), outputs.end(), on_host);
  auto* const caller = static_cast<cudaStream_t>(stream);
  guarded([&] {
    prepare_graph(batch);
    cudaStream_t on = caller != nullptr ? caller : stream_->get();
    follow(on);
    enqueue_run(batch, inputs, outputs, on);
    if (!waits) {
      done_->record(on);
      last_ = on;
      return;
    }
    synchronize(on);
    last_ = nullptr;
    store_host_outputs(batch, outputs);
  });
}

void CudaContext::mark(size_t event, cudaStream_t on) {
  if (!marks_.empty()) marks_[event].record(on);
}

void CudaContext::enqueue_run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, cudaStream_t on) {
  timed_ = false;
  mark(0, on);
  const std::vector<const void*> sources = upload_all(inputs, batch, on);
  mark(1, on);
  Prepared& prepared = prepared_.at(batch);
  for (BorderNode& node : prepared.borders) rebind(prepared, node, inputs, sources, outputs);
  prepared.exec.launch(on);
  mark(2, on);
  for (size_t i = 0; i < outputs.size(); ++i) download(i, outputs[i], batch, on);
  mark(3, on);
  timed_ = !marks_.empty();
}

std::vector<const void*> CudaContext::upload_all(std::span<const InputBuffer> inputs, int64_t batch, cudaStream_t on) {
  std::vector<const void*> sources;
  for (size_t i = 0; i < inputs.size(); ++i) sources.push_back(upload(i, inputs[i], batch, on));
  return sources;
}

// Where the border kernels find an input: the caller's device buffer itself, or our copy of it.
const void* CudaContext::upload(size_t port, const InputBuffer& input, int64_t batch, cudaStream_t on) {
  const size_t element = input.format == InputFormat::nhwc_u8 ? 1 : dtype_size(engine_->inputs()[port].dtype);
  if (input.space == MemorySpace::device && is_aligned(input.data, element)) return input.data;
  const size_t bytes = port_bytes(engine_->inputs()[port], batch, input.format);
  std::byte* copy = border_base() + sizes_.border.inputs[port];
  if (input.space == MemorySpace::device) {
    copy_async(copy, input.data, bytes, cudaMemcpyDeviceToDevice, on);
    return copy;
  }
  std::byte* staged = staging_.bytes() + sizes_.border.inputs[port];
  if (bytes > 0) std::memcpy(staged, input.data, bytes);
  copy_async(copy, staged, bytes, cudaMemcpyHostToDevice, on);
  return copy;
}

bool CudaContext::writes_directly(int64_t batch, size_t port, const OutputBuffer& output) const {
  if (output.space != MemorySpace::device || !is_aligned(output.data, dtype_size(engine_->outputs()[port].dtype))) return false;
  const auto& steps = engine_->steps(batch);
  return std::any_of(steps.begin(), steps.end(), [&](const CudaStep& s) { return s.output_port == static_cast<int>(port); });
}

CudaContext::Binding CudaContext::bind(size_t step, const Border::Args& own, std::span<const InputBuffer> inputs,
                                       std::span<const void* const> sources, std::span<const OutputBuffer> outputs) const {
  const CudaStep& s = engine_->steps(own.batch)[step];
  Binding bound{s.border.get(), own};
  if (s.input_port >= 0) {
    const auto port = static_cast<size_t>(s.input_port);
    bound.args.source = sources[port];
    if (inputs[port].format == InputFormat::nhwc_u8) {
      bound.border = s.image.get();
      if (bound.border == nullptr)
        throw Error(ErrorCode::bad_input, fmt::format("input \"{}\" takes no 8-bit images", engine_->inputs()[port].name));
      std::copy(std::begin(inputs[port].mean), std::end(inputs[port].mean), bound.args.mean);
      std::copy(std::begin(inputs[port].std), std::end(inputs[port].std), bound.args.std);
    }
  }
  if (s.output_port >= 0) {
    const auto port = static_cast<size_t>(s.output_port);
    bound.args.target = writes_directly(own.batch, port, outputs[port]) ? outputs[port].data : border_base() + sizes_.border.outputs[port];
  }
  return bound;
}

// Points one border kernel at this run's buffers, unless it is so already.
void CudaContext::rebind(Prepared& prepared, BorderNode& node, std::span<const InputBuffer> inputs, std::span<const void* const> sources,
                         std::span<const OutputBuffer> outputs) {
  const auto [border, args] = bind(node.step, node.args, inputs, sources, outputs);
  if (border == node.border && same_binding(args, node.args)) return;
  Border::Launch launch;
  const cudaKernelNodeParams params = border->node_params(args, launch);
  cuda_check(cudaGraphExecKernelNodeSetParams(prepared.exec.get(), node.node, &params), "cudaGraphExecKernelNodeSetParams");
  node.border = border;
  node.args = args;
}

void CudaContext::download(size_t port, const OutputBuffer& output, int64_t batch, cudaStream_t on) {
  const size_t offset = sizes_.border.outputs[port];
  if (offset == BufferPlaces::kOutside) {  // a constant of the graph
    const Graph& graph = engine_->graph();
    const Tensor& constant = *graph.value(graph.outputs[port]).constant;
    if (output.space == MemorySpace::device) copy_async(output.data, constant.raw(), constant.bytes(), cudaMemcpyHostToDevice, on);
    return;
  }
  if (writes_directly(batch, port, output)) return;
  const size_t bytes = port_bytes(engine_->outputs()[port], batch);
  if (output.space == MemorySpace::device) {
    copy_async(output.data, border_base() + offset, bytes, cudaMemcpyDeviceToDevice, on);
  } else {
    copy_async(staging_.bytes() + offset, border_base() + offset, bytes, cudaMemcpyDeviceToHost, on);
  }
}

void CudaContext::store_host_outputs(int64_t batch, std::span<const OutputBuffer> outputs) {
  const Graph& graph = engine_->graph();
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].space != MemorySpace::host) continue;
    const size_t offset = sizes_.border.outputs[i];
    const std::byte* source = offset == BufferPlaces::kOutside ? graph.value(graph.outputs[i]).constant->raw() : staging_.bytes() + offset;
    const size_t bytes = port_bytes(engine_->outputs()[i], batch);
    if (bytes > 0) std::memcpy(outputs[i].data, source, bytes);
  }
}

void CudaContext::enable_timing(bool on) {
  guarded([&] {
    timed_ = false;
    marks_.clear();
    for (int i = 0; on && i < kMarks; ++i) marks_.emplace_back(true);
  });
}

RunTimes CudaContext::times() const {
  RunTimes times;
  if (!timed_) return times;
  const DeviceGuard guard(engine_->device().ordinal);
  synchronize(marks_[3]);
  times.upload_us = elapsed_us(marks_[0], marks_[1]);
  times.compute_us = elapsed_us(marks_[1], marks_[2]);
  times.download_us = elapsed_us(marks_[2], marks_[3]);
  return times;
}

// The median of a few rounds, in microseconds an execution.
double CudaContext::time_candidate(size_t step, int64_t batch, const Call& call, int choice) {
  constexpr int kRounds = 7;
  constexpr int kRuns = 5;
  const Event begin(true);
  const Event end(true);
  std::vector<double> rounds;
  for (int round = -1; round < kRounds; ++round) {  // the first one warms up
    begin.record(stream_->get());
    for (int i = 0; i < kRuns; ++i) enqueue_step(step, batch, call, choice, engine_->programmatic_launch());
    end.record(stream_->get());
    synchronize(end);
    if (round >= 0) rounds.push_back(elapsed_us(begin, end) / kRuns);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

// The median of a few replays of a graph that holds the step many times, in microseconds an execution.
double CudaContext::time_in_graph(size_t step, int64_t batch, const Call& call) {
  constexpr int kRepetitions = 20, kWarm = 2, kReplays = 9;
  const CudaStep& s = engine_->steps(batch)[step];
  ops::cuda::StepArgs args = step_args(batch, call, engine_->choice(step, batch));
  Capture capture(stream_->get());
  for (int i = 0; i < kRepetitions; ++i) {
    args.overlaps = i > 0;
    args.before_own = i + 1 < kRepetitions && s.own();
    if (s.module) {
      s.module->enqueue(args, args.overlaps && engine_->programmatic_launch());
    } else {
      s.step->enqueue(args);
    }
  }
  const GraphHandle graph(capture.finish());
  const GraphExec exec(graph.get());
  const Event begin(true), end(true);
  std::vector<double> replays;
  for (int replay = -kWarm; replay < kReplays; ++replay) {
    begin.record(stream_->get());
    exec.launch(stream_->get());
    end.record(stream_->get());
    synchronize(end);
    if (replay >= 0) replays.push_back(elapsed_us(begin, end) / kRepetitions);
  }
  std::sort(replays.begin(), replays.end());
  return replays[kReplays / 2];
}

std::vector<double> CudaContext::step_times(int64_t batch) {
  check_batch(batch, max_batch_);
  std::vector<double> times(engine_->steps(batch).size(), 0.0);
  guarded([&] {
    const std::vector<Call> calls = make_calls(batch);
    follow(stream_->get());
    fill_async(memory_.data(), 0, memory_.size(), stream_->get());
    enqueue_all(batch, calls);  // libraries load and initialise what they need
    synchronize(stream_->get());
    for (size_t i = 0; i < times.size(); ++i) {
      const CudaStep& s = engine_->steps(batch)[i];
      if (s.module || s.step) times[i] = time_in_graph(i, batch, calls[i]);
    }
  });
  return times;
}

/// One batch of a context for the step checks.
class CudaContext::Runner final : public StepRunner {
 public:
  Runner(CudaContext& context, int64_t batch)
      : context_(context), batch_(batch), at_(context.addresses(batch)), calls_(context.make_calls(batch)) {
    fill_async(context_.memory_.data(), 0, context_.memory_.size(), stream());
  }

  const Graph& graph() const override { return context_.engine_->graph(); }
  const PlanVariant& variant() const override { return context_.engine_->variant(batch_); }
  const PlanOptions& options() const override { return context_.engine_->plan()->options; }
  void write(BufferId buffer, const std::vector<std::byte>& bytes) override {
    copy_async(at_[static_cast<size_t>(buffer)], bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream());
    synchronize(stream());
  }
  std::vector<std::byte> read(BufferId buffer) override {
    const PlanBuffer& b = variant().buffer(buffer);
    std::vector<std::byte> bytes(layout_bytes(b.layout, at_batch(b.shape, batch_)));
    copy_async(bytes.data(), at_[static_cast<size_t>(buffer)], bytes.size(), cudaMemcpyDeviceToHost, stream());
    synchronize(stream());
    return bytes;
  }
  void run(size_t step) override {
    context_.enqueue_step(step, batch_, calls_[step], context_.engine_->choice(step, batch_), false);
    synchronize(stream());
  }

 private:
  cudaStream_t stream() const { return context_.stream_->get(); }

  CudaContext& context_;
  int64_t batch_;
  std::vector<std::byte*> at_;
  std::vector<Call> calls_;
};

void CudaContext::check_steps(int64_t batch, std::span<const InputBuffer> inputs, size_t first, size_t last,
                              const std::function<bool(const StepCheck&)>& report) {
  check_batch(batch, max_batch_);
  const std::map<ValueId, Tensor> reference = reference_values(engine_->graph(), batch, inputs);
  guarded([&] {
    Runner runner(*this, batch);
    fcm::check_steps(runner, batch, reference, first, last, report);
  });
}

std::optional<StepCheck> CudaContext::find_nonfinite(int64_t batch, std::span<const InputBuffer> inputs) {
  check_batch(batch, max_batch_);
  const std::map<ValueId, Tensor> tensors = input_tensors(engine_->graph(), batch, inputs);
  std::optional<StepCheck> found;
  guarded([&] {
    Runner runner(*this, batch);
    found = fcm::find_nonfinite(runner, batch, tensors);
  });
  return found;
}

std::vector<int> CudaContext::fastest_choices(int64_t batch) {
  check_batch(batch, max_batch_);
  std::vector<int> choices(engine_->steps(batch).size(), 0);
  guarded([&] {
    const std::vector<Call> calls = make_calls(batch);
    follow(stream_->get());
    fill_async(memory_.data(), 0, memory_.size(), stream_->get());
    for (size_t i = 0; i < choices.size(); ++i) {
      const CudaStep& s = engine_->steps(batch)[i];
      const int count = s.step ? s.step->candidates(batch, *handles_) : 1;
      double best = 0;
      for (int c = 0; c < count && count > 1; ++c) {
        const double took = time_candidate(i, batch, calls[i], c);
        if (c > 0 && took >= best) continue;
        best = took;
        choices[i] = c;
      }
    }
  });
  return choices;
}

std::vector<int> CudaContext::valid_choices(int64_t batch, const std::vector<int>& choices) {
  bool valid = true;
  guarded([&] {
    for (size_t i = 0; i < choices.size(); ++i) {
      const CudaStep& s = engine_->steps(batch)[i];
      const int count = s.step ? s.step->candidates(batch, *handles_) : 1;
      valid = valid && choices[i] >= 0 && choices[i] < count;
    }
  });
  return valid ? choices : std::vector<int>();
}

}  // namespace fcm
