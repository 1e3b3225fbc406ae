// The Plan: what the engine executes. Plain data, deterministic, printable, hashed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fcm/spec.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// How a value lies in device memory.
enum class Order : uint8_t {
  rows,  ///< dense, row-major in ONNX axis order (any rank)
  nhwc,  ///< rank 4: N, H, W, C with C padded to `channel_pitch`; pad lanes are zero
};
struct Layout {
  Order order = Order::rows;
  DType dtype = DType::f32;
  int64_t channel_pitch = 0;  ///< elements from one pixel to the next (nhwc); 0 for rows
  friend bool operator==(const Layout&, const Layout&) = default;
};
std::string to_string(const Layout& layout);
/// Bytes of a value of shape `dims` (ONNX axis order) in this layout.
size_t layout_bytes(const Layout& layout, const Dims& dims);

using BufferId = int32_t;
inline constexpr BufferId kNoBuffer = -1;

/// A tensor that exists during execution: a graph value in one layout.
struct PlanBuffer {
  std::string name;
  ValueId value = kNoValue;  ///< kNoValue: scratch between two modules (pool sums, a gate)
  Shape shape;
  Layout layout;
  BufferId alias_of =
      kNoBuffer;  ///< an earlier buffer that is never an alias itself and whose bytes this one is (a Reshape that moves nothing)
};

/// A fused module of a plan: several nodes in one kernel.
struct PlanModule {
  ModuleSpec spec;
  TileConfig tile;
  Dim images;                       ///< items along axis 0
  std::vector<NodeId> nodes;        ///< all nodes that the step (with the steps before it of the same segment) covers
  std::vector<NodeId> stage_nodes;  ///< by stage, the node that holds its weights; kNoNode for a pool
};

/// What the planner expects of a step at the batch that its variant was planned for.
struct Prediction {
  double us = 0;
  double l2_bytes = 0;
  double dram_bytes = 0;
};

/// One step: a graph node executed by one backend operator, a layout conversion at a border, or a fused module.
struct PlanStep {
  enum class Kind : uint8_t { node, convert, module };
  Kind kind = Kind::node;
  std::string name;                     ///< the node's origin name (of a module: its last node's), or "convert NAME"
  std::string op;                       ///< the operator with its attributes, as in the graph's text; "convert"; a module's spec and tile
  NodeId node = kNoNode;                ///< kind == node
  std::vector<BufferId> inputs;         ///< by input position; kNoBuffer for constants (packed by the step) and absent inputs;
                                        ///< of a module: its input, the residual, the gate
  std::vector<BufferId> outputs;        ///< of a module: its map and its pool sums, kNoBuffer where it writes none
  std::optional<PlanModule> module;     ///< kind == module
  std::vector<int32_t> depends_on;      ///< earlier steps whose results this one reads, ascending
  std::optional<Prediction> predicted;  ///< where a cost model chose the step; no part of the plan's text
  std::map<int64_t, int> choices;       ///< by tuned batch size: which of the step's algorithms was fastest; others run the first
};

/// The steps for batches up to `max_batch` (0: any).
struct PlanVariant {
  int64_t max_batch = 0;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanStep> steps;
  std::vector<BufferId> inputs;        ///< by graph input: the rows-ordered border buffer in the model's dtype
  std::vector<BufferId> outputs;       ///< by graph output, likewise; kNoBuffer when the output is a constant of the graph
  std::vector<NodeId> full_precision;  ///< nodes that compute in FP32 in a plan of lower precision, ascending

  const PlanBuffer& buffer(BufferId id) const { return buffers[static_cast<size_t>(id)]; }
  /// The buffer that owns the bytes of `id`: itself, or what it is an alias of.
  BufferId root(BufferId id) const { return buffer(id).alias_of == kNoBuffer ? id : buffer(id).alias_of; }
  /// True when the variant's input or output list names `id` or an alias of it: such a buffer lives at the border, outside the arena.
  bool is_border(BufferId id) const;
};

/// The steps that write or read a buffer, ascending, the writer first; uses of aliases count for their root.
struct BufferUse {
  BufferId buffer = kNoBuffer;
  std::vector<int32_t> steps;
};
/// One entry a buffer that needs a place in the arena (neither alias nor border), ascending by buffer.
std::vector<BufferUse> buffer_uses(const PlanVariant& variant);

enum class Precision : uint8_t { automatic, f32, f16, bf16 };

struct PlanOptions {
  Precision precision = Precision::f32;  ///< never `automatic` here: the engine resolves it first
  bool tf32 = false;                     ///< allow TF32 tensor cores for FP32 convolutions and GEMMs
};

struct Plan {
  PlanOptions options;
  std::string device_model;  ///< name and fingerprint of the device it was made for
  std::vector<PlanVariant> variants;

  /// The variant that runs a batch, and its position.
  const PlanVariant& variant_for(int64_t batch) const { return variants[index_for(batch)]; }
  size_t index_for(int64_t batch) const;
  /// 16 hex digits over the canonical text: same inputs, same plan, same hash.
  std::string hash() const;
};
/// FNV-1a of 64 bits as 16 hex digits.
std::string text_hash(std::string_view text);
/// Canonical text: one line a buffer and a step.
std::string to_string(const Plan& plan);

/// The memory order that a node's step wants for its float rank-4 activations; everything else is always `rows`.
enum class OrderNeed : uint8_t {
  rows,
  nhwc,
  any,  ///< each input and output on its own
};

/// What the planner asks of the operators that will run the steps, so that it can plan for a device without one.
struct PlanBackend {
  std::string device_model;  ///< copied into the plan
  /// Why the backend cannot run a node; an empty text when it can.
  std::function<std::string(const Graph&, const Node&)> refusal;
  std::function<OrderNeed(const Graph&, const Node&)> order;
  /// Whether the step of a node that computes in `compute` can store its output in `stored`, another float type. Unset: never.
  std::function<bool(const Node&, DType compute, DType stored)> stores_as;
};

/// Elements from pixel to pixel: `channels` rounded up so that a pixel is whole 16-byte vectors (8 for 16-bit types, 4 for f32).
int64_t channel_pitch(int64_t channels, DType dtype);

/// Every node its own step. Float values take the compute dtype; rank-4 ones connected to a convolution or pooling lie in NHWC, all
/// else in rows. Conversions stand only where the order changes and at the borders: graph inputs are read by conversions and by first
/// convolutions in modules alone, and
/// graph outputs are written by a conversion unless the step that makes them can store them in rows of the model's dtype itself.
/// A Reshape that moves no byte is an alias. `graph` is normalised, with every shape known.
/// `full_precision`: nodes that compute in FP32 in a plan of lower precision, ascending (conversions stand around them).
/// Throws Error(unsupported) listing every node that the backend refuses.
Plan plan_unfused(const Graph& graph, const PlanOptions& options, const PlanBackend& backend,
                  const std::vector<NodeId>& full_precision = {});

/// "f32", ...: the dtype that float values have under `precision` (never automatic).
DType compute_dtype(Precision precision);

}  // namespace fcm
