#include "runtime/onnx/node_context.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "onnx.pb.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/tensors.h"
#include "runtime/onnx/text.h"

namespace fcm::onnx {

using ::onnx::AttributeProto;

namespace {

std::string attribute_text(const AttributeProto& attribute) {
  constexpr int kMostShown = 16;
  const auto list = [&](const auto& items) {
    const auto end = items.begin() + std::min(items.size(), kMostShown);
    return fmt::format("[{}{}]", fmt::join(items.begin(), end, ","), items.size() > kMostShown ? ",..." : "");
  };
  switch (attribute.type()) {
    case AttributeProto::FLOAT:
      return fmt::format("{}", attribute.f());
    case AttributeProto::INT:
      return fmt::format("{}", attribute.i());
    case AttributeProto::STRING:
      return fmt::format("\"{}\"", printable(attribute.s()));
    case AttributeProto::FLOATS:
      return list(attribute.floats());
    case AttributeProto::INTS:
      return list(attribute.ints());
    case AttributeProto::TENSOR:
      return fmt::format("a {} tensor of rank {}", dtype_text(attribute.t().data_type()), attribute.t().dims_size());
    case AttributeProto::GRAPH:
      return fmt::format("subgraph \"{}\"", printable(attribute.g().name()));
    default:
      return ::onnx::AttributeProto_AttributeType_Name(attribute.type());
  }
}

bool is_predicate(BinaryFn fn) {
  switch (fn) {
    case BinaryFn::equal:
    case BinaryFn::less:
    case BinaryFn::less_equal:
    case BinaryFn::greater:
    case BinaryFn::greater_equal:
    case BinaryFn::logical_and:
    case BinaryFn::logical_or:
    case BinaryFn::logical_xor:
      return true;
    default:
      return false;
  }
}

// The element type of an operator's results; all but a few keep that of their first input.
DType result_dtype(const Op& op, const std::vector<ValueId>& inputs, const Graph& graph) {
  if (const auto* cast = std::get_if<Cast>(&op)) return cast->to;
  if (const auto* fill = std::get_if<ConstantOfShape>(&op)) return fill->value.dtype();
  if (std::holds_alternative<ShapeOf>(op) || std::holds_alternative<SizeOf>(op) || std::holds_alternative<ArgReduce>(op)) return DType::i64;
  if (const auto* unary = std::get_if<UnaryOp>(&op); unary != nullptr && unary->u.fn == UnaryFn::is_nan) return DType::boolean;
  if (const auto* binary = std::get_if<Binary>(&op); binary != nullptr && is_predicate(binary->fn)) return DType::boolean;
  const size_t source = std::holds_alternative<Select>(op) ? 1 : 0;
  return graph.value(inputs.at(source)).dtype;
}

}  // namespace

std::string Assembly::unique_name(const std::string& base) {
  std::string name = base;
  for (int i = 2; !names.insert(name).second; ++i) name = fmt::format("{}.{}", base, i);
  return name;
}

NodeContext::NodeContext(Assembly& assembly, ::onnx::NodeProto& proto, Origin origin, int64_t opset)
    : assembly_(assembly), proto_(proto), origin_(std::move(origin)), opset_(std::min(opset, kNewestOpset)) {
  std::set<std::string> seen;
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (attribute.name().empty()) malformed("an attribute has no name");
    if (!seen.insert(attribute.name()).second) malformed(fmt::format("attribute {} occurs twice", printable(attribute.name())));
    if (!attribute.ref_attr_name().empty()) {
      malformed(
          fmt::format("attribute {} refers to an attribute of a function, but this node is not inside one", printable(attribute.name())));
    }
  }
}

AttributeProto* NodeContext::find(std::string_view name, int type, std::string_view type_name) {
  read_.emplace(name);
  for (AttributeProto& attribute : *proto_.mutable_attribute()) {
    if (attribute.name() != name) continue;
    if (attribute.type() != type) {
      malformed(fmt::format("attribute {} is {} ({}); accepted: {}", name, ::onnx::AttributeProto_AttributeType_Name(attribute.type()),
                            attribute_text(attribute), type_name));
    }
    return &attribute;
  }
  return nullptr;
}

int64_t NodeContext::int_attribute(std::string_view name, int64_t fallback) {
  const AttributeProto* attribute = find(name, AttributeProto::INT, "INT");
  return attribute != nullptr ? attribute->i() : fallback;
}

int64_t NodeContext::required_int(std::string_view name) {
  const AttributeProto* attribute = find(name, AttributeProto::INT, "INT");
  if (attribute == nullptr) malformed(fmt::format("required attribute {} is missing", name));
  return attribute->i();
}

bool NodeContext::flag(std::string_view name, bool fallback) {
  const int64_t value = int_attribute(name, fallback ? 1 : 0);
  if (value != 0 && value != 1) malformed(fmt::format("attribute {} = {}; accepted: 0, 1", name, value));
  return value == 1;
}

float NodeContext::float_attribute(std::string_view name, float fallback) {
  const AttributeProto* attribute = find(name, AttributeProto::FLOAT, "FLOAT");
  if (attribute == nullptr) return fallback;
  if (std::isnan(attribute->f())) malformed(fmt::format("attribute {} is NaN", name));
  return attribute->f();
}

std::string NodeContext::string_attribute(std::string_view name, const std::string& fallback) {
  const AttributeProto* attribute = find(name, AttributeProto::STRING, "STRING");
  return attribute != nullptr ? attribute->s() : fallback;
}

std::optional<Ints> NodeContext::ints_attribute(std::string_view name) {
  const AttributeProto* attribute = find(name, AttributeProto::INTS, "INTS");
  if (attribute == nullptr) return std::nullopt;
  return Ints(attribute->ints().begin(), attribute->ints().end());
}

std::optional<std::vector<float>> NodeContext::floats_attribute(std::string_view name) {
  const AttributeProto* attribute = find(name, AttributeProto::FLOATS, "FLOATS");
  if (attribute == nullptr) return std::nullopt;
  return std::vector<float>(attribute->floats().begin(), attribute->floats().end());
}

std::optional<Tensor> NodeContext::tensor_attribute(std::string_view name) {
  AttributeProto* attribute = find(name, AttributeProto::TENSOR, "TENSOR");
  if (attribute == nullptr) return std::nullopt;
  const int32_t type = attribute->t().data_type();
  if (!dtype_of(type)) {
    reject(name, dtype_text(type), accepted_dtypes());
    return std::nullopt;
  }
  const std::string where = fmt::format("{}: {}: attribute {}", assembly_.graph.name, describe(origin_), name);
  return read_tensor(*attribute->mutable_t(), where, assembly_.external);
}

bool NodeContext::has_attribute(std::string_view name) const {
  return std::any_of(proto_.attribute().begin(), proto_.attribute().end(), [&](const AttributeProto& a) { return a.name() == name; });
}

void NodeContext::expect_inputs(size_t least, size_t most) const {
  const size_t count = input_count();
  if (count < least || count > most) {
    const std::string accepted = least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most);
    malformed(fmt::format("has {} inputs; accepted at opset {}: {}", count, opset_, accepted));
  }
  for (size_t i = 0; i < least; ++i) {
    if (input(i) == kNoValue) malformed(fmt::format("required input {} is absent", i));
  }
}

size_t NodeContext::input_count() const {
  return static_cast<size_t>(proto_.input_size());
}

ValueId NodeContext::input(size_t i) const {
  if (i >= input_count()) return kNoValue;
  const std::string& name = proto_.input(static_cast<int>(i));
  return name.empty() ? kNoValue : assembly_.values.at(name);
}

const Tensor* NodeContext::constant(ValueId id) const {
  return id == kNoValue ? nullptr : assembly_.graph.value(id).constant.get();
}

size_t NodeContext::output_count() const {
  return static_cast<size_t>(proto_.output_size());
}

bool NodeContext::output_used(size_t i) const {
  if (i >= output_count()) return false;
  const std::string& name = proto_.output(static_cast<int>(i));
  return !name.empty() && assembly_.read_names.contains(name);
}

void NodeContext::reject_outputs_from(size_t first, const std::string& accepted) {
  for (size_t i = first; i < output_count(); ++i) {
    if (output_used(i)) reject(fmt::format("output {}", i), fmt::format("\"{}\"", printable(proto_.output(static_cast<int>(i)))), accepted);
  }
}

ValueId NodeContext::add_constant(std::string_view label, Tensor tensor) {
  return assembly_.graph.add_constant(assembly_.unique_name(fmt::format("{}/{}", origin_.name, label)), std::move(tensor));
}

ValueId NodeContext::add_ints(std::string_view label, const Ints& values) {
  return add_constant(label, Tensor::ints({static_cast<int64_t>(values.size())}, values));
}

ValueId NodeContext::define_output(size_t i, DType dtype) {
  const std::string& name = i < output_count() ? proto_.output(static_cast<int>(i)) : std::string();
  if (name.empty()) return assembly_.graph.add_value(assembly_.unique_name(fmt::format("{}/output{}", origin_.name, i)), dtype);
  const ValueId id = assembly_.graph.add_value(name, dtype);
  assembly_.values[name] = id;
  return id;
}

void NodeContext::emit(Op op, const std::vector<ValueId>& inputs, size_t count) {
  const DType dtype = result_dtype(op, inputs, assembly_.graph);
  std::vector<ValueId> outputs;
  const bool has_indices = std::holds_alternative<TopK>(op);
  for (size_t i = 0; i < count; ++i) outputs.push_back(define_output(i, has_indices && i == 1 ? DType::i64 : dtype));
  assembly_.graph.add_node(std::move(op), inputs, std::move(outputs), origin_);
}

void NodeContext::emit_output(size_t i, Op op, const std::vector<ValueId>& inputs) {
  const DType dtype = result_dtype(op, inputs, assembly_.graph);
  const ValueId result = define_output(i, dtype);
  assembly_.graph.add_node(std::move(op), inputs, {result}, origin_);
}

ValueId NodeContext::emit_step(Op op, const std::vector<ValueId>& inputs, std::string_view label) {
  const DType dtype = result_dtype(op, inputs, assembly_.graph);
  const ValueId result = assembly_.graph.add_value(assembly_.unique_name(fmt::format("{}/{}", origin_.name, label)), dtype);
  assembly_.graph.add_node(std::move(op), inputs, {result}, origin_);
  return result;
}

void NodeContext::emit_constant(Tensor tensor) {
  const std::string& name = proto_.output(0);
  assembly_.values[name] = assembly_.graph.add_constant(name, std::move(tensor));
}

void NodeContext::malformed(const std::string& what) const {
  fcm::onnx::malformed(assembly_.graph.name, fmt::format("{}: {}", describe(origin_), what));
}

void NodeContext::reject(std::string_view name, const std::string& value, const std::string& accepted) {
  const bool attribute = has_attribute(name);
  assembly_.report.add(origin_, fmt::format("{}{} = {} is not supported", attribute ? "attribute " : "", name, value), accepted);
}

void NodeContext::finish() {
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (read_.contains(attribute.name())) continue;
    assembly_.report.add(origin_, fmt::format("unknown attribute {} = {}", printable(attribute.name()), attribute_text(attribute)),
                         read_.empty() ? "no attribute" : fmt::format("{}", fmt::join(read_, ", ")));
  }
  for (size_t i = 0; i < output_count(); ++i) {
    if (output_used(i) && !assembly_.values.contains(proto_.output(static_cast<int>(i)))) define_output(i, DType::f32);
  }
}

}  // namespace fcm::onnx
