// Comparison of steps with the reference; see step_check.h.
#include "runtime/engine/step_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/engine/cpu_engine.h"
#include "runtime/engine/host_layout.h"
#include "runtime/engine/ports.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

/// What a step of this precision may differ by, as a share of the largest value: inputs and results are rounded to it, sums are FP32.
double tolerance_of(DType dtype, bool tf32) {
  switch (dtype) {
    case DType::f16:
      return 6e-3;
    case DType::bf16:
      return 5e-2;
    default:
      return tf32 ? 6e-3 : 1e-4;
  }
}

std::vector<float> floats(const Tensor& t) {
  const Tensor f = t.dtype() == DType::f32 ? t : t.cast(DType::f32);
  const auto data = f.data<float>();
  return {data.begin(), data.end()};
}

StepCheck describe_step(const Graph& graph, const PlanVariant& variant, size_t at) {
  const PlanStep& step = variant.steps[at];
  StepCheck check;
  check.step = at;
  check.steps = variant.steps.size();
  check.name = step.name;
  check.what = step.op;
  if (step.module) {
    for (const NodeId n : step.module->nodes) check.nodes.push_back(graph.nodes[static_cast<size_t>(n)].origin.name);
  } else if (step.node != kNoNode) {
    check.nodes.push_back(step.name);
  }
  return check;
}

size_t count_nonfinite(const std::vector<float>& values) {
  return static_cast<size_t>(std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); }));
}

/// Adds the elements of one output to a check.
void compare(StepCheck& check, const std::vector<float>& got, const std::vector<float>* want) {
  check.count += got.size();
  check.nonfinite += count_nonfinite(got);
  for (size_t i = 0; want != nullptr && i < got.size(); ++i) {
    if (!std::isfinite((*want)[i])) continue;  // the model's own
    check.scale = std::max(check.scale, static_cast<double>(std::abs((*want)[i])));
    const double error = std::abs(static_cast<double>(got[i]) - (*want)[i]);
    check.max_abs = std::isfinite(error) ? std::max(check.max_abs, error) : std::numeric_limits<double>::infinity();
  }
}

class Checker {
 public:
  Checker(StepRunner& runner, int64_t batch, const std::map<ValueId, Tensor>& reference)
      : runner_(runner), variant_(runner.variant()), batch_(batch), reference_(reference), ran_(variant_.steps.size(), false) {}

  StepCheck check(size_t at) {
    execute(at);
    const PlanStep& step = variant_.steps[at];
    StepCheck result = describe_step(runner_.graph(), variant_, at);
    for (const BufferId b : step.outputs) {
      if (b == kNoBuffer) continue;
      const PlanBuffer& buffer = variant_.buffer(b);
      const Dims dims = at_batch(buffer.shape, batch_);
      const std::vector<float> got = floats(from_layout(runner_.read(b), buffer.layout, dims));
      const auto known = reference_.find(buffer.value);
      const std::vector<float> want = known == reference_.end() ? std::vector<float>() : floats(known->second);
      compare(result, got, known == reference_.end() ? nullptr : &want);
      result.tolerance = std::max(result.tolerance, tolerance_of(precision(step, buffer.layout.dtype), runner_.options().tf32));
    }
    result.differs = result.max_abs > result.tolerance * result.scale;
    return result;
  }

 private:
  /// The lowest precision among what a step reads, multiplies and writes.
  DType precision(const PlanStep& step, DType lowest) const {
    if (step.module && lowest == DType::f32) lowest = dtype_of(step.module->spec);
    for (const auto* list : {&step.inputs, &step.outputs}) {
      for (const BufferId b : *list) {
        if (b == kNoBuffer) continue;
        const DType t = variant_.buffer(b).layout.dtype;
        if (t == DType::bf16 || (t == DType::f16 && lowest != DType::bf16)) lowest = t;
      }
    }
    return lowest;
  }

  /// Runs a step on the reference's inputs, after the steps that make scratch for it.
  void execute(size_t at) {
    const PlanStep& step = variant_.steps[at];
    for (const BufferId b : step.inputs) {
      if (b != kNoBuffer && variant_.buffer(b).value == kNoValue) run_writer(b, at);
    }
    for (const BufferId b : step.inputs) {
      if (b == kNoBuffer) continue;
      const PlanBuffer& buffer = variant_.buffer(b);
      const auto known = reference_.find(buffer.value);
      if (known != reference_.end()) runner_.write(b, to_layout(known->second, buffer.layout));
    }
    runner_.run(at);
    ran_[at] = true;
  }

  void run_writer(BufferId scratch, size_t before) {
    for (size_t s = before; s-- > 0;) {
      const auto& outputs = variant_.steps[s].outputs;
      if (std::find(outputs.begin(), outputs.end(), scratch) == outputs.end()) continue;
      if (!ran_[s]) execute(s);
      return;
    }
  }

  StepRunner& runner_;
  const PlanVariant& variant_;
  int64_t batch_;
  const std::map<ValueId, Tensor>& reference_;
  std::vector<bool> ran_;
};

}  // namespace

std::map<ValueId, Tensor> input_tensors(const Graph& graph, int64_t batch, std::span<const InputBuffer> inputs) {
  const std::vector<Port> ports = ports_of(graph, graph.inputs);
  check_buffers(ports, inputs, {}, {});
  std::map<ValueId, Tensor> tensors;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Value& value = graph.value(graph.inputs[i]);
    const bool wide = value.dtype == DType::f16 || value.dtype == DType::bf16 || inputs[i].format == InputFormat::nhwc_u8;
    Tensor tensor(wide ? DType::f32 : value.dtype, at_batch(*value.shape, batch));
    load_input(ports[i], inputs[i], batch, tensor.dtype(), tensor.raw());
    tensors.emplace(graph.inputs[i], std::move(tensor));
  }
  return tensors;
}

std::map<ValueId, Tensor> reference_values(const Graph& graph, int64_t batch, std::span<const InputBuffer> inputs) {
  auto all = std::make_shared<Graph>(graph);
  all->outputs.clear();
  for (const Node& node : all->nodes) {
    for (const ValueId v : node.outputs) {
      if (v != kNoValue) all->outputs.push_back(v);
    }
  }
  const std::shared_ptr<const Engine> engine = create_cpu_engine(all, {});
  std::map<ValueId, Tensor> values;
  std::vector<OutputBuffer> buffers;
  for (const ValueId v : all->outputs) {
    const auto entry = values.emplace(v, Tensor(graph.value(v).dtype, at_batch(*graph.value(v).shape, batch))).first;
    buffers.push_back({entry->second.raw(), MemorySpace::host});
  }
  engine->create_context(batch)->run(batch, inputs, buffers);
  values.merge(input_tensors(graph, batch, inputs));
  return values;
}

void check_steps(StepRunner& runner, int64_t batch, const std::map<ValueId, Tensor>& reference, size_t first, size_t last,
                 const std::function<bool(const StepCheck&)>& report) {
  const size_t count = runner.variant().steps.size();
  if (first >= count)
    throw Error(ErrorCode::command_line, fmt::format("there is no step {}: the plan has steps 0 to {}", first, count - 1));
  Checker checker(runner, batch, reference);
  for (size_t at = first; at <= std::min(last, count - 1); ++at) {
    if (!report(checker.check(at))) return;
  }
}

std::optional<StepCheck> find_nonfinite(StepRunner& runner, int64_t batch, const std::map<ValueId, Tensor>& inputs) {
  const PlanVariant& variant = runner.variant();
  for (const BufferId b : variant.inputs) {
    const PlanBuffer& buffer = variant.buffer(b);
    runner.write(b, to_layout(inputs.at(buffer.value), buffer.layout));
  }
  for (size_t at = 0; at < variant.steps.size(); ++at) {
    runner.run(at);
    StepCheck check = describe_step(runner.graph(), variant, at);
    for (const BufferId b : variant.steps[at].outputs) {
      if (b == kNoBuffer) continue;
      const PlanBuffer& buffer = variant.buffer(b);
      if (is_float(buffer.layout.dtype))
        compare(check, floats(from_layout(runner.read(b), buffer.layout, at_batch(buffer.shape, batch))), nullptr);
    }
    if (check.nonfinite > 0) return check;
  }
  return std::nullopt;
}

std::optional<StepCheck> find_nonfinite(const Graph& graph, const std::map<ValueId, Tensor>& reference) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    StepCheck check;
    check.step = n;
    check.steps = graph.nodes.size();
    check.name = graph.nodes[n].origin.name;
    check.what = to_string(graph.nodes[n].op);
    check.nodes = {check.name};
    for (const ValueId v : graph.nodes[n].outputs) {
      if (v != kNoValue && is_float(graph.value(v).dtype)) compare(check, floats(reference.at(v)), nullptr);
    }
    if (check.nonfinite > 0) return check;
  }
  return std::nullopt;
}

}  // namespace fcm
