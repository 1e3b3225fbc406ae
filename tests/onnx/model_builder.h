// Builds small ONNX models in memory, for tests of any room; protobuf stays behind the .cpp (library fcm_onnx_builder).
//
//   Graph g = ModelBuilder(17).input("x", {"N", 3, 8, 8}).initializer("w", {4, 3, 1, 1}, weights)
//                 .node("Conv", {"x", "w"}, {"y"}, {{"strides", Ints{2, 2}}}).output("y").import();
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/graph/graph.h"
#include "runtime/onnx/import.h"

namespace onnx {
class ModelProto;
class NodeProto;
}  // namespace onnx

namespace fcm::testing {

/// A declared dimension: a number, or a symbol ("" is an unknown dimension without a name).
struct DeclaredDim {
  std::variant<int64_t, std::string> value;
  DeclaredDim(int64_t number) : value(number) {}                   // NOLINT(google-explicit-constructor)
  DeclaredDim(int number) : value(int64_t{number}) {}              // NOLINT(google-explicit-constructor)
  DeclaredDim(const char* symbol) : value(std::string(symbol)) {}  // NOLINT(google-explicit-constructor)
};

struct Attribute {
  std::string name;
  std::variant<int64_t, float, std::string, Ints, std::vector<float>, Tensor> value;

  Attribute(std::string n, int v) : name(std::move(n)), value(int64_t{v}) {}
  Attribute(std::string n, const char* v) : name(std::move(n)), value(std::string(v)) {}
  template <class T>
  Attribute(std::string n, T v) : name(std::move(n)), value(std::move(v)) {}
};

class ModelBuilder {
 public:
  /// A model of the newest IR that imports ai.onnx at `opset`.
  explicit ModelBuilder(int64_t opset = 17);
  ~ModelBuilder();
  ModelBuilder(const ModelBuilder&) = delete;
  ModelBuilder& operator=(const ModelBuilder&) = delete;

  ModelBuilder& input(const std::string& name, const std::vector<DeclaredDim>& dims, DType dtype = DType::f32);
  /// An output; its type is left open, as many exporters do.
  ModelBuilder& output(const std::string& name);
  /// Raw data of any type.
  ModelBuilder& initializer(const std::string& name, const Tensor& tensor);
  ModelBuilder& initializer(const std::string& name, const Dims& dims, const std::vector<float>& values);
  ModelBuilder& ints(const std::string& name, const std::vector<int64_t>& values);  ///< a 1-D int64 initializer
  /// A node; "" is an absent input or output. Without a name it is called like its first output.
  ModelBuilder& node(const std::string& type, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                     const std::vector<Attribute>& attributes = {}, const std::string& name = "", const std::string& domain = "");
  ModelBuilder& metadata(const std::string& key, const std::string& value);

  std::string bytes() const;
  /// The imported graph; the file is called "model.onnx" in messages.
  Graph import(const onnx::ImportOptions& options = {}) const;

  /// For what the functions above cannot express (needs onnx.pb.h).
  ::onnx::ModelProto& proto() { return *model_; }

 private:
  std::unique_ptr<::onnx::ModelProto> model_;
};

/// The TensorProto.DataType of `dtype`.
int onnx_type(DType dtype);

}  // namespace fcm::testing
