// Gemm and MatMul: shapes of matrix products; the batch may be a row count or a leading axis.
#include "ops/broadcast.h"
#include "ops/gemm/gemm.h"

namespace fcm::ops {
namespace {

void need_matrix(const Known& k, std::string_view what) {
  if (k.shape.size() != 2) bad_input("{} has shape {}; accepted is rank 2", what, to_string(k.shape));
}

void need_inner(const Dim& a, const Dim& b, const Known& x, const Known& y) {
  if (a != b)
    bad_input("inner dimensions differ: {} against {} of {} and {}", to_string(a), to_string(b), to_string(x.shape), to_string(y.shape));
}

bool is_matmul_type(DType t) {
  return is_float(t) || t == DType::i32 || t == DType::u32 || t == DType::i64 || t == DType::u64;
}

// Rows on any number of axes, unless A is transposed.
void need_rows(const Gemm& op, const Known& a) {
  if (op.trans_a || a.shape.size() < 2) need_matrix(a, "A");
}

}  // namespace

void bind_op(Gemm& op, Node&, Inputs inputs) {
  need_rows(op, need(inputs, 0));
  need_matrix(need(inputs, 1), "B");
}

std::vector<Inferred> infer_op(const Gemm& op, const Node&, Inputs inputs) {
  const Known& a = need(inputs, 0);
  const Known& b = need(inputs, 1);
  need_rows(op, a);
  need_matrix(b, "B");
  need_float(a.dtype, "A");
  need_same(a.dtype, b.dtype, "A and B");
  need_inner(op.trans_a ? a.shape[0] : a.shape.back(), b.shape[op.trans_b ? 1 : 0], a, b);
  Shape y = a.shape;
  if (op.trans_a)
    y = {a.shape[1]};
  else
    y.pop_back();
  y.push_back(b.shape[op.trans_b ? 0 : 1]);
  if (const Known* c = known(inputs, 2)) {
    need_same(a.dtype, c->dtype, "A and C");
    const Shape matrix = y.size() == 2 ? y : Shape{Dim(1), y.back()};  // rows on several axes have a bias alone
    if (c->shape.size() > 2 || broadcast(c->shape, matrix) != matrix)
      bad_input("C has shape {}; accepted is one that broadcasts to {}", to_string(c->shape), to_string(matrix));
  }
  if (const Known* residual = known(inputs, 3)) {
    need_same(a.dtype, residual->dtype, "A and residual");
    if (residual->shape != y) bad_input("residual has shape {}; accepted is {}", to_string(residual->shape), to_string(y));
  }
  return {{a.dtype, y, std::nullopt}};
}

void bind_op(MatMul&, Node&, Inputs) {}

std::vector<Inferred> infer_op(const MatMul&, const Node&, Inputs inputs) {
  const Known& a = need(inputs, 0);
  const Known& b = need(inputs, 1);
  need_same(a.dtype, b.dtype, "A and B");
  if (!is_matmul_type(a.dtype)) bad_input("A has type {}; accepted are floats, i32, u32, i64, u64", dtype_name(a.dtype));
  if (a.shape.empty() || b.shape.empty()) bad_input("a scalar input; accepted is rank 1 and more");
  // A vector counts as a one-row (A) or one-column (B) matrix whose axis disappears from the result.
  Shape x = a.shape;
  Shape y = b.shape;
  const bool row = x.size() == 1;
  const bool column = y.size() == 1;
  if (row) x.insert(x.begin(), Dim(1));
  if (column) y.emplace_back(1);
  need_inner(x.back(), y[y.size() - 2], a, b);
  Shape result = broadcast(Shape(x.begin(), x.end() - 2), Shape(y.begin(), y.end() - 2));
  if (!row) result.push_back(x[x.size() - 2]);
  if (!column) result.push_back(y.back());
  return {{a.dtype, result, std::nullopt}};
}

}  // namespace fcm::ops
