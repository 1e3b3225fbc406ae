// Models, engines and contexts through the C API, on the CPU.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "tests/api/support.h"

namespace fcm::testing {
namespace {

std::vector<float> ramp(size_t count, float step) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::sin(step * static_cast<float>(i));
  return values;
}

std::vector<float> run(api::Context& context, int64_t batch, const std::vector<float>& input) {
  std::vector<float> output(static_cast<size_t>(batch) * 3, NAN);
  context.run(batch, {api::host_input(input.data(), input.size() * 4)}, {api::host_output(output.data(), output.size() * 4)});
  return output;
}

TEST(Engine, PortsPropertiesAndMemory) {
  const api::Options options = cpu_options();
  const api::Model model = load(small_classifier(), options);
  EXPECT_STREQ(fcm_model_metadata(model.get(), "note"), "hello");
  EXPECT_EQ(fcm_model_metadata(model.get(), "missing"), nullptr);
  const api::Engine engine(model, options);
  const std::vector<fcm_port> inputs = engine.inputs();
  ASSERT_EQ(inputs.size(), 1u);
  EXPECT_STREQ(inputs[0].name, "x");
  EXPECT_EQ(inputs[0].rank, 4u);
  EXPECT_EQ(inputs[0].dims[1], 2);
  EXPECT_EQ(inputs[0].batch_dims[0], 1);
  EXPECT_EQ(inputs[0].batch_dims[1], 0);
  EXPECT_EQ(inputs[0].bytes_per_batch, 2u * 16 * 4);
  EXPECT_EQ(engine.outputs()[0].bytes_per_batch, 12u);
  EXPECT_EQ(engine.property("precision"), "fp32");
  EXPECT_EQ(engine.property("softmax"), "1");
  EXPECT_EQ(engine.property("plan_hash").size(), 16u);
  EXPECT_EQ(fcm_engine_property(engine.get(), "nonsense"), nullptr);
  EXPECT_GT(engine.memory(4).weights, 0u);
  fcm_port port;
  expect_status(fcm_engine_input(engine.get(), 1, &port), FCM_STATUS_INVALID_ARGUMENT, "out of range");
}

TEST(Context, ProbabilitiesSumToOneAndBatchesEqualSingles) {
  const api::Options options = cpu_options();
  const api::Engine engine(load(small_classifier(), options), options);
  api::Context context(engine, 5);
  const std::vector<float> input = ramp(5 * 32, 0.37f);
  const std::vector<float> together = run(context, 5, input);
  for (size_t n = 0; n < 5; ++n) {
    const std::vector<float> one(input.begin() + static_cast<long>(n * 32), input.begin() + static_cast<long>((n + 1) * 32));
    const std::vector<float> alone = run(context, 1, one);
    float sum = 0;
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(alone[c], together[n * 3 + c]);
      sum += alone[c];
    }
    EXPECT_NEAR(sum, 1.0f, 1e-6);
  }
}

TEST(Context, ATraceMeetsEveryStepAndAnswersAsARunDoes) {
  const api::Options options = cpu_options();
  const api::Engine engine(load(small_classifier(), options), options);
  api::Context context(engine, 2);
  const std::vector<float> input = ramp(2 * 32, 0.21f);
  std::vector<float> output(6, NAN);
  const fcm_input in = api::host_input(input.data(), input.size() * 4);
  const fcm_output out = api::host_output(output.data(), output.size() * 4);
  std::vector<std::string> steps;
  const auto before = [](void* user, const fcm_step* step) {
    auto& list = *static_cast<std::vector<std::string>*>(user);
    list.push_back(step == nullptr ? "end" : fmt::format("{}/{} {}", step->index, step->count, step->kind));
    if (step == nullptr) return;
    EXPECT_GT(step->bytes, 0);
    EXPECT_EQ(step->predicted_us, 0) << "the CPU has no cost model";
  };
  api::check(fcm_context_trace(context.get(), 2, &in, 1, &out, 1, before, &steps));
  ASSERT_GE(steps.size(), 3u);
  EXPECT_EQ(steps.front(), fmt::format("0/{} Conv", steps.size() - 1));
  EXPECT_EQ(steps.back(), "end");
  EXPECT_EQ(output, run(context, 2, input));
  expect_status(fcm_context_trace(context.get(), 2, &in, 1, &out, 1, nullptr, nullptr), FCM_STATUS_INVALID_ARGUMENT, "callback");
  expect_status(fcm_context_trace(context.get(), 3, &in, 1, &out, 1, before, &steps), FCM_STATUS_INVALID_ARGUMENT, "batch 3");
}

TEST(Context, OutlivesModelAndEngine) {
  const api::Options options = cpu_options();
  auto model = std::make_unique<api::Model>(load(small_classifier(), options));
  auto engine = std::make_unique<api::Engine>(*model, options);
  api::Context context(*engine);
  model.reset();
  engine.reset();
  EXPECT_NEAR(run(context, 1, ramp(32, 0.1f))[0], 1.0f / 3, 0.34f);
}

TEST(Context, WrongBuffersAreRefusedAndOutputsUntouched) {
  const api::Options options = cpu_options();
  const api::Engine engine(load(small_classifier(), options), options);
  const api::Context context(engine, 2);
  const std::vector<float> input = ramp(64, 0.2f);
  std::vector<float> output(6, 42.0f);
  fcm_input in = api::host_input(input.data(), 10);
  fcm_output out = api::host_output(output.data(), 24);
  expect_status(fcm_context_run(context.get(), 1, &in, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT,
                "input \"x\" (f32 [B,2,4,4]) at batch 1 takes 128 bytes, 10 were given");
  in.bytes = 128;
  out.bytes = 8;
  expect_status(fcm_context_run(context.get(), 1, &in, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "takes 12 bytes, 8 were given");
  out.bytes = 24;
  expect_status(fcm_context_run(context.get(), 3, &in, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "outside 1..2");
  expect_status(fcm_context_run(context.get(), 0, &in, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "outside 1..2");
  expect_status(fcm_context_run(context.get(), 1, &in, 0, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "1 inputs, 0 were given");
  expect_status(fcm_context_run(context.get(), 1, nullptr, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "NULL");
  for (const float x : output) EXPECT_EQ(x, 42.0f);
}

TEST(Context, FixedBatchModelsRunOnceAtATime) {
  const api::Options options = cpu_options();
  const std::string bytes = ModelBuilder(17).input("x", {2, 3}).node("Relu", {"x"}, {"y"}).output("y").bytes();
  const api::Engine engine(load(bytes, options), options);
  api::Context context(engine, 4);
  const std::vector<float> input = {-1, 2, -3, 4, -5, 6};
  std::vector<float> output(6);
  context.run(1, {api::host_input(input.data(), 24)}, {api::host_output(output.data(), 24)});
  EXPECT_EQ(output, (std::vector<float>{0, 2, 0, 4, 0, 6}));
  const fcm_input in = api::host_input(input.data(), 24);
  const fcm_output out = api::host_output(output.data(), 24);
  expect_status(fcm_context_run(context.get(), 2, &in, 1, &out, 1, nullptr), FCM_STATUS_INVALID_ARGUMENT, "fixed");
}

TEST(Context, PixelsAreNormalisedByTheLibrary) {
  const api::Options options = cpu_options();
  const std::string bytes = ModelBuilder(17).input("x", {"N", 3, 2, 2}).node("Identity", {"x"}, {"y"}).output("y").bytes();
  const api::Engine engine(load(bytes, options), options);
  api::Context context(engine);
  const std::vector<uint8_t> pixels = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 255};
  std::vector<float> output(12);
  fcm_input in = api::host_input(pixels.data(), pixels.size());
  in.format = FCM_NHWC_U8;
  for (size_t c = 0; c < 3; ++c) {
    in.mean[c] = 10.0f * static_cast<float>(c);
    in.std[c] = 2.0f;
  }
  context.run(1, {in}, {api::host_output(output.data(), 48)});
  for (size_t c = 0; c < 3; ++c) {
    for (size_t p = 0; p < 4; ++p) EXPECT_FLOAT_EQ(output[c * 4 + p], (static_cast<float>(pixels[p * 3 + c]) - in.mean[c]) / 2.0f);
  }
}

TEST(Model, BadInputIsNamed) {
  fcm_model* model = nullptr;
  expect_status(fcm_model_load("/nowhere/missing.onnx", nullptr, &model), FCM_STATUS_BAD_INPUT, "missing.onnx");
  expect_status(fcm_model_load_memory("", 0, "empty.onnx", nullptr, nullptr, &model), FCM_STATUS_BAD_INPUT, "empty.onnx");
  expect_status(fcm_model_load(nullptr, nullptr, &model), FCM_STATUS_INVALID_ARGUMENT, "NULL");
  const std::string unknown = ModelBuilder(17)
                                  .input("x", {1})
                                  .node("Frobnicate", {"x"}, {"a"}, {}, "first")
                                  .node("Twiddle", {"a"}, {"y"}, {}, "second")
                                  .output("y")
                                  .bytes();
  fcm_status* status = fcm_model_load_memory(unknown.data(), unknown.size(), "unknown.onnx", nullptr, nullptr, &model);
  ASSERT_NE(status, nullptr);
  const std::string message = fcm_status_message(status);
  for (const char* part : {"unknown.onnx", "first", "Frobnicate", "second", "Twiddle"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  expect_status(status, FCM_STATUS_UNSUPPORTED, "Frobnicate");
  EXPECT_EQ(model, nullptr);
}

TEST(Model, ShapeOptionFixesTheInput) {
  api::Options options = cpu_options();
  options.set("shape.x", "2x2x4x4");
  const api::Engine engine(load(small_classifier(), options), options);
  EXPECT_EQ(engine.inputs()[0].dims[0], 2);
  EXPECT_EQ(engine.inputs()[0].batch_dims[0], 0);
}

TEST(Model, NaNWeightsAreRefusedByName) {
  const std::string bytes = ModelBuilder(17)
                                .input("x", {"N", 2})
                                .initializer("w", {2, 1}, {NAN, 1.0f})
                                .node("MatMul", {"x", "w"}, {"y"}, {}, "product")
                                .output("y")
                                .bytes();
  fcm_model* model = nullptr;
  fcm_engine* engine = nullptr;
  fcm_status* status = fcm_model_load_memory(bytes.data(), bytes.size(), "nan.onnx", nullptr, nullptr, &model);
  if (status == nullptr) status = fcm_engine_create(model, cpu_options().get(), &engine);
  expect_status(status, FCM_STATUS_BAD_INPUT, "\"product\"");
  fcm_model_release(model);
}

TEST(Context, TooLittleMemoryNamesModelAndTensor) {
  api::Options options = cpu_options();
  const api::Model model = load(small_classifier(), options);
  const fcm_memory use = api::Engine(model, options).memory(2);
  options.set("memory_limit", std::to_string(use.activations));
  const api::Engine engine(model, options);
  const api::Context fits(engine, 2);
  fcm_context* context = nullptr;
  expect_status(fcm_context_create(engine.get(), 9, &context), FCM_STATUS_OUT_OF_MEMORY,
                fmt::format("memory limit of {} bytes (batch 9; the largest tensor is ", use.activations));
  fcm_status* status = fcm_context_create(engine.get(), 9, &context);
  EXPECT_EQ(std::string(fcm_status_message(status)).rfind("small.onnx: ", 0), 0u) << fcm_status_message(status);
  expect_status(status, FCM_STATUS_OUT_OF_MEMORY, "of node \"");
  EXPECT_EQ(context, nullptr);
  options.set("memory_limit", "16");
  fcm_engine* none = nullptr;
  expect_status(fcm_engine_create(model.get(), options.get(), &none), FCM_STATUS_OUT_OF_MEMORY, "small.onnx: ");
  EXPECT_EQ(none, nullptr);
}

TEST(Context, StreamsAndDeviceBuffersBelongToAGpu) {
  const api::Options options = cpu_options();
  const api::Engine engine(load(small_classifier(), options), options);
  const api::Context context(engine);
  const std::vector<float> input = ramp(32, 0.2f);
  std::vector<float> output(3, 42.0f);
  fcm_input in = api::host_input(input.data(), 128);
  const fcm_output out = api::host_output(output.data(), 12);
  int stream = 0;
  expect_status(fcm_context_run(context.get(), 1, &in, 1, &out, 1, &stream), FCM_STATUS_BAD_INPUT, "stream was given to a CPU context");
  in.space = FCM_DEVICE;
  expect_status(fcm_context_run(context.get(), 1, &in, 1, &out, 1, nullptr), FCM_STATUS_BAD_INPUT, "device buffer");
  EXPECT_EQ(output, std::vector<float>(3, 42.0f));
}

TEST(Engine, CudaWithoutADeviceSaysSo) {
  api::Options options;
  options.set("device", "cuda:7");
  const api::Model model = load(small_classifier(), options);
  fcm_engine* engine = nullptr;
  expect_status(fcm_engine_create(model.get(), options.get(), &engine), FCM_STATUS_DEVICE, "");
  EXPECT_EQ(engine, nullptr);
}

}  // namespace
}  // namespace fcm::testing
