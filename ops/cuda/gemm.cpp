// Gemm and MatMul as cuBLASLt products. Row-major Y = A B is column-major Y' = B' A': cuBLASLt's first operand is our B.
#include "ops/cuda/gemm.h"

#include <algorithm>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

bool all_ones(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& d) { return d == Dim(1); });
}

Dim product(const Shape& shape) {
  return element_count(shape);
}

// A matrix operand: constants are converted to the dtype of the product.
Source matrix(const Request& r, size_t i, DType dtype) {
  if (!r.is_constant(i)) return r.source(i);
  const Tensor& constant = r.constant(i);
  const Place place = Place::weight(r.build.weights.add(to_bytes(float_values(constant), dtype)));
  return {{to_shape(constant.dims()), {Order::rows, dtype, 0}}, place, 0};
}

DType operand_dtype(const Request& r) {
  for (size_t i = 0; i < 2; ++i)
    if (!r.is_constant(i)) return r.inputs[i]->layout.dtype;
  throw Error(ErrorCode::internal, "a product of constants was not folded");
}

// beta * C as a vector over the columns, when C is constant and the same in every row.
std::optional<std::vector<float>> bias_vector(const Request& r, float beta, int64_t columns) {
  if (!r.has(2) || !r.is_constant(2)) return std::nullopt;
  const Dims& dims = r.constant(2).dims();
  const int64_t last = dims.empty() ? 1 : dims.back();
  if (r.constant(2).count() != last || (last != 1 && last != columns)) return std::nullopt;
  std::vector<float> values = float_values(r.constant(2));
  if (last == 1) values.assign(static_cast<size_t>(columns), values[0]);
  for (float& v : values) v *= beta;
  return values;
}

std::string name_of(const LtProblem& p, const char* what) {
  return fmt::format("{} {}x{}x{} {}", what, to_string(p.n), to_string(p.m), to_string(p.k), dtype_name(p.in));
}

}  // namespace

std::unique_ptr<Step> make_gemm(const Request& r, const Gemm& op) {
  const DType dtype = operand_dtype(r);
  const Source a = matrix(r, 0, dtype);
  const Source b = matrix(r, 1, dtype);
  const Shape& y = r.outputs[0].shape;
  LtProblem p;
  p.n = product(Shape(y.begin(), y.end() - 1));
  p.m = y.back();
  p.k = op.trans_a ? a.tensor.shape[0] : a.tensor.shape.back();
  p.trans_a = op.trans_b;  // our B is the first operand
  p.trans_b = op.trans_a;
  p.lda = b.tensor.shape[1];
  p.ldb = a.tensor.shape.back();
  p.ldc = p.ldd = p.m;
  p.in = dtype;
  p.out = r.outputs[0].layout.dtype;
  p.alpha = op.alpha;
  p.tf32 = r.build.tf32 && dtype == DType::f32;
  LtPlaces places{b.place, a.place, Place::none(), Place::output(0), Place::none()};

  std::vector<Launch> before;
  std::vector<Launch> after;
  const bool has_c = r.has(2) && op.beta != 0.0f;
  std::optional<std::vector<float>> bias;
  if (has_c && !p.m.batch) bias = bias_vector(r, op.beta, p.m.factor);
  if (bias) {
    p.bias = true;
    places.bias = Place::weight(r.build.weights.add(to_bytes(*bias, p.out)));
  }
  // A matrix C that is no bias vector goes into D first; so does a residual of another dtype.
  const bool c_first = has_c && !bias;
  if (c_first) {
    std::vector<Source> operands = {r.source(2)};
    std::string text = fmt::format("a0 * static_cast<float>({})", literal(op.beta));
    if (r.has(3)) {
      operands.push_back(r.source(3));
      text += " + a1";
    }
    before.push_back(map_launch("gemm_c", operands, r.result(), text, r.build));
    places.c = Place::output(0);
  } else if (r.has(3)) {
    const Source residual = r.source(3);
    places.c = residual.place;
    if (residual.tensor.layout.dtype != p.out) {
      before.push_back(map_launch("gemm_c", {residual}, r.result(), "a0", r.build));
      places.c = Place::output(0);
    }
  }
  p.add_c = places.c.kind != Place::Kind::none;
  p.relu = op.activation.fn == UnaryFn::relu;
  if (!p.relu && !op.activation.is_identity())
    after.push_back(
        map_launch("gemm_activation", {{r.outputs[0], Place::output(0), 0}}, r.result(), unary_text(op.activation, "a0"), r.build));
  return std::make_unique<LtStep>(p, places, std::move(before), std::move(after), name_of(p, "gemm"));
}

namespace {

struct MatMulShape {
  Shape a_batch, b_batch;
  Dim m, n, k;  // rows of A, columns of B
};

MatMulShape split_shapes(Shape a, Shape b) {
  if (a.size() == 1) a.insert(a.begin(), Dim(1));
  if (b.size() == 1) b.emplace_back(1);
  MatMulShape s;
  s.m = a[a.size() - 2];
  s.k = a.back();
  s.n = b.back();
  s.a_batch.assign(a.begin(), a.end() - 2);
  s.b_batch.assign(b.begin(), b.end() - 2);
  return s;
}

}  // namespace

std::unique_ptr<Step> make_gemm(const Request& r, const MatMul& /*op*/) {
  const DType dtype = operand_dtype(r);
  const Source a = matrix(r, 0, dtype);
  const Source b = matrix(r, 1, dtype);
  const MatMulShape s = split_shapes(a.tensor.shape, b.tensor.shape);
  LtProblem p;
  p.m = s.n;
  p.n = s.m;
  p.k = s.k;
  p.in = dtype;
  p.out = r.outputs[0].layout.dtype;
  p.tf32 = r.build.tf32 && dtype == DType::f32;
  p.lda = s.n;
  p.ldb = s.k;
  p.ldc = p.ldd = s.n;
  if (all_ones(s.b_batch)) {  // one matrix B: all rows of A at once
    p.n = multiply(product(s.a_batch), s.m);
  } else {
    p.count = product(all_ones(s.a_batch) ? s.b_batch : s.a_batch);
    p.stride_a = multiply(s.k, s.n);
    p.stride_b = all_ones(s.a_batch) ? Dim(0) : multiply(s.m, s.k);
    p.stride_d = multiply(s.m, s.n);
  }
  const LtPlaces places{b.place, a.place, Place::none(), Place::output(0), Place::none()};
  return std::make_unique<LtStep>(p, places, std::vector<Launch>{}, std::vector<Launch>{}, name_of(p, "matmul"));
}

}  // namespace fcm::ops::cuda
