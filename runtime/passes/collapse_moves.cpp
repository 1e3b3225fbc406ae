// A chain of Reshapes and Transposes is one permutation of the factors of its axes: at most one Transpose between two Reshapes does it.
//
// Exporters write permutations as they think of them: flatten and transpose, patches unfolded axis by axis, channels shuffled. Two more
// facts are used. A map [N,C,H,W] lies in NHWC on the device, so a chain that starts or ends at a map is written over its tokens
// [N,H,W,C], with the Transposes (0,2,3,1) and (0,3,1,2), which move nothing there, at its ends.
#include <algorithm>
#include <numeric>
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

const Ints kToMap = {0, 3, 1, 2};
const Ints kToTokens = {0, 2, 3, 1};

bool is_move(const Op& op) {
  return std::holds_alternative<Transpose>(op) || (std::holds_alternative<Reshape>(op) && std::get<Reshape>(op).target.has_value());
}

// What a chain does, as an order of factors ("atoms") of the axes it starts from.
class Permutation {
 public:
  explicit Permutation(const Shape& shape) {
    for (const Dim& d : shape) {
      groups_.push_back({static_cast<int>(sizes_.size())});
      first_.push_back(static_cast<int>(sizes_.size()));
      sizes_.push_back(d);
    }
  }

  void transpose(const Ints& perm) {
    std::vector<std::vector<int>> turned;
    for (const int64_t axis : perm) turned.push_back(groups_[static_cast<size_t>(axis)]);
    groups_ = std::move(turned);
  }

  /// False where the target's axes are no products of factors.
  bool reshape(const Shape& target) {
    std::vector<int> line = flat();
    std::vector<std::vector<int>> made;
    size_t at = 0;
    for (const Dim& axis : target) {
      std::vector<int>& group = made.emplace_back();
      for (Dim need = axis; need != Dim(1);) {
        while (at < line.size() && sizes_[static_cast<size_t>(line[at])] == Dim(1)) ++at;
        if (at == line.size()) return false;
        const int atom = line[at];
        const Dim size = sizes_[static_cast<size_t>(atom)];
        if (const std::optional<Dim> left = quotient(need, size)) {
          group.push_back(atom);
          need = *left;
          ++at;
        } else if (const std::optional<Dim> inner = quotient(size, need)) {
          line.insert(line.begin() + static_cast<std::ptrdiff_t>(at) + 1, split(atom, need, *inner, made));
          group.push_back(atom);
          need = Dim(1);
          ++at;
        } else {
          return false;
        }
      }
    }
    while (at < line.size() && sizes_[static_cast<size_t>(line[at])] == Dim(1)) ++at;
    groups_ = std::move(made);
    return at == line.size();
  }

  /// The atoms in the order of memory now, and at the start.
  std::vector<int> flat() const {
    std::vector<int> line;
    for (const std::vector<int>& g : groups_) line.insert(line.end(), g.begin(), g.end());
    return line;
  }
  const std::vector<int>& start() const { return first_; }
  const std::vector<std::vector<int>>& groups() const { return groups_; }
  Dim size(int atom) const { return sizes_[static_cast<size_t>(atom)]; }

 private:
  static std::optional<Dim> quotient(const Dim& a, const Dim& b) {
    if (b.factor == 0 || a.factor % b.factor != 0 || (b.batch && !a.batch)) return std::nullopt;
    return Dim(a.factor / b.factor, a.batch && !b.batch);
  }

  // `atom` keeps the outer `outer`; a new atom, wherever it stands behind it, takes the rest.
  int split(int atom, const Dim& outer, const Dim& inner, std::vector<std::vector<int>>& made) {
    const auto fresh = static_cast<int>(sizes_.size());
    sizes_[static_cast<size_t>(atom)] = outer;
    sizes_.push_back(inner);
    first_.insert(std::find(first_.begin(), first_.end(), atom) + 1, fresh);
    for (auto* list : {&groups_, &made}) {
      for (std::vector<int>& g : *list) {
        const auto place = std::find(g.begin(), g.end(), atom);
        if (place != g.end()) g.insert(place + 1, fresh);
      }
    }
    return fresh;
  }

  std::vector<Dim> sizes_;
  std::vector<int> first_;                // the atoms in the order of the start
  std::vector<std::vector<int>> groups_;  // by axis now
};

// The least steps from one order of atoms to another: [Reshape], Transpose, [Reshape].
struct Moves {
  Shape split;  // what is transposed
  Ints perm;    // empty: nothing is
  Shape transposed;
};

Moves moves_between(const Permutation& p, const std::vector<int>& from, const std::vector<int>& to) {
  const auto real = [&](const std::vector<int>& order) {
    std::vector<int> list;
    for (const int a : order) {
      if (p.size(a) != Dim(1)) list.push_back(a);
    }
    return list;
  };
  const std::vector<int> source = real(from), target = real(to);
  // Runs of atoms that stay together in both orders are one axis.
  Moves moves;
  std::vector<int> heads;
  std::vector<size_t> place(1 + static_cast<size_t>(source.empty() ? 0 : *std::max_element(source.begin(), source.end())), 0);
  for (size_t i = 0; i < target.size(); ++i) place[static_cast<size_t>(target[i])] = i;
  for (size_t i = 0; i < source.size(); ++i) {
    const Dim size = p.size(source[i]);
    const bool follows = i > 0 && place[static_cast<size_t>(source[i])] == place[static_cast<size_t>(source[i - 1])] + 1;
    if (follows && !(size.batch && moves.split.back().batch)) {
      moves.split.back() = Dim(moves.split.back().factor * size.factor, moves.split.back().batch || size.batch);
    } else {
      moves.split.push_back(size);
      heads.push_back(source[i]);
    }
  }
  Ints perm(heads.size());
  std::iota(perm.begin(), perm.end(), 0);
  std::sort(perm.begin(), perm.end(), [&](int64_t a, int64_t b) {
    return place[static_cast<size_t>(heads[static_cast<size_t>(a)])] < place[static_cast<size_t>(heads[static_cast<size_t>(b)])];
  });
  if (!std::is_sorted(perm.begin(), perm.end())) {
    moves.perm = perm;
    for (const int64_t axis : perm) moves.transposed.push_back(moves.split[static_cast<size_t>(axis)]);
  }
  return moves;
}

class Collapser {
 public:
  explicit Collapser(Graph& graph) : graph_(graph), rewriter_(graph) {}

  int run() {
    for (size_t i = 0; i < rewriter_.node_count(); ++i) {
      const auto n = static_cast<NodeId>(i);
      if (ends_chain(n)) collapse(n);
    }
    return rewriter_.finish();
  }

 private:
  const Shape& shape_of(ValueId v) const { return *graph_.value(v).shape; }
  ValueId input_of(NodeId n) const { return rewriter_.node(n).inputs[0]; }
  // A move whose result goes on to something else, or to several nodes.
  bool ends_chain(NodeId n) const {
    const Node& node = rewriter_.node(n);
    if (!is_move(node.op) || !graph_.value(node.outputs[0]).shape) return false;
    const NodeId next = rewriter_.sole_consumer(node.outputs[0]);
    return next == kNoNode || !is_move(rewriter_.node(next).op) || graph_.is_output(node.outputs[0]);
  }

  // The chain that ends with `n`, first node first.
  std::vector<NodeId> chain_to(NodeId n) const {
    std::vector<NodeId> chain = {n};
    while (true) {
      const ValueId x = input_of(chain.back());
      const NodeId before = rewriter_.producer(x);
      if (before == kNoNode || !is_move(rewriter_.node(before).op) || rewriter_.sole_consumer(x) == kNoNode) break;
      chain.push_back(before);
    }
    std::reverse(chain.begin(), chain.end());
    return chain;
  }

  // More than one channel and more than one pixel: to tokens and back are no mere Reshapes.
  bool has_plane(ValueId v) const {
    const Shape& s = shape_of(v);
    return s.size() == 4 && s[1] != Dim(1) && (s[2] != Dim(1) || s[3] != Dim(1));
  }

  // Whether `v` is an image map by what makes it, elementwise nodes between left out.
  bool made_as_map(ValueId v, int depth = 0) const {
    const NodeId n = rewriter_.producer(v);
    if (n == kNoNode || shape_of(v).size() != 4 || !is_float(graph_.value(v).dtype)) return false;
    const Op& op = rewriter_.node(n).op;
    if (is_spatial(op)) return true;
    const bool elementwise =
        std::holds_alternative<UnaryOp>(op) || std::holds_alternative<Binary>(op) || std::holds_alternative<Concat>(op);
    if (!elementwise || depth == 6) return false;
    const std::vector<ValueId>& inputs = rewriter_.node(n).inputs;
    return std::any_of(inputs.begin(), inputs.end(), [&](ValueId x) { return x != kNoValue && made_as_map(x, depth + 1); });
  }
  // Likewise by what reads it.
  bool read_as_map(ValueId v, int depth = 0) const {
    if (shape_of(v).size() != 4 || !is_float(graph_.value(v).dtype)) return false;
    for (const NodeId n : rewriter_.consumers(v)) {
      const Node& node = rewriter_.node(n);
      if (is_spatial(node.op) && node.input(0) == v) return true;
      const bool elementwise =
          std::holds_alternative<UnaryOp>(node.op) || std::holds_alternative<Binary>(node.op) || std::holds_alternative<Concat>(node.op);
      if (elementwise && depth < 6 && graph_.value(node.outputs[0]).shape && read_as_map(node.outputs[0], depth + 1)) return true;
    }
    return false;
  }
  static bool is_spatial(const Op& op) {
    return std::holds_alternative<Conv>(op) || std::holds_alternative<Pool>(op) || std::holds_alternative<GlobalPool>(op) ||
           std::holds_alternative<BatchNorm>(op) || std::holds_alternative<Resize>(op);
  }

  static std::vector<int> as_tokens(const std::vector<std::vector<int>>& axes) {
    std::vector<int> order;
    for (const size_t axis : {0, 2, 3, 1}) order.insert(order.end(), axes[axis].begin(), axes[axis].end());
    return order;
  }

  void collapse(NodeId last) {
    const std::vector<NodeId> chain = chain_to(last);
    const ValueId x = input_of(chain.front()), y = rewriter_.node(last).outputs[0];
    if (graph_.is_constant(x) || !graph_.value(x).shape) return;
    Permutation p(shape_of(x));
    for (const NodeId n : chain) {
      const Op& op = rewriter_.node(n).op;
      if (const auto* t = std::get_if<Transpose>(&op)) {
        p.transpose(t->perm);
      } else if (!p.reshape(*std::get<Reshape>(op).target)) {
        return;
      }
    }
    const bool from_map = has_plane(x) && made_as_map(x), to_map = has_plane(y) && read_as_map(y);
    const std::vector<int> from = from_map ? as_tokens(axes_of(p, shape_of(x))) : p.start();
    const std::vector<int> to = to_map ? as_tokens(p.groups()) : p.flat();
    const Moves moves = moves_between(p, from, to);
    const std::vector<Op> now = write(moves, x, y, from_map, to_map);
    const int before = copies_of(chain, from_map, to_map), after = moves.perm.empty() ? 0 : 1;
    if (after > before || (after == before && now.size() >= chain.size())) return;
    emit(now, x, last);
  }

  // Steps that a chain takes on the device: its Transposes but the views at its ends, and a change from or to NHWC where a Reshape, which
  // knows rows alone, meets a map. (A Transpose reads and writes either.)
  int copies_of(const std::vector<NodeId>& chain, bool from_map, bool to_map) const {
    const auto is = [&](NodeId n, const Ints& perm) {
      const auto* t = std::get_if<Transpose>(&rewriter_.node(n).op);
      return t != nullptr && t->perm == perm;
    };
    const auto is_reshape = [&](NodeId n) { return std::holds_alternative<Reshape>(rewriter_.node(n).op); };
    int copies = (from_map && is_reshape(chain.front()) ? 1 : 0) + (to_map && is_reshape(chain.back()) ? 1 : 0);
    for (const NodeId n : chain) copies += is_reshape(n) ? 0 : 1;
    return copies - (from_map && is(chain.front(), kToTokens) ? 1 : 0) - (to_map && is(chain.back(), kToMap) ? 1 : 0);
  }

  // The atoms of each axis that the chain started from.
  static std::vector<std::vector<int>> axes_of(const Permutation& p, const Shape& shape) {
    std::vector<std::vector<int>> axes;
    size_t at = 0;
    for (const Dim& d : shape) {
      std::vector<int>& axis = axes.emplace_back();
      Dim product(1);
      do {
        const Dim size = p.size(p.start()[at]);
        axis.push_back(p.start()[at++]);
        product = Dim(product.factor * size.factor, product.batch || size.batch);
      } while (product != d);
    }
    return axes;
  }

  // The nodes of the collapsed chain with the shapes that they make.
  std::vector<Op> write(const Moves& moves, ValueId x, ValueId y, bool opens, bool closes) const {
    std::vector<Op> list;
    Shape shape = shape_of(x);
    const auto reshape = [&](const Shape& target) {
      if (shape == target) return;
      Reshape op;
      op.target = target;
      list.emplace_back(op);
      shape = target;
    };
    const auto permuted = [](const Shape& s, const Ints& perm) {
      Shape result;
      for (const int64_t axis : perm) result.push_back(s[static_cast<size_t>(axis)]);
      return result;
    };
    if (opens) {
      list.emplace_back(Transpose{kToTokens});
      shape = permuted(shape, kToTokens);
    }
    if (!moves.perm.empty()) {
      reshape(moves.split);
      list.emplace_back(Transpose{moves.perm});
      shape = moves.transposed;
    }
    const Shape target = closes ? permuted(shape_of(y), kToTokens) : shape_of(y);
    reshape(target);
    if (closes) list.emplace_back(Transpose{kToMap});
    return list;
  }

  // Puts `ops` in place of the chain: all but the last as new nodes, the last as node `last`.
  void emit(const std::vector<Op>& ops, ValueId x, NodeId last) {
    const Value& y = graph_.value(rewriter_.node(last).outputs[0]);
    const std::string name = y.name;
    const DType dtype = y.dtype;
    ValueId at = x;
    for (size_t i = 0; i + 1 < ops.size(); ++i) {
      Shape shape = *graph_.value(at).shape;
      if (const auto* t = std::get_if<Transpose>(&ops[i])) {
        Shape turned;
        for (const int64_t axis : t->perm) turned.push_back(shape[static_cast<size_t>(axis)]);
        shape = turned;
      } else {
        shape = *std::get<Reshape>(ops[i]).target;
      }
      at = rewriter_.insert_before(last, ops[i], {at}, Value{name + ".moved", dtype, shape, nullptr});
    }
    rewriter_.replace(last, ops.empty() ? Op(Identity{}) : ops.back(), {at});
  }

  Graph& graph_;
  Rewriter rewriter_;
};

}  // namespace

int collapse_moves(Graph& graph) {
  return Collapser(graph).run();
}

}  // namespace fcm::passes
