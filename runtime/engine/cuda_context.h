// A CUDA context: one allocation, one stream, one captured graph a batch size.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <vector>

#include "ops/cuda/step.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/engine/cuda_engine.h"
#include "runtime/engine/engine.h"

namespace fcm {

class CudaContext final : public Context {
 public:
  /// Takes everything that any batch up to `max_batch` needs, except graphs. Throws Error(out_of_memory); then nothing is left.
  CudaContext(std::shared_ptr<const CudaEngine> engine, int64_t max_batch);
  ~CudaContext() override;
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  void prepare(int64_t batch) override;
  void run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, void* stream) override;
  void trace(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs,
             const std::function<void(size_t)>& before) override;
  void enable_timing(bool on) override;
  RunTimes times() const override;

  // The next three lose the contents of the context's buffers.
  std::vector<double> step_times(int64_t batch) override;
  void check_steps(int64_t batch, std::span<const InputBuffer> inputs, size_t first, size_t last,
                   const std::function<bool(const StepCheck&)>& report) override;
  std::optional<StepCheck> find_nonfinite(int64_t batch, std::span<const InputBuffer> inputs) override;
  /// By step, the index of the candidate that runs fastest at this batch (median of a few timed runs each).
  std::vector<int> fastest_choices(int64_t batch);
  /// `choices` if each is one of its step's candidates at this batch, else nothing.
  std::vector<int> valid_choices(int64_t batch, const std::vector<int>& choices);

 private:
  class Runner;

  /// A kernel of the graph that reads or writes a caller's buffer, and what it is bound to now.
  struct BorderNode {
    size_t step = 0;
    cudaGraphNode_t node = nullptr;
    const ops::cuda::Border* border = nullptr;
    ops::cuda::Border::Args args;
  };
  /// Pointers of one step at one batch.
  struct Call {
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
  };
  struct GraphDeleter {
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
  };
  using GraphHandle = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, GraphDeleter>;
  struct Prepared {
    GraphHandle graph;  // border nodes are named by it
    GraphExec exec;
    std::vector<BorderNode> borders;
  };
  template <class Body>
  void guarded(Body&& body);
  void prepare_graph(int64_t batch);
  std::vector<std::byte*> addresses(int64_t batch) const;
  std::vector<Call> make_calls(int64_t batch) const;
  ops::cuda::Border::Args own_border(int64_t batch, const Call& call, bool releases) const;
  bool before_own(int64_t batch, size_t step) const;
  void enqueue_all(int64_t batch, const std::vector<Call>& calls);
  /// `programmatic`: a kernel of ours that follows one of ours may start before that has ended.
  void enqueue_step(size_t step, int64_t batch, const Call& call, int choice, bool programmatic);
  Prepared capture(int64_t batch, const std::vector<Call>& calls);
  ops::cuda::StepArgs step_args(int64_t batch, const Call& call, int choice) const;
  double time_in_graph(size_t step, int64_t batch, const Call& call);
  double time_candidate(size_t step, int64_t batch, const Call& call, int choice);

  void follow(cudaStream_t stream);
  void enqueue_run(int64_t batch, std::span<const InputBuffer> inputs, std::span<const OutputBuffer> outputs, cudaStream_t on);
  std::vector<const void*> upload_all(std::span<const InputBuffer> inputs, int64_t batch, cudaStream_t on);
  const void* upload(size_t port, const InputBuffer& input, int64_t batch, cudaStream_t on);
  /// A border kernel and its arguments.
  struct Binding {
    const ops::cuda::Border* border = nullptr;
    ops::cuda::Border::Args args;
  };
  /// How the border step runs on this run's buffers; `own` points at our copies.
  Binding bind(size_t step, const ops::cuda::Border::Args& own, std::span<const InputBuffer> inputs, std::span<const void* const> sources,
               std::span<const OutputBuffer> outputs) const;
  void rebind(Prepared& prepared, BorderNode& node, std::span<const InputBuffer> inputs, std::span<const void* const> sources,
              std::span<const OutputBuffer> outputs);
  /// Whether a border kernel writes this output port straight into the caller's buffer.
  bool writes_directly(int64_t batch, size_t port, const OutputBuffer& output) const;
  void download(size_t port, const OutputBuffer& output, int64_t batch, cudaStream_t on);
  void store_host_outputs(int64_t batch, std::span<const OutputBuffer> outputs);
  void mark(size_t event, cudaStream_t on);

  std::byte* border_base() const { return memory_.bytes() + sizes_.arena_bytes + sizes_.workspace; }

  static constexpr int kMarks = 4;

  std::shared_ptr<const CudaEngine> engine_;
  CudaEngine::Guest guest_;
  bool shares_device_ = false;  // other contexts existed when the last graph was captured
  int64_t max_batch_;
  ContextSizes sizes_;
  DeviceBuffer memory_;
  PinnedBuffer staging_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> done_;  // the end of the last run that was not waited for,
  cudaStream_t last_ = nullptr;  // and the caller's stream that it is on; null when there is none
  std::unique_ptr<ops::cuda::LibraryHandles> handles_;
  std::map<int64_t, Prepared> prepared_;
  std::vector<Event> marks_;  // start, uploaded, computed, downloaded; empty unless timing is on
  bool timed_ = false;        // the marks of a whole run are recorded
  bool lost_ = false;
};

}  // namespace fcm
