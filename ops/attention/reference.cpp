// Attention on the CPU, one query of one head at a time: scores as running sums over the channels, softmax and the sum over the keys in
// double, rounded once. The ReLU form keeps its sums in double as well, in the order of the formula: the matrix of K and V first.
#include <cmath>
#include <limits>

#include "ops/attention/attention.h"
#include "ops/elementwise/activation.h"
#include "ops/parallel.h"

namespace fcm::ops {
namespace {

template <class T>
struct Operand {
  const T* data;
  HeadView view;

  const T* at(int64_t item, int64_t head, int64_t row) const {
    return data + view.offset + item * view.item + head * view.head + row * view.token;
  }
};

// Bias[group mod A, head, query, key]; axes of one element are read at 0.
template <class T>
struct Bias {
  const T* data = nullptr;
  Dims dims;

  const T* row(int64_t group, int64_t head, int64_t query) const {
    const int64_t h = dims[1] == 1 ? 0 : head;
    const int64_t q = dims[2] == 1 ? 0 : query;
    return data + ((group % dims[0] * dims[1] + h) * dims[2] + q) * dims[3];
  }
};

template <class T>
struct Problem {
  const Attention& op;
  Operand<T> q, k, v;
  Bias<T> bias;
  std::vector<int64_t> rows;  // empty: in order
  T* y;

  int64_t row(int64_t window, int64_t token, int64_t tokens) const {
    const int64_t at = window * tokens + token;
    return rows.empty() ? at : rows[static_cast<size_t>(at)];
  }
  T* result(int64_t item, int64_t head, int64_t row) const {
    return y + ((item * op.windows * op.queries + row) * op.heads + head) * op.v_size;
  }
};

template <class T>
void softmax_query(const Problem<T>& p, int64_t item, int64_t window, int64_t head, int64_t query, std::vector<double>& scores) {
  const Attention& op = p.op;
  const int64_t row = p.row(window, query, op.queries);
  const T* q = p.q.at(item, head, row);
  const T* bias = p.bias.data != nullptr ? p.bias.row(item * op.windows + window, head, query) : nullptr;
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t j = 0; j < op.keys; ++j) {
    const T* k = p.k.at(item, head, p.row(window, j, op.keys));
    T sum = 0;
    for (int64_t c = 0; c < op.qk_size; ++c) sum += q[c] * k[c];
    sum *= static_cast<T>(op.scale);
    if (bias != nullptr) sum += bias[j];
    scores[static_cast<size_t>(j)] = static_cast<double>(sum);
    most = std::max(most, static_cast<double>(sum));
  }
  double total = 0.0;
  for (double& s : scores) total += s = std::exp(s - most);
  std::vector<double> mixed(static_cast<size_t>(op.v_size), 0.0);
  for (int64_t j = 0; j < op.keys; ++j) {
    const T* v = p.v.at(item, head, p.row(window, j, op.keys));
    const double share = scores[static_cast<size_t>(j)] / total;
    for (int64_t c = 0; c < op.v_size; ++c) mixed[static_cast<size_t>(c)] += share * static_cast<double>(v[c]);
  }
  T* y = p.result(item, head, row);
  for (int64_t c = 0; c < op.v_size; ++c) y[c] = static_cast<T>(mixed[static_cast<size_t>(c)]);
}

template <class T>
double positive(T x) {
  return x < T(0) ? 0.0 : static_cast<double>(x);
}

// The last column of `products` belongs to the ones that stand beside V.
template <class T>
void relu_head(const Problem<T>& p, int64_t item, int64_t window, int64_t head) {
  const Attention& op = p.op;
  const int64_t width = op.v_size + 1;
  std::vector<double> products(static_cast<size_t>(op.qk_size * width), 0.0);
  for (int64_t j = 0; j < op.keys; ++j) {
    const int64_t row = p.row(window, j, op.keys);
    const T* k = p.k.at(item, head, row);
    const T* v = p.v.at(item, head, row);
    for (int64_t d = 0; d < op.qk_size; ++d) {
      const double factor = positive(k[d]);
      double* line = products.data() + d * width;
      for (int64_t c = 0; c < op.v_size; ++c) line[c] += factor * static_cast<double>(v[c]);
      line[op.v_size] += factor;
    }
  }
  std::vector<double> sums(static_cast<size_t>(width));
  for (int64_t i = 0; i < op.queries; ++i) {
    const int64_t row = p.row(window, i, op.queries);
    const T* q = p.q.at(item, head, row);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t d = 0; d < op.qk_size; ++d) {
      const double factor = positive(q[d]);
      for (int64_t c = 0; c < width; ++c) sums[static_cast<size_t>(c)] += factor * products[static_cast<size_t>(d * width + c)];
    }
    T* y = p.result(item, head, row);
    const double divisor = sums[static_cast<size_t>(op.v_size)] + static_cast<double>(op.epsilon);
    for (int64_t c = 0; c < op.v_size; ++c) y[c] = static_cast<T>(sums[static_cast<size_t>(c)] / divisor);
  }
}

template <class T>
void attention_typed(const Attention& op, Tensors inputs, Tensor& y) {
  const Tensor* holders[3];
  for (size_t i = 0; i < 3; ++i) holders[i] = tensor(inputs, i) != nullptr ? tensor(inputs, i) : holders[i - 1];
  Problem<T> p{op,
               {holders[0]->data<T>().data(), op.q},
               {holders[1]->data<T>().data(), op.k},
               {holders[2]->data<T>().data(), op.v},
               {},
               {},
               y.data<T>().data()};
  if (const Tensor* bias = tensor(inputs, kBias)) p.bias = {bias->data<T>().data(), bias->dims()};
  if (const Tensor* rows = tensor(inputs, kRows)) {
    const Tensor table = rows->cast(DType::i64);
    const auto values = std::as_const(table).data<int64_t>();
    p.rows.assign(values.begin(), values.end());
  }
  const int64_t heads = y.dims()[0] * op.windows * op.heads;
  parallel_for(heads, op.queries * op.keys * (op.qk_size + op.v_size), [&](int64_t task) {
    const int64_t head = task % op.heads;
    const int64_t window = task / op.heads % op.windows;
    const int64_t item = task / op.heads / op.windows;
    if (op.fn == AttentionFn::relu) return relu_head(p, item, window, head);
    std::vector<double> scores(static_cast<size_t>(op.keys));
    for (int64_t i = 0; i < op.queries; ++i) softmax_query(p, item, window, head, i, scores);
  });
  activate(op.activation, p.y, y.count());
}

}  // namespace

void compute(const Attention& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return attention_typed<double>(op, inputs, outputs[0]);
  attention_typed<float>(op, inputs, outputs[0]);
}

}  // namespace fcm::ops
