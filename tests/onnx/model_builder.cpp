#include "tests/onnx/model_builder.h"

#include "onnx.pb.h"

namespace fcm::testing {
namespace {

using ::onnx::AttributeProto;
using ::onnx::TensorProto;

void fill(TensorProto& proto, const Tensor& tensor) {
  proto.set_data_type(onnx_type(tensor.dtype()));
  for (const int64_t dim : tensor.dims()) proto.add_dims(dim);
  proto.set_raw_data(tensor.raw(), tensor.bytes());
}

// Writes the value and its type discriminator.
struct FillAttribute {
  AttributeProto& proto;
  void operator()(int64_t v) const {
    proto.set_type(AttributeProto::INT);
    proto.set_i(v);
  }
  void operator()(float v) const {
    proto.set_type(AttributeProto::FLOAT);
    proto.set_f(v);
  }
  void operator()(const std::string& v) const {
    proto.set_type(AttributeProto::STRING);
    proto.set_s(v);
  }
  void operator()(const Ints& v) const {
    proto.set_type(AttributeProto::INTS);
    proto.mutable_ints()->Add(v.begin(), v.end());
  }
  void operator()(const std::vector<float>& v) const {
    proto.set_type(AttributeProto::FLOATS);
    proto.mutable_floats()->Add(v.begin(), v.end());
  }
  void operator()(const Tensor& v) const {
    proto.set_type(AttributeProto::TENSOR);
    fill(*proto.mutable_t(), v);
  }
};

}  // namespace

int onnx_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return TensorProto::FLOAT;
    case DType::f16:
      return TensorProto::FLOAT16;
    case DType::bf16:
      return TensorProto::BFLOAT16;
    case DType::f64:
      return TensorProto::DOUBLE;
    case DType::i8:
      return TensorProto::INT8;
    case DType::u8:
      return TensorProto::UINT8;
    case DType::i16:
      return TensorProto::INT16;
    case DType::u16:
      return TensorProto::UINT16;
    case DType::i32:
      return TensorProto::INT32;
    case DType::u32:
      return TensorProto::UINT32;
    case DType::i64:
      return TensorProto::INT64;
    case DType::u64:
      return TensorProto::UINT64;
    case DType::boolean:
      return TensorProto::BOOL;
  }
  return TensorProto::UNDEFINED;
}

ModelBuilder::ModelBuilder(int64_t opset) : model_(std::make_unique<::onnx::ModelProto>()) {
  model_->set_ir_version(8);
  model_->set_producer_name("fcm tests");
  model_->add_opset_import()->set_version(opset);
  model_->mutable_graph()->set_name("test");
}

ModelBuilder::~ModelBuilder() = default;

ModelBuilder& ModelBuilder::input(const std::string& name, const std::vector<DeclaredDim>& dims, DType dtype) {
  auto* info = model_->mutable_graph()->add_input();
  info->set_name(name);
  auto* type = info->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx_type(dtype));
  type->mutable_shape();  // present even without dimensions: a scalar
  for (const DeclaredDim& dim : dims) {
    auto* proto = type->mutable_shape()->add_dim();
    if (const auto* number = std::get_if<int64_t>(&dim.value)) {
      proto->set_dim_value(*number);
    } else if (!std::get<std::string>(dim.value).empty()) {
      proto->set_dim_param(std::get<std::string>(dim.value));
    }
  }
  return *this;
}

ModelBuilder& ModelBuilder::output(const std::string& name) {
  model_->mutable_graph()->add_output()->set_name(name);
  return *this;
}

ModelBuilder& ModelBuilder::initializer(const std::string& name, const Tensor& tensor) {
  auto* proto = model_->mutable_graph()->add_initializer();
  proto->set_name(name);
  fill(*proto, tensor);
  return *this;
}

ModelBuilder& ModelBuilder::initializer(const std::string& name, const Dims& dims, const std::vector<float>& values) {
  return initializer(name, Tensor::floats(dims, values));
}

ModelBuilder& ModelBuilder::ints(const std::string& name, const std::vector<int64_t>& values) {
  return initializer(name, Tensor::ints({static_cast<int64_t>(values.size())}, values));
}

ModelBuilder& ModelBuilder::node(const std::string& type, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                                 const std::vector<Attribute>& attributes, const std::string& name, const std::string& domain) {
  auto* proto = model_->mutable_graph()->add_node();
  proto->set_op_type(type);
  for (const std::string& input : inputs) proto->add_input(input);
  for (const std::string& output : outputs) proto->add_output(output);
  if (!name.empty()) proto->set_name(name);
  if (!domain.empty()) proto->set_domain(domain);
  for (const Attribute& attribute : attributes) {
    auto* a = proto->add_attribute();
    a->set_name(attribute.name);
    std::visit(FillAttribute{*a}, attribute.value);
  }
  return *this;
}

ModelBuilder& ModelBuilder::metadata(const std::string& key, const std::string& value) {
  auto* entry = model_->add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
  return *this;
}

std::string ModelBuilder::bytes() const {
  return model_->SerializeAsString();
}

Graph ModelBuilder::import(const onnx::ImportOptions& options) const {
  return onnx::import_bytes(bytes(), "model.onnx", {}, options);
}

}  // namespace fcm::testing
