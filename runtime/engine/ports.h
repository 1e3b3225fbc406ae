// The border between callers and engines: ports of a graph, argument checks, and conversion of host buffers.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/engine/engine.h"

namespace fcm {

/// The ports of graph inputs or outputs.
std::vector<Port> ports_of(const Graph& graph, const std::vector<ValueId>& values);

/// Bytes that `batch` items of the port take in the caller's memory.
size_t port_bytes(const Port& port, int64_t batch, InputFormat format = InputFormat::as_model);

/// Throws Error(bad_input) unless 1 <= batch <= max_batch.
void check_batch(int64_t batch, int64_t max_batch);
/// Throws Error(bad_input) unless there is one buffer with data a port, and image formats meet image ports.
void check_buffers(const std::vector<Port>& input_ports, std::span<const InputBuffer> inputs, const std::vector<Port>& output_ports,
                   std::span<const OutputBuffer> outputs);
/// Throws Error(out_of_memory) naming both sizes when `bytes` exceeds `limit` (0: none).
void check_memory_limit(const char* what, size_t bytes, size_t limit);
/// Throws Error(unsupported) naming every value whose shape is not known.
void check_shapes(const Graph& graph);

/// Whether the port takes images: float, rank 4, at most 4 channels in the second or last axis.
bool is_image(const Port& port);
/// Whether the channels of an image port stand last ([N,H,W,C]); where both axes could be, they are the second. Throws
/// Error(bad_input) when the port is no image.
bool channels_last(const Port& port);

/// Copies a caller's host buffer to `target` as row-major `dtype` in the port's axis order. f16 and bf16 widen to f32, else dtypes
/// are equal; nhwc_u8 normalises to f32.
void load_input(const Port& port, const InputBuffer& input, int64_t batch, DType dtype, std::byte* target);
/// Copies a row-major result to the caller's host buffer in the port's dtype.
void store_output(const Port& port, int64_t batch, DType dtype, const std::byte* source, void* target);

}  // namespace fcm
