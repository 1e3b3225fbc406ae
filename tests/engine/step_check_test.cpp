// Step checks on a pretended device: its steps are the reference operators, one of which can be made wrong.
#include "runtime/engine/step_check.h"

#include <gtest/gtest.h>

#include <limits>

#include "ops/op.h"
#include "runtime/engine/cpu_engine.h"
#include "runtime/engine/host_layout.h"
#include "runtime/support/error.h"
#include "tests/planner/backend.h"
#include "tests/planner/networks.h"

namespace fcm {
namespace {

constexpr int64_t kBatch = 2;

class PretendedDevice final : public StepRunner {
 public:
  PretendedDevice(const Graph& graph, const PlanOptions& options)
      : graph_(graph), plan_(plan_unfused(graph, options, test::backend())), memory_(variant().buffers.size()) {}

  const Graph& graph() const override { return graph_; }
  const PlanVariant& variant() const override { return plan_.variants[0]; }
  const PlanOptions& options() const override { return plan_.options; }
  void write(BufferId buffer, const std::vector<std::byte>& bytes) override { at(buffer) = bytes; }
  std::vector<std::byte> read(BufferId buffer) override { return at(buffer); }
  void run(size_t step) override {
    const PlanStep& s = variant().steps[step];
    if (s.kind == PlanStep::Kind::convert) {
      store(s.outputs[0], load(s.inputs[0]));
      return;
    }
    const Node& node = graph_.nodes[static_cast<size_t>(s.node)];
    std::vector<Tensor> inputs(node.inputs.size());
    std::vector<const Tensor*> pointers;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId v = node.inputs[i];
      if (v != kNoValue && !graph_.is_constant(v)) inputs[i] = load(s.inputs[i]);
      pointers.push_back(v == kNoValue ? nullptr : graph_.is_constant(v) ? graph_.value(v).constant.get() : &inputs[i]);
    }
    std::vector<Tensor> outputs;
    for (const ValueId v : node.outputs) outputs.emplace_back(DType::f32, at_batch(*graph_.value(v).shape, kBatch));
    ops::reference(node.op, pointers, outputs);
    if (s.name == wrong) outputs[0].data<float>()[static_cast<size_t>(outputs[0].count() / 2)] += error;
    for (size_t i = 0; i < outputs.size(); ++i) store(s.outputs[i], outputs[i]);
  }

  std::string wrong;  ///< name of the step that adds `error` to one element
  float error = 0;

 private:
  std::vector<std::byte>& at(BufferId b) { return memory_[static_cast<size_t>(variant().root(b))]; }
  Tensor load(BufferId b) {
    const PlanBuffer& buffer = variant().buffer(b);
    return from_layout(at(b), buffer.layout, at_batch(buffer.shape, kBatch)).cast(DType::f32);
  }
  void store(BufferId b, const Tensor& t) { at(b) = to_layout(t, variant().buffer(b).layout); }

  const Graph& graph_;
  Plan plan_;
  std::vector<std::vector<std::byte>> memory_;
};

struct Net {
  Graph graph = test::mobilenet_v2({0.5, 32, 16});
  std::vector<float> image = std::vector<float>(kBatch * 3 * 32 * 32, 0.5f);
  std::vector<InputBuffer> inputs = {InputBuffer{image.data(), MemorySpace::host, InputFormat::as_model}};
  std::map<ValueId, Tensor> reference = reference_values(graph, kBatch, inputs);
};

std::vector<StepCheck> all_checks(Net& net, PretendedDevice& device, size_t first = 0, size_t last = 1000) {
  std::vector<StepCheck> checks;
  check_steps(device, kBatch, net.reference, first, last, [&](const StepCheck& c) {
    checks.push_back(c);
    return true;
  });
  return checks;
}

TEST(HostLayout, RoundTripsAndZeroesPadLanes) {
  Tensor t(DType::f32, {2, 3, 2, 5});
  for (int64_t i = 0; i < t.count(); ++i) t.data<float>()[static_cast<size_t>(i)] = static_cast<float>(i) / 4;
  for (const Layout& layout :
       {Layout{Order::nhwc, DType::f16, 8}, Layout{Order::nhwc, DType::f32, 4}, Layout{Order::rows, DType::bf16, 0}}) {
    const std::vector<std::byte> bytes = to_layout(t, layout);
    EXPECT_EQ(bytes.size(), layout_bytes(layout, t.dims()));
    bool dirty = false;
    const Tensor back = from_layout(bytes, layout, t.dims(), &dirty).cast(DType::f32);
    EXPECT_FALSE(dirty);
    for (size_t i = 0; i < 60; ++i) EXPECT_EQ(back.data<float>()[i], t.data<float>()[i]);
  }
  std::vector<std::byte> bytes = to_layout(t, {Order::nhwc, DType::f16, 8});
  bytes[6] = std::byte{1};  // channel 3 of the first pixel
  bool dirty = false;
  from_layout(bytes, {Order::nhwc, DType::f16, 8}, t.dims(), &dirty);
  EXPECT_TRUE(dirty);
}

TEST(StepCheck, AllAgreeInEveryPrecision) {
  Net net;
  for (const Precision precision : {Precision::f32, Precision::f16, Precision::bf16}) {
    PretendedDevice device(net.graph, {precision, false});
    const std::vector<StepCheck> checks = all_checks(net, device);
    EXPECT_EQ(checks.size(), device.variant().steps.size());
    for (const StepCheck& c : checks) EXPECT_FALSE(c.differs) << c.name << ": " << c.max_abs << " of " << c.scale;
  }
}

TEST(StepCheck, NamesTheStepThatIsWrongAndNoOther) {
  Net net;
  PretendedDevice device(net.graph, {Precision::f16, false});
  device.wrong = "block4/depthwise";
  device.error = 3.0f;
  for (const StepCheck& c : all_checks(net, device)) EXPECT_EQ(c.differs, c.name == "block4/depthwise") << c.name;
}

TEST(StepCheck, ARangeStandsOnItsOwnAndIsClipped) {
  Net net;
  PretendedDevice device(net.graph, {Precision::f32, false});
  const std::vector<StepCheck> middle = all_checks(net, device, 7, 9);
  ASSERT_EQ(middle.size(), 3u);
  for (const StepCheck& c : middle) EXPECT_FALSE(c.differs) << c.name;
  const size_t count = device.variant().steps.size();
  EXPECT_EQ(all_checks(net, device, count - 1).size(), 1u);
  EXPECT_THROW(all_checks(net, device, count), Error);
}

TEST(StepCheck, NotFiniteIsADifference) {
  Net net;
  PretendedDevice device(net.graph, {Precision::f16, false});
  device.wrong = "block2/project";
  device.error = std::numeric_limits<float>::quiet_NaN();
  for (const StepCheck& c : all_checks(net, device)) {
    EXPECT_EQ(c.differs, c.name == "block2/project") << c.name;
    EXPECT_EQ(c.nonfinite, c.name == "block2/project" ? 1u : 0u);
  }
}

TEST(FindNonfinite, NamesTheFirstStep) {
  Net net;
  PretendedDevice device(net.graph, {Precision::f16, false});
  const auto inputs = input_tensors(net.graph, kBatch, net.inputs);
  EXPECT_FALSE(find_nonfinite(device, kBatch, inputs));
  device.wrong = "block3/expand";
  device.error = 1e6f;  // beyond FP16
  const auto found = find_nonfinite(device, kBatch, inputs);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "block3/expand");
  EXPECT_EQ(found->nonfinite, 1u);
}

TEST(FindNonfinite, OnTheCpuByNodes) {
  test::GraphBuilder b;  // a depthwise layer that clips, then one that does not
  const ValueId x = b.conv("clipping", b.input("x", {Dim(1, true), 8, 6, 6}), 8, 3, 1, true);
  const Graph graph = b.finish({b.unary("exp", b.unary("log", x, {UnaryFn::log, 0, 0}), {UnaryFn::exp, 0, 0})});
  std::vector<float> image(kBatch * 8 * 6 * 6, 2.0f);
  const std::vector<InputBuffer> inputs = {InputBuffer{image.data(), MemorySpace::host, InputFormat::as_model}};
  const std::shared_ptr<const Engine> engine = create_cpu_engine(std::make_shared<const Graph>(graph), {});
  const auto found = engine->create_context(kBatch)->find_nonfinite(kBatch, inputs);
  ASSERT_TRUE(found) << "the logarithm of what was clipped to zero";
  EXPECT_EQ(found->name, "log");
  EXPECT_GT(found->nonfinite, 0u);
  EXPECT_THROW(engine->create_context(kBatch)->check_steps(kBatch, inputs, 0, 1, [](const StepCheck&) { return true; }), Error);
}

}  // namespace
}  // namespace fcm
