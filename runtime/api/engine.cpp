// Engines and contexts behind the C API: argument checks and conversion; the work is in runtime/engine.
#include "runtime/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/api/handles.h"

namespace {

using fcm::Error;
using fcm::ErrorCode;
using fcm::Port;

static_assert(FCM_FLOAT16 == static_cast<int>(fcm::DType::f16) && FCM_BOOL == static_cast<int>(fcm::DType::boolean));

size_t port_bytes(const Port& port, int64_t batch) {
  return static_cast<size_t>(fcm::element_count(at_batch(port.shape, batch))) * dtype_size(port.dtype);
}

void fill_port(const Port& port, fcm_port* out) {
  if (port.shape.size() > FCM_MAX_RANK)
    throw Error(ErrorCode::unsupported,
                fmt::format("\"{}\" has rank {}; at most {} is accepted", port.name, port.shape.size(), FCM_MAX_RANK));
  fcm_port filled{};
  filled.name = port.name.c_str();
  filled.dtype = static_cast<fcm_dtype>(port.dtype);
  filled.rank = port.shape.size();
  for (size_t i = 0; i < port.shape.size(); ++i) {
    filled.dims[i] = port.shape[i].factor;
    filled.batch_dims[i] = port.shape[i].batch ? 1 : 0;
  }
  filled.bytes_per_batch = port_bytes(port, 1);
  *out = filled;
}

fcm_status* read_port(const fcm_engine* engine, bool input, size_t index, fcm_port* out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(engine != nullptr && out != nullptr, "NULL given to fcm_engine_input or fcm_engine_output");
    const std::vector<Port>& ports = input ? engine->engine->inputs() : engine->engine->outputs();
    fcm::capi::require(index < ports.size(), "port index out of range");
    fill_port(ports[index], out);
  });
}

// True when the first output is made by a Softmax, possibly through reshapes.
bool ends_in_softmax(const fcm::Graph& graph) {
  if (graph.outputs.empty()) return false;
  const fcm::Uses uses(graph);
  fcm::ValueId value = graph.outputs.front();
  for (;;) {
    const fcm::NodeId producer = uses.producer[static_cast<size_t>(value)];
    if (producer == fcm::kNoNode) return false;
    const fcm::Node& node = graph.nodes[static_cast<size_t>(producer)];
    if (const auto* softmax = std::get_if<fcm::Softmax>(&node.op)) return !softmax->log;
    const bool passes_through = std::holds_alternative<fcm::Reshape>(node.op) || std::holds_alternative<fcm::Identity>(node.op);
    if (!passes_through) return false;
    value = node.inputs.front();
  }
}

// ' (the largest tensor is "y" [B,64,112,112] of node ...)': where memory goes when there is too little.
std::string largest_tensor(const fcm::Graph& graph, int64_t batch) {
  const fcm::Node* producer = nullptr;
  fcm::ValueId largest = fcm::kNoValue;
  double most = 0;
  for (const fcm::Node& node : graph.nodes) {
    for (const fcm::ValueId v : node.outputs) {
      if (v == fcm::kNoValue) continue;
      auto bytes = static_cast<double>(dtype_size(graph.value(v).dtype));
      for (const int64_t dim : at_batch(*graph.value(v).shape, batch)) bytes *= static_cast<double>(dim);
      if (bytes <= most) continue;
      most = bytes;
      largest = v;
      producer = &node;
    }
  }
  if (producer == nullptr) return {};
  return fmt::format(" (batch {}; the largest tensor is \"{}\" {} of {})", batch, graph.value(largest).name,
                     to_string(*graph.value(largest).shape), describe(producer->origin));
}

// make(), whose errors of memory name the model and, for a context of `batch`, the largest tensor.
template <class Make>
auto naming_memory(const fcm::Graph& graph, int64_t batch, Make&& make) {
  try {
    return make();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::out_of_memory) throw;
    throw Error(e.code(), fmt::format("{}: {}{}", graph.name, e.what(), batch > 0 ? largest_tensor(graph, batch) : std::string()));
  }
}

// False when the model was exported with a fixed batch: a run then computes that whole batch.
bool batch_is_free(const fcm::Engine& engine) {
  return std::any_of(engine.inputs().begin(), engine.inputs().end(), [](const Port& port) { return has_batch(port.shape); });
}

size_t needed_bytes(const Port& port, const fcm_input& input, int64_t batch) {
  if (input.format == FCM_NHWC_U8) return static_cast<size_t>(fcm::element_count(at_batch(port.shape, batch)));
  return port_bytes(port, batch);
}

std::vector<fcm::InputBuffer> convert_inputs(const fcm::Engine& engine, int64_t batch, const fcm_input* inputs, size_t count) {
  const auto& ports = engine.inputs();
  if (count != ports.size())
    throw Error(ErrorCode::command_line, fmt::format("the model has {} inputs, {} were given", ports.size(), count));
  std::vector<fcm::InputBuffer> buffers(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t needed = needed_bytes(ports[i], inputs[i], batch);
    if (inputs[i].data == nullptr || inputs[i].bytes != needed)
      throw Error(ErrorCode::command_line,
                  fmt::format("input \"{}\" ({} {}) at batch {} takes {} bytes, {} were given", ports[i].name, dtype_name(ports[i].dtype),
                              to_string(ports[i].shape), batch, needed, inputs[i].data == nullptr ? 0 : inputs[i].bytes));
    buffers[i].data = inputs[i].data;
    buffers[i].space = inputs[i].space == FCM_DEVICE ? fcm::MemorySpace::device : fcm::MemorySpace::host;
    buffers[i].format = inputs[i].format == FCM_NHWC_U8 ? fcm::InputFormat::nhwc_u8 : fcm::InputFormat::as_model;
    std::copy(std::begin(inputs[i].mean), std::end(inputs[i].mean), std::begin(buffers[i].mean));
    std::copy(std::begin(inputs[i].std), std::end(inputs[i].std), std::begin(buffers[i].std));
  }
  return buffers;
}

std::vector<fcm::OutputBuffer> convert_outputs(const fcm::Engine& engine, int64_t batch, const fcm_output* outputs, size_t count) {
  const auto& ports = engine.outputs();
  if (count != ports.size())
    throw Error(ErrorCode::command_line, fmt::format("the model has {} outputs, {} were given", ports.size(), count));
  std::vector<fcm::OutputBuffer> buffers(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t needed = port_bytes(ports[i], batch);
    if (outputs[i].data == nullptr || outputs[i].bytes < needed)
      throw Error(ErrorCode::command_line,
                  fmt::format("output \"{}\" ({} {}) at batch {} takes {} bytes, {} were given", ports[i].name, dtype_name(ports[i].dtype),
                              to_string(ports[i].shape), batch, needed, outputs[i].data == nullptr ? 0 : outputs[i].bytes));
    buffers[i].data = outputs[i].data;
    buffers[i].space = outputs[i].space == FCM_DEVICE ? fcm::MemorySpace::device : fcm::MemorySpace::host;
  }
  return buffers;
}

/// Throws Error(command_line) for a batch that the context or the model does not have.
void check_batch_argument(const fcm_context& context, int64_t batch) {
  if (batch < 1 || batch > context.max_batch)
    throw Error(ErrorCode::command_line, fmt::format("batch {} is outside 1..{}, the range of this context", batch, context.max_batch));
  if (batch > 1 && !batch_is_free(*context.engine))
    throw Error(ErrorCode::command_line,
                fmt::format("batch {}: the model's batch is fixed, so that only batch 1 (one run) is accepted", batch));
}

// Checked buffers of a run.
std::pair<std::vector<fcm::InputBuffer>, std::vector<fcm::OutputBuffer>> convert_buffers(const fcm_context* context, int64_t batch,
                                                                                         const fcm_input* inputs, size_t input_count,
                                                                                         const fcm_output* outputs, size_t output_count) {
  fcm::capi::require(context != nullptr, "context is NULL");
  fcm::capi::require((inputs != nullptr || input_count == 0) && (outputs != nullptr || output_count == 0), "inputs or outputs is NULL");
  check_batch_argument(*context, batch);
  return {convert_inputs(*context->engine, batch, inputs, input_count), convert_outputs(*context->engine, batch, outputs, output_count)};
}

}  // namespace

fcm_status* fcm_engine_create(const fcm_model* model, const fcm_options* options, fcm_engine** out) {
  std::shared_ptr<const fcm::LogTarget> log;
  fcm_status* failed = fcm::capi::guard([&] {
    fcm::capi::require(model != nullptr && out != nullptr, "NULL given to fcm_engine_create");
    log = options == nullptr ? model->log : std::make_shared<const fcm::LogTarget>(*options->log);
  });
  if (failed != nullptr) return failed;
  return fcm::capi::guard(log, [&] {
    auto made = std::make_unique<fcm_engine>();
    made->engine = naming_memory(
        *model->graph, 0, [&] { return fcm::Engine::create(model->graph, options == nullptr ? fcm::EngineOptions{} : options->engine); });
    made->graph = model->graph;
    made->log = log;
    made->properties = {{"device", made->engine->device_name()},
                        {"precision", made->engine->precision_name()},
                        {"plan_hash", made->engine->plan_hash()},
                        {"plan", made->engine->plan_text()},
                        {"plan_file", made->engine->plan_file()},
                        {"steps", std::to_string(made->engine->step_count())},
                        {"softmax", ends_in_softmax(*model->graph) ? "1" : "0"}};
    *out = made.release();
  });
}

void fcm_engine_release(fcm_engine* engine) {
  delete engine;
}

size_t fcm_engine_input_count(const fcm_engine* engine) {
  return engine == nullptr ? 0 : engine->engine->inputs().size();
}

size_t fcm_engine_output_count(const fcm_engine* engine) {
  return engine == nullptr ? 0 : engine->engine->outputs().size();
}

fcm_status* fcm_engine_input(const fcm_engine* engine, size_t index, fcm_port* out) {
  return read_port(engine, true, index, out);
}

fcm_status* fcm_engine_output(const fcm_engine* engine, size_t index, fcm_port* out) {
  return read_port(engine, false, index, out);
}

const char* fcm_engine_property(const fcm_engine* engine, const char* key) {
  if (engine == nullptr || key == nullptr) return nullptr;
  for (const auto& [name, text] : engine->properties) {
    if (name == key) return text.c_str();
  }
  return nullptr;
}

fcm_status* fcm_engine_memory(const fcm_engine* engine, int64_t max_batch, fcm_memory* out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(engine != nullptr && out != nullptr, "NULL given to fcm_engine_memory");
    fcm::capi::require(max_batch >= 1, "max_batch must be at least 1");
    const fcm::MemoryUse use = engine->engine->memory(max_batch);
    *out = fcm_memory{use.weights, use.activations, use.workspace, use.io};
  });
}

fcm_status* fcm_context_create(const fcm_engine* engine, int64_t max_batch, fcm_context** out) {
  return fcm::capi::guard(engine == nullptr ? nullptr : engine->log, [&] {
    fcm::capi::require(engine != nullptr && out != nullptr, "NULL given to fcm_context_create");
    fcm::capi::require(max_batch >= 1, "max_batch must be at least 1");
    auto made = std::make_unique<fcm_context>();
    made->context = naming_memory(*engine->graph, max_batch, [&] { return engine->engine->create_context(max_batch); });
    made->engine = engine->engine;
    made->log = engine->log;
    made->max_batch = max_batch;
    *out = made.release();
  });
}

void fcm_context_release(fcm_context* context) {
  delete context;
}

fcm_status* fcm_context_prepare(fcm_context* context, int64_t batch) {
  return fcm::capi::guard(context == nullptr ? nullptr : context->log, [&] {
    fcm::capi::require(context != nullptr, "context is NULL");
    context->context->prepare(batch);
  });
}

namespace {

std::vector<fcm::InputBuffer> host_inputs(const fcm_context& context, int64_t batch, const fcm_input* inputs, size_t count) {
  std::vector<fcm::InputBuffer> buffers = convert_inputs(*context.engine, batch, inputs, count);
  for (const fcm::InputBuffer& b : buffers) {
    if (b.space != fcm::MemorySpace::host) throw Error(ErrorCode::command_line, "steps are looked at with inputs in host memory");
  }
  return buffers;
}

bool report_step(const fcm::StepCheck& check, fcm_step_check_callback callback, void* user) {
  std::vector<const char*> nodes;
  for (const std::string& n : check.nodes) nodes.push_back(n.c_str());
  const fcm_step_check out{check.step,  check.steps,     check.name.c_str(), check.what.c_str(), nodes.data(),    nodes.size(),
                           check.count, check.nonfinite, check.max_abs,      check.scale,        check.tolerance, check.differs ? 1 : 0};
  return callback(user, &out) != 0;
}

}  // namespace

fcm_status* fcm_context_check_steps(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count, size_t first,
                                    size_t last, fcm_step_check_callback callback, void* user) {
  return fcm::capi::guard(context == nullptr ? nullptr : context->log, [&] {
    fcm::capi::require(context != nullptr && callback != nullptr, "NULL given to fcm_context_check_steps");
    fcm::capi::require(inputs != nullptr || input_count == 0, "inputs is NULL");
    check_batch_argument(*context, batch);
    const auto in = host_inputs(*context, batch, inputs, input_count);
    context->context->check_steps(batch, in, first, last, [&](const fcm::StepCheck& c) { return report_step(c, callback, user); });
  });
}

fcm_status* fcm_context_find_nonfinite(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count,
                                       fcm_step_check_callback callback, void* user) {
  return fcm::capi::guard(context == nullptr ? nullptr : context->log, [&] {
    fcm::capi::require(context != nullptr && callback != nullptr, "NULL given to fcm_context_find_nonfinite");
    fcm::capi::require(inputs != nullptr || input_count == 0, "inputs is NULL");
    check_batch_argument(*context, batch);
    const auto found = context->context->find_nonfinite(batch, host_inputs(*context, batch, inputs, input_count));
    if (found) report_step(*found, callback, user);
  });
}

fcm_status* fcm_context_run(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count, const fcm_output* outputs,
                            size_t output_count, void* stream) {
  return fcm::capi::guard(context == nullptr ? nullptr : context->log, [&] {
    const auto [in, result] = convert_buffers(context, batch, inputs, input_count, outputs, output_count);
    context->context->run(batch, in, result, stream);
  });
}

fcm_status* fcm_context_trace(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count, const fcm_output* outputs,
                              size_t output_count, fcm_step_callback before, void* user) {
  return fcm::capi::guard(context == nullptr ? nullptr : context->log, [&] {
    const auto [in, result] = convert_buffers(context, batch, inputs, input_count, outputs, output_count);
    fcm::capi::require(before != nullptr, "the callback is NULL");
    const std::vector<fcm::StepInfo> infos = context->engine->step_infos(batch);
    context->context->trace(batch, in, result, [&](size_t index) {
      if (index >= infos.size()) {
        before(user, nullptr);
        return;
      }
      const fcm::StepInfo& s = infos[index];
      const fcm_step step{index,   infos.size(),   s.name.c_str(),       s.kind.c_str(),        s.text.c_str(),
                          s.bytes, s.predicted.us, s.predicted.l2_bytes, s.predicted.dram_bytes};
      before(user, &step);
    });
  });
}

fcm_status* fcm_context_enable_timing(fcm_context* context, int on) {
  return fcm::capi::guard([&] {
    fcm::capi::require(context != nullptr, "context is NULL");
    context->context->enable_timing(on != 0);
  });
}

fcm_status* fcm_context_times(const fcm_context* context, fcm_times* out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(context != nullptr && out != nullptr, "NULL given to fcm_context_times");
    const fcm::RunTimes times = context->context->times();
    *out = fcm_times{times.upload_us, times.compute_us, times.download_us};
  });
}
