#include "runtime/graph/graph.h"

#include <gtest/gtest.h>

#include "runtime/support/error.h"

namespace fcm {
namespace {

// x -> relu -> y, and a dead branch x -> exp.
Graph small_graph() {
  Graph g;
  g.name = "small";
  const ValueId x = g.add_value("x", DType::f32, Shape{Dim(1, true), 4});
  const ValueId y = g.add_value("y", DType::f32, Shape{Dim(1, true), 4});
  const ValueId dead = g.add_value("dead", DType::f32);
  g.inputs = {x};
  g.outputs = {y};
  g.add_node(UnaryOp{{UnaryFn::exp, 0, 0}}, {x}, {dead}, {"exp", "Exp", 17, ""});
  g.add_node(UnaryOp{{UnaryFn::relu, 0, 0}}, {x, kNoValue, kNoValue}, {y}, {"relu", "Relu", 17, ""});
  return g;
}

TEST(Graph, PrintsOneLineANode) {
  Graph g = small_graph();
  g.compact();
  EXPECT_EQ(to_string(g),
            "graph small(%x:f32[B,4])\n"
            "  %y:f32[B,4] = UnaryOp relu (%x:f32[B,4])\n"
            "  return %y:f32[B,4]\n");
}

TEST(Graph, CompactDropsDeadNodesAndKeepsInputs) {
  Graph g = small_graph();
  g.add_value("unused input", DType::f32, Shape{1});
  g.inputs.push_back(3);
  g.compact();
  EXPECT_EQ(g.nodes.size(), 1u);
  EXPECT_EQ(g.values.size(), 3u);
  EXPECT_EQ(g.inputs.size(), 2u);
  g.validate();
}

TEST(Graph, TrailingAbsentInputsAreDropped) {
  EXPECT_EQ(small_graph().nodes[1].inputs.size(), 1u);
}

TEST(Graph, ValidateFindsBrokenOrderAndDoubleDefinition) {
  Graph g = small_graph();
  std::swap(g.nodes[0], g.nodes[1]);
  g.validate();
  g.nodes[0].inputs = {2};  // reads "dead" before it is made
  EXPECT_THROW(g.validate(), Error);
  g = small_graph();
  g.nodes[0].outputs = {1};
  EXPECT_THROW(g.validate(), Error);
}

TEST(Graph, SoleConsumerIgnoresOutputsAndFanOut) {
  Graph g = small_graph();
  EXPECT_EQ(Uses(g).sole_consumer(g, g.inputs[0]), kNoNode);  // two readers
  g.compact();
  EXPECT_EQ(Uses(g).sole_consumer(g, g.inputs[0]), 0);
  EXPECT_EQ(Uses(g).sole_consumer(g, g.outputs[0]), kNoNode);
}

TEST(Graph, DescribeNamesNodeOperatorAndOrigin) {
  EXPECT_EQ(describe({"conv1", "Conv", 17, ""}), "node \"conv1\" (Conv, opset 17)");
  EXPECT_EQ(describe({"a", "x.y::Foo", 1, "model.py:3"}), "node \"a\" (x.y::Foo, opset 1, from model.py:3)");
}

}  // namespace
}  // namespace fcm
