// Attention, written out: Y = softmax(softcap(scale * Q * K') + mask) * V over [batch, heads, sequence, head size].
#include <fmt/format.h>

#include <array>
#include <limits>
#include <optional>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/dims.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

constexpr int64_t kMostHeads = 65536;

class Attention {
 public:
  explicit Attention(NodeContext& node) : node_(node), dims_(node) {
    node.expect_inputs(3, node.opset() >= 24 ? 7 : 6);
    causal_ = node.flag("is_causal", false);
    if (node.opset() >= 25) {
      left_ = node.int_attribute("left_window_size", -1);
      right_ = node.int_attribute("right_window_size", -1);
    }
    softcap_ = node.float_attribute("softcap", 0.0f);
    mode_ = node.int_attribute("qk_matmul_output_mode", 0);
    if (mode_ < 0 || mode_ > 3) node.malformed(fmt::format("attribute qk_matmul_output_mode = {}; accepted: 0 to 3", mode_));
    node.ignore("softmax_precision");  // float32 or wider always
    heads_ = node.int_attribute("q_num_heads", 0);
    shared_ = node.int_attribute("kv_num_heads", heads_);
    for (const int64_t heads : {heads_, shared_}) {
      if (heads < 0 || heads > kMostHeads) node.malformed(fmt::format("attribute *_num_heads = {}; accepted: from 1", heads));
    }
  }

  void write() {
    read_operands();
    ValueId scores = node_.emit_step(MatMul{}, {scaled_query(), turned_keys()}, "scores");
    give(0, scores);
    scores = capped(scores);
    give(1, scores);
    scores = masked(scores);
    give(2, scores);
    ValueId weights = node_.emit_step(Softmax{-1, false, false}, {scores}, "weights");
    // A row whose every key is masked is NaN by now, and 0 by definition. A causal mask leaves each row a key.
    if (boolean_mask_ != kNoValue && (node_.input(3) != kNoValue || node_.input(6) != kNoValue)) {
      const Tensor zero = Tensor::scalar(0.0f).cast(node_.dtype(weights));
      weights = node_.emit_step(Select{}, {boolean_mask_, weights, node_.add_constant("zero", zero)}, "weights");
    }
    give(3, weights);
    if (heads_ == 0) return node_.emit_output(0, MatMul{}, {weights, v_});
    const ValueId mixed = node_.emit_step(MatMul{}, {weights, v_}, "mixed");
    const ValueId joined = node_.emit_step(Transpose{{0, 2, 1, 3}}, {mixed}, "joined");
    node_.emit_output(0, Reshape{}, {joined, node_.add_ints("merged", {0, 0, -1})});
  }

 private:
  // Output 3 is one of four stages.
  void give(int64_t mode, ValueId x) {
    if (mode == mode_ && node_.output_used(3)) node_.emit_output(3, Identity{}, {x});
  }

  void read_operands() {
    q_ = split_heads(node_.input(0), heads_, "q");
    k_ = with_past(split_heads(node_.input(1), shared_, "k"), 4, 1);
    v_ = with_past(split_heads(node_.input(2), shared_, "v"), 5, 2);
    if (heads_ == 0 || heads_ != shared_) {
      k_ = for_each_query(k_);
      v_ = for_each_query(v_);
    }
  }

  // [B, L, heads * D] -> [B, heads, L, D].
  ValueId split_heads(ValueId x, int64_t heads, std::string_view label) {
    if (heads == 0) return x;
    const ValueId parts = node_.emit_step(Reshape{}, {x, node_.add_ints("heads", {0, 0, heads, -1})}, label);
    return node_.emit_step(Transpose{{0, 2, 1, 3}}, {parts}, label);
  }

  // What is cached before what is new; the whole is an output of its own.
  ValueId with_past(ValueId x, size_t input, size_t output) {
    const ValueId past = node_.input(input);
    const ValueId all = past == kNoValue ? x : node_.emit_step(Concat{2}, {past, x}, "present");
    if (node_.output_used(output)) node_.emit_output(output, Identity{}, {all});
    return all;
  }

  // Keys or values of fewer heads than the queries: each serves a run of query heads. As many heads fold away.
  ValueId for_each_query(ValueId x) {
    const ValueId groups = node_.emit_step(Binary{BinaryFn::div, {}}, {dims_.of(q_, 1), dims_.of(x, 1)}, "groups");
    Reshape column;
    column.form = Reshape::Form::unsqueeze;
    const ValueId apart = node_.emit_step(column, {x, node_.add_ints("group_axis", {2})}, "apart");
    const ValueId target = dims_.list({dims_.of(x, 0), dims_.of(x, 1), groups, dims_.of(x, 2), dims_.of(x, 3)});
    const ValueId repeated = node_.emit_step(Expand{}, {apart, target}, "repeated");
    const ValueId heads = dims_.times(dims_.of(x, 1), groups);
    return node_.emit_step(Reshape{}, {repeated, dims_.list({dims_.of(x, 0), heads, dims_.of(x, 2), dims_.of(x, 3)})}, "shared");
  }

  ValueId turned_keys() { return node_.emit_step(Transpose{{0, 1, 3, 2}}, {k_}, "k_turned"); }

  // The attribute scale, or 1 / sqrt of the head size.
  ValueId scaled_query() {
    const DType dtype = node_.dtype(q_);
    if (node_.has_attribute("scale")) {
      const Tensor scale = Tensor::scalar(node_.float_attribute("scale", 1.0f)).cast(dtype);
      return node_.emit_step(Binary{BinaryFn::mul, {}}, {q_, node_.add_constant("scale", scale)}, "scaled");
    }
    const ValueId size = node_.emit_step(Cast{dtype}, {dims_.of(q_, -1)}, "head_size");
    const ValueId root = node_.emit_step(UnaryOp{{UnaryFn::sqrt}}, {size}, "root");
    return node_.emit_step(Binary{BinaryFn::div, {}}, {q_, root}, "scaled");
  }

  ValueId capped(ValueId scores) {
    if (softcap_ == 0.0f) return scores;
    const ValueId cap = node_.add_constant("softcap", Tensor::scalar(softcap_).cast(node_.dtype(scores)));
    const ValueId part = node_.emit_step(Binary{BinaryFn::div, {}}, {scores, cap}, "cap");
    const ValueId bent = node_.emit_step(UnaryOp{{UnaryFn::tanh}}, {part}, "cap");
    return node_.emit_step(Binary{BinaryFn::mul, {}}, {bent, cap}, "capped");
  }

  ValueId masked(ValueId scores) {
    const ValueId mask = node_.input(3);
    if (mask != kNoValue && node_.dtype(mask) == DType::boolean) {
      boolean_mask_ = mask;
    } else if (mask != kNoValue) {
      scores = node_.emit_step(Binary{BinaryFn::add, {}}, {scores, mask}, "biased");
    }
    if (const ValueId visible = visible_keys(); visible != kNoValue) both(visible);
    if (boolean_mask_ == kNoValue) return scores;
    const Tensor out = Tensor::scalar(-std::numeric_limits<float>::infinity()).cast(node_.dtype(scores));
    return node_.emit_step(Select{}, {boolean_mask_, scores, node_.add_constant("minus_infinity", out)}, "masked");
  }

  void both(ValueId condition) {
    boolean_mask_ =
        boolean_mask_ == kNoValue ? condition : node_.emit_step(Binary{BinaryFn::logical_and, {}}, {boolean_mask_, condition}, "mask");
  }

  // Which keys each query sees by its position: [L, S], or [B, 1, L, S] where every item has a length of its own. kNoValue: all.
  ValueId visible_keys() {
    const ValueId lengths = node_.input(6);
    const bool windowed = causal_ || left_ >= 0 || right_ >= 0;
    if (lengths == kNoValue && !windowed) return kNoValue;
    const ValueId key = dims_.numbers(dims_.of(k_, 2));
    ValueId length = kNoValue;
    if (lengths != kNoValue) {
      length = node_.emit_step(Reshape{}, {lengths, node_.add_ints("by_item", {-1, 1, 1, 1})}, "length");
      both(node_.emit_step(Binary{BinaryFn::less, {}}, {key, length}, "valid"));
    }
    if (!windowed) return kNoValue;
    const ValueId query = query_positions(length);
    ValueId visible = kNoValue;
    const auto bound = [&](BinaryFn fn, int64_t distance) {
      const ValueId limit = node_.emit_step(Binary{BinaryFn::add, {}}, {query, node_.add_ints("distance", {distance})}, "limit");
      const ValueId inside = node_.emit_step(Binary{fn, {}}, {key, limit}, "inside");
      visible = visible == kNoValue ? inside : node_.emit_step(Binary{BinaryFn::logical_and, {}}, {visible, inside}, "visible");
    };
    if (causal_) bound(BinaryFn::less_equal, 0);
    if (left_ >= 0) bound(BinaryFn::greater_equal, -left_);
    if (right_ >= 0) bound(BinaryFn::less_equal, right_);
    return visible;
  }

  // Positions of the queries among the keys, as a column: behind what is cached.
  ValueId query_positions(ValueId length) {
    const ValueId count = dims_.of(q_, 2);
    const ValueId column = node_.emit_step(Reshape{}, {dims_.numbers(count), node_.add_ints("column", {-1, 1})}, "query");
    ValueId offset = kNoValue;
    if (node_.input(4) != kNoValue) {
      offset = dims_.of(node_.input(4), 2);
    } else if (length != kNoValue) {
      offset = node_.emit_step(Binary{BinaryFn::sub, {}}, {length, count}, "offset");
    }
    return offset == kNoValue ? column : node_.emit_step(Binary{BinaryFn::add, {}}, {column, offset}, "position");
  }

  NodeContext& node_;
  DimNodes dims_;
  bool causal_ = false;
  int64_t left_ = -1, right_ = -1, mode_ = 0, heads_ = 0, shared_ = 0;
  float softcap_ = 0.0f;
  ValueId q_ = kNoValue, k_ = kNoValue, v_ = kNoValue;
  ValueId boolean_mask_ = kNoValue;
};

void attention(NodeContext& node) {
  Attention(node).write();
}

constexpr std::array kOperators = {OperatorEntry{"Attention", 23, 25, attention}};

}  // namespace

std::span<const OperatorEntry> attention_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
