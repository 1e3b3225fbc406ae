// Conv, Pool, Gemm, MatMul and broadcasting against naive loops in double, over random shapes (the seed is printed on failure).
#include <cmath>
#include <random>

#include "tests/ops/support.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fcm::ops::testing {
namespace {

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  bool coin() { return between(0, 1) == 1; }
  Tensor tensor(Dims dims, DType dtype = DType::f32) {
    Tensor t(DType::f32, std::move(dims));
    for (float& v : t.data<float>()) v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(engine_);
    return t.cast(dtype);
  }

 private:
  std::mt19937 engine_;
};

std::vector<double> doubles(const Tensor& t) {
  const Tensor wide = t.cast(DType::f64);
  const auto values = std::as_const(wide).data<double>();
  return {values.begin(), values.end()};
}

// Index into a dense tensor; false when outside.
bool locate(const Dims& dims, const Ints& index, int64_t* offset) {
  *offset = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (index[i] < 0 || index[i] >= dims[i]) return false;
    *offset = *offset * dims[i] + index[i];
  }
  return true;
}

// Advances a row-major index; false after the last.
bool advance(Ints& index, const Dims& dims) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

void expect_close(const Tensor& got, const std::vector<double>& want, double tolerance) {
  const std::vector<double> values = doubles(got);
  ASSERT_EQ(values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(values[i], want[i], tolerance * (1.0 + std::fabs(want[i]))) << "element " << i;
}

std::vector<double> naive_conv(const Conv& op, const Tensor& x, const Tensor& w, const Tensor& bias, const Dims& out) {
  const std::vector<double> xs = doubles(x), ws = doubles(w), bs = doubles(bias);
  const int64_t filters_per_group = w.dims()[0] / op.group;
  std::vector<double> y;
  Ints o(out.size(), 0);
  do {
    double sum = bs[static_cast<size_t>(o[1])];
    Ints k(w.dims().begin() + 1, w.dims().end());
    const Dims kernel_dims = k;
    std::fill(k.begin(), k.end(), 0);
    do {
      Ints at = {o[0], o[1] / filters_per_group * w.dims()[1] + k[0]};
      Ints wi = {o[1], k[0]};
      for (size_t i = 1; i < k.size(); ++i) {
        at.push_back(o[i + 1] * op.window.strides[i - 1] + k[i] * op.window.dilations[i - 1] - op.window.pads_begin[i - 1]);
        wi.push_back(k[i]);
      }
      int64_t x_offset = 0, w_offset = 0;
      locate(w.dims(), wi, &w_offset);
      if (locate(x.dims(), at, &x_offset)) sum += xs[static_cast<size_t>(x_offset)] * ws[static_cast<size_t>(w_offset)];
    } while (advance(k, kernel_dims));
    y.push_back(sum);
  } while (advance(o, out));
  return y;
}

double activate_naive(const Unary& u, double v) {
  return u.is_identity() ? v : static_cast<double>(apply(u, static_cast<float>(v)));
}

struct ConvCase {
  Conv op;
  Tensor x, w, bias;
};

ConvCase random_conv(Random& random, DType dtype) {
  ConvCase c;
  const int64_t rank = random.between(1, 3);
  c.op.group = random.coin() ? 1 : random.between(2, 5);
  const int64_t inputs_per_group = random.coin() && c.op.group > 1 ? 1 : random.between(1, 9);
  const int64_t filters = c.op.group * (random.coin() ? random.between(1, 3) : random.between(10, 40));
  Dims x = {random.between(1, 3), c.op.group * inputs_per_group};
  Dims w = {filters, inputs_per_group};
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t kernel = random.coin() ? 1 : random.between(1, 5);
    c.op.window.dilations.push_back(random.between(1, 2));
    c.op.window.strides.push_back(random.between(1, 3));
    c.op.window.pads_begin.push_back(random.between(0, 3));
    c.op.window.pads_end.push_back(random.between(0, 3));
    x.push_back((kernel - 1) * c.op.window.dilations.back() + random.between(1, rank == 3 ? 5 : 14));
    w.push_back(kernel);
  }
  c.x = random.tensor(x, dtype);
  c.w = random.tensor(w, dtype);
  c.bias = random.tensor({filters}, dtype);
  return c;
}

void check_conv(ConvCase c, Random& random, double tolerance) {
  c.op.residual_after_activation = random.coin();
  const bool residual = random.coin();
  if (random.coin()) c.op.activation = {UnaryFn::silu, 0.0f, 0.0f};
  const Shape out = check(c.op, {Input::value(c.x), Input::value(c.w)}).shape();
  const Tensor added = random.tensor(at_batch(out, 1), c.x.dtype());
  const Tensor y = run(c.op, {c.x, c.w, c.bias, residual ? std::optional(added) : std::nullopt})[0];
  const Conv bound = std::get<Conv>(check(c.op, {Input::value(c.x), Input::value(c.w)}).node.op);
  std::vector<double> want = naive_conv(bound, c.x, c.w, c.bias, y.dims());
  const std::vector<double> extra = doubles(added);
  for (size_t i = 0; i < want.size(); ++i) {
    if (residual && !c.op.residual_after_activation) want[i] += extra[i];
    want[i] = activate_naive(c.op.activation, want[i]);
    if (residual && c.op.residual_after_activation) want[i] += extra[i];
  }
  expect_close(y, want, tolerance);
}

TEST(Oracle, ConvolutionInFloat) {
  for (uint32_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    check_conv(random_conv(random, DType::f32), random, 2e-5);
  }
}

TEST(Oracle, ConvolutionInOtherTypes) {
  for (uint32_t seed = 500; seed < 515; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    check_conv(random_conv(random, DType::f16), random, 2e-3);
    check_conv(random_conv(random, DType::bf16), random, 1e-2);
  }
}

TEST(Oracle, ConvolutionInDoubleIsExactToRounding) {
  Random random(77);
  ConvCase c = random_conv(random, DType::f64);
  const Tensor y = run(c.op, {c.x, c.w, c.bias})[0];
  const Conv bound = std::get<Conv>(check(c.op, {Input::value(c.x), Input::value(c.w)}).node.op);
  expect_close(y, naive_conv(bound, c.x, c.w, c.bias, y.dims()), 1e-13);
}

// More rows, columns and depth than one block of the product.
TEST(Oracle, ConvolutionAcrossBlocks) {
  Random random(9);
  ConvCase c;
  c.op.window.pads_begin = {1, 1};
  c.op.window.pads_end = {1, 1};
  c.x = random.tensor({1, 70, 11, 9});
  c.w = random.tensor({67, 70, 3, 3});
  c.bias = random.tensor({67});
  check_conv(c, random, 5e-5);
  c.op.window = {};
  c.w = random.tensor({130, 70, 1, 1});
  c.bias = random.tensor({130});
  check_conv(c, random, 5e-5);
}

std::vector<double> naive_pool(const Pool& op, const Tensor& x, const Dims& out) {
  const std::vector<double> xs = doubles(x);
  const Window& window = op.window;
  std::vector<double> y;
  Ints o(out.size(), 0);
  do {
    double best = -INFINITY, sum = 0.0;
    int64_t inside = 0, padded = 0;
    Ints k(window.kernel.size(), 0);
    do {
      Ints at = {o[0], o[1]};
      bool in_padded = true;
      for (size_t i = 0; i < k.size(); ++i) {
        at.push_back(o[i + 2] * window.strides[i] + k[i] * window.dilations[i] - window.pads_begin[i]);
        in_padded = in_padded && at.back() < x.dims()[i + 2] + window.pads_end[i];
      }
      int64_t offset = 0;
      padded += in_padded ? 1 : 0;
      if (!locate(x.dims(), at, &offset)) continue;
      ++inside;
      best = std::max(best, xs[static_cast<size_t>(offset)]);
      sum += xs[static_cast<size_t>(offset)];
    } while (advance(k, window.kernel));
    const int64_t cells = op.count_include_pad ? padded : inside;
    y.push_back(op.fn == PoolFn::max ? best : sum / static_cast<double>(cells));
  } while (advance(o, out));
  return y;
}

TEST(Oracle, Pooling) {
  for (uint32_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Pool op;
    op.fn = random.coin() ? PoolFn::max : PoolFn::average;
    op.ceil_mode = random.coin();
    op.count_include_pad = random.coin();
    Dims x = {random.between(1, 2), random.between(1, 3)};
    for (int64_t rank = random.between(1, 3); rank > 0; --rank) {
      const int64_t kernel = random.between(1, 4);
      op.window.kernel.push_back(kernel);
      op.window.strides.push_back(random.between(1, 4));
      op.window.dilations.push_back(random.between(1, 2));
      // Pads below the kernel, and an input in which every window meets a cell.
      op.window.pads_begin.push_back(random.between(0, kernel - 1));
      op.window.pads_end.push_back(random.between(0, kernel - 1));
      x.push_back(2 * kernel + random.between(1, 6));
    }
    const Tensor input = random.tensor(x);
    const Tensor y = run(op, {input})[0];
    expect_close(y, naive_pool(op, input, y.dims()), 1e-6);
  }
}

TEST(Oracle, CeilModeDropsAWindowThatStartsInTheEndPad) {
  Pool op;
  op.window = {{2}, {2}, {}, {0}, {1}, AutoPad::explicit_pads};
  op.ceil_mode = true;
  // Windows at 0, 2, 4: the one at 4 would start beyond the 4 elements.
  EXPECT_EQ(check(op, {Input::of({B, 3, 4})}).shape(), (Shape{B, 3, 2}));
  EXPECT_EQ(check(op, {Input::of({B, 3, 5})}).shape(), (Shape{B, 3, 3}));
}

TEST(Oracle, MatrixProducts) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const int64_t m = random.between(1, 90), n = random.between(1, 90), k = random.between(1, 400);
    Gemm op{0.75f, -0.5f, random.coin(), random.coin(), {}};
    op.activation = random.coin() ? Unary{UnaryFn::relu, 0.0f, 0.0f} : Unary{};
    const Tensor a = random.tensor(op.trans_a ? Dims{k, m} : Dims{m, k});
    const Tensor b = random.tensor(op.trans_b ? Dims{n, k} : Dims{k, n});
    const std::vector<Dims> forms = {{n}, {1, n}, {m, 1}, {m, n}, {1}, {}};
    const Tensor c = random.tensor(forms[static_cast<size_t>(random.between(0, 5))]);
    const bool residual = random.coin();
    const Tensor added = random.tensor({m, n});
    const std::vector<double> as = doubles(a), bs = doubles(b), cs = doubles(c), rs = doubles(added);
    std::vector<double> want;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0.0;
        for (int64_t q = 0; q < k; ++q)
          sum += as[static_cast<size_t>(op.trans_a ? q * m + i : i * k + q)] * bs[static_cast<size_t>(op.trans_b ? j * k + q : q * n + j)];
        const bool by_row = c.rank() == 2 && c.dims()[0] != 1, by_column = c.rank() >= 1 && c.dims().back() != 1;
        const int64_t at = (by_row ? i * (by_column ? n : 1) : 0) + (by_column ? j : 0);
        const double v = 0.75 * sum - 0.5 * cs[static_cast<size_t>(at)] + (residual ? rs[static_cast<size_t>(i * n + j)] : 0.0);
        want.push_back(op.activation.is_identity() ? v : std::max(v, 0.0));
      }
    }
    const std::optional<Tensor> sum = residual ? std::optional(added) : std::nullopt;
    expect_close(run(op, {a, b, c, sum})[0], want, 5e-5);
    const bool bias = c.rank() < 2 || c.dims()[0] == 1;
    if (op.trans_a || !bias) continue;  // the rows on three axes
    const Tensor tokens = run(op, {a.reshaped({1, m, k}), b, c, sum ? std::optional(sum->reshaped({1, m, n})) : std::nullopt})[0];
    EXPECT_EQ(tokens.dims(), (Dims{1, m, n}));
    expect_close(tokens, want, 5e-5);
  }
}

TEST(Oracle, BroadcastArithmetic) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Dims out;
    for (int64_t rank = random.between(0, 5); rank > 0; --rank) out.push_back(random.between(1, 4));
    const auto narrowed = [&] {
      Dims dims(out.begin() + random.between(0, static_cast<int64_t>(out.size())), out.end());
      for (int64_t& d : dims) d = random.coin() ? d : 1;
      return dims;
    };
    const Tensor a = random.tensor(narrowed()), b = random.tensor(narrowed());
    const Tensor y = run(Binary{BinaryFn::sub, {UnaryFn::tanh, 0.0f, 0.0f}}, {a, b})[0];
    const std::vector<double> as = doubles(a), bs = doubles(b);
    const auto value = [&](const Tensor& t, const std::vector<double>& values, const Ints& index) {
      Ints own(index.end() - t.rank(), index.end());
      for (size_t i = 0; i < own.size(); ++i) own[i] = t.dims()[i] == 1 ? 0 : own[i];
      int64_t offset = 0;
      locate(t.dims(), own, &offset);
      return values[static_cast<size_t>(offset)];
    };
    std::vector<double> want;
    Ints index(y.dims().size(), 0);
    do want.push_back(std::tanh(value(a, as, index) - value(b, bs, index)));
    while (advance(index, y.dims()));
    expect_close(y, want, 1e-6);
  }
}

TEST(Oracle, BatchedMatMulBroadcasts) {
  Random random(5);
  const Tensor a = random.tensor({2, 1, 3, 5}), b = random.tensor({4, 5, 70});
  const Tensor y = run(MatMul{}, {a, b})[0];
  ASSERT_EQ(y.dims(), (Dims{2, 4, 3, 70}));
  const std::vector<double> as = doubles(a), bs = doubles(b);
  std::vector<double> want;
  for (size_t n = 0; n < 2 * 4 * 3 * 70; ++n) {
    const size_t column = n % 70, row = n / 70 % 3, inner = n / 210 % 4, outer = n / 840;
    double sum = 0.0;
    for (size_t k = 0; k < 5; ++k) sum += as[(outer * 3 + row) * 5 + k] * bs[(inner * 5 + k) * 70 + column];
    want.push_back(sum);
  }
  expect_close(y, want, 1e-6);
}

#ifdef _OPENMP
TEST(Oracle, SameBitsForAnyNumberOfThreads) {
  Random random(3);
  const Tensor x = random.tensor({2, 70, 40, 40}), w = random.tensor({90, 70, 3, 3}), bias = random.tensor({90});
  const auto bits = [&](int threads) {
    omp_set_num_threads(threads);
    const Tensor y = run(Conv{}, {x, w, bias})[0];
    const Tensor pooled = run(Reduce{ReduceFn::mean, Ints{0, 2}, true, false}, {y})[0];
    return doubles(run(Softmax{1, false, false}, {run(Binary{BinaryFn::mul, {}}, {y, pooled})[0]})[0]);
  };
  const std::vector<double> one = bits(1);
  EXPECT_EQ(one, bits(2));
  EXPECT_EQ(one, bits(5));
}
#endif

TEST(Oracle, IntegerEdges) {
  const auto ints = [](std::vector<int64_t> v) { return Tensor::ints({static_cast<int64_t>(v.size())}, v); };
  const Tensor y = run(Binary{BinaryFn::div, {}}, {ints({INT64_MIN, 7}), ints({-1, -2})})[0];
  EXPECT_EQ(y.data<int64_t>()[0], INT64_MIN);  // wraps
  EXPECT_EQ(y.data<int64_t>()[1], -3);
  error_of(ErrorCode::bad_input, [&] { run(Binary{BinaryFn::mod, {}}, {ints({1}), ints({0})}); });
  error_of(ErrorCode::bad_input, [&] { run(Gather{0}, {ints({1, 2}), ints({2})}); });
  Slice whole_backwards{false, {}, {}, {}, {}};
  const Tensor reversed = run(whole_backwards, {ints({1, 2, 3}), ints({-1}), ints({-9223372036854775807}), ints({0}), ints({-1})})[0];
  EXPECT_EQ(reversed.data<int64_t>()[0], 3);
  EXPECT_EQ(reversed.data<int64_t>()[2], 1);
  const Tensor stepped = run(whole_backwards, {ints({1, 2, 3}), ints({INT64_MAX}), ints({INT64_MIN}), ints({0}), ints({INT64_MIN})})[0];
  ASSERT_EQ(stepped.count(), 1);
  EXPECT_EQ(stepped.data<int64_t>()[0], 3);
}

}  // namespace
}  // namespace fcm::ops::testing
