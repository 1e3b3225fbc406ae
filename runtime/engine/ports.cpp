// Argument checks and host-side conversion; see ports.h.
#include "runtime/engine/ports.h"

#include <fmt/format.h>

#include <cstring>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr int64_t kMaxImageChannels = 4;

// y = (x - mean[c]) / std[c] from interleaved bytes to planes (or interleaved floats).
void load_image(const Port& port, const InputBuffer& input, int64_t batch, float* target) {
  const Dims dims = at_batch(port.shape, batch);
  const bool last = channels_last(port);
  const int64_t channels = last ? dims[3] : dims[1];
  const int64_t pixels = last ? dims[1] * dims[2] : dims[2] * dims[3];
  const auto* source = static_cast<const uint8_t*>(input.data);
  for (int64_t n = 0; n < dims[0]; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      const float mean = input.mean[c];
      const float deviation = input.std[c];
      for (int64_t p = 0; p < pixels; ++p) {
        const int64_t interleaved = (n * pixels + p) * channels + c;
        const int64_t at = last ? interleaved : (n * channels + c) * pixels + p;
        target[at] = (static_cast<float>(source[interleaved]) - mean) / deviation;
      }
    }
  }
}

bool is_channels(const Dim& d) {
  return !d.batch && d.factor >= 1 && d.factor <= kMaxImageChannels;
}

bool is_half(DType t) {
  return t == DType::f16 || t == DType::bf16;
}

}  // namespace

std::vector<Port> ports_of(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<Port> ports;
  ports.reserve(values.size());
  for (const ValueId id : values) {
    const Value& v = graph.value(id);
    Shape shape = v.shape ? *v.shape : (v.constant ? to_shape(v.constant->dims()) : Shape{});
    ports.push_back(Port{v.name, v.dtype, std::move(shape)});
  }
  return ports;
}

size_t port_bytes(const Port& port, int64_t batch, InputFormat format) {
  const auto count = static_cast<size_t>(element_count(at_batch(port.shape, batch)));
  return format == InputFormat::nhwc_u8 ? count : count * dtype_size(port.dtype);
}

void check_batch(int64_t batch, int64_t max_batch) {
  if (batch < 1 || batch > max_batch)
    throw Error(ErrorCode::bad_input, fmt::format("batch {} is outside what the context was created for: 1 to {}", batch, max_batch));
}

bool is_image(const Port& port) {
  return is_float(port.dtype) && port.dtype != DType::f64 && port.shape.size() == 4 &&
         (is_channels(port.shape[1]) || is_channels(port.shape[3]));
}

bool channels_last(const Port& port) {
  if (is_image(port)) return !is_channels(port.shape[1]);
  throw Error(ErrorCode::bad_input,
              fmt::format("input \"{}\" is {} {}; 8-bit images are accepted for float inputs [N,C,H,W] or [N,H,W,C] of 1 to {} channels",
                          port.name, dtype_name(port.dtype), to_string(port.shape), kMaxImageChannels));
}

void check_buffers(const std::vector<Port>& input_ports, std::span<const InputBuffer> inputs, const std::vector<Port>& output_ports,
                   std::span<const OutputBuffer> outputs) {
  if (inputs.size() != input_ports.size() || outputs.size() != output_ports.size()) {
    throw Error(ErrorCode::bad_input, fmt::format("the model has {} inputs and {} outputs; {} and {} buffers were given",
                                                  input_ports.size(), output_ports.size(), inputs.size(), outputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].data == nullptr && port_bytes(input_ports[i], 1) > 0)
      throw Error(ErrorCode::bad_input, fmt::format("input \"{}\" has no data", input_ports[i].name));
    if (inputs[i].format == InputFormat::nhwc_u8) channels_last(input_ports[i]);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].data == nullptr && port_bytes(output_ports[i], 1) > 0)
      throw Error(ErrorCode::bad_input, fmt::format("output \"{}\" has no buffer", output_ports[i].name));
  }
}

void check_memory_limit(const char* what, size_t bytes, size_t limit) {
  if (limit != 0 && bytes > limit)
    throw Error(ErrorCode::out_of_memory, fmt::format("{} takes {} bytes, more than the memory limit of {} bytes", what, bytes, limit));
}

void check_shapes(const Graph& graph) {
  std::string unknown;
  for (const Value& v : graph.values) {
    if (!v.shape && !v.constant) unknown += fmt::format("{} %{}", unknown.empty() ? "" : ",", v.name);
  }
  if (!unknown.empty()) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: the shapes of these values are not known before running:{}; accepted: shapes that "
                                                    "follow from the inputs' shapes, with one free batch size",
                                                    graph.name, unknown));
  }
}

void load_input(const Port& port, const InputBuffer& input, int64_t batch, DType dtype, std::byte* target) {
  const auto count = static_cast<size_t>(element_count(at_batch(port.shape, batch)));
  if (count == 0) return;
  if (input.format == InputFormat::nhwc_u8) {
    load_image(port, input, batch, reinterpret_cast<float*>(target));
  } else if (dtype == port.dtype) {
    std::memcpy(target, input.data, count * dtype_size(dtype));
  } else if (is_half(port.dtype) && dtype == DType::f32) {
    const auto* source = static_cast<const std::byte*>(input.data);
    auto* floats = reinterpret_cast<float*>(target);
    for (size_t i = 0; i < count; ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, source + i * sizeof bits, sizeof bits);
      floats[i] = port.dtype == DType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
  } else {
    throw Error(ErrorCode::internal, fmt::format("load_input: {} to {}", dtype_name(port.dtype), dtype_name(dtype)));
  }
}

void store_output(const Port& port, int64_t batch, DType dtype, const std::byte* source, void* target) {
  const auto count = static_cast<size_t>(element_count(at_batch(port.shape, batch)));
  if (count == 0) return;
  if (dtype == port.dtype) {
    std::memcpy(target, source, count * dtype_size(dtype));
  } else if (is_half(port.dtype) && dtype == DType::f32) {
    const auto* floats = reinterpret_cast<const float*>(source);
    auto* out = static_cast<std::byte*>(target);
    for (size_t i = 0; i < count; ++i) {
      const uint16_t bits = port.dtype == DType::f16 ? f32_to_f16(floats[i]) : f32_to_bf16(floats[i]);
      std::memcpy(out + i * sizeof bits, &bits, sizeof bits);
    }
  } else {
    throw Error(ErrorCode::internal, fmt::format("store_output: {} to {}", dtype_name(dtype), dtype_name(port.dtype)));
  }
}

}  // namespace fcm
