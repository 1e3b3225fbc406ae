// Where a network goes wrong on a device: each step of a plan against the CPU reference, and the first step that makes an infinity or NaN.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "planner/plan.h"
#include "runtime/engine/engine.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// The graph's inputs as host tensors. Throws Error(bad_input) unless there is one host buffer an input.
std::map<ValueId, Tensor> input_tensors(const Graph& graph, int64_t batch, std::span<const InputBuffer> inputs);
/// Every value that a graph computes at a batch, by the reference operators in float32, from host inputs (formats as `Context::run` takes
/// them). Keeps all of them at a time. Throws Error as the CPU engine does.
std::map<ValueId, Tensor> reference_values(const Graph& graph, int64_t batch, std::span<const InputBuffer> inputs);

/// The steps of a plan variant as they run on a device, one at a time.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual const Graph& graph() const = 0;
  virtual const PlanVariant& variant() const = 0;
  virtual const PlanOptions& options() const = 0;
  /// Contents of a buffer in its layout.
  virtual void write(BufferId buffer, const std::vector<std::byte>& bytes) = 0;
  virtual std::vector<std::byte> read(BufferId buffer) = 0;
  /// Executes a step and waits for it.
  virtual void run(size_t step) = 0;
};

/// Runs steps [first, last] (positions in the plan; clipped to it), each on the reference's inputs, so that an error does not travel, and
/// compares what it writes with the reference. `report` receives every step in order and returns whether to go on. A step differs when its
/// largest absolute error exceeds a share of the largest reference value that depends on the step's precision, or when it makes a value
/// that is not finite where the reference's is. Scratch that modules of one segment hand each other is checked for being finite only.
void check_steps(StepRunner& runner, int64_t batch, const std::map<ValueId, Tensor>& reference, size_t first, size_t last,
                 const std::function<bool(const StepCheck&)>& report);

/// Runs all steps on the given inputs and returns the first that writes a value that is not finite, or nothing.
std::optional<StepCheck> find_nonfinite(StepRunner& runner, int64_t batch, const std::map<ValueId, Tensor>& inputs);

/// The same for the reference operators: the first node of the graph with such a value among its outputs.
std::optional<StepCheck> find_nonfinite(const Graph& graph, const std::map<ValueId, Tensor>& reference);

}  // namespace fcm
