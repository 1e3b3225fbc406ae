// Attention against its formula written out in double, over random layouts (the seed is printed on failure), and what it refuses.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/ops/support.h"

namespace fcm::ops::testing {
namespace {

struct Problem {
  Attention op;
  Tensor q, k, v, bias, rows;
  bool has_bias = false;
  bool has_rows = false;
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  Tensor tensor(Dims dims) {
    Tensor t(DType::f32, std::move(dims));
    for (float& x : t.data<float>()) x = std::uniform_real_distribution<float>(-1.0f, 1.0f)(engine_);
    return t;
  }
  Tensor permutation(int64_t count) {
    std::vector<int64_t> values(static_cast<size_t>(count));
    std::iota(values.begin(), values.end(), 0);
    std::shuffle(values.begin(), values.end(), engine_);
    return Tensor::ints({count}, values);
  }

 private:
  std::mt19937 engine_;
};

// A tensor of its own for an operand, with room before, between and after what the view reads.
Tensor operand(Random& random, const Attention& op, int64_t tokens, int64_t size, HeadView& view) {
  const bool heads_first = random.between(0, 1) == 0;  // [item, head, token, channel] or [item, token, head, channel]
  const int64_t room = random.between(0, 2);
  const int64_t inner = size + room;
  view.offset = room;
  view.token = heads_first ? inner : inner * op.heads;
  view.head = heads_first ? inner * tokens * op.windows : inner;
  view.item = inner * op.heads * tokens * op.windows;
  return random.tensor({op.items.factor * view.item + room});
}

Problem make_problem(uint32_t seed) {
  Random random(seed);
  Problem p;
  p.op.fn = random.between(0, 3) == 0 ? AttentionFn::relu : AttentionFn::softmax;
  p.op.items = Dim(random.between(1, 3));
  p.op.heads = random.between(1, 3);
  p.op.windows = random.between(1, 3);
  p.op.queries = random.between(1, 7);
  p.op.keys = random.between(0, 1) == 0 ? p.op.queries : random.between(1, 9);
  p.op.qk_size = random.between(1, 6);
  p.op.v_size = random.between(1, 6);
  p.op.scale = 0.5f;
  p.op.epsilon = 1e-3f;
  p.q = operand(random, p.op, p.op.queries, p.op.qk_size, p.op.q);
  p.k = operand(random, p.op, p.op.keys, p.op.qk_size, p.op.k);
  p.v = operand(random, p.op, p.op.keys, p.op.v_size, p.op.v);
  p.has_rows = p.op.queries == p.op.keys && random.between(0, 1) == 0;
  if (p.has_rows) p.rows = random.permutation(p.op.windows * p.op.queries);
  p.has_bias = p.op.fn == AttentionFn::softmax && random.between(0, 2) > 0;
  if (p.has_bias) {
    const int64_t groups[] = {1, p.op.windows, p.op.windows * p.op.items.factor};
    p.bias = random.tensor({groups[random.between(0, 2)], random.between(0, 1) == 0 ? 1 : p.op.heads,
                            random.between(0, 1) == 0 ? 1 : p.op.queries, p.op.keys});
  }
  if (random.between(0, 3) == 0) p.op.activation = {UnaryFn::hard_swish};
  return p;
}

double element(const Tensor& t, const HeadView& view, int64_t item, int64_t head, int64_t row, int64_t channel) {
  return static_cast<double>(
      t.data<float>()[static_cast<size_t>(view.offset + item * view.item + head * view.head + row * view.token + channel)]);
}

int64_t row_of(const Problem& p, int64_t window, int64_t token, int64_t tokens) {
  const int64_t at = window * tokens + token;
  return p.has_rows ? p.rows.data<int64_t>()[static_cast<size_t>(at)] : at;
}

double weight(const Problem& p, int64_t item, int64_t window, int64_t head, int64_t i, int64_t j) {
  double sum = 0.0;
  for (int64_t c = 0; c < p.op.qk_size; ++c) {
    double q = element(p.q, p.op.q, item, head, row_of(p, window, i, p.op.queries), c);
    double k = element(p.k, p.op.k, item, head, row_of(p, window, j, p.op.keys), c);
    if (p.op.fn == AttentionFn::relu) q = std::max(q, 0.0), k = std::max(k, 0.0);
    sum += q * k;
  }
  if (p.op.fn == AttentionFn::relu) return sum;
  sum *= static_cast<double>(p.op.scale);
  if (p.has_bias) {
    const Dims& d = p.bias.dims();
    const int64_t group = (item * p.op.windows + window) % d[0];
    const int64_t at = ((group * d[1] + (d[1] == 1 ? 0 : head)) * d[2] + (d[2] == 1 ? 0 : i)) * d[3] + j;
    sum += static_cast<double>(p.bias.data<float>()[static_cast<size_t>(at)]);
  }
  return std::exp(sum);
}

double expected(const Problem& p, int64_t item, int64_t window, int64_t head, int64_t i, int64_t c) {
  double total = p.op.fn == AttentionFn::relu ? static_cast<double>(p.op.epsilon) : 0.0;
  double mixed = 0.0;
  for (int64_t j = 0; j < p.op.keys; ++j) {
    const double w = weight(p, item, window, head, i, j);
    total += w;
    mixed += w * element(p.v, p.op.v, item, head, row_of(p, window, j, p.op.keys), c);
  }
  const double y = mixed / total;
  return p.op.activation.is_identity() ? y : y * std::clamp(y / 6.0 + 0.5, 0.0, 1.0);
}

TEST(Attention, AgreesWithTheFormula) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Problem p = make_problem(seed);
    const auto optional = [](bool has, const Tensor& t) { return has ? std::optional(t) : std::nullopt; };
    const Tensor y = run(p.op, {p.q, p.k, p.v, optional(p.has_bias, p.bias), optional(p.has_rows, p.rows)})[0];
    const int64_t rows = p.op.windows * p.op.queries;
    ASSERT_EQ(y.dims(), (Dims{p.op.items.factor, rows, p.op.heads * p.op.v_size}));
    for (int64_t item = 0; item < p.op.items.factor; ++item) {
      for (int64_t at = 0; at < rows * p.op.heads * p.op.v_size; ++at) {
        const int64_t c = at % p.op.v_size;
        const int64_t head = at / p.op.v_size % p.op.heads;
        const int64_t token = at / p.op.v_size / p.op.heads;  // in the order of windows
        const int64_t row = row_of(p, token / p.op.queries, token % p.op.queries, p.op.queries);
        const auto index = static_cast<size_t>(((item * rows + row) * p.op.heads + head) * p.op.v_size + c);
        const double want = expected(p, item, token / p.op.queries, head, token % p.op.queries, c);
        ASSERT_NEAR(static_cast<double>(y.data<float>()[index]), want, 1e-5 * (1.0 + std::fabs(want)));
      }
    }
  }
}

Attention packed() {
  Attention op;
  op.items = B;
  op.heads = 2;
  op.queries = op.keys = 5;
  op.qk_size = op.v_size = 4;
  op.q = {0, 120, 4, 24};
  op.k = {8, 120, 4, 24};
  op.v = {16, 120, 4, 24};
  return op;
}

TEST(Attention, OneTensorMayHoldAllOperands) {
  const Checked checked = check(packed(), {Input::of({B, 5, 24})});
  EXPECT_EQ(checked.shape(), (Shape{B, 5, 8}));
}

TEST(Attention, Refusals) {
  const auto refused = [](const Attention& op, std::vector<Input> inputs) {
    return error_of(ErrorCode::bad_input, [&] { check(op, inputs); });
  };
  const Input x = Input::of({B, 5, 24});
  const Input none = Input::none();
  EXPECT_NE(refused(packed(), {Input::of({B, 5, 23})}).find("does not fit its tensor"), std::string::npos);
  EXPECT_NE(refused(packed(), {Input::of({5, 24})}).find("does not fit its tensor"), std::string::npos);
  EXPECT_NE(refused(packed(), {x, none, none, Input::of({1, 3, 5, 5})}).find("accepted is [A, 1 or 2, 1 or 5, 5]"), std::string::npos);
  EXPECT_NE(refused(packed(), {x, none, none, Input::of({2, 2, 5, 5})}).find("must divide"), std::string::npos);
  EXPECT_NE(refused(packed(), {x, none, none, none, Input::list({0, 1, 2, 3, 3})}).find("no permutation"), std::string::npos);
  EXPECT_NE(refused(packed(), {x, none, none, none, Input::list({0, 1, 2, 3})}).find("accepted is [5]"), std::string::npos);
  Attention empty = packed();
  empty.heads = 0;
  EXPECT_NE(refused(empty, {x}).find("below 1"), std::string::npos);
}

}  // namespace
}  // namespace fcm::ops::testing
