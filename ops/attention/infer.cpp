// Attention: every view must lie inside its tensor at every batch, and bias and rows must have the shapes that the operator states.
#include "ops/attention/attention.h"

namespace fcm::ops {
namespace {

// The elements that a view spans, as c or c*B: its last element's offset grows with the batch through the items alone.
void check_view(const Attention& op, const HeadView& view, int64_t tokens, int64_t channels, const Known& holder, std::string_view name) {
  need_float(holder.dtype, name);
  if (view.offset < 0 || view.item < 0 || view.head < 0 || view.token < 0)
    bad_input("the view of {} has a negative offset or stride; accepted are others", name);
  const Dim count = element_count(holder.shape);
  const int64_t item_span = view.offset + (op.heads - 1) * view.head + (op.windows * tokens - 1) * view.token + channels;
  const bool grows = op.items.batch && op.items.factor > 0;
  const bool fits =
      grows ? count.batch && op.items.factor * view.item <= count.factor && (op.items.factor - 1) * view.item + item_span <= count.factor
            : (op.items.factor - 1) * view.item + item_span <= count.factor;
  if (!fits)
    bad_input("the view of {} ({} items of {} x {} tokens of {} channels) does not fit its tensor of {}", name, to_string(op.items),
              op.heads, op.windows * tokens, channels, to_string(holder.shape));
}

void check_bias(const Attention& op, const Known& bias, DType dtype) {
  need_same(bias.dtype, dtype, "Q and bias");
  const auto is_one_of = [](const Dim& d, int64_t n) { return d == Dim(1) || d == Dim(n); };
  const bool fits =
      bias.shape.size() == 4 && is_one_of(bias.shape[1], op.heads) && is_one_of(bias.shape[2], op.queries) && bias.shape[3] == Dim(op.keys);
  if (!fits) bad_input("bias has shape {}; accepted is [A, 1 or {}, 1 or {}, {}]", to_string(bias.shape), op.heads, op.queries, op.keys);
  const Dim groups = attention_groups(op);
  const Dim& a = bias.shape[0];
  const bool divides = a == groups || (!a.batch && a.factor > 0 && groups.factor % a.factor == 0);
  if (!divides)
    bad_input("bias has shape {}; its first axis must divide the {} groups of tokens", to_string(bias.shape), to_string(groups));
}

void check_rows(const Attention& op, const Known& rows) {
  if (rows.dtype != DType::i64 && rows.dtype != DType::i32) bad_input("rows has type {}; accepted are i32, i64", dtype_name(rows.dtype));
  if (rows.shape != Shape{Dim(op.windows * op.queries)} || op.queries != op.keys)
    bad_input("rows has shape {}; accepted is [{}], for as many queries as keys", to_string(rows.shape), op.windows * op.queries);
  if (rows.constant == nullptr) return;
  const Tensor table = rows.constant->cast(DType::i64);
  std::vector<bool> seen(static_cast<size_t>(table.count()), false);
  for (const int64_t row : std::as_const(table).data<int64_t>()) {
    if (row < 0 || row >= table.count() || seen[static_cast<size_t>(row)])
      bad_input("rows is no permutation of 0 to {}", table.count() - 1);
    seen[static_cast<size_t>(row)] = true;
  }
}

}  // namespace

size_t holder_of(const Node& node, AttentionInput input) {
  size_t holder = input;
  while (holder > kQuery && node.input(holder) == kNoValue) --holder;
  return holder;
}

Dim attention_groups(const Attention& op) {
  return {op.items.factor * op.windows, op.items.batch};
}

void bind_op(Attention& op, Node&, Inputs) {
  const int64_t least = std::min({op.heads, op.windows, op.queries, op.keys, op.qk_size, op.v_size});
  if (least < 1) bad_input("attributes of Attention below 1; accepted are others");
}

std::vector<Inferred> infer_op(const Attention& op, const Node& node, Inputs inputs) {
  const DType dtype = need(inputs, kQuery).dtype;
  const Known& k = need(inputs, holder_of(node, kKey));
  const Known& v = need(inputs, holder_of(node, kValue));
  need_same(dtype, k.dtype, "Q and K");
  need_same(dtype, v.dtype, "Q and V");
  check_view(op, op.q, op.queries, op.qk_size, need(inputs, kQuery), "Q");
  check_view(op, op.k, op.keys, op.qk_size, k, "K");
  check_view(op, op.v, op.keys, op.v_size, v, "V");
  if (const Known* bias = known(inputs, kBias)) check_bias(op, *bias, dtype);
  if (const Known* rows = known(inputs, kRows)) check_rows(op, *rows);
  return {{dtype, Shape{op.items, Dim(op.windows * op.queries), Dim(op.heads * op.v_size)}, std::nullopt}};
}

}  // namespace fcm::ops
