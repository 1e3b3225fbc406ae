// Activations spelled out in arithmetic become one UnaryOp.
//
// A chain of Mul and Div is flattened into a number and its factors: 0.5 * x * (1 + erf(x / sqrt(2))) is 0.5 with the factors x and
// 1 + erf(...), in whatever order and nesting an exporter wrote it. Nodes in between that others read stay for them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewriter.h"

namespace fcm::passes {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kMostFactors = 5;  // the longest pattern, x * x * x * c within GELU, has fewer

struct Product {
  double constant = 1.0;
  std::vector<ValueId> factors;
};

struct Sum {
  double constant = 0.0;
  ValueId term = kNoValue;
};

// A node's replacement.
struct Match {
  Unary unary;
  ValueId x = kNoValue;
};

class Recognizer {
 public:
  explicit Recognizer(const Rewriter& rewriter) : rewriter_(rewriter), graph_(rewriter.graph()) {}

  // What node `n` computes, when that is one function of one value.
  std::optional<Match> match(NodeId n) {
    const Node& node = rewriter_.node(n);
    const ValueId y = node.outputs[0];
    dtype_ = graph_.value(y).dtype;
    if (!is_float(dtype_)) return std::nullopt;
    std::optional<Match> result;
    if (const auto* binary = std::get_if<Binary>(&node.op)) {
      if (binary->activation.is_identity()) result = match_binary(node, *binary, y);
    } else if (const auto* unary = std::get_if<UnaryOp>(&node.op)) {
      if (node.inputs.size() == 1) result = match_unary(node, unary->u);
    }
    if (!result || !same_shape(graph_, result->x, y) || graph_.value(result->x).dtype != dtype_) return std::nullopt;
    return result;
  }

 private:
  bool near(double x, double expected) const { return is_near(x, expected, dtype_); }

  // The other operand of a Binary when one is a number; `number` receives it.
  ValueId beside_number(const Node& node, double& number) const {
    for (size_t i = 0; i < 2; ++i) {
      if (const std::optional<double> c = scalar_constant(graph_, node.inputs[i])) {
        number = *c;
        return graph_.is_constant(node.inputs[1 - i]) ? kNoValue : node.inputs[1 - i];
      }
    }
    return kNoValue;
  }

  // The plain Binary of kind `fn` that makes `v`.
  const Node* binary_node(ValueId v, BinaryFn fn) const {
    const auto* binary = rewriter_.made_by<Binary>(v);
    return binary != nullptr && binary->fn == fn && binary->activation.is_identity() ? &rewriter_.node(rewriter_.producer(v)) : nullptr;
  }

  // The input of the UnaryOp `fn` that makes `v`, or kNoValue.
  ValueId input_of(ValueId v, UnaryFn fn) const {
    const auto* unary = rewriter_.made_by<UnaryOp>(v);
    return unary != nullptr && unary->u.fn == fn ? rewriter_.node(rewriter_.producer(v)).inputs[0] : kNoValue;
  }

  // The input of the clip(low, high) that makes `v`.
  ValueId input_of_clip(ValueId v, float low, float high) const {
    const auto* unary = rewriter_.made_by<UnaryOp>(v);
    return unary != nullptr && unary->u == Unary{UnaryFn::clip, low, high} ? rewriter_.node(rewriter_.producer(v)).inputs[0] : kNoValue;
  }

  // Multiplies `v` into the product, taking Mul, Div by a number and small powers apart. False when it has too many factors.
  bool multiply(ValueId v, Product& product, size_t depth = 0) const {
    if (const std::optional<double> c = scalar_constant(graph_, v)) {
      product.constant *= *c;
      return true;
    }
    if (depth < 2 * kMostFactors && v != atom_) {
      if (const Node* mul = binary_node(v, BinaryFn::mul))
        return multiply(mul->inputs[0], product, depth + 1) && multiply(mul->inputs[1], product, depth + 1);
      const Node* div = binary_node(v, BinaryFn::div);
      if (const std::optional<double> c = div != nullptr ? scalar_constant(graph_, div->inputs[1]) : std::nullopt) {
        product.constant /= *c;
        return multiply(div->inputs[0], product, depth + 1);
      }
      const Node* pow = binary_node(v, BinaryFn::pow);
      const std::optional<double> exponent = pow != nullptr ? scalar_constant(graph_, pow->inputs[1]) : std::nullopt;
      if (exponent && (*exponent == 2.0 || *exponent == 3.0)) {
        for (int i = 0; i < static_cast<int>(*exponent); ++i) {
          if (!multiply(pow->inputs[0], product, depth + 1)) return false;
        }
        return true;
      }
    }
    product.factors.push_back(v);
    return product.factors.size() <= kMostFactors;
  }

  std::optional<Product> product_of(ValueId v) const {
    Product product;
    return multiply(v, product) ? std::optional(product) : std::nullopt;
  }

  // v = constant * x with one factor x.
  bool is_scaled(ValueId v, double constant, ValueId x) const {
    const std::optional<Product> p = product_of(v);
    return p && p->factors == std::vector<ValueId>{x} && near(p->constant, constant);
  }

  // v = number + term.
  std::optional<Sum> sum_of(ValueId v) const {
    Sum sum;
    if (const Node* add = binary_node(v, BinaryFn::add)) {
      sum.term = beside_number(*add, sum.constant);
    } else if (const Node* sub = binary_node(v, BinaryFn::sub)) {
      if (const std::optional<double> c = scalar_constant(graph_, sub->inputs[1])) sum = {-*c, sub->inputs[0]};
    }
    return sum.term == kNoValue ? std::nullopt : std::optional(sum);
  }

  // The z of v = 1 + z.
  ValueId beside_one(ValueId v) const {
    const std::optional<Sum> sum = sum_of(v);
    return sum && near(sum->constant, 1.0) ? sum->term : kNoValue;
  }

  // The x of v = clip(x + 3, 0, 6).
  ValueId input_of_shifted_relu6(ValueId v) const {
    const ValueId shifted = input_of_clip(v, 0.0f, 6.0f);
    const std::optional<Sum> sum = shifted == kNoValue ? std::nullopt : sum_of(shifted);
    return sum && near(sum->constant, 3.0) ? sum->term : kNoValue;
  }

  // v = sqrt(2 / pi) * (x + 0.044715 * x^3), or with x drawn out of the sum.
  bool is_gelu_tanh_argument(ValueId v, ValueId x) const {
    const std::optional<Product> p = product_of(v);
    if (!p || !near(p->constant, 0.79788456080286536)) return false;
    if (p->factors.size() == 1) {
      const Node* add = binary_node(p->factors[0], BinaryFn::add);
      return add != nullptr && ((add->inputs[0] == x && is_cubic_term(add->inputs[1], {x, x, x})) ||
                                (add->inputs[1] == x && is_cubic_term(add->inputs[0], {x, x, x})));
    }
    if (p->factors.size() != 2) return false;
    const size_t other = p->factors[0] == x ? 1 : 0;
    const ValueId square = p->factors[1 - other] == x ? beside_one(p->factors[other]) : kNoValue;
    return square != kNoValue && is_cubic_term(square, {x, x});
  }

  // v = 0.044715 * factors.
  bool is_cubic_term(ValueId v, const std::vector<ValueId>& factors) const {
    const std::optional<Product> p = product_of(v);
    return p && near(p->constant, 0.044715) && p->factors == factors;
  }

  std::optional<Match> match_binary(const Node& node, const Binary& binary, ValueId y) {
    switch (binary.fn) {
      case BinaryFn::mul:
      case BinaryFn::div:
        return match_product(y);
      case BinaryFn::min:
      case BinaryFn::max:
        return match_bound(node, binary.fn == BinaryFn::max);
      case BinaryFn::prelu:
        if (const std::optional<double> slope = scalar_constant(graph_, node.inputs[1]))
          return Match{{UnaryFn::leaky_relu, static_cast<float>(*slope)}, node.inputs[0]};
        return std::nullopt;
      default:
        return std::nullopt;
    }
  }

  // min(x, c) and max(x, c).
  std::optional<Match> match_bound(const Node& node, bool lower) const {
    double c = 0.0;
    const ValueId x = beside_number(node, c);
    if (x == kNoValue || std::isnan(c)) return std::nullopt;
    const auto bound = static_cast<float>(c);
    return Match{lower ? make_clip(bound, kInfinity) : make_clip(-kInfinity, bound), x};
  }

  // The x of an activation may itself be a product. Then it must be kept whole: each value between is tried as that x.
  std::optional<Match> match_product(ValueId y) {
    atom_ = kNoValue;
    if (const std::optional<Match> found = match_factors(y)) return found;
    std::vector<ValueId> candidates;
    collect_products(y, candidates);
    for (const ValueId candidate : candidates) {
      atom_ = candidate;
      const std::optional<Match> found = match_factors(y);
      atom_ = kNoValue;
      if (found) return found;
    }
    return std::nullopt;
  }

  // Values below `v` in its tree of Mul and Div that are products themselves.
  void collect_products(ValueId v, std::vector<ValueId>& products, size_t depth = 0) const {
    const Node* node = binary_node(v, BinaryFn::mul);
    if (node == nullptr) node = binary_node(v, BinaryFn::div);
    if (node == nullptr || depth > kMostFactors || products.size() > 2 * kMostFactors) return;
    if (depth > 0) products.push_back(v);
    for (const ValueId operand : node->inputs) collect_products(operand, products, depth + 1);
  }

  std::optional<Match> match_factors(ValueId y) const {
    const std::optional<Product> product = product_of(y);
    if (!product) return std::nullopt;
    const std::vector<ValueId>& f = product->factors;
    if (f.size() == 1 && near(product->constant, 1.0 / 6.0)) {
      const ValueId x = input_of_shifted_relu6(f[0]);
      if (x != kNoValue) return Match{{UnaryFn::hard_sigmoid, 1.0f / 6.0f, 0.5f}, x};
    }
    if (f.size() != 2) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      if (const std::optional<Unary> u = gated(product->constant, f[i], f[1 - i])) return Match{*u, f[i]};
    }
    return std::nullopt;
  }

  // The function constant * x * gate, where the gate is computed from x too.
  std::optional<Unary> gated(double constant, ValueId x, ValueId gate) const {
    if (near(constant, 1.0)) {
      if (input_of(gate, UnaryFn::sigmoid) == x) return Unary{UnaryFn::silu};
      if (input_of(gate, UnaryFn::hard_sigmoid) == x) {
        const Unary& u = rewriter_.made_by<UnaryOp>(gate)->u;
        if (near(u.a, 1.0 / 6.0) && near(u.b, 0.5)) return Unary{UnaryFn::hard_swish};
      }
      const ValueId inner = input_of(gate, UnaryFn::tanh);
      if (inner != kNoValue && input_of(inner, UnaryFn::softplus) == x) return Unary{UnaryFn::mish};
    }
    if (near(constant, 1.0 / 6.0) && input_of_shifted_relu6(gate) == x) return Unary{UnaryFn::hard_swish};
    if (near(constant, 0.5)) {
      const ValueId bell = beside_one(gate);
      if (bell == kNoValue) return std::nullopt;
      const ValueId erf = input_of(bell, UnaryFn::erf);
      if (erf != kNoValue && is_scaled(erf, 0.70710678118654752, x)) return Unary{UnaryFn::gelu};
      const ValueId tanh = input_of(bell, UnaryFn::tanh);
      if (tanh != kNoValue && is_gelu_tanh_argument(tanh, x)) return Unary{UnaryFn::gelu_tanh};
    }
    return std::nullopt;
  }

  std::optional<Match> match_unary(const Node& node, const Unary& u) const {
    const ValueId before = node.inputs[0];
    if (u.fn == UnaryFn::log) {  // log(1 + exp(x))
      const ValueId exponential = beside_one(before);
      const ValueId x = exponential == kNoValue ? kNoValue : input_of(exponential, UnaryFn::exp);
      return x == kNoValue ? std::nullopt : std::optional(Match{{UnaryFn::softplus}, x});
    }
    if (u == Unary{UnaryFn::clip, 0.0f, kInfinity}) return Match{{UnaryFn::relu}, before};
    if (u == Unary{UnaryFn::clip, 0.0f, 1.0f}) {
      if (const std::optional<Match> hard = match_hard_sigmoid(before)) return hard;
    }
    return match_nested_clip(u, before);
  }

  // clip(a * x + b, 0, 1).
  std::optional<Match> match_hard_sigmoid(ValueId v) const {
    const std::optional<Sum> sum = sum_of(v);
    if (!sum) return std::nullopt;
    double slope = 1.0;
    ValueId x = sum->term;
    if (const Node* mul = binary_node(x, BinaryFn::mul)) {
      double c = 0.0;
      if (const ValueId other = beside_number(*mul, c); other != kNoValue) {
        slope = c;
        x = other;
      }
    } else if (const Node* div = binary_node(x, BinaryFn::div)) {
      if (const std::optional<double> c = scalar_constant(graph_, div->inputs[1])) {
        slope = 1.0 / *c;
        x = div->inputs[0];
      }
    }
    if (!std::isfinite(slope)) return std::nullopt;
    return Match{{UnaryFn::hard_sigmoid, static_cast<float>(slope), static_cast<float>(sum->constant)}, x};
  }

  // clip(clip(x, a, b), c, d), with relu as one of them or both.
  std::optional<Match> match_nested_clip(const Unary& u, ValueId v) const {
    const auto* inner = rewriter_.made_by<UnaryOp>(v);
    const std::optional<Unary> outer_clip = as_clip(u);
    const std::optional<Unary> inner_clip = inner != nullptr ? as_clip(inner->u) : std::nullopt;
    if (!outer_clip || !inner_clip || !(inner_clip->a <= inner_clip->b) || !(outer_clip->a <= outer_clip->b)) return std::nullopt;
    const Node& node = rewriter_.node(rewriter_.producer(v));
    if (node.inputs.size() != 1) return std::nullopt;
    const float low = std::clamp(inner_clip->a, outer_clip->a, outer_clip->b);
    const float high = std::clamp(inner_clip->b, outer_clip->a, outer_clip->b);
    return Match{make_clip(low, high), node.inputs[0]};
  }

  const Rewriter& rewriter_;
  const Graph& graph_;
  DType dtype_ = DType::f32;
  ValueId atom_ = kNoValue;  // a product that is not taken apart
};

}  // namespace

int recognize_activations(Graph& graph) {
  Rewriter rewriter(graph);
  Recognizer recognizer(rewriter);
  for (size_t i = 0; i < rewriter.node_count(); ++i) {
    const auto n = static_cast<NodeId>(i);
    if (const std::optional<Match> found = recognizer.match(n)) rewriter.replace(n, UnaryOp{found->unary}, {found->x});
  }
  return rewriter.finish();
}

}  // namespace fcm::passes
