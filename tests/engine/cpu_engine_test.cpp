// The CPU engine: equal to plain evaluation, to itself in any batch and thread, and strict about its arguments.
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "runtime/support/error.h"
#include "tests/engine/support.h"

namespace fcm {
namespace {

using namespace test;

EngineOptions on_cpu() {
  EngineOptions options;
  options.device.kind = DeviceChoice::Kind::cpu;
  return options;
}

std::shared_ptr<const Engine> engine_of(Graph graph) {
  return Engine::create(std::make_shared<const Graph>(std::move(graph)), on_cpu());
}

template <class Body>
ErrorCode code_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::internal;
}

TEST(CpuEngine, EqualsPlainEvaluation) {
  const Graph graph = small_net();
  const auto engine = engine_of(graph);
  const auto context = engine->create_context(5);
  for (const int64_t batch : {5, 1, 3}) {
    const std::vector<float> x = random_floats(elements(engine->inputs()[0], batch), 1);
    const Tensor input = Tensor::floats(at_batch(engine->inputs()[0].shape, batch), x);
    const std::vector<Tensor> reference = evaluate(graph, batch, {input});
    const auto expected = reference[0].data<float>();
    const auto y = run_host(*context, *engine, batch, x);
    EXPECT_TRUE(same_bits(y, {expected.begin(), expected.end()})) << "batch " << batch;
  }
}

TEST(CpuEngine, ABatchGivesEachImageItsOwnAnswer) {
  const auto engine = engine_of(small_net());
  const auto context = engine->create_context(8);
  for (const int64_t batch : {1, 3, 8}) {
    const std::vector<float> x = random_floats(elements(engine->inputs()[0], batch), 2);
    const auto all = run_host(*context, *engine, batch, x);
    for (int64_t i = 0; i < batch; ++i) {
      EXPECT_TRUE(same_bits(run_host(*context, *engine, 1, one_image(x, batch, i)), one_image(all, batch, i))) << i << " of " << batch;
    }
  }
}

TEST(CpuEngine, SameBitsInFourThreads) {
  const auto engine = engine_of(small_net());
  const std::vector<float> x = random_floats(elements(engine->inputs()[0], 2), 3);
  const auto expected = run_host(*engine->create_context(2), *engine, 2, x);
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  threads.reserve(results.size());
  for (auto& result : results) {
    threads.emplace_back([&] {
      const auto context = engine->create_context(2);
      for (int i = 0; i < 5; ++i) result = run_host(*context, *engine, 2, x);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_TRUE(same_bits(result, expected));
}

TEST(CpuEngine, AContextKeepsItsEngineAlive) {
  auto engine = engine_of(small_net());
  const std::vector<float> x = random_floats(elements(engine->inputs()[0], 1), 4);
  std::vector<float> y(10);
  InputBuffer in;
  in.data = x.data();
  OutputBuffer out;
  out.data = y.data();
  const auto context = engine->create_context(1);
  engine.reset();
  EXPECT_NO_THROW(context->run(1, std::span(&in, 1), std::span(&out, 1)));
}

TEST(CpuEngine, BytesOfAnImageAreNormalised) {
  const auto engine = engine_of(small_net());
  const auto context = engine->create_context(2);
  const Dims dims = at_batch(engine->inputs()[0].shape, 2);
  std::vector<uint8_t> pixels(static_cast<size_t>(element_count(dims)));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37 % 256);
  InputBuffer in;
  in.data = pixels.data();
  in.format = InputFormat::nhwc_u8;
  const float mean[4] = {120, 110, 100, 0};
  const float deviation[4] = {60, 50, 40, 1};
  std::copy(mean, mean + 4, in.mean);
  std::copy(deviation, deviation + 4, in.std);
  std::vector<float> planes(pixels.size());
  for (int64_t n = 0; n < dims[0]; ++n) {
    for (int64_t c = 0; c < dims[1]; ++c) {
      for (int64_t p = 0; p < dims[2] * dims[3]; ++p) {
        const auto byte = static_cast<float>(pixels[static_cast<size_t>((n * dims[2] * dims[3] + p) * dims[1] + c)]);
        planes[static_cast<size_t>((n * dims[1] + c) * dims[2] * dims[3] + p)] = (byte - mean[c]) / deviation[c];
      }
    }
  }
  std::vector<float> y(20);
  OutputBuffer out;
  out.data = y.data();
  context->run(2, std::span(&in, 1), std::span(&out, 1));
  EXPECT_TRUE(same_bits(y, run_host(*context, *engine, 2, planes)));
}

TEST(CpuEngine, ChannelsLastImagesAreTakenAsTheyAre) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim(1, true), 5, 6, 3});
  const auto engine = engine_of(b.finish({b.unary("y", x, {UnaryFn::neg, 0, 0})}));
  const auto context = engine->create_context(1);
  std::vector<uint8_t> pixels(90, 10);
  pixels[4] = 30;
  InputBuffer in;
  in.data = pixels.data();
  in.format = InputFormat::nhwc_u8;
  std::vector<float> y(90);
  OutputBuffer out;
  out.data = y.data();
  context->run(1, std::span(&in, 1), std::span(&out, 1));
  EXPECT_EQ(y[4], -30.0f);
  EXPECT_EQ(y[5], -10.0f);
}

TEST(CpuEngine, HalfPrecisionModelsComputeInFloat) {
  Graph graph = small_net();
  for (Value& v : graph.values) {
    if (v.constant) v.constant = std::make_shared<const Tensor>(v.constant->cast(DType::f16));
    v.dtype = DType::f16;
  }
  const auto engine = engine_of(graph);
  EXPECT_EQ(engine->inputs()[0].dtype, DType::f16);
  EXPECT_EQ(engine->precision_name(), "fp32");
  const std::vector<float> x = random_floats(elements(engine->inputs()[0], 1), 5);
  std::vector<uint16_t> halves(x.size());
  for (size_t i = 0; i < x.size(); ++i) halves[i] = f32_to_f16(x[i]);
  std::vector<uint16_t> y(10);
  InputBuffer in;
  in.data = halves.data();
  OutputBuffer out;
  out.data = y.data();
  engine->create_context(1)->run(1, std::span(&in, 1), std::span(&out, 1));
  const auto full = engine_of(small_net());
  const auto expected = run_host(*full->create_context(1), *full, 1, x);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(f16_to_f32(y[i]), expected[i], 0.01f * max_abs(expected));
}

TEST(CpuEngine, IntegersConstantsAndInputsAsOutputs) {
  GraphBuilder b;
  const ValueId ids = b.input("ids", {Dim(1, true)}, DType::i64);
  const ValueId table = b.constant("table", {4, 3});
  const ValueId rows = b.node("gather", Gather{0}, {table, ids}, {Dim(1, true), 3});
  const auto engine = engine_of(b.finish({rows, table, ids}));
  const std::vector<int64_t> chosen = {2, 0};
  std::vector<float> gathered(6);
  std::vector<float> copy(12);
  std::vector<int64_t> same(2);
  InputBuffer in;
  in.data = chosen.data();
  OutputBuffer out[3];
  out[0].data = gathered.data();
  out[1].data = copy.data();
  out[2].data = same.data();
  engine->create_context(2)->run(2, std::span(&in, 1), out);
  EXPECT_EQ(same, chosen);
  EXPECT_EQ(gathered[0], copy[6]);
  EXPECT_EQ(gathered[5], copy[2]);
}

TEST(CpuEngine, NonFiniteInputsDoNotCrash) {
  const auto engine = engine_of(small_net());
  const auto context = engine->create_context(1);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -3e38f}) {
    std::vector<float> x = random_floats(elements(engine->inputs()[0], 1), 6);
    x[10] = bad;
    EXPECT_NO_THROW(run_host(*context, *engine, 1, x));
  }
  // and leave nothing behind
  const std::vector<float> x = random_floats(elements(engine->inputs()[0], 1), 7);
  EXPECT_TRUE(same_bits(run_host(*context, *engine, 1, x), run_host(*engine->create_context(1), *engine, 1, x)));
}

TEST(CpuEngine, MemoryIsWhatTheArenaTakes) {
  const auto engine = engine_of(small_net());
  size_t weights = 0;
  for (const Value& v : small_net().values) weights += v.constant ? v.constant->bytes() : 0;
  EXPECT_EQ(engine->memory(1).weights, weights);
  EXPECT_EQ(engine->memory(1).workspace, 0u);
  EXPECT_EQ(engine->memory(1).io, 0u);
  EXPECT_GT(engine->memory(4).activations, engine->memory(1).activations);
  EngineOptions tight = on_cpu();
  tight.memory_limit = engine->memory(2).activations;
  const auto limited = Engine::create(std::make_shared<const Graph>(small_net()), tight);
  EXPECT_NO_THROW(limited->create_context(2));
  EXPECT_EQ(code_of([&] { limited->create_context(3); }), ErrorCode::out_of_memory);
  tight.memory_limit = 100;
  EXPECT_EQ(code_of([&] { Engine::create(std::make_shared<const Graph>(small_net()), tight); }), ErrorCode::out_of_memory);
}

TEST(CpuEngine, RefusesBadArguments) {
  const auto engine = engine_of(small_net());
  const auto context = engine->create_context(2);
  std::vector<float> x(elements(engine->inputs()[0], 2));
  std::vector<float> y(20, 5.0f);
  InputBuffer in;
  in.data = x.data();
  OutputBuffer out;
  out.data = y.data();
  const auto run = [&](int64_t batch, size_t inputs, size_t outputs) {
    return code_of([&] { context->run(batch, std::span(&in, inputs), std::span(&out, outputs)); });
  };
  EXPECT_EQ(run(3, 1, 1), ErrorCode::bad_input);
  EXPECT_EQ(run(0, 1, 1), ErrorCode::bad_input);
  EXPECT_EQ(run(-1, 1, 1), ErrorCode::bad_input);
  EXPECT_EQ(run(1, 0, 1), ErrorCode::bad_input);
  EXPECT_EQ(run(1, 1, 0), ErrorCode::bad_input);
  in.space = MemorySpace::device;
  EXPECT_EQ(run(1, 1, 1), ErrorCode::bad_input);
  in = {};
  EXPECT_EQ(run(1, 1, 1), ErrorCode::bad_input);
  EXPECT_EQ(y, std::vector<float>(20, 5.0f));  // untouched
  EXPECT_EQ(code_of([&] { context->prepare(3); }), ErrorCode::bad_input);
  EXPECT_EQ(code_of([&] { engine->create_context(0); }), ErrorCode::bad_input);
}

TEST(CpuEngine, PrecisionIsFloatOnly) {
  for (const Precision p : {Precision::f16, Precision::bf16}) {
    EngineOptions options = on_cpu();
    options.precision = p;
    try {
      Engine::create(std::make_shared<const Graph>(small_net()), options);
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unsupported);
      EXPECT_NE(std::string(e.what()).find("accepted: fp32"), std::string::npos) << e.what();
    }
  }
}

TEST(CpuEngine, HashFollowsTheGraph) {
  const auto engine = engine_of(small_net());
  EXPECT_EQ(engine->plan_hash().size(), 16u);
  EXPECT_EQ(engine->plan_hash(), engine_of(small_net())->plan_hash());
  EXPECT_NE(engine->plan_hash(), engine_of(lite_like(32, 0.5, 10, 2))->plan_hash());
  EXPECT_EQ(engine->device_name().rfind("CPU (", 0), 0u);
}

TEST(CpuEngine, TimesAreMeasuredWhenAskedFor) {
  const auto engine = engine_of(small_net());
  const auto context = engine->create_context(1);
  const std::vector<float> x(elements(engine->inputs()[0], 1));
  run_host(*context, *engine, 1, x);
  EXPECT_EQ(context->times().compute_us, 0.0);
  context->enable_timing(true);
  run_host(*context, *engine, 1, x);
  EXPECT_GT(context->times().compute_us, 0.0);
}

TEST(Engine, UnknownShapesAreReported) {
  Graph graph = small_net();
  graph.values[static_cast<size_t>(graph.nodes[2].outputs[0])].shape.reset();
  EXPECT_EQ(code_of([&] { engine_of(graph); }), ErrorCode::unsupported);
}

TEST(Engine, CudaWithoutADeviceSaysWhy) {
  std::string reason;
  if (cuda_device_count(&reason) > 0) GTEST_SKIP() << "there is a device";
  EXPECT_FALSE(reason.empty());
  EngineOptions options;
  options.device.kind = DeviceChoice::Kind::cuda;
  EXPECT_EQ(code_of([&] { Engine::create(std::make_shared<const Graph>(small_net()), options); }), ErrorCode::device);
  options.device.kind = DeviceChoice::Kind::automatic;
  EXPECT_EQ(Engine::create(std::make_shared<const Graph>(small_net()), options)->device_name().rfind("CPU", 0), 0u);
}

}  // namespace
}  // namespace fcm
