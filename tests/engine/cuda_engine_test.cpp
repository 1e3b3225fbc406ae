// The CUDA engine against the CPU one, and its promises: same bits, no allocation, one launch and one wait a run, exact memory.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "runtime/device/counters.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/support/error.h"
#include "tests/engine/support.h"

namespace fcm {
namespace {

using namespace test;

// An allocator that counts what is out, and fails at the n-th call.
class Accountant {
 public:
  explicit Accountant(int fail_at = 0) : fail_at_(fail_at) {}
  ~Accountant() { EXPECT_EQ(live_bytes(), 0u) << "device memory is left allocated"; }
  Accountant(const Accountant&) = delete;
  Accountant& operator=(const Accountant&) = delete;

  DeviceAllocator callbacks() {
    DeviceAllocator a;
    a.allocate = [](void* user, size_t bytes) { return static_cast<Accountant*>(user)->allocate(bytes); };
    a.release = [](void* user, void* pointer) { static_cast<Accountant*>(user)->release(pointer); };
    a.user = this;
    return a;
  }
  size_t live_bytes() const {
    const std::lock_guard lock(mutex_);
    size_t total = 0;
    for (const auto& [pointer, bytes] : live_) total += bytes;
    return total;
  }
  int calls() const { return calls_; }

 private:
  void* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (++calls_ == fail_at_) return nullptr;
    void* pointer = nullptr;
    if (cudaMalloc(&pointer, bytes) != cudaSuccess) return nullptr;
    live_[pointer] = bytes;
    return pointer;
  }
  void release(void* pointer) {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(live_.erase(pointer), 1u) << "released what was not allocated";
    cudaFree(pointer);
  }

  int fail_at_;
  int calls_ = 0;
  mutable std::mutex mutex_;
  std::map<void*, size_t> live_;
};

class CudaEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda_device_count(&reason) == 0) GTEST_SKIP() << "no CUDA device: " << reason;
  }

  static EngineOptions on_gpu(Precision precision) {
    EngineOptions options;
    options.device.kind = DeviceChoice::Kind::cuda;
    options.precision = precision;
    options.fuse = false;  // fused_engine_test.cpp has the modules
    return options;
  }
  static std::shared_ptr<const Engine> create(const Graph& graph, const EngineOptions& options) {
    return Engine::create(std::make_shared<const Graph>(graph), options);
  }
  static std::shared_ptr<const Engine> on_cpu(const Graph& graph) {
    EngineOptions options;
    options.device.kind = DeviceChoice::Kind::cpu;
    return create(graph, options);
  }
};

// Against the largest output: f32 differs by the order of sums, 16-bit types by rounding every activation.
float tolerance(Precision p) {
  switch (p) {
    case Precision::f16:
      return 2e-2f;
    case Precision::bf16:
      return 1e-1f;
    default:
      return 1e-4f;
  }
}

TEST_F(CudaEngineTest, AgreesWithTheCpu) {
  const Graph graphs[] = {small_net(), lite_like(64, 0.5, 10, 5)};
  for (const Graph& graph : graphs) {
    const auto cpu = on_cpu(graph);
    const auto reference = cpu->create_context(3);
    for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
      const auto engine = create(graph, on_gpu(p));
      const auto context = engine->create_context(3);
      for (const int64_t batch : {1, 3, 2}) {
        const auto x = random_floats(elements(cpu->inputs()[0], batch), static_cast<uint32_t>(batch));
        const auto expected = run_host(*reference, *cpu, batch, x);
        const auto y = run_host(*context, *engine, batch, x);
        EXPECT_LE(max_difference(y, expected), tolerance(p) * max_abs(expected)) << engine->precision_name() << " batch " << batch << "\n"
                                                                                 << engine->plan_text();
      }
    }
  }
}

TEST_F(CudaEngineTest, EveryOutputAgreesWithTheCpu) {
  const Graph graph = many_outputs_net();
  const auto cpu = on_cpu(graph);
  const auto run = [](const Engine& engine, const std::vector<float>& x) {
    std::vector<std::vector<float>> results;
    std::vector<OutputBuffer> out;
    for (const Port& port : engine.outputs()) results.emplace_back(elements(port, 3));
    for (auto& result : results) out.push_back({result.data(), MemorySpace::host});
    InputBuffer in;
    in.data = x.data();
    engine.create_context(3)->run(3, std::span(&in, 1), out);
    return results;
  };
  const auto x = random_floats(elements(cpu->inputs()[0], 3), 19);
  const auto expected = run(*cpu, x);
  for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
    const auto results = run(*create(graph, on_gpu(p)), x);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_LE(max_difference(results[i], expected[i]), tolerance(p) * max_abs(expected[i])) << i;
    }
  }
}

TEST_F(CudaEngineTest, ABatchGivesEachImageItsOwnAnswer) {
  for (const Precision p : {Precision::f32, Precision::f16}) {
    const auto engine = create(small_net(), on_gpu(p));
    const auto context = engine->create_context(101);
    for (const int64_t batch : {3, 8, 101}) {
      const auto x = random_floats(elements(engine->inputs()[0], batch), 11);
      const auto all = run_host(*context, *engine, batch, x);
      const float limit = (p == Precision::f32 ? 1e-4f : 2e-3f) * max_abs(all);
      for (int64_t i = 0; i<batch; i += batch> 8 ? 25 : 1) {
        EXPECT_LE(max_difference(run_host(*context, *engine, 1, one_image(x, batch, i)), one_image(all, batch, i)), limit) << i;
      }
    }
  }
}

TEST_F(CudaEngineTest, SameBitsRunAfterRun) {
  for (const Precision p : {Precision::f32, Precision::f16, Precision::bf16}) {
    const auto engine = create(small_net(), on_gpu(p));
    const auto context = engine->create_context(4);
    const auto x = random_floats(elements(engine->inputs()[0], 4), 12);
    const auto expected = run_host(*context, *engine, 4, x);
    for (int i = 0; i < 100; ++i)
      ASSERT_TRUE(same_bits(run_host(*context, *engine, 4, x), expected)) << engine->precision_name() << " " << i;
    const auto again = create(small_net(), on_gpu(p));
    EXPECT_EQ(again->plan_hash(), engine->plan_hash());
    EXPECT_TRUE(same_bits(run_host(*again->create_context(4), *again, 4, x), expected));
  }
}

TEST_F(CudaEngineTest, SameBitsInFourThreads) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const auto x = random_floats(elements(engine->inputs()[0], 2), 13);
  const auto expected = run_host(*engine->create_context(2), *engine, 2, x);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  threads.reserve(wrong.size());
  for (int& count : wrong) {
    threads.emplace_back([&] {
      const auto context = engine->create_context(2);
      for (int i = 0; i < 25; ++i) count += same_bits(run_host(*context, *engine, 2, x), expected) ? 0 : 1;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(CudaEngineTest, APreparedRunAllocatesNothingAndWaitsOnce) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const auto context = engine->create_context(2);
  context->prepare(2);
  context->prepare(1);
  const auto x = random_floats(elements(engine->inputs()[0], 2), 14);
  for (const int64_t batch : {2, 1, 2}) {
    std::vector<float> y(elements(engine->outputs()[0], batch));
    InputBuffer in;
    in.data = x.data();
    OutputBuffer out;
    out.data = y.data();
    call_counts() = {};
    context->run(batch, std::span(&in, 1), std::span(&out, 1));
    EXPECT_EQ(call_counts().allocations, 0);
    EXPECT_EQ(call_counts().releases, 0);
    EXPECT_EQ(call_counts().launches, 0);
    EXPECT_EQ(call_counts().graph_launches, 1);
    EXPECT_EQ(call_counts().synchronizations, 1);
    EXPECT_EQ(call_counts().copies, 2);  // one input up, one output down
  }
}

TEST_F(CudaEngineTest, MemoryIsKnownExactly) {
  Accountant accountant;
  EngineOptions options = on_gpu(Precision::f16);
  options.allocator = accountant.callbacks();
  auto engine = create(small_net(), options);
  EXPECT_EQ(accountant.live_bytes(), engine->memory(1).weights);
  for (const int64_t batch : {1, 7, 64}) {
    const MemoryUse use = engine->memory(batch);
    const size_t before = accountant.live_bytes();
    const int calls = accountant.calls();
    auto context = engine->create_context(batch);
    EXPECT_EQ(accountant.live_bytes() - before, use.activations + use.workspace);
    EXPECT_EQ(accountant.calls(), calls + 1);
    context->prepare(batch);
    context->prepare(1);
    EXPECT_EQ(accountant.live_bytes() - before, use.activations + use.workspace);
    context.reset();
    EXPECT_EQ(accountant.live_bytes(), before);
  }
}

TEST_F(CudaEngineTest, AFailedAllocationLeavesNothing) {
  for (int n = 1;; ++n) {
    ASSERT_LT(n, 20);
    Accountant accountant(n);
    EngineOptions options = on_gpu(Precision::f16);
    options.allocator = accountant.callbacks();
    try {
      const auto engine = create(small_net(), options);
      const auto context = engine->create_context(3);
      context->prepare(3);
      EXPECT_GT(n, 2) << "weights and arena are two allocations";
      break;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory) << e.what();
    }
    EXPECT_EQ(accountant.live_bytes(), 0u) << "after failure " << n;
  }
}

TEST_F(CudaEngineTest, TheMemoryLimitIsHonoured) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const MemoryUse use = engine->memory(4);
  EngineOptions options = on_gpu(Precision::f16);
  options.memory_limit = use.activations + use.workspace;
  const auto limited = create(small_net(), options);
  EXPECT_NO_THROW(limited->create_context(4));
  try {
    limited->create_context(64);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(e.what()).find("bytes"), std::string::npos);
  }
  options.memory_limit = 16;
  EXPECT_THROW(create(small_net(), options), Error);
}

// Device buffers of the caller, on the caller's stream.
struct DeviceRun {
  DeviceBuffer input;
  DeviceBuffer output;
  Stream stream;

  DeviceRun(size_t input_bytes, size_t output_bytes) : input(input_bytes), output(output_bytes) {}
  std::vector<float> operator()(Context& context, int64_t batch, const void* x, size_t bytes, InputBuffer in, size_t shift = 0) {
    std::vector<float> y(output.size() / sizeof(float) - 16);
    in.data = input.bytes() + shift;
    in.space = MemorySpace::device;
    OutputBuffer out;
    out.data = output.bytes() + shift;
    out.space = MemorySpace::device;
    copy_async(input.bytes() + shift, x, bytes, cudaMemcpyHostToDevice, stream.get());
    context.run(batch, std::span(&in, 1), std::span(&out, 1), stream.get());
    copy_async(y.data(), output.bytes() + shift, y.size() * sizeof(float), cudaMemcpyDeviceToHost, stream.get());
    synchronize(stream.get());
    return y;
  }
};

TEST_F(CudaEngineTest, DeviceBuffersAreOrderedWithTheCallersStream) {
  const Graph convolution = [] {  // ends in a border kernel; small_net ends in a GEMM
    GraphBuilder b;
    const ValueId x = b.input("x", {Dim(1, true), 3, 9, 7});
    return b.finish({b.conv("conv", x, 5, 3, 1)});
  }();
  for (const Graph& graph : {small_net(), convolution}) {
    const auto engine = create(graph, on_gpu(Precision::f16));
    const auto context = engine->create_context(2);
    const size_t outputs = elements(engine->outputs()[0], 2);
    DeviceRun run(elements(engine->inputs()[0], 2) * sizeof(float) + 64, outputs * sizeof(float) + 64);
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const auto x = random_floats(elements(engine->inputs()[0], 2), seed);
      const auto expected = run_host(*context, *engine, 2, x);
      const size_t shift = seed % 3 == 2 ? 4 : 0;  // a pointer that is not 16-byte aligned goes through a copy
      EXPECT_TRUE(same_bits(run(*context, 2, x.data(), x.size() * sizeof(float), InputBuffer(), shift), expected)) << seed;
    }
  }
}

// Runs that nobody waits for, on two streams and the context's own in turn, share one arena: each must follow the one before.
TEST_F(CudaEngineTest, RunsOnSeveralStreamsFollowEachOther) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const auto context = engine->create_context(2);
  const size_t inputs = elements(engine->inputs()[0], 2), outputs = elements(engine->outputs()[0], 2);
  const Stream streams[2];
  std::vector<DeviceBuffer> x, y;
  std::vector<std::vector<float>> expected;
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const auto values = random_floats(inputs, seed);
    expected.push_back(run_host(*context, *engine, 2, values));
    x.emplace_back(inputs * sizeof(float));
    y.emplace_back(outputs * sizeof(float));
    copy_async(x.back().data(), values.data(), x.back().size(), cudaMemcpyHostToDevice, streams[0].get());
    synchronize(streams[0].get());
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const InputBuffer in{x[i].data(), MemorySpace::device};
    const OutputBuffer out{y[i].data(), MemorySpace::device};
    context->run(2, std::span(&in, 1), std::span(&out, 1), i % 3 == 2 ? nullptr : streams[i % 3].get());
  }
  for (const Stream& stream : streams) synchronize(stream.get());
  for (size_t i = 0; i < y.size(); ++i) {
    std::vector<float> got(outputs);
    copy_async(got.data(), y[i].data(), y[i].size(), cudaMemcpyDeviceToHost, streams[0].get());
    synchronize(streams[0].get());
    EXPECT_TRUE(same_bits(got, expected[i])) << i;
  }
}

TEST_F(CudaEngineTest, ATracedRunAnswersAsARunDoesAndMeetsEveryStep) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const auto context = engine->create_context(2);
  const auto x = random_floats(elements(engine->inputs()[0], 2), 21);
  const auto expected = run_host(*context, *engine, 2, x);
  std::vector<float> y(expected.size());
  const InputBuffer in{x.data()};
  const OutputBuffer out{y.data()};
  std::vector<size_t> met;
  context->trace(2, std::span(&in, 1), std::span(&out, 1), [&](size_t step) { met.push_back(step); });
  EXPECT_TRUE(same_bits(y, expected));
  const auto infos = engine->step_infos(2);
  ASSERT_EQ(met.size(), infos.size() + 1);
  for (size_t i = 0; i < met.size(); ++i) EXPECT_EQ(met[i], i);
  for (const StepInfo& info : infos) EXPECT_GT(info.bytes, 0) << info.name;
}

TEST_F(CudaEngineTest, ImagesOfBytesFromHostAndDevice) {
  for (const Precision p : {Precision::f32, Precision::f16}) {
    const auto engine = create(small_net(), on_gpu(p));
    const auto cpu = on_cpu(small_net());
    const auto context = engine->create_context(2);
    std::vector<uint8_t> pixels(elements(engine->inputs()[0], 2));
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 31 % 251);
    InputBuffer in;
    in.data = pixels.data();
    in.format = InputFormat::nhwc_u8;
    for (int c = 0; c < 3; ++c) {
      in.mean[c] = 120.0f + static_cast<float>(c);
      in.std[c] = 60.0f - static_cast<float>(c);
    }
    std::vector<float> y(20);
    std::vector<float> expected(20);
    OutputBuffer out;
    out.data = y.data();
    context->run(2, std::span(&in, 1), std::span(&out, 1));
    out.data = expected.data();
    cpu->create_context(2)->run(2, std::span(&in, 1), std::span(&out, 1));
    EXPECT_LE(max_difference(y, expected), tolerance(p) * max_abs(expected));
    DeviceRun run(pixels.size() + 64, (y.size() + 16) * sizeof(float));
    EXPECT_TRUE(same_bits(run(*context, 2, pixels.data(), pixels.size(), in), y));
    // a float run afterwards finds the graph bound back
    const auto x = random_floats(pixels.size(), 15);
    EXPECT_TRUE(same_bits(run_host(*context, *engine, 2, x), run_host(*engine->create_context(2), *engine, 2, x)));
  }
}

TEST_F(CudaEngineTest, IntegersConstantsAndInputsAsOutputs) {
  GraphBuilder b;
  const ValueId ids = b.input("ids", {Dim(1, true)}, DType::i64);
  const ValueId table = b.constant("table", {4, 3});
  const ValueId rows = b.node("gather", Gather{0}, {table, ids}, {Dim(1, true), 3});
  const auto engine = create(b.finish({rows, table, ids, rows}), on_gpu(Precision::f32));
  const std::vector<int64_t> chosen = {2, 0};
  std::vector<float> gathered(6);
  std::vector<float> copy(12);
  std::vector<int64_t> same(2);
  std::vector<float> twice(6);
  InputBuffer in;
  in.data = chosen.data();
  OutputBuffer out[4];
  out[0].data = gathered.data();
  out[1].data = copy.data();
  out[2].data = same.data();
  out[3].data = twice.data();
  engine->create_context(2)->run(2, std::span(&in, 1), out);
  EXPECT_EQ(same, chosen);
  EXPECT_EQ(gathered[0], copy[6]);
  EXPECT_EQ(gathered[5], copy[2]);
  EXPECT_EQ(gathered, twice);
}

TEST_F(CudaEngineTest, TheCallersDeviceStaysCurrent) {
  int count = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  const int callers = count - 1;
  ASSERT_EQ(cudaSetDevice(callers), cudaSuccess);
  const auto current = [] {
    int device = -1;
    cudaGetDevice(&device);
    return device;
  };
  auto engine = create(small_net(), on_gpu(Precision::f16));
  EXPECT_EQ(current(), callers);
  engine->memory(2);
  EXPECT_EQ(current(), callers);
  auto context = engine->create_context(2);
  EXPECT_EQ(current(), callers);
  run_host(*context, *engine, 2, random_floats(elements(engine->inputs()[0], 2), 16));
  EXPECT_EQ(current(), callers);
  context.reset();
  engine.reset();
  EXPECT_EQ(current(), callers);
  cudaSetDevice(0);
}

TEST_F(CudaEngineTest, TunedEnginesAgreeAndRepeat) {
  EngineOptions options = on_gpu(Precision::f16);
  options.tune = true;
  options.tune_batches = {1, 4};
  const auto tuned = create(small_net(), options);
  EXPECT_EQ(create(small_net(), options)->plan_hash(), tuned->plan_hash());  // the second takes the first one's figures
  const auto cpu = on_cpu(small_net());
  const auto x = random_floats(elements(cpu->inputs()[0], 4), 17);
  const auto expected = run_host(*cpu->create_context(4), *cpu, 4, x);
  EXPECT_LE(max_difference(run_host(*tuned->create_context(4), *tuned, 4, x), expected), tolerance(Precision::f16) * max_abs(expected));
}

TEST_F(CudaEngineTest, TimesAreMeasuredWhenAskedFor) {
  const auto engine = create(small_net(), on_gpu(Precision::automatic));
  const auto context = engine->create_context(1);
  const auto x = random_floats(elements(engine->inputs()[0], 1), 18);
  run_host(*context, *engine, 1, x);
  EXPECT_EQ(context->times().compute_us, 0.0);
  context->enable_timing(true);
  run_host(*context, *engine, 1, x);
  EXPECT_GT(context->times().upload_us, 0.0);
  EXPECT_GT(context->times().compute_us, 0.0);
  EXPECT_GT(context->times().download_us, 0.0);
  context->enable_timing(false);
  EXPECT_EQ(context->times().compute_us, 0.0);
}

TEST_F(CudaEngineTest, BadArgumentsLeaveOutputsAlone) {
  const auto engine = create(small_net(), on_gpu(Precision::f16));
  const auto context = engine->create_context(2);
  std::vector<float> x(elements(engine->inputs()[0], 3));
  std::vector<float> y(30, 5.0f);
  InputBuffer in;
  in.data = x.data();
  OutputBuffer out;
  out.data = y.data();
  EXPECT_THROW(context->run(3, std::span(&in, 1), std::span(&out, 1)), Error);
  EXPECT_THROW(context->run(1, std::span(&in, size_t{0}), std::span(&out, 1)), Error);
  EXPECT_THROW(engine->create_context(0), Error);
  EXPECT_EQ(y, std::vector<float>(30, 5.0f));
  EXPECT_NO_THROW(context->run(2, std::span(&in, 1), std::span(&out, 1)));
  EngineOptions missing = on_gpu(Precision::f16);
  missing.device.ordinal = 99;
  EXPECT_THROW(create(small_net(), missing), Error);
}

}  // namespace
}  // namespace fcm
