// Which runs of graph nodes can become fused modules, and the modules they become. Legality alone: nothing here weighs one against another.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fcm/pack.h"
#include "fcm/spec.h"
#include "runtime/graph/graph.h"
#include "runtime/jit/jit.h"

namespace fcm {

/// One module kernel of a segment: what it computes, which nodes its stages come from and where its operands come from.
struct ModulePart {
  ModuleSpec spec;                  ///< `sum_tiles` is fixed when the tile of the part that writes the sums is
  std::vector<NodeId> stage_nodes;  ///< by stage, the node that holds its weights; kNoNode for a pool
  ValueId input = kNoValue;         ///< the map it reads; kNoValue: it reads the sums of part `sums_from`
  int sums_from = -1;               ///< by part
  ValueId residual = kNoValue;      ///< the map added at the end, also when the spec says that it is the input
  int gate_from = -1;               ///< the part whose output multiplies the input
  ValueId output = kNoValue;        ///< the value it writes; kNoValue: sums alone, or a gate that only this segment reads
  bool tokens = false;              ///< its operands are rows of channels [..., C], not maps [N,C,H,W]
};

/// A run of nodes that execute as one module, or as a few modules that hand each other sums or a gate.
struct Segment {
  std::vector<NodeId> nodes;  ///< in chain order; the last one's first output is the segment's result
  std::vector<ModulePart> parts;
  Dim images;  ///< axis 0 of its maps; of tokens, how many there are
};

/// A run of nodes that was looked at and cannot be a module.
struct Refusal {
  std::vector<NodeId> nodes;
  std::string pattern;  ///< "PW-DW-PW"
  std::string reason;
};

/// Nodes linked by values that only the next node reads (squeeze-and-excitation counts as a part of the line). Every node of the graph
/// is in exactly one chain; chains stand in the order of their first nodes.
std::vector<std::vector<NodeId>> find_chains(const Graph& graph);

/// What segments are made for.
struct SegmentOptions {
  DType dtype = DType::f32;  ///< of float values
  bool tf32 = false;
  jit::Target target;
};

/// Finds the segments that start at a position of a chain.
class SegmentFinder {
 public:
  SegmentFinder(const Graph& graph, const SegmentOptions& options);

  /// Legal segments whose first node is chain[at], shorter ones first. What was refused is appended to `refusals` when that is given.
  std::vector<Segment> starting_at(const std::vector<NodeId>& chain, size_t at, std::vector<Refusal>* refusals = nullptr) const;

 private:
  using Nodes = std::span<const NodeId>;
  const Node& node(NodeId id) const { return graph_.nodes[static_cast<size_t>(id)]; }
  std::string check_map(ValueId v) const;
  std::string check_tokens(ValueId v) const;
  std::string check_private(ValueId v) const;
  std::string make_stage(NodeId id, StageSpec& stage) const;
  bool wide_output(ValueId v) const;
  bool reads_user_tensor(const ModulePart& part) const;
  std::string make_conv_stage(const Node& conv_node, const Conv& conv, StageSpec& stage) const;
  std::string make_gemm_stage(const Node& gemm_node, const Gemm& gemm, StageSpec& stage) const;
  std::string make_run(Nodes nodes, ModulePart& part) const;
  std::string make_token_run(Nodes nodes, ModulePart& part) const;
  std::string add_residual(Nodes nodes, ModulePart& part) const;
  std::string add_norm(NodeId id, ModulePart& part) const;
  std::string make_head(Nodes nodes, ModulePart& part) const;
  std::string make_pooled(Nodes run, Nodes head, Segment& segment) const;
  std::string make_gated(Nodes run, Nodes tail, Segment& segment) const;
  std::string check(const ModulePart& part) const;
  Dim images_of(const Segment& segment) const;

  const Graph& graph_;
  SegmentOptions options_;
  Uses uses_;
};

/// The weights of a module from the constants of the graph, in the order that fcm::pack_weights wants. `stage_nodes`: by stage of
/// `spec`, the node that holds its weights. Throws Error(internal) when a stage's node holds none.
ModuleWeights weights_of(const Graph& graph, const ModuleSpec& spec, std::span<const NodeId> stage_nodes);

}  // namespace fcm
