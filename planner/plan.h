// The Plan: what the engine executes. Plain data, deterministic, printable, hashed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

/// A tensor that exists during execution: a graph value in one layout.
struct PlanBuffer {
  std::string name;
  ValueId value = kNoValue;
  Shape shape;
  Layout layout;
};
using BufferId = int32_t;

/// One step: a graph node executed by one backend operator, or a layout conversion at a border.
struct PlanStep {
  enum class Kind : uint8_t { node, convert };
  Kind kind = Kind::node;
  std::string name;               ///< the node's origin name, or "convert NAME"
  NodeId node = kNoNode;          ///< kind == node
  std::vector<BufferId> inputs;   ///< by input position; -1 for constants (packed by the step) and absent inputs
  std::vector<BufferId> outputs;
  std::vector<int32_t> depends_on;  ///< earlier steps whose results this one reads, ascending
};

/// The steps for batches up to `max_batch` (0: any).
struct PlanVariant {
  int64_t max_batch = 0;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanStep> steps;
  std::vector<BufferId> inputs;   ///< by graph input: the rows-ordered border buffer
  std::vector<BufferId> outputs;  ///< by graph output
};

enum class Precision : uint8_t { automatic, f32, f16, bf16 };

struct PlanOptions {
  Precision precision = Precision::f32;  ///< never `automatic` here: the engine resolves it first
  bool tf32 = false;                     ///< allow TF32 tensor cores for FP32 convolutions and GEMMs
};

struct Plan {
  PlanOptions options;
  std::string device_model;  ///< name and fingerprint of the device it was made for
  std::vector<PlanVariant> variants;

  /// 16 hex digits over the canonical text: same inputs, same plan, same hash.
  std::string hash() const;
};
/// Canonical text: one line a buffer and a step.
std::string to_string(const Plan& plan);

/// Every node its own step: convolution chains in NHWC, conversions only at the borders, graph outputs in the model's dtype.
/// Throws Error(unsupported) listing every node that no backend operator can run.
Plan plan_unfused(const Graph& graph, const PlanOptions& options);

}  // namespace fcm
