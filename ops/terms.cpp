#include "ops/terms.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace fcm::ops {
namespace {

// A range of values over all B >= 1; the int64 limits stand for infinity.
struct Bounds {
  int64_t low;
  int64_t high;
};

Bounds bounds(const Dim& d) {
  if (!d.batch) return {d.factor, d.factor};
  if (d.factor > 0) return {d.factor, std::numeric_limits<int64_t>::max()};
  return {std::numeric_limits<int64_t>::min(), d.factor};
}

// 0*B is plainly 0.
Dim make(int64_t factor, bool batch) {
  return {factor, batch && factor != 0};
}

std::optional<Dim> add(const Dim& a, const Dim& b) {
  if (a == Dim(0)) return b;
  if (b == Dim(0)) return a;
  int64_t sum = 0;
  if (a.batch != b.batch || __builtin_add_overflow(a.factor, b.factor, &sum)) return std::nullopt;
  return make(sum, a.batch);
}

std::optional<Dim> multiply(const Dim& a, const Dim& b) {
  int64_t product = 0;
  if ((a.batch && b.batch) || __builtin_mul_overflow(a.factor, b.factor, &product)) return std::nullopt;
  return make(product, a.batch || b.batch);
}

bool division_traps(int64_t a, int64_t b) {
  return b == 0 || (b == -1 && a == std::numeric_limits<int64_t>::min());
}

// Integer division truncates toward zero, as in C++.
std::optional<Dim> divide(const Dim& a, const Dim& b) {
  if (division_traps(a.factor, b.factor)) return std::nullopt;
  if (a.batch == b.batch) return Dim(a.factor / b.factor);
  if (a.batch) return a.factor % b.factor == 0 ? std::optional(make(a.factor / b.factor, true)) : std::nullopt;
  if (a.factor > -std::abs(b.factor) && a.factor < std::abs(b.factor)) return Dim(0);
  return std::nullopt;
}

std::optional<Dim> modulo(const Dim& a, const Dim& b, bool sign_of_divisor) {
  if (division_traps(a.factor, b.factor)) return std::nullopt;
  if (a.batch != b.batch) return a.batch && a.factor % b.factor == 0 ? std::optional(Dim(0)) : std::nullopt;
  int64_t remainder = a.factor % b.factor;
  if (sign_of_divisor && remainder != 0 && (remainder < 0) != (b.factor < 0)) remainder += b.factor;
  return make(remainder, a.batch);
}

std::optional<bool> less(const Dim& a, const Dim& b) {
  if (a.batch && b.batch) return a.factor < b.factor;
  if (bounds(a).high < bounds(b).low) return true;
  if (bounds(a).low >= bounds(b).high) return false;
  return std::nullopt;
}

std::optional<bool> equal(const Dim& a, const Dim& b) {
  if (a.batch == b.batch) return a.factor == b.factor;
  const Dim& scaled = a.batch ? a : b;
  const Dim& plain = a.batch ? b : a;
  const bool reachable = bounds(scaled).low <= plain.factor && plain.factor <= bounds(scaled).high && plain.factor % scaled.factor == 0;
  if (reachable) return std::nullopt;  // for one B and not for others
  return false;
}

std::optional<Dim> as_dim(std::optional<bool> b, bool negate = false) {
  if (!b) return std::nullopt;
  return Dim(*b != negate ? 1 : 0);
}

std::optional<Dim> logical(BinaryFn fn, const Dim& a, const Dim& b) {
  if (a.batch || b.batch) return std::nullopt;
  const bool x = a.factor != 0;
  const bool y = b.factor != 0;
  if (fn == BinaryFn::logical_and) return Dim(x && y ? 1 : 0);
  if (fn == BinaryFn::logical_or) return Dim(x || y ? 1 : 0);
  return Dim(x != y ? 1 : 0);
}

std::optional<Dim> pick(std::optional<bool> first, const Dim& a, const Dim& b) {
  if (!first) return std::nullopt;
  return *first ? a : b;
}

// Whether a <= b, also where the two may meet.
std::optional<bool> not_above(const Dim& a, const Dim& b) {
  if (a.batch && b.batch) return a.factor <= b.factor;
  if (bounds(a).high <= bounds(b).low) return true;
  if (bounds(a).low >= bounds(b).high) return false;
  return std::nullopt;
}

}  // namespace

std::optional<Terms> contents(const Known& k) {
  if (is_float(k.dtype)) return std::nullopt;
  if (k.constant != nullptr) {
    if (k.constant->count() > kMaxTerms) return std::nullopt;
    const Tensor wide = k.constant->cast(DType::i64);
    const auto values = wide.data<int64_t>();
    return Terms(values.begin(), values.end());
  }
  if (k.terms != nullptr) return *k.terms;
  return std::nullopt;
}

bool is_symbolic(const Known& k) {
  return k.constant == nullptr && k.terms != nullptr;
}

Terms need_terms(const Known& k, std::string_view what) {
  if (is_float(k.dtype)) bad_input("{} has type {}; accepted are i64 and i32", what, dtype_name(k.dtype));
  if (k.shape.size() > 1) bad_input("{} has shape {}; accepted is a list (rank 1)", what, to_string(k.shape));
  std::optional<Terms> terms = contents(k);
  if (!terms) unsupported("{} is computed at run time; accepted are constants and arithmetic on shapes", what);
  return std::move(*terms);
}

Ints need_ints(const Known& k, std::string_view what) {
  Ints result;
  for (const Dim& term : need_terms(k, what)) {
    if (term.batch) unsupported("{} depends on the batch ({}); accepted are constants", what, to_string(term));
    result.push_back(term.factor);
  }
  return result;
}

std::optional<Dim> evaluate(BinaryFn fn, const Dim& a, const Dim& b) {
  switch (fn) {
    case BinaryFn::add:
      return add(a, b);
    case BinaryFn::sub:
      return b.factor == std::numeric_limits<int64_t>::min() ? std::nullopt : add(a, make(-b.factor, b.batch));
    case BinaryFn::mul:
      return multiply(a, b);
    case BinaryFn::div:
      return divide(a, b);
    case BinaryFn::mod:
      return modulo(a, b, true);
    case BinaryFn::fmod:
      return modulo(a, b, false);
    case BinaryFn::min:
      return pick(not_above(a, b), a, b);
    case BinaryFn::max:
      return pick(not_above(a, b), b, a);
    case BinaryFn::equal:
      return as_dim(equal(a, b));
    case BinaryFn::less:
      return as_dim(less(a, b));
    case BinaryFn::greater:
      return as_dim(less(b, a));
    case BinaryFn::less_equal:
      return as_dim(less(b, a), true);
    case BinaryFn::greater_equal:
      return as_dim(less(a, b), true);
    case BinaryFn::logical_and:
    case BinaryFn::logical_or:
    case BinaryFn::logical_xor:
      return logical(fn, a, b);
    case BinaryFn::pow:
    case BinaryFn::prelu:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Dim> evaluate(UnaryFn fn, const Dim& a) {
  if (a.factor == std::numeric_limits<int64_t>::min()) return std::nullopt;
  switch (fn) {
    case UnaryFn::identity:
      return a;
    case UnaryFn::neg:
      return make(-a.factor, a.batch);
    case UnaryFn::abs:
      return make(std::abs(a.factor), a.batch);
    case UnaryFn::sign:
      return Dim((a.factor > 0 ? 1 : 0) - (a.factor < 0 ? 1 : 0));
    case UnaryFn::relu:
      return a.factor < 0 ? Dim(0) : a;
    case UnaryFn::logical_not:
      return a.batch ? std::nullopt : std::optional(Dim(a.factor == 0 ? 1 : 0));
    default:
      return std::nullopt;
  }
}

std::optional<Dim> fold_terms(BinaryFn fn, const Terms& terms) {
  if (terms.empty()) return std::nullopt;
  std::optional<Dim> total = terms.front();
  for (size_t i = 1; i < terms.size() && total; ++i) total = evaluate(fn, *total, terms[i]);
  return total;
}

std::optional<int64_t> small_count(const Shape& shape) {
  if (has_batch(shape)) return std::nullopt;
  const int64_t count = element_count(shape).factor;
  return count <= kMaxTerms ? std::optional(count) : std::nullopt;
}

void move_terms(const Op& op, Inputs data, Tensors rest, std::span<Inferred> outputs) {
  bool symbolic = false;
  Terms pool;
  std::vector<Tensor> numbers;
  for (const Known* k : data) {
    const std::optional<Terms> terms = contents(*k);
    if (!terms || has_batch(k->shape)) return;
    symbolic = symbolic || is_symbolic(*k);
    Tensor number(DType::i64, at_batch(k->shape, 1));
    if (number.count() != static_cast<int64_t>(terms->size())) return;
    std::iota(number.data<int64_t>().begin(), number.data<int64_t>().end(), static_cast<int64_t>(pool.size()));
    numbers.push_back(std::move(number));
    pool.insert(pool.end(), terms->begin(), terms->end());
  }
  if (!symbolic) return;  // constants are folded by running the operator itself
  std::vector<const Tensor*> arguments;
  for (const Tensor& t : numbers) arguments.push_back(&t);
  arguments.insert(arguments.end(), rest.begin(), rest.end());
  std::vector<Tensor> moved;
  for (const Inferred& output : outputs) {
    if (!small_count(output.shape)) return;
    moved.emplace_back(DType::i64, at_batch(output.shape, 1));
  }
  reference(op, arguments, moved);
  for (size_t i = 0; i < outputs.size(); ++i) {
    Terms terms;
    for (const int64_t number : std::as_const(moved[i]).data<int64_t>()) terms.push_back(pool[static_cast<size_t>(number)]);
    outputs[i].terms = std::move(terms);
  }
}

}  // namespace fcm::ops
