// Device steps against the CPU reference, on a GPU: every operator, dtype, arrangement of layouts and two batch sizes with one step.
// Tolerances, relative to the largest magnitude of the result: f32 2e-5, f16 2e-3, bf16 1.6e-2 (times a case's factor).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/engine/host_layout.h"
#include "runtime/support/error.h"
#include "tests/ops_cuda/case.h"

namespace fcm::test {
namespace {

using namespace ops::cuda;

constexpr size_t kGuard = 512;  // bytes after every buffer that nobody may touch
constexpr int kGuardByte = 0xA5;

double tolerance(DType dtype) {
  return dtype == DType::f32 ? 2e-5 : (dtype == DType::f16 ? 2e-3 : 1.6e-2);
}

/// The values of an output as `dtype`; `dirty` is set when a pad lane is not zero.
Tensor unpack(const std::vector<std::byte>& bytes, const Layout& layout, DType dtype, const Dims& dims, bool& dirty) {
  Tensor t = from_layout(bytes, layout, dims, &dirty);
  return t.dtype() == dtype ? t : t.cast(dtype);
}

// What all tests share: the first device, a stream, handles. Kernels are cached in a folder of the build.
struct Bench {
  DeviceInfo device;
  Stream stream;
  LibraryHandles handles;
  jit::DiskCache cache{std::string(FCM_BINARY_DIR) + "/kernel_cache"};
};

// Gone before main returns: cuDNN and cuBLASLt, which the first test opens, are taken down ahead of static objects that are older than
// they are, and would then be asked to free their handles.
class SharedBench : public ::testing::Environment {
 public:
  void TearDown() override { bench_.reset(); }
  Bench* get() {
    if (bench_ == nullptr && device_count() > 0) {
      bench_ = std::make_unique<Bench>();
      bench_->device = device_info(0);
    }
    return bench_.get();
  }

 private:
  std::unique_ptr<Bench> bench_;
};
SharedBench* const shared_bench = [] {
  auto* made = new SharedBench;  // gtest frees it
  ::testing::AddGlobalTestEnvironment(made);
  return made;
}();

Bench* bench() {
  return shared_bench->get();
}

class GuardedBuffer {
 public:
  GuardedBuffer(size_t bytes, cudaStream_t stream) : bytes_(bytes), memory_(bytes + kGuard) {
    fill_async(memory_.data(), 0xFF, bytes, stream);  // all ones: NaN
    fill_async(memory_.bytes() + bytes, kGuardByte, kGuard, stream);
  }
  void upload(const std::vector<std::byte>& content, cudaStream_t stream) const {
    copy_async(memory_.data(), content.data(), content.size(), cudaMemcpyHostToDevice, stream);
    synchronize(stream);
  }
  std::vector<std::byte> download(cudaStream_t stream) const {
    std::vector<std::byte> all(bytes_ + kGuard);
    copy_async(all.data(), memory_.data(), all.size(), cudaMemcpyDeviceToHost, stream);
    synchronize(stream);
    for (size_t i = bytes_; i < all.size(); ++i)
      EXPECT_EQ(all[i], std::byte{kGuardByte}) << "written " << i - bytes_ << " bytes behind a buffer";
    all.resize(bytes_);
    return all;
  }
  void* data() const { return memory_.data(); }

 private:
  size_t bytes_;
  DeviceBuffer memory_;
};

struct BuiltStep {
  WeightStore weights;
  KernelSet kernels;
  std::unique_ptr<Step> step;
  DeviceBuffer packed;

  BuiltStep(const Graph& graph, const Arrangement& a, Bench& b) {
    StepBuild build{b.device, weights, kernels, false};
    step = make_step(graph, graph.nodes[0], a.inputs, a.outputs, build);
    kernels.compile(b.device.target, b.cache);
    kernels.load();
    packed = DeviceBuffer(weights.bytes());
    if (weights.bytes() > 0) weights.upload(packed.data(), b.stream.get());
  }
};

std::vector<std::vector<std::byte>> run_step(const BuiltStep& built, const Arrangement& a, const std::vector<Tensor>& inputs, int64_t batch,
                                             int choice, Bench& b) {
  const cudaStream_t stream = b.stream.get();
  std::vector<GuardedBuffer> buffers;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (size_t i = 0; i < a.inputs.size(); ++i) {
    if (!a.inputs[i]) {
      in.push_back(nullptr);
      continue;
    }
    const std::vector<std::byte> bytes = to_layout(inputs[i], a.inputs[i]->layout);
    buffers.emplace_back(bytes.size(), stream);
    buffers.back().upload(bytes, stream);
    in.push_back(buffers.back().data());
  }
  const size_t first_output = buffers.size();
  for (const DeviceTensor& y : a.outputs) {
    buffers.emplace_back(layout_bytes(y.layout, at_batch(y.shape, batch)), stream);
    out.push_back(buffers.back().data());
  }
  const GuardedBuffer workspace(std::max<size_t>(256, built.step->workspace_bytes(4, b.handles)), stream);
  built.step->enqueue({batch, in, out, workspace.data(), built.packed.data(), &b.handles, stream, choice});
  std::vector<std::vector<std::byte>> results;
  for (size_t i = first_output; i < buffers.size(); ++i) results.push_back(buffers[i].download(stream));
  static_cast<void>(workspace.download(stream));
  return results;
}

void compare(const Tensor& got, const Tensor& expected, double relative) {
  ASSERT_EQ(got.dims(), expected.dims());
  if (!is_float(expected.dtype())) {
    EXPECT_EQ(std::memcmp(got.raw(), expected.raw(), expected.bytes()), 0);
    return;
  }
  const auto a = got.data<float>();
  const auto e = expected.data<float>();
  float scale = 1.0f;
  for (const float v : e) scale = std::max(scale, std::isfinite(v) ? std::fabs(v) : 0.0f);
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    const bool same = a[i] == e[i] || (std::isnan(a[i]) && std::isnan(e[i]));
    const double error = same ? 0.0 : std::fabs(double{a[i]} - double{e[i]});
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  EXPECT_LE(worst, relative * scale) << "element " << at << " of " << e.size() << ": " << a[at] << ", expected " << e[at];
}

// One case in all types and layouts against the reference, at two batch sizes.
void check(const Case& c, Bench& b) {
  const Graph graph = make_graph(c);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (dtype == DType::bf16 && !b.device.bf16) continue;
    for (const Arrangement& a : arrangements(graph, dtype)) {
      const BuiltStep built(graph, a, b);
      for (const int64_t batch : {int64_t{1}, int64_t{3}}) {
        SCOPED_TRACE(c.name + " " + std::string(dtype_name(dtype)) + " " + a.name + " batch " + std::to_string(batch) + ": " +
                     built.step->describe());
        const std::vector<Tensor> inputs = make_inputs(c, graph, batch);
        const std::vector<Tensor> expected = run_reference(graph, inputs, batch);
        const auto bytes = run_step(built, a, inputs, batch, 0, b);
        for (size_t i = 0; i < expected.size(); ++i) {
          bool dirty = false;
          const Tensor got = unpack(bytes[i], a.outputs[i].layout, expected[i].dtype(), expected[i].dims(), dirty);
          EXPECT_FALSE(dirty) << "a pad lane is not zero";
          compare(got, expected[i], tolerance(dtype) * c.looser);
        }
        EXPECT_EQ(bytes, run_step(built, a, inputs, batch, 0, b)) << "the same input gave other bits";
      }
    }
  }
}

class OpsCudaGpu : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    std::string reason;
    if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  }
};

TEST_P(OpsCudaGpu, EqualsTheReference) {
  check(all_cases()[GetParam()], *bench());
}

INSTANTIATE_TEST_SUITE_P(Cases, OpsCudaGpu, ::testing::Range<size_t>(0, all_cases().size()),
                         [](const ::testing::TestParamInfo<size_t>& tested) { return all_cases()[tested.param].name; });

// FCM_SWEEP_SEED: other layers.
class OpsCudaSweep : public OpsCudaGpu {};
constexpr int kSweep = 24;

TEST_P(OpsCudaSweep, RandomAttentionEqualsTheReference) {
  const char* seed = std::getenv("FCM_SWEEP_SEED");
  check(random_attentions(kSweep, seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : 2026U)[GetParam()], *bench());
}

INSTANTIATE_TEST_SUITE_P(Layers, OpsCudaSweep, ::testing::Range<size_t>(0, kSweep));

// Algorithms offered for tuning are right and repeat their bits, like the default one.
TEST(OpsCudaCandidates, AllAgree) {
  std::string reason;
  if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  Bench& b = *bench();
  for (const Case& c : all_cases()) {
    if (c.name != "dense_3x3" && c.name != "pointwise_relu" && c.name != "gemm_trans_b_odd" && c.name != "matmul_batched") continue;
    const Graph graph = make_graph(c);
    for (const DType dtype : {DType::f32, DType::f16}) {
      const Arrangement a = arrangements(graph, dtype)[0];
      const BuiltStep built(graph, a, b);
      const std::vector<Tensor> inputs = make_inputs(c, graph, 3);
      const std::vector<Tensor> expected = run_reference(graph, inputs, 3);
      const int candidates = built.step->candidates(3, b.handles);
      EXPECT_GE(candidates, 1);
      for (int choice = 0; choice < candidates; ++choice) {
        SCOPED_TRACE(c.name + " candidate " + std::to_string(choice));
        bool dirty = false;
        const auto bytes = run_step(built, a, inputs, 3, choice, b);
        compare(unpack(bytes[0], a.outputs[0].layout, DType::f32, expected[0].dims(), dirty), expected[0], tolerance(dtype));
        EXPECT_FALSE(dirty);
        EXPECT_EQ(bytes, run_step(built, a, inputs, 3, choice, b));
      }
    }
  }
}

// Images and callers' tensors at the border, the latter at an address aligned to one element only.
TEST(OpsCudaBorder, ReadsImagesAndUnalignedTensors) {
  std::string reason;
  if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  Bench& b = *bench();
  const cudaStream_t stream = b.stream.get();
  const int64_t n = 2;
  const Shape shape = {Dim(1, true), 3, 5, 7};
  const Dims dims = at_batch(shape, n);
  for (const DType dtype : {DType::f32, DType::f16}) {
    WeightStore weights;
    KernelSet kernels;
    StepBuild build{b.device, weights, kernels, false};
    const DeviceTensor rows{shape, {Order::rows, DType::f32, 0}};
    const DeviceTensor image{shape, {Order::nhwc, dtype, 8}};
    const auto enter = make_border(rows, image, build);
    const auto leave = make_border(image, rows, build);
    const auto pixels = make_image_border(image, false, build);
    kernels.compile(b.device.target, b.cache);
    kernels.load();

    Tensor x(DType::f32, dims);
    for (int64_t i = 0; i < x.count(); ++i) x.data<float>()[static_cast<size_t>(i)] = static_cast<float>(i % 97) / 64.0f;
    const std::vector<std::byte> packed = to_layout(x, image.layout);
    const DeviceBuffer caller(x.bytes() + 64);
    const GuardedBuffer inside(packed.size(), stream);
    copy_async(caller.bytes() + 4, x.raw(), x.bytes(), cudaMemcpyHostToDevice, stream);
    enter->enqueue(stream, {n, caller.bytes() + 4, inside.data()});
    EXPECT_EQ(inside.download(stream), packed);
    fill_async(caller.data(), 0, caller.size(), stream);
    leave->enqueue(stream, {n, inside.data(), caller.bytes() + 4});
    std::vector<std::byte> back(x.bytes());
    copy_async(back.data(), caller.bytes() + 4, back.size(), cudaMemcpyDeviceToHost, stream);
    synchronize(stream);
    EXPECT_EQ(std::memcmp(back.data(), x.raw(), back.size()), 0);

    std::vector<std::byte> photo(static_cast<size_t>(n * 5 * 7 * 3));
    for (size_t i = 0; i < photo.size(); ++i) photo[i] = static_cast<std::byte>(i * 37 % 256);
    copy_async(caller.bytes() + 1, photo.data(), photo.size(), cudaMemcpyHostToDevice, stream);
    Border::Args args{n, caller.bytes() + 1, inside.data(), nullptr, {127, 100, 90, 0}, {128, 64, 32, 1}};
    pixels->enqueue(stream, args);
    Tensor expected(DType::f32, dims);
    for (int64_t i = 0; i < expected.count(); ++i) {
      const int64_t w = i % 7;
      const int64_t h = i / 7 % 5;
      const auto c = static_cast<size_t>(i / 35 % 3);
      const auto at = static_cast<size_t>(((i / 105 * 5 + h) * 7 + w) * 3) + c;
      expected.data<float>()[static_cast<size_t>(i)] = (static_cast<float>(photo[at]) - args.mean[c]) / args.std[c];
    }
    EXPECT_EQ(inside.download(stream), to_layout(expected, image.layout));
  }
}

}  // namespace
}  // namespace fcm::test
