// Einsum of one or two operands, written out as Reduce, Transpose, Reshape and one batched MatMul.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/dims.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/text.h"

namespace fcm::onnx {
namespace {

struct Equation {
  std::vector<std::string> operands;
  std::string result;
};

bool has(const std::string& labels, char label) {
  return labels.find(label) != std::string::npos;
}

bool distinct(std::string labels) {
  std::sort(labels.begin(), labels.end());
  return std::adjacent_find(labels.begin(), labels.end()) == labels.end();
}

// Without "->": the labels that occur once, in alphabetical order.
std::string implied_result(const std::vector<std::string>& operands) {
  std::string all;
  for (const std::string& labels : operands) all += labels;
  std::string once;
  for (const char label : all) {
    if (std::count(all.begin(), all.end(), label) == 1) once += label;
  }
  std::sort(once.begin(), once.end());
  return once;
}

// Letters, commas and one arrow; nullopt for anything else (an ellipsis).
std::optional<Equation> parse(std::string text) {
  std::erase(text, ' ');
  Equation equation;
  const size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  equation.operands.emplace_back();
  for (const char c : left) {
    if (c == ',') {
      equation.operands.emplace_back();
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      equation.operands.back() += c;
    } else {
      return std::nullopt;
    }
  }
  equation.result = arrow == std::string::npos ? implied_result(equation.operands) : text.substr(arrow + 2);
  for (const char c : equation.result) {
    if (!has(left, c) || c == ',') return std::nullopt;
  }
  return equation;
}

Ints permutation(const std::string& from, const std::string& to) {
  Ints perm;
  for (const char label : to) perm.push_back(static_cast<int64_t>(from.find(label)));
  return perm;
}

bool is_sorted(const Ints& perm) {
  return std::is_sorted(perm.begin(), perm.end());
}

// An operand under way: a value and the labels of its axes.
struct Operand {
  ValueId value;
  std::string labels;
};

class Writer {
 public:
  explicit Writer(NodeContext& node) : node_(node), dims_(node) {}

  // Sums over the labels that `keep` has not.
  Operand summed(const Operand& x, const std::string& keep) {
    Operand y = x;
    Ints axes;
    y.labels.clear();
    for (size_t i = 0; i < x.labels.size(); ++i) {
      if (has(keep, x.labels[i])) {
        y.labels += x.labels[i];
      } else {
        axes.push_back(static_cast<int64_t>(i));
      }
    }
    if (!axes.empty()) y.value = node_.emit_step(Reduce{ReduceFn::sum, axes, false, false}, {x.value}, "sum");
    return y;
  }

  // Axes in the order batch, rows, columns, with rows and columns made one axis each.
  ValueId as_matrix(const Operand& x, const std::string& batch, const std::string& rows, const std::string& columns) {
    const Ints perm = permutation(x.labels, batch + rows + columns);
    const ValueId turned = is_sorted(perm) ? x.value : node_.emit_step(Transpose{perm}, {x.value}, "turned");
    if (rows.size() == 1 && columns.size() == 1) return turned;
    std::vector<ValueId> target = extents(x, batch);
    target.push_back(product(x, rows));
    target.push_back(product(x, columns));
    return node_.emit_step(Reshape{}, {turned, dims_.list(target)}, "matrix");
  }

  std::vector<ValueId> extents(const Operand& x, const std::string& labels) {
    std::vector<ValueId> list;
    for (const char label : labels) list.push_back(dims_.of(x.value, static_cast<int64_t>(x.labels.find(label))));
    return list;
  }

  ValueId list(const std::vector<ValueId>& dims) const { return dims_.list(dims); }

 private:
  ValueId product(const Operand& x, const std::string& labels) {
    ValueId total = kNoValue;
    for (const ValueId extent : extents(x, labels)) total = total == kNoValue ? extent : dims_.times(total, extent);
    return total == kNoValue ? dims_.number(1) : total;
  }

  NodeContext& node_;
  DimNodes dims_;
};

void emit_last_transpose(NodeContext& node, const Operand& x, const std::string& result) {
  const Ints perm = permutation(x.labels, result);
  if (is_sorted(perm)) return node.emit(Identity{}, {x.value});
  node.emit(Transpose{perm}, {x.value});
}

void product_of_two(NodeContext& node, const Equation& equation) {
  Writer writer(node);
  const Operand a = writer.summed({node.input(0), equation.operands[0]}, equation.operands[1] + equation.result);
  const Operand b = writer.summed({node.input(1), equation.operands[1]}, equation.operands[0] + equation.result);
  std::string batch, rows, columns, inner;
  for (const char label : a.labels) (!has(b.labels, label) ? rows : has(equation.result, label) ? batch : inner) += label;
  for (const char label : b.labels) {
    if (!has(a.labels, label)) columns += label;
  }
  const ValueId left = writer.as_matrix(a, batch, rows, inner);
  const ValueId right = writer.as_matrix(b, batch, inner, columns);
  Operand y{node.emit_step(MatMul{}, {left, right}, "product"), batch + rows + columns};
  if (rows.size() != 1 || columns.size() != 1) {
    std::vector<ValueId> target = writer.extents(a, batch + rows);
    for (const ValueId extent : writer.extents(b, columns)) target.push_back(extent);
    y.value = node.emit_step(Reshape{}, {y.value, target.empty() ? node.add_ints("scalar", {}) : writer.list(target)}, "unfolded");
  }
  emit_last_transpose(node, y, equation.result);
}

void einsum(NodeContext& node) {
  const std::string text = node.string_attribute("equation", "");
  const size_t count = node.input_count();
  node.expect_inputs(std::max<size_t>(count, 1), std::max<size_t>(count, 1));
  const std::optional<Equation> equation = parse(text);
  bool plain = equation.has_value() && equation->operands.size() <= 2 && distinct(equation->result);
  for (size_t i = 0; plain && i < equation->operands.size(); ++i) plain = distinct(equation->operands[i]);
  if (!plain) {
    node.reject("equation", fmt::format("\"{}\"", printable(text)), "one or two operands, each label once an operand, no ellipsis");
    return;
  }
  if (equation->operands.size() != count) node.malformed(fmt::format("attribute equation = \"{}\" for {} inputs", printable(text), count));
  if (count == 2) return product_of_two(node, *equation);
  emit_last_transpose(node, Writer(node).summed({node.input(0), equation->operands[0]}, equation->result), equation->result);
}

constexpr std::array kOperators = {
    OperatorEntry{"Einsum", 12, 28, einsum},
};

}  // namespace

std::span<const OperatorEntry> einsum_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
