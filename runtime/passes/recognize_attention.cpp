// Attention in its many spellings becomes one node.
//
// Softmax form: MatMul(Softmax(scores), V), or MatMul(V', Softmax(scores)'), where scores are a MatMul of Q and K' with scalar factors on
// Q, on K or behind, additive biases and masks behind. ReLU form (EfficientViT): Q K' [V 1] with ReLU on Q and K, divided by its last
// column. Q, K and V are read where they lie: whatever Reshape, Transpose, Split, Slice or Gather took them out of a larger tensor is seen
// through (runtime/passes/view.h), and images are read channels last. The result is written as rows [items, tokens, heads * channels]; the
// moves back into the model's shape cancel against those that follow it (`collapse_moves`).
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/broadcast.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/view.h"

namespace fcm::passes {
namespace {

// Heads that a kernel holds; larger ones stay matrix products.
constexpr int64_t kMostSoftmaxSize = 128;
constexpr int64_t kMostReluSize = 64;
constexpr int64_t kMostBias = int64_t{1} << 26;  // elements of a constant bias
constexpr double kMasked = -1e4;                 // a score that stands for "not seen"

// Something added to the scores, where they have the shape `scores`.
struct Addend {
  ValueId value = kNoValue;
  Shape scores;
  double factor = 1.0;
  bool keeps = false;  // `value` is a boolean: false adds `otherwise`
  double otherwise = 0.0;
};

struct Scores {
  ValueId q = kNoValue;
  ValueId kt = kNoValue;
  Shape shape;
  double scale = 1.0;
  std::vector<Addend> addends;
};

// An operand found: the value that holds it, or the image that must be turned channels last first, and where it lies there.
struct Found {
  ValueId holder = kNoValue;
  bool image = false;
  bool transpose = false;  // the value's last two axes must be swapped first
  HeadView view;
  double scale = 1.0;
  bool relu = false;
};

// Groups of heads of tokens.
struct Extents {
  Dim items;
  int64_t heads = 1;
  int64_t queries = 0, keys = 0, qk_size = 0, v_size = 0;
};

class Recognizer {
 public:
  Recognizer(Rewriter& rewriter, NodeId n) : rewriter_(rewriter), graph_(rewriter.graph()), n_(n), node_(rewriter.node(n)) {}

  void run() {
    if (node_.outputs.size() != 1 || !has_shape(node_.outputs[0]) || !is_float(graph_.value(node_.outputs[0]).dtype)) return;
    for (const ValueId v : node_.inputs) {
      if (v == kNoValue || !has_shape(v)) return;
    }
    if (std::holds_alternative<MatMul>(node_.op)) match_softmax();
    if (const auto* binary = std::get_if<Binary>(&node_.op); binary != nullptr && binary->fn == BinaryFn::div) match_relu(*binary);
  }

 private:
  bool has_shape(ValueId v) const { return graph_.value(v).shape.has_value(); }
  const Shape& shape(ValueId v) const { return *graph_.value(v).shape; }
  const Node* maker(ValueId v) const {
    const NodeId n = rewriter_.producer(v);
    return n == kNoNode ? nullptr : &rewriter_.node(n);
  }

  // ---- The softmax form.

  void match_softmax() {
    if (const std::optional<Scores> scores = shares(node_.inputs[0])) return emit_softmax(*scores, node_.inputs[1], false);
    // V' times the transposed shares: the transposed result.
    const auto* transpose = rewriter_.made_by<Transpose>(node_.inputs[1]);
    if (transpose == nullptr || !swaps_last_two(transpose->perm)) return;
    if (const std::optional<Scores> scores = shares(maker(node_.inputs[1])->inputs[0])) emit_softmax(*scores, node_.inputs[0], true);
  }

  static bool swaps_last_two(const Ints& perm) {
    const auto rank = static_cast<int64_t>(perm.size());
    for (int64_t i = 0; i < rank; ++i) {
      const int64_t expected = i < rank - 2 ? i : 2 * rank - 3 - i;
      if (perm[static_cast<size_t>(i)] != expected) return false;
    }
    return rank >= 2;
  }

  bool keeps_last_two(ValueId x, ValueId y) const {
    const Shape& a = shape(x);
    const Shape& b = shape(y);
    return a.size() >= 2 && b.size() >= 2 && std::equal(a.end() - 2, a.end(), b.end() - 2);
  }

  // v as Softmax(scores) over the last axis.
  std::optional<Scores> shares(ValueId v) const {
    while (rewriter_.made_by<Reshape>(v) != nullptr) {
      const ValueId x = maker(v)->inputs[0];
      if (!has_shape(x) || !keeps_last_two(x, v)) return std::nullopt;
      v = x;
    }
    const auto* softmax = rewriter_.made_by<Softmax>(v);
    if (softmax == nullptr || softmax->log || !has_shape(v)) return std::nullopt;
    const auto rank = static_cast<int64_t>(shape(v).size());
    if (rank < 2 || (softmax->axis != -1 && softmax->axis != rank - 1)) return std::nullopt;
    Scores scores;
    return find_product(maker(v)->inputs[0], 1.0, scores) ? std::optional(scores) : std::nullopt;
  }

  // Walks from the scores back to the product of Q and K'; `factor` is what `v` gets multiplied with behind.
  bool find_product(ValueId v, double factor, Scores& scores) const {
    const Node* node = maker(v);
    if (node == nullptr || !has_shape(v)) return false;
    if (std::holds_alternative<MatMul>(node->op)) {
      scores.q = node->inputs[0];
      scores.kt = node->inputs[1];
      scores.shape = shape(v);
      scores.scale = factor;
      return true;
    }
    if (std::holds_alternative<Reshape>(node->op))
      return keeps_last_two(node->inputs[0], v) && find_product(node->inputs[0], factor, scores);
    if (std::holds_alternative<Select>(node->op)) return find_masked(*node, v, factor, scores);
    const auto* binary = std::get_if<Binary>(&node->op);
    if (binary == nullptr || !binary->activation.is_identity()) return false;
    if (binary->fn == BinaryFn::add) return find_sum(*node, v, factor, scores);
    if (binary->fn != BinaryFn::mul && binary->fn != BinaryFn::div) return false;
    const size_t data = binary->fn == BinaryFn::mul && graph_.is_constant(node->inputs[0]) ? 1 : 0;
    const std::optional<double> number = scalar_constant(graph_, node->inputs[1 - data]);
    if (!number || *number == 0.0 || !same_shape(graph_, node->inputs[data], v)) return false;
    return find_product(node->inputs[data], binary->fn == BinaryFn::mul ? factor * *number : factor / *number, scores);
  }

  bool find_sum(const Node& node, ValueId v, double factor, Scores& scores) const {
    for (size_t data = 0; data < 2; ++data) {
      if (graph_.is_constant(node.inputs[data]) || !same_shape(graph_, node.inputs[data], v)) continue;
      if (!find_product(node.inputs[data], factor, scores)) continue;
      scores.addends.push_back({node.inputs[1 - data], shape(v), factor, false, 0.0});
      return true;
    }
    return false;
  }

  // Where(mask, scores, minus infinity) with a constant mask.
  bool find_masked(const Node& node, ValueId v, double factor, Scores& scores) const {
    const std::optional<double> otherwise = scalar_constant(graph_, node.inputs[2]);
    if (!graph_.is_constant(node.inputs[0]) || !otherwise || *otherwise > kMasked || factor <= 0.0) return false;
    if (!same_shape(graph_, node.inputs[1], v) || !find_product(node.inputs[1], factor, scores)) return false;
    scores.addends.push_back({node.inputs[0], shape(v), factor, true, *otherwise});
    return true;
  }

  void emit_softmax(const Scores& scores, ValueId v, bool transposed) {
    const Shape& s = scores.shape;
    const Shape& value = shape(v);
    if (s.size() < 2 || value.size() != s.size() || shape(scores.q).size() != s.size() || shape(scores.kt).size() != s.size()) return;
    Extents e;
    const Dim queries = s[s.size() - 2];
    const Dim keys = s.back();
    const Dim qk = shape(scores.q).back();
    const Dim v_size = transposed ? value[value.size() - 2] : value.back();
    if (queries.batch || keys.batch || qk.batch || v_size.batch) return;
    e.queries = queries.factor;
    e.keys = keys.factor;
    e.qk_size = qk.factor;
    e.v_size = v_size.factor;
    if (e.queries == 0 || e.keys == 0 || std::min(e.qk_size, e.v_size) < 1 || std::max(e.qk_size, e.v_size) > kMostSoftmaxSize) return;
    View q = trace(rewriter_, scores.q, {.scale = true});
    View k = trace(rewriter_, scores.kt, {.scale = true});
    View values = trace(rewriter_, v);
    swap_last_two(k);
    if (transposed) swap_last_two(values);
    if (!split_heads(s, {q, k, values}, e)) return;
    const std::optional<Found> fq = find(scores.q, q, e, e.queries, e.qk_size, false);
    const std::optional<Found> fk = find(scores.kt, k, e, e.keys, e.qk_size, true);
    const std::optional<Found> fv = find(v, values, e, e.keys, e.v_size, transposed);
    if (!fq || !fk || !fv) return;
    ValueId bias = kNoValue;
    if (!scores.addends.empty() && !make_bias(scores, e, bias)) return;
    Attention op;
    op.fn = AttentionFn::softmax;
    op.scale = static_cast<float>(scores.scale * fq->scale * fk->scale);
    emit(op, e, *fq, *fk, *fv, bias, transposed);
  }

  // ---- Bias.

  bool make_bias(const Scores& scores, const Extents& e, ValueId& bias) {
    const bool constant =
        std::all_of(scores.addends.begin(), scores.addends.end(), [&](const Addend& a) { return graph_.is_constant(a.value); });
    return constant ? constant_bias(scores, e, bias) : computed_bias(scores, e, bias);
  }

  // All addends as one table [A, heads or 1, queries, keys], where A is 1 or the groups of one batch item.
  bool constant_bias(const Scores& scores, const Extents& e, ValueId& bias) {
    const Dims table = {e.items.factor, e.heads, e.queries, e.keys};
    if (e.items.factor * e.heads > kMostBias / (e.queries * e.keys)) return false;
    std::vector<double> sum(static_cast<size_t>(element_count(table)), 0.0);
    for (const Addend& a : scores.addends) {
      if (!add_constant(a, sum)) return false;
    }
    Dims dims = table;
    keep_first_if_equal(sum, dims, 0);
    keep_first_if_equal(sum, dims, 1);
    bias =
        rewriter_.add_constant(graph_.value(node_.outputs[0]).name + "/bias", tensor_of(sum, graph_.value(node_.outputs[0]).dtype, dims));
    return true;
  }

  bool add_constant(const Addend& a, std::vector<double>& sum) const {
    const Tensor& t = *graph_.value(a.value).constant;
    const Dims full = at_batch(a.scores, 1);
    Dims dims = t.dims();
    if (dims.size() > full.size()) return false;
    dims.insert(dims.begin(), full.size() - dims.size(), 1);
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      // What differs along other leading axes than the batch must come after it, so that the table repeats with the batch.
      if (a.scores[axis].batch && (dims[axis] != 1 || !all_ones(dims, axis))) return false;
    }
    const std::vector<double> values = a.keeps ? std::vector<double>() : doubles_of(t);
    const Tensor mask = a.keeps ? t.cast(DType::boolean) : Tensor();
    const ops::Walk<1> walk(full, {ops::broadcast_strides(dims, full)});
    for (size_t i = 0; i < sum.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const auto from = static_cast<size_t>(walk.offsets(at / walk.inner())[0] + at % walk.inner() * walk.inner_stride(0));
      sum[i] += a.keeps ? (mask.data<bool>()[from] ? 0.0 : a.otherwise) : values[from] * a.factor;
    }
    return true;
  }

  static bool all_ones(const Dims& dims, size_t before) {
    return std::all_of(dims.begin(), dims.begin() + static_cast<std::ptrdiff_t>(before), [](int64_t d) { return d == 1; });
  }

  // Drops the repetition along an axis whose slices (behind axes of one element) are all the same.
  static void keep_first_if_equal(std::vector<double>& values, Dims& dims, size_t axis) {
    if (axis > 0 && dims[0] != 1) {
      // Equal heads in every group.
      const size_t group = values.size() / static_cast<size_t>(dims[0]);
      const size_t head = group / static_cast<size_t>(dims[1]);
      for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] != values[i / group * group + i % head]) return;
      }
      std::vector<double> kept;
      for (int64_t g = 0; g < dims[0]; ++g) {
        const auto from = values.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(g) * group);
        kept.insert(kept.end(), from, from + static_cast<std::ptrdiff_t>(head));
      }
      values = std::move(kept);
    } else {
      const size_t slice = values.size() / static_cast<size_t>(dims[axis]);
      for (size_t i = slice; i < values.size(); ++i) {
        if (values[i] != values[i % slice]) return;
      }
      values.resize(slice);
    }
    dims[axis] = 1;
  }

  // One addend that the model computes, [.., queries, keys] in the scores' own axes [items, heads, queries, keys].
  bool computed_bias(const Scores& scores, const Extents& e, ValueId& bias) {
    const Addend& a = scores.addends[0];
    if (scores.addends.size() != 1 || a.factor != 1.0 || a.keeps || a.scores.size() != 4 || !has_shape(a.value)) return false;
    if (a.scores != Shape{e.items, Dim(e.heads), Dim(e.queries), Dim(e.keys)} || shape(a.value).size() > 4) return false;
    Shape four = shape(a.value);
    four.insert(four.begin(), 4 - four.size(), Dim(1));
    if (four.back() != Dim(e.keys)) return false;
    bias = four == shape(a.value) ? a.value : insert(reshape_to(four), {a.value}, four, "bias");
    return true;
  }

  // ---- The ReLU form: n = Q K' V / (Q K' 1 + epsilon), both parts of one product with [V 1].

  void match_relu(const Binary& div) {
    if (!div.activation.is_identity()) return;
    const Node* add = maker(node_.inputs[1]);
    const auto* sum = add == nullptr ? nullptr : std::get_if<Binary>(&add->op);
    if (sum == nullptr || sum->fn != BinaryFn::add || !sum->activation.is_identity()) return;
    const size_t data = graph_.is_constant(add->inputs[0]) ? 1 : 0;
    const std::optional<double> epsilon = scalar_constant(graph_, add->inputs[1 - data]);
    if (!epsilon || *epsilon < 0.0 || !has_shape(add->inputs[data])) return;
    const View above = trace(rewriter_, node_.inputs[0]);
    const View below = trace(rewriter_, add->inputs[data]);
    const Node* product = maker(above.source);
    if (above.source != below.source || product == nullptr || !std::holds_alternative<MatMul>(product->op)) return;
    const Shape& z = shape(above.source);
    if (z.size() < 2 || z.back().batch || z.back().factor < 2) return;
    const int64_t size = z.back().factor - 1;
    View first = View::of(above.source, z);
    View last = first;
    if (!first.slice(z.size() - 1, 0, 1, size) || !last.slice(z.size() - 1, size, 1, 1) || !same_view(above, first) ||
        !same_view(below, last))
      return;
    const Node* products = maker(product->inputs[1]);
    if (products == nullptr || !std::holds_alternative<MatMul>(products->op)) return;
    const Node* padded = maker(products->inputs[1]);
    if (padded == nullptr || !adds_ones(*padded)) return;
    emit_relu(product->inputs[0], products->inputs[0], padded->inputs[0], z, static_cast<float>(*epsilon));
  }

  static bool same_view(const View& a, const View& b) {
    const auto equal = [](const Factor& f, const Factor& g) { return f.extent == g.extent && f.step == g.step && f.table == g.table; };
    return a.offset == b.offset && a.tables.empty() && b.tables.empty() &&
           std::equal(a.axes.begin(), a.axes.end(), b.axes.begin(), b.axes.end(),
                      [&](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal); });
  }

  static bool adds_ones(const Node& node) {
    const auto* pad = std::get_if<Pad>(&node.op);
    if (pad == nullptr || !pad->bound || pad->mode != PadMode::constant || pad->value != 1.0f) return false;
    const auto zero = [](int64_t p) { return p == 0; };
    return std::all_of(pad->begin.begin(), pad->begin.end(), zero) && std::all_of(pad->end.begin(), pad->end.end() - 1, zero) &&
           pad->end.back() == 1;
  }

  void emit_relu(ValueId q, ValueId kt, ValueId v, const Shape& z, float epsilon) {
    if (!has_shape(v) || shape(q).size() != z.size() || shape(kt).size() != z.size() || shape(v).size() != z.size()) return;
    Extents e;
    const Dim queries = z[z.size() - 2];
    const Dim keys = shape(kt).back();
    const Dim qk = shape(q).back();
    if (queries.batch || keys.batch || qk.batch) return;
    e.queries = queries.factor;
    e.keys = keys.factor;
    e.qk_size = qk.factor;
    e.v_size = z.back().factor - 1;
    if (e.queries == 0 || e.keys == 0 || e.qk_size < 1 || std::max(e.qk_size, e.v_size) > kMostReluSize) return;
    View vq = trace(rewriter_, q, {.relu = true});
    View vk = trace(rewriter_, kt, {.relu = true});
    View vv = trace(rewriter_, v);
    if (!vq.relu || !vk.relu) return;
    swap_last_two(vk);
    if (!split_heads(z, {vq, vk, vv}, e)) return;
    const std::optional<Found> fq = find(q, vq, e, e.queries, e.qk_size, false);
    const std::optional<Found> fk = find(kt, vk, e, e.keys, e.qk_size, true);
    const std::optional<Found> fv = find(v, vv, e, e.keys, e.v_size, false);
    if (!fq || !fk || !fv || !fq->relu || !fk->relu) return;
    Attention op;
    op.fn = AttentionFn::relu;
    op.epsilon = epsilon;
    emit(op, e, *fq, *fk, *fv, kNoValue, false);
  }

  // ---- Operands.

  static void swap_last_two(View& view) { std::swap(view.axes[view.axes.size() - 2], view.axes.back()); }

  // The leading axes of the products as items and heads: the last of them, or the last factor of the only one, where all operands have it.
  bool split_heads(const Shape& product, const std::vector<View>& operands, Extents& e) const {
    const Shape lead(product.begin(), product.end() - 2);
    const Dim total = element_count(lead);
    std::vector<int64_t> choices = {1};
    if (lead.size() >= 2 && !lead.back().batch) choices.insert(choices.begin(), lead.back().factor);
    if (lead.size() == 1) {
      for (const View& view : operands) {
        const std::vector<Factor>& axis = view.axes[0];
        if (axis.size() > 1 && !axis.back().extent.batch) choices.insert(choices.begin(), axis.back().extent.factor);
      }
    }
    for (const int64_t heads : choices) {
      if (heads < 1 || total.factor % heads != 0) continue;
      e.heads = heads;
      e.items = Dim(total.factor / heads, total.batch);
      const bool fits = std::all_of(operands.begin(), operands.end(), [&](View view) {
        const size_t rank = view.axes.size();
        return view.reshape({e.items, Dim(heads), view.extent(rank - 2), view.extent(rank - 1)}) && place(view).has_value();
      });
      if (fits) return true;
    }
    // Some operand has to be made anew, whatever the split.
    e.heads = lead.size() >= 2 && !lead.back().batch ? std::max<int64_t>(lead.back().factor, 1) : 1;
    e.items = Dim(total.factor / e.heads, total.batch);
    return total.factor > 0;
  }

  // A view with axes [items, heads, tokens, channels] as strides.
  static std::optional<HeadView> place(const View& view) {
    HeadView at;
    at.offset = view.offset;
    int64_t* const strides[4] = {&at.item, &at.head, &at.token, nullptr};
    for (size_t axis = 0; axis < 4; ++axis) {
      const std::optional<int64_t> stride = view.stride(axis);
      if (!stride || *stride < 0) return std::nullopt;
      if (axis < 3) {
        *strides[axis] = *stride;
      } else if (*stride != 1 && !view.axes[3].empty()) {
        return std::nullopt;
      }
    }
    return at;
  }

  // Operand `v`, whose view has the axes [.., tokens, channels]; `swapped`: the value itself has [.., channels, tokens].
  std::optional<Found> find(ValueId v, View view, const Extents& e, int64_t tokens, int64_t size, bool swapped) const {
    const Shape four = {e.items, Dim(e.heads), Dim(tokens), Dim(size)};
    if (view.extent(view.axes.size() - 2) != Dim(tokens) || view.extent(view.axes.size() - 1) != Dim(size)) return std::nullopt;
    Found found;
    if (view.reshape(four)) {
      found.scale = view.scale;
      found.relu = view.relu;
      found.holder = view.source;
      if (const std::optional<HeadView> at = place(view)) {
        found.view = *at;
        return found;
      }
      View image = view;
      if (has_shape(view.source) && image.put_channels_last(shape(view.source))) {
        if (const std::optional<HeadView> at = place(image)) {
          found.view = *at;
          found.image = true;
          return found;
        }
      }
    }
    // The value as it is.
    found = {};
    found.holder = v;
    found.transpose = swapped;
    Shape own = shape(v);
    if (swapped) std::swap(own[own.size() - 2], own.back());
    View whole = View::of(v, own);
    if (!whole.reshape(four)) return std::nullopt;
    const std::optional<HeadView> at = place(whole);
    if (!at) return std::nullopt;
    found.view = *at;
    return found;
  }

  // ---- The new nodes.

  ValueId insert(Op op, std::vector<ValueId> inputs, const Shape& to, const char* label) {
    const Value& y = graph_.value(node_.outputs[0]);
    return rewriter_.insert_before(n_, std::move(op), std::move(inputs), {y.name + "/" + label, y.dtype, to, nullptr});
  }

  ValueId holder(const Found& found, const std::vector<std::pair<ValueId, ValueId>>& turned, const char* label) {
    if (found.image) {
      for (const auto& [from, to] : turned) {
        if (from == found.holder) return to;
      }
      const Shape& s = shape(found.holder);
      return insert(Transpose{{0, 2, 3, 1}}, {found.holder}, {s[0], s[2], s[3], s[1]}, label);
    }
    if (!found.transpose) return found.holder;
    const Shape from = shape(found.holder);
    const size_t rank = from.size();
    Ints perm;
    Shape to;
    for (size_t i = 0; i < rank; ++i) {
      const size_t axis = i + 2 < rank ? i : 2 * rank - 3 - i;
      perm.push_back(static_cast<int64_t>(axis));
      to.push_back(from[axis]);
    }
    return insert(Transpose{perm}, {found.holder}, to, label);
  }

  void emit(Attention op, const Extents& e, const Found& q, const Found& k, const Found& v, ValueId bias, bool transposed) {
    op.items = e.items;
    op.heads = e.heads;
    op.queries = e.queries;
    op.keys = e.keys;
    op.qk_size = e.qk_size;
    op.v_size = e.v_size;
    op.q = q.view;
    op.k = k.view;
    op.v = v.view;
    std::vector<std::pair<ValueId, ValueId>> turned;
    std::vector<ValueId> inputs;
    for (const Found* found : {&q, &k, &v}) {
      static constexpr const char* kLabels[] = {"q", "k", "v"};
      const ValueId x = holder(*found, turned, kLabels[inputs.size()]);
      if (found->image) turned.emplace_back(found->holder, x);
      inputs.push_back(x);
    }
    if (inputs[2] == inputs[1]) inputs[2] = kNoValue;
    if (inputs[1] == inputs[0] && inputs[2] == kNoValue) inputs[1] = kNoValue;
    inputs.push_back(bias);
    while (inputs.back() == kNoValue) inputs.pop_back();
    const Dim queries(e.queries);
    const Dim heads(e.heads);
    const Dim size(e.v_size);
    ValueId y = insert(op, std::move(inputs), {e.items, queries, Dim(e.heads * e.v_size)}, "attention");
    if (e.heads > 1 || transposed) {
      y = insert(reshape_to(Shape{e.items, queries, heads, size}), {y}, {e.items, queries, heads, size}, "heads");
      const Ints perm = transposed ? Ints{0, 2, 3, 1} : Ints{0, 2, 1, 3};
      const Shape to = transposed ? Shape{e.items, heads, size, queries} : Shape{e.items, heads, queries, size};
      y = insert(Transpose{perm}, {y}, to, "turned");
    }
    rewriter_.replace(n_, reshape_to(shape(node_.outputs[0])), {y});
  }

  Rewriter& rewriter_;
  const Graph& graph_;
  NodeId n_;
  const Node node_;
};

}  // namespace

int recognize_attention(Graph& graph) {
  Rewriter rewriter(graph);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (!rewriter.removed(n)) Recognizer(rewriter, n).run();
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
