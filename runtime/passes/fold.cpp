// Shape inference, binding and folding in one sweep. What is known of a value is its shape (dimensions c or c*B), its contents when
// constant, and for small integer tensors its elements as terms c or c*B, which carry shape arithmetic with the symbolic batch.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "ops/op.h"
#include "runtime/passes/match.h"
#include "runtime/passes/noop.h"
#include "runtime/passes/passes.h"
#include "runtime/support/error.h"

namespace fcm::passes {
namespace {

using Terms = std::vector<Dim>;

// A constant larger than this is computed at run time, unless its inputs are of that size already (a transposed or widened weight).
constexpr size_t kLargestFolded = size_t{64} << 20;

class Folder {
 public:
  Folder(Graph& graph, bool simplifies)
      : graph_(graph),
        simplifies_(simplifies),
        alias_(graph.values.size()),
        producer_(graph.values.size(), kNoNode),
        terms_(graph.values.size()),
        ready_(graph.values.size(), false),
        removed_(graph.nodes.size(), false) {
    for (size_t v = 0; v < graph.values.size(); ++v) {
      alias_[v] = static_cast<ValueId>(v);
      if (graph.values[v].constant) set_ready(static_cast<ValueId>(v));
    }
    for (const ValueId v : graph.inputs) {
      if (!graph.value(v).shape) throw Error(ErrorCode::internal, fmt::format("graph input \"{}\" has no shape", graph.value(v).name));
      set_ready(v);
    }
  }

  int run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) visit(static_cast<NodeId>(n));
    if (!failures_.empty()) report();
    for (ValueId& v : graph_.outputs) v = alias_[static_cast<size_t>(v)];
    size_t kept = 0;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (removed_[n]) continue;
      if (kept != n) graph_.nodes[kept] = std::move(graph_.nodes[n]);
      ++kept;
    }
    graph_.nodes.resize(kept);
    return fired_;
  }

 private:
  Node& node(NodeId n) { return graph_.nodes[static_cast<size_t>(n)]; }
  bool ready(ValueId v) const { return v == kNoValue || ready_[static_cast<size_t>(v)]; }
  void set_ready(ValueId v) { ready_[static_cast<size_t>(v)] = true; }

  void visit(NodeId n) {
    for (ValueId& v : node(n).inputs) {
      if (v != kNoValue) v = alias_[static_cast<size_t>(v)];
    }
    // A node behind one that failed says nothing new.
    const Node& current = node(n);
    if (!std::all_of(current.inputs.begin(), current.inputs.end(), [this](ValueId v) { return ready(v); })) return;
    try {
      infer(n);
      if (fold_to_constants(n) || !simplifies_) return;
      simplify(n);
      if (is_noop(graph_, node(n))) vanish(n);
    } catch (const Error& e) {
      fail(node(n), e);
    }
  }

  // What is known of each input of `current`; the pointers live in `storage`.
  std::vector<const ops::Known*> known_inputs(const Node& current, std::vector<ops::Known>& storage) const {
    storage.clear();
    storage.reserve(current.inputs.size());
    std::vector<const ops::Known*> inputs;
    for (const ValueId v : current.inputs) {
      if (v == kNoValue) {
        inputs.push_back(nullptr);
        continue;
      }
      const Value& value = graph_.value(v);
      const auto& terms = terms_[static_cast<size_t>(v)];
      storage.push_back({value.dtype, *value.shape, value.constant.get(), terms ? &*terms : nullptr});
      inputs.push_back(&storage.back());
    }
    return inputs;
  }

  void infer(NodeId n) {
    Node& current = node(n);
    std::vector<ops::Known> storage;
    ops::bind(current, known_inputs(current, storage));
    const std::vector<ops::Inferred> inferred = ops::infer(current, known_inputs(current, storage));
    for (size_t i = 0; i < current.outputs.size(); ++i) {
      const ValueId v = current.outputs[i];
      if (v == kNoValue) continue;
      Value& value = graph_.value(v);
      value.dtype = inferred.at(i).dtype;
      value.shape = inferred[i].shape;
      terms_[static_cast<size_t>(v)] = inferred[i].terms;
      producer_[static_cast<size_t>(v)] = n;
      set_ready(v);
    }
  }

  // Replaces the node by constants where all its outputs can be known now.
  bool fold_to_constants(NodeId n) {
    const Node& current = node(n);
    std::vector<Tensor> tensors;
    if (!constants_from_terms(current, tensors) && !constants_from_inputs(current, tensors)) return false;
    for (size_t i = 0; i < current.outputs.size(); ++i) {
      const ValueId v = current.outputs[i];
      if (v == kNoValue) continue;
      graph_.value(v).constant = std::make_shared<const Tensor>(std::move(tensors[i]));
      terms_[static_cast<size_t>(v)].reset();
      producer_[static_cast<size_t>(v)] = kNoNode;
    }
    remove(n);
    return true;
  }

  // Integer outputs whose every term is a plain number.
  bool constants_from_terms(const Node& current, std::vector<Tensor>& tensors) const {
    tensors.clear();
    for (const ValueId v : current.outputs) {
      if (v == kNoValue) return false;
      const Value& value = graph_.value(v);
      const auto& terms = terms_[static_cast<size_t>(v)];
      if (!terms || is_float(value.dtype) || has_batch(*value.shape) || has_batch(*terms)) return false;
      std::vector<int64_t> numbers;
      for (const Dim& term : *terms) numbers.push_back(term.factor);
      tensors.push_back(Tensor::ints(at_batch(*value.shape, 1), numbers).cast(value.dtype));
    }
    return !tensors.empty();
  }

  bool constants_from_inputs(const Node& current, std::vector<Tensor>& tensors) const {
    std::vector<const Tensor*> inputs;
    size_t input_bytes = 0;
    for (const ValueId v : current.inputs) {
      if (v != kNoValue && !graph_.is_constant(v)) return false;
      inputs.push_back(v == kNoValue ? nullptr : graph_.value(v).constant.get());
      if (inputs.back() != nullptr) input_bytes += inputs.back()->bytes();
    }
    const size_t most = std::max(kLargestFolded, 2 * input_bytes);
    size_t output_bytes = 0;
    for (const ValueId v : current.outputs) {
      if (v == kNoValue || has_batch(*graph_.value(v).shape)) return false;
      const Value& value = graph_.value(v);
      const auto count = static_cast<size_t>(element_count(at_batch(*value.shape, 1)));
      if (count > most) return false;
      output_bytes += count * dtype_size(value.dtype);
    }
    if (output_bytes > most) return false;
    tensors.clear();
    for (const ValueId v : current.outputs) tensors.emplace_back(graph_.value(v).dtype, at_batch(*graph_.value(v).shape, 1));
    ops::reference(current.op, inputs, tensors);
    return true;
  }

  void simplify(NodeId n) {
    if (std::holds_alternative<ConstantOfShape>(node(n).op)) expand_constant(n);
    constant_second(n);
    transpose_to_reshape(n);
    skip_same_kind(n);
  }

  // 2 * x as x * 2: later passes look for a constant in one place.
  void constant_second(NodeId n) {
    const auto* binary = std::get_if<Binary>(&node(n).op);
    if (binary == nullptr) return;
    const bool commutes =
        binary->fn == BinaryFn::add || binary->fn == BinaryFn::mul || binary->fn == BinaryFn::min || binary->fn == BinaryFn::max;
    std::vector<ValueId>& inputs = node(n).inputs;
    if (!commutes || !graph_.is_constant(inputs[0]) || graph_.is_constant(inputs[1])) return;
    std::swap(inputs[0], inputs[1]);
    ++fired_;
  }

  // A constant whose shape holds the batch: the shape arithmetic before it is no longer needed.
  void expand_constant(NodeId n) {
    const ValueId y = node(n).outputs[0];
    const Tensor value = std::get<ConstantOfShape>(node(n).op).value.reshaped({});
    const ValueId scalar = graph_.add_constant(graph_.value(y).name + ".value", value);
    alias_.push_back(scalar);
    producer_.push_back(kNoNode);
    terms_.emplace_back();
    ready_.push_back(true);
    node(n).op = Expand{graph_.value(y).shape};
    node(n).inputs = {scalar};
    ++fired_;
  }

  // Moving axes of one element moves nothing.
  void transpose_to_reshape(NodeId n) {
    const auto* transpose = std::get_if<Transpose>(&node(n).op);
    if (transpose == nullptr) return;
    const Shape& x = *graph_.value(node(n).inputs[0]).shape;
    int64_t last = -1;
    for (const int64_t axis : transpose->perm) {
      if (x[static_cast<size_t>(axis)] == Dim(1)) continue;
      if (axis < last) return;
      last = axis;
    }
    Reshape reshape;
    reshape.target = graph_.value(node(n).outputs[0]).shape;
    node(n).op = std::move(reshape);
    ++fired_;
  }

  // A Reshape of a Reshape, a Transpose of a Transpose: the first one is not needed.
  void skip_same_kind(NodeId n) {
    Node& current = node(n);
    const NodeId before =
        current.inputs.empty() || current.inputs[0] == kNoValue ? kNoNode : producer_[static_cast<size_t>(current.inputs[0])];
    if (before == kNoNode || removed_[static_cast<size_t>(before)]) return;
    const Node& earlier = node(before);
    const auto* outer = std::get_if<Transpose>(&current.op);
    const auto* inner = std::get_if<Transpose>(&earlier.op);
    if (outer != nullptr && inner != nullptr) {
      Transpose combined;
      for (const int64_t axis : outer->perm) combined.perm.push_back(inner->perm[static_cast<size_t>(axis)]);
      current.op = std::move(combined);
    } else if (!std::holds_alternative<Reshape>(current.op) || !std::holds_alternative<Reshape>(earlier.op)) {
      return;
    }
    current.inputs[0] = earlier.inputs[0];
    ++fired_;
  }

  // Removes a node that changes nothing. The name of a graph output must survive, so its value takes over, or an Identity stays.
  void vanish(NodeId n) {
    const ValueId x = node(n).inputs[0];
    const ValueId y = node(n).outputs[0];
    if (!graph_.is_output(y)) {
      alias_[static_cast<size_t>(y)] = x;
      return remove(n);
    }
    if (graph_.is_constant(x)) {
      graph_.value(y).constant = graph_.value(x).constant;
      producer_[static_cast<size_t>(y)] = kNoNode;
      return remove(n);
    }
    const bool named = graph_.is_output(x) || std::find(graph_.inputs.begin(), graph_.inputs.end(), x) != graph_.inputs.end();
    if (!named) {
      std::swap(graph_.value(x).name, graph_.value(y).name);
      std::replace(graph_.outputs.begin(), graph_.outputs.end(), y, x);
      alias_[static_cast<size_t>(y)] = x;
      return remove(n);
    }
    if (std::holds_alternative<Identity>(node(n).op)) return;
    node(n).op = Identity{};
    node(n).inputs = {x};
    ++fired_;
  }

  void remove(NodeId n) {
    removed_[static_cast<size_t>(n)] = true;
    ++fired_;
  }

  void fail(const Node& failed, const Error& e) {
    if (e.code() != ErrorCode::bad_input && e.code() != ErrorCode::unsupported)
      throw Error(e.code(), fmt::format("{}: {}: {}", graph_.name, describe(failed.origin), e.what()));
    // Outputs that `infer` had set already are unknown again.
    for (const ValueId v : failed.outputs) {
      if (v != kNoValue) ready_[static_cast<size_t>(v)] = false;
    }
    failures_.push_back(fmt::format("{}: {}", describe(failed.origin), e.what()));
    malformed_ = malformed_ || e.code() == ErrorCode::bad_input;
  }

  // One malformed node makes the file bad, whatever else is merely unsupported.
  [[noreturn]] void report() const {
    std::string text = graph_.name + ": ";
    if (failures_.size() > 1) text += fmt::format("{} nodes cannot run:", failures_.size());
    for (const std::string& failure : failures_) text += failures_.size() > 1 ? "\n  " + failure : failure;
    throw Error(malformed_ ? ErrorCode::bad_input : ErrorCode::unsupported, text);
  }

  Graph& graph_;
  bool simplifies_;
  std::vector<ValueId> alias_;    // by value: what stands for it
  std::vector<NodeId> producer_;  // by value, as far as the sweep has come
  std::vector<std::optional<Terms>> terms_;
  std::vector<bool> ready_;
  std::vector<bool> removed_;
  std::vector<std::string> failures_;
  bool malformed_ = false;
  int fired_ = 0;
};

}  // namespace

int fold(Graph& graph) {
  return Folder(graph, true).run();
}

int fold_constants(Graph& graph) {
  return Folder(graph, false).run();
}

}  // namespace fcm::passes
