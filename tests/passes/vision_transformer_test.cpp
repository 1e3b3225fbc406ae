// A DeiT-like network as exporters write it, with a dynamic batch: the normal form computes what the imported graph does, at every batch,
// and nothing of the shape arithmetic is left.
#include <cmath>

#include "tests/onnx/model_builder.h"
#include "tests/passes/builder.h"

namespace fcm::testing {
namespace {

constexpr int64_t kWidth = 24;
constexpr int64_t kHeads = 3;
constexpr int64_t kTokens = 17;

enum class Style { split, gather, einsum, attention };

class Exporter {
 public:
  Exporter(int64_t opset, Style style, bool spelled) : model_(opset), opset_(opset), style_(style), spelled_(spelled) {}

  Graph build() {
    model_.input("x", {"batch", 3, 32, 32});
    std::string x = embed("x");
    for (int block = 0; block < 2; ++block) {
      x = op("Add", {x, attention(layer_norm(x))});
      x = op("Add", {x, mlp(layer_norm(x))});
    }
    const std::string token = op("Gather", {layer_norm(x), scalar(0)}, {{"axis", 1}});
    model_.node("Gemm", {token, weights({kWidth, 10}), weights({10})}, {"y"}).output("y");
    return model_.import();
  }

 private:
  std::string name() { return "t" + std::to_string(count_++); }

  std::string op(const std::string& type, const std::vector<std::string>& inputs, const std::vector<Attribute>& attributes = {}) {
    const std::string result = name();
    model_.node(type, inputs, {result}, attributes);
    return result;
  }

  std::string weights(const Dims& dims) {
    Tensor t(DType::f32, dims);
    const float scale = 1.0f / std::sqrt(static_cast<float>(dims[0]));
    for (float& v : t.data<float>()) v = scale * (static_cast<float>(random_() % 65536) / 32768.0f - 1.0f);
    const std::string result = name();
    model_.initializer(result, t);
    return result;
  }

  std::string number(double v) {
    const std::string result = name();
    model_.initializer(result, {}, {static_cast<float>(v)});
    return result;
  }
  std::string ints(const Ints& values) {
    const std::string result = name();
    model_.ints(result, values);
    return result;
  }
  std::string scalar(int64_t v) {
    const std::string result = name();
    model_.initializer(result, Tensor::ints({}, std::span(&v, 1)));
    return result;
  }

  std::string mean(const std::string& x) {
    if (opset_ >= 18) return op("ReduceMean", {x, ints({-1})});
    return op("ReduceMean", {x}, {{"axes", Ints{-1}}});
  }

  std::string layer_norm(const std::string& x) {
    if (!spelled_) return op("LayerNormalization", {x, weights({kWidth}), weights({kWidth})}, {{"epsilon", 1e-6f}});
    const std::string d = op("Sub", {x, mean(x)});
    const std::string variance = mean(op("Pow", {d, number(2.0)}));
    const std::string y = op("Div", {d, op("Sqrt", {op("Add", {variance, number(1e-6)})})});
    return op("Add", {op("Mul", {y, weights({kWidth})}), weights({kWidth})});
  }

  // Patches, and a class token expanded to the batch through ConstantOfShape, Equal and Where.
  std::string embed(const std::string& x) {
    const std::string patches = op("Conv", {x, weights({kWidth, 3, 8, 8}), weights({kWidth})}, {{"strides", Ints{8, 8}}});
    const std::string batch = extent(patches, 0);
    const std::string flat = op("Reshape", {patches, op("Concat", {batch, ints({kWidth}), ints({-1})}, {{"axis", 0}})});
    const std::string rows = op("Transpose", {flat}, {{"perm", Ints{0, 2, 1}}});
    const std::string target = op("Concat", {batch, ints({-1}), ints({-1})}, {{"axis", 0}});
    const Ints one_value = {1};
    const std::string ones = op("ConstantOfShape", {ints({3})}, {{"value", Tensor::ints({1}, one_value)}});
    const std::string open = op("Equal", {target, op("Mul", {ones, ints({-1})})});
    const std::string token = op("Expand", {weights({1, 1, kWidth}), op("Where", {open, ones, target})});
    return op("Add", {op("Concat", {token, rows}, {{"axis", 1}}), weights({1, kTokens, kWidth})});
  }

  std::string extent(const std::string& x, int64_t axis) { return op("Gather", {op("Shape", {x}), ints({axis})}, {{"axis", 0}}); }

  std::vector<std::string> take_apart(const std::string& qkv) {
    std::vector<std::string> parts = {name(), name(), name()};
    if (style_ == Style::gather) {
      for (size_t i = 0; i < 3; ++i) parts[i] = op("Gather", {qkv, scalar(static_cast<int64_t>(i))}, {{"axis", 0}});
      return parts;
    }
    model_.node("Split", {qkv}, parts, opset_ >= 18 ? std::vector<Attribute>{{"num_outputs", 3}} : std::vector<Attribute>{});
    for (std::string& part : parts) part = op("Squeeze", {part, ints({0})});
    return parts;
  }

  std::string mixed(const std::string& q, const std::string& k, const std::string& v) {
    const double size = static_cast<double>(kWidth / kHeads);
    if (style_ == Style::attention) return op("Attention", {q, k, v});
    if (style_ == Style::einsum) {
      const std::string scores = op("Einsum", {q, k}, {{"equation", "bhid,bhjd->bhij"}});
      const std::string shares = op("Softmax", {op("Mul", {scores, number(1.0 / std::sqrt(size))})});
      return op("Einsum", {shares, v}, {{"equation", "bhij,bhjd->bhid"}});
    }
    const std::string root = number(std::pow(size, -0.25));
    const std::string turned = op("Mul", {op("Transpose", {k}, {{"perm", Ints{0, 1, 3, 2}}}), root});
    return op("MatMul", {op("Softmax", {op("MatMul", {op("Mul", {q, root}), turned})}), v});
  }

  std::string attention(const std::string& x) {
    const std::string batch = extent(x, 0);
    const std::string tokens = extent(x, 1);
    const std::string all = op("Add", {op("MatMul", {x, weights({kWidth, 3 * kWidth})}), weights({3 * kWidth})});
    const std::string shape = op("Concat", {batch, tokens, ints({3}), ints({kHeads}), ints({kWidth / kHeads})}, {{"axis", 0}});
    const std::vector<std::string> parts = take_apart(op("Transpose", {op("Reshape", {all, shape})}, {{"perm", Ints{2, 0, 3, 1, 4}}}));
    const std::string joined = op("Transpose", {mixed(parts[0], parts[1], parts[2])}, {{"perm", Ints{0, 2, 1, 3}}});
    const std::string merged = op("Reshape", {joined, op("Concat", {batch, tokens, ints({kWidth})}, {{"axis", 0}})});
    return op("Add", {op("MatMul", {merged, weights({kWidth, kWidth})}), weights({kWidth})});
  }

  std::string mlp(const std::string& x) {
    const std::string wide = op("Add", {op("MatMul", {x, weights({kWidth, 4 * kWidth})}), weights({4 * kWidth})});
    const std::string bell = op("Add", {op("Erf", {op("Div", {wide, number(std::sqrt(2.0))})}), number(1.0)});
    const std::string gelu = op("Mul", {op("Mul", {wide, bell}), number(0.5)});
    return op("Add", {op("MatMul", {gelu, weights({4 * kWidth, kWidth})}), weights({kWidth})});
  }

  ModelBuilder model_;
  int64_t opset_;
  Style style_;
  bool spelled_;
  int count_ = 0;
  std::mt19937 random_{11};
};

void expect_normal_form(int64_t opset, Style style, bool spelled) {
  SCOPED_TRACE("opset " + std::to_string(opset));
  const Graph imported = Exporter(opset, style, spelled).build();
  Graph graph = imported;
  passes::normalize(graph);
  expect_equal_output(imported, graph, 2e-5);
  EXPECT_EQ(count_kind(graph, "Normalize"), 5u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Attention"), 2u) << to_string(graph);
  EXPECT_EQ(count_kind(graph, "Gather"), 1u) << to_string(graph);  // of the class token
  EXPECT_EQ(count_kind(graph, "Transpose"), 1u) << to_string(graph);
  for (const char* kind : {"ShapeOf", "ConstantOfShape", "Select", "Reduce", "Split", "Slice", "Softmax"})
    EXPECT_EQ(count_kind(graph, kind), 0u) << kind << "\n" << to_string(graph);
  EXPECT_LT(graph.nodes.size(), 40u) << to_string(graph);
}

TEST(VisionTransformer, SplitWithSpelledNormalisation) {
  expect_normal_form(13, Style::split, true);
  expect_normal_form(18, Style::split, true);
}

TEST(VisionTransformer, GatherWithLayerNormalization) {
  expect_normal_form(17, Style::gather, false);
}

TEST(VisionTransformer, Einsum) {
  expect_normal_form(17, Style::einsum, false);
}

TEST(VisionTransformer, AttentionOperator) {
  expect_normal_form(23, Style::attention, false);
}

}  // namespace
}  // namespace fcm::testing
