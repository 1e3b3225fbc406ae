#include "tests/ops_cuda/case.h"

#include <algorithm>
#include <random>

#include "ops/op.h"
#include "runtime/support/error.h"

namespace fcm::test {
namespace {

uint32_t seed_of(const std::string& text) {
  uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

Tensor filled(const CaseInput& input, const Dims& dims, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(input.dtype, dims);
  const auto between = [&](int64_t low, int64_t high) {
    return static_cast<int64_t>(random() % static_cast<uint32_t>(high - low + 1)) + low;
  };
  for (int64_t i = 0; i < t.count(); ++i) {
    const auto at = static_cast<size_t>(i);
    const int64_t k = input.fill == Fill::positive ? between(1, 128) : between(-128, 128);
    if (input.fill == Fill::permutation) {
      t.data<int64_t>()[at] = i;
    } else if (input.fill == Fill::booleans) {
      t.data<bool>()[at] = between(0, 1) != 0;
    } else if (input.fill == Fill::indices) {
      t.data<int64_t>()[at] = between(-input.most, input.most - 1);
    } else if (input.dtype == DType::i64) {
      t.data<int64_t>()[at] = k / 8;
    } else if (input.dtype == DType::i32) {
      t.data<int32_t>()[at] = static_cast<int32_t>(k / 8);
    } else {
      t.data<float>()[at] = static_cast<float>(k) / 64.0f;
    }
  }
  if (input.fill == Fill::permutation) std::shuffle(t.data<int64_t>().begin(), t.data<int64_t>().end(), random);
  return t;
}

int64_t pitch_of(int64_t channels, DType dtype) {
  const int64_t unit = dtype == DType::f32 ? 4 : 8;
  return (channels + unit - 1) / unit * unit;
}

ops::cuda::DeviceTensor placed(const Value& value, DType compute, bool nhwc, std::optional<DType> stored) {
  const DType dtype = is_float(value.dtype) ? stored.value_or(compute) : value.dtype;
  const bool image = nhwc && is_float(value.dtype) && value.shape->size() == 4 && !(*value.shape)[1].batch;
  if (!image) return {*value.shape, {Order::rows, dtype, 0}};
  return {*value.shape, {Order::nhwc, dtype, pitch_of((*value.shape)[1].factor, dtype)}};
}

}  // namespace

Graph make_graph(const Case& c) {
  Graph graph;
  graph.name = c.name;
  Node node;
  node.op = c.op;
  node.origin = {c.name, std::string(op_kind(c.op)), 17, ""};
  uint32_t salt = 0;
  for (const CaseInput& input : c.inputs) {
    ++salt;
    if (input.absent) {
      node.inputs.push_back(kNoValue);
    } else if (input.constant) {
      node.inputs.push_back(
          graph.add_constant("c" + std::to_string(salt), filled(input, at_batch(input.shape, 1), seed_of(c.name) + salt)));
    } else {
      node.inputs.push_back(graph.add_value("x" + std::to_string(salt), input.dtype, input.shape));
      graph.inputs.push_back(node.inputs.back());
    }
  }
  const auto known_inputs = [&](std::vector<ops::Known>& store) {
    std::vector<const ops::Known*> pointers;
    store.reserve(node.inputs.size());
    for (const ValueId v : node.inputs) {
      if (v == kNoValue) {
        pointers.push_back(nullptr);
        continue;
      }
      store.push_back({graph.value(v).dtype, *graph.value(v).shape, graph.value(v).constant.get(), nullptr});
      pointers.push_back(&store.back());
    }
    return pointers;
  };
  for (size_t i = 0; i < c.outputs; ++i) node.outputs.push_back(graph.add_value("y" + std::to_string(i), DType::f32));
  std::vector<ops::Known> store;
  ops::bind(node, known_inputs(store));
  std::vector<ops::Known> bound;
  const std::vector<ops::Inferred> inferred = ops::infer(node, known_inputs(bound));
  for (size_t i = 0; i < c.outputs; ++i) {
    graph.value(node.outputs[i]).dtype = inferred.at(i).dtype;
    graph.value(node.outputs[i]).shape = inferred.at(i).shape;
  }
  graph.outputs = node.outputs;
  graph.nodes.push_back(std::move(node));
  return graph;
}

std::vector<Tensor> make_inputs(const Case& c, const Graph& graph, int64_t batch) {
  std::vector<Tensor> tensors;
  const Node& node = graph.nodes[0];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId v = node.inputs[i];
    if (v == kNoValue || graph.is_constant(v)) {
      tensors.emplace_back();
    } else {
      tensors.push_back(filled(c.inputs[i], at_batch(*graph.value(v).shape, batch), seed_of(c.name) + 1000 + static_cast<uint32_t>(i)));
    }
  }
  return tensors;
}

std::vector<Tensor> run_reference(const Graph& graph, const std::vector<Tensor>& inputs, int64_t batch) {
  const Node& node = graph.nodes[0];
  std::vector<const Tensor*> pointers;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId v = node.inputs[i];
    pointers.push_back(v == kNoValue ? nullptr : (graph.is_constant(v) ? graph.value(v).constant.get() : &inputs[i]));
  }
  std::vector<Tensor> outputs;
  for (const ValueId v : node.outputs) outputs.emplace_back(graph.value(v).dtype, at_batch(*graph.value(v).shape, batch));
  ops::reference(node.op, pointers, outputs);
  return outputs;
}

std::vector<Arrangement> arrangements(const Graph& graph, DType compute) {
  const Node& node = graph.nodes[0];
  const ops::cuda::OrderRule rule = ops::cuda::order_rule(graph, node);
  const auto arrange = [&](const std::string& name, bool in_nhwc, bool out_nhwc, std::optional<DType> stored) {
    Arrangement a;
    a.name = name;
    for (const ValueId v : node.inputs) {
      if (v == kNoValue || graph.is_constant(v)) {
        a.inputs.emplace_back();
      } else {
        a.inputs.emplace_back(placed(graph.value(v), compute, in_nhwc, std::nullopt));
      }
    }
    for (const ValueId v : node.outputs) a.outputs.push_back(placed(graph.value(v), compute, out_nhwc, stored));
    return a;
  };
  std::vector<Arrangement> list;
  bool image = false;
  for (const auto* values : {&node.inputs, &node.outputs})
    for (const ValueId v : *values) image = image || (v != kNoValue && graph.value(v).shape->size() == 4 && is_float(graph.value(v).dtype));
  if (rule != ops::cuda::OrderRule::nhwc) list.push_back(arrange("rows", false, false, std::nullopt));
  if (rule == ops::cuda::OrderRule::nhwc || (rule == ops::cuda::OrderRule::any && image))
    list.push_back(arrange("nhwc", true, true, std::nullopt));
  if (rule == ops::cuda::OrderRule::any && image) {
    list.push_back(arrange("nhwc_to_rows", true, false, std::nullopt));
    list.push_back(arrange("rows_to_nhwc", false, true, std::nullopt));
  }
  const bool promises_f32 = std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op) ||
                            std::holds_alternative<UnaryOp>(node.op) || std::holds_alternative<Binary>(node.op) ||
                            std::holds_alternative<Softmax>(node.op) || std::holds_alternative<MatMul>(node.op) ||
                            std::holds_alternative<Attention>(node.op);
  const bool wide = is_float(graph.value(node.outputs[0]).dtype) && compute != DType::f32 && promises_f32;
  const bool nhwc = rule == ops::cuda::OrderRule::nhwc;
  if (wide) list.push_back(arrange("to_f32", nhwc, nhwc, DType::f32));
  return list;
}

DeviceInfo any_device() {
  DeviceInfo d;
  d.name = "none";
  d.target = jit::Target::parse("90a");
  d.sm_count = 132;
  d.tensor_cores = true;
  d.bf16 = true;
  return d;
}

}  // namespace fcm::test
