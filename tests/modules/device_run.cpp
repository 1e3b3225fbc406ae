// Device side of the module tests.
#include "tests/modules/device_run.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <span>
#include <thread>
#include <utility>

#include "fcm/emit.h"
#include "runtime/device/cuda_check.h"

namespace fcm::testing {
namespace {

using Bytes = std::span<const uint8_t>;

float element(Bytes bytes, size_t index, DType dtype) {
  if (dtype_size(dtype) == 2) {
    uint16_t v = 0;
    std::memcpy(&v, &bytes[index * 2], 2);
    return dtype == DType::f16 ? f16_to_f32(v) : bf16_to_f32(v);
  }
  float v = 0;
  std::memcpy(&v, &bytes[index * 4], 4);
  return v;
}

double unit_of(DType t) {
  return t == DType::f16 ? 0x1p-11 : t == DType::bf16 ? 0x1p-8 : 0x1p-24;
}

/// Each element within its bound; and the mean error within a few units of the dtype, since a worst-case bound forgives much.
std::string compare_map(const Case& c, const ModuleResult& expected, Bytes bytes) {
  const DType dtype = output_dtype(c.spec);
  const auto channels = static_cast<size_t>(output_channels(c.spec)), pitch = static_cast<size_t>(output_pitch(c.spec));
  const size_t pixels = expected.output.size() / channels;
  double error = 0, size = 0;
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t ch = 0; ch < pitch; ++ch) {
      const float got = element(bytes, p * pitch + ch, dtype);
      if (ch >= channels) {
        if (got != 0.0f) return fmt::format("pad lane {} of pixel {} is {}", ch, p, got);
        continue;
      }
      const float want = expected.output[p * channels + ch], bound = expected.bound[p * channels + ch];
      if (!(std::abs(got - want) <= bound)) return fmt::format("pixel {} channel {}: {} instead of {} (bound {})", p, ch, got, want, bound);
      error += std::abs(got - want);
      size += std::abs(want);
    }
  }
  // A head that leaves in FP32 still rounds its means.
  const double unit = c.spec.tf32 ? 0x1p-11 : std::max(unit_of(dtype_of(c.spec)), 0x1p-20);
  const double allowed = 8 * unit * (size + 1e-3 * static_cast<double>(expected.output.size()));
  return error <= allowed ? ""
                          : fmt::format("mean error {:.3g} of mean size {:.3g}", error / static_cast<double>(pixels),
                                        size / static_cast<double>(pixels));
}

std::string compare_pool(const Case& c, const ModuleResult& expected, Bytes bytes, size_t floats_an_image) {
  const auto channels = static_cast<size_t>(output_channels(c.spec)),
             pitch = static_cast<size_t>(geometry::round_up(output_channels(c.spec), 4));
  const size_t tiles = floats_an_image / pitch;
  for (size_t n = 0; n < static_cast<size_t>(c.batch); ++n) {
    for (size_t ch = 0; ch < channels; ++ch) {
      double sum = 0;
      for (size_t t = 0; t < tiles; ++t) sum += element(bytes, (n * tiles + t) * pitch + ch, DType::f32);
      const size_t at = n * channels + ch;
      if (!(std::abs(sum - expected.pool[at]) <= expected.pool_bound[at] + 1e-6))
        return fmt::format("pool of image {} channel {}: {} instead of {} (bound {})", n, ch, sum, expected.pool[at],
                           expected.pool_bound[at]);
    }
  }
  return {};
}

/// Compares each repeat of the batch: the first one, and those that differ from it by a bit.
template <class Compare>
std::string compare_repeats(const Case& c, Bytes bytes, Compare compare) {
  const size_t part = bytes.size() / static_cast<size_t>(c.repeats);
  const Bytes first = bytes.first(part);
  for (int r = 0; r < c.repeats; ++r) {
    const Bytes own = bytes.subspan(static_cast<size_t>(r) * part, part);
    if (r > 0 && std::equal(own.begin(), own.end(), first.begin())) continue;
    if (std::string why = compare(own); !why.empty()) return r == 0 ? why : fmt::format("repeat {}: {}", r, why);
  }
  return {};
}

std::vector<uint8_t> repeated(const std::vector<uint8_t>& bytes, int times) {
  std::vector<uint8_t> all;
  all.reserve(bytes.size() * static_cast<size_t>(times));
  for (int i = 0; i < times; ++i) all.insert(all.end(), bytes.begin(), bytes.end());
  return all;
}

}  // namespace

GuardedBuffer::GuardedBuffer(size_t bytes) : bytes_(bytes) {
  cuda_check(cudaMalloc(&base_, bytes + 2 * kGuard), "test buffer");
  cuda_check(cudaMemset(base_, 0xff, bytes + 2 * kGuard), "test buffer");
}
GuardedBuffer::GuardedBuffer(const std::vector<uint8_t>& contents) : GuardedBuffer(contents.size()) {
  cuda_check(cudaMemcpy(get(), contents.data(), contents.size(), cudaMemcpyHostToDevice), "test buffer");
}
GuardedBuffer::~GuardedBuffer() {
  cudaFree(base_);
}

std::vector<uint8_t> GuardedBuffer::read() const {
  std::vector<uint8_t> bytes(bytes_);
  cuda_check(cudaMemcpy(bytes.data(), get(), bytes_, cudaMemcpyDeviceToHost), "test buffer");
  return bytes;
}

bool GuardedBuffer::guards_intact() const {
  std::array<uint8_t, 2 * kGuard> guards{};
  cuda_check(cudaMemcpy(guards.data(), base_, kGuard, cudaMemcpyDeviceToHost), "test buffer");
  cuda_check(cudaMemcpy(guards.data() + kGuard, static_cast<uint8_t*>(get()) + bytes_, kGuard, cudaMemcpyDeviceToHost), "test buffer");
  return std::all_of(guards.begin(), guards.end(), [](uint8_t b) { return b == 0xff; });
}

DeviceCase::DeviceCase(const Case& c, const Operands& operands, const LaunchPlan& plan)
    : scale(operands.inputs.scale), shift(operands.inputs.shift) {
  const DType dtype = dtype_of(c.spec);
  weights = std::make_unique<GuardedBuffer>(pack_weights(c.spec, c.tile, operands.weights));
  input = std::make_unique<GuardedBuffer>(repeated(input_bytes(c, operands.inputs), c.repeats));
  const int channels = output_channels(c.spec), pitch = output_pitch(c.spec);
  if (!operands.inputs.residual.empty())
    residual = std::make_unique<GuardedBuffer>(repeated(to_nhwc(operands.inputs.residual, channels, pitch, dtype), c.repeats));
  const int in = c.spec.stages[0].in_channels;
  if (c.spec.gate)
    gate = std::make_unique<GuardedBuffer>(repeated(to_nhwc(operands.inputs.gate, in, pitch_of(in, dtype), dtype), c.repeats));
  const Plane out = output_plane(c.spec);
  output = std::make_unique<GuardedBuffer>(static_cast<size_t>(c.images()) * static_cast<size_t>(out.height * out.width) *
                                           static_cast<size_t>(pitch) * dtype_size(output_dtype(c.spec)));
  if (plan.pool_floats > 0) pool = std::make_unique<GuardedBuffer>(static_cast<size_t>(plan.pool_floats * c.images()) * sizeof(float));
}

ModuleArgs DeviceCase::args(int batch) const {
  ModuleArgs a;
  a.input = input->get();
  a.residual = residual ? residual->get() : nullptr;
  std::copy(scale.begin(), scale.end(), a.scale);
  std::copy(shift.begin(), shift.end(), a.shift);
  a.gate = gate ? gate->get() : nullptr;
  a.weights = weights->get();
  a.output = output->get();
  a.pool = pool ? static_cast<float*>(pool->get()) : nullptr;
  a.batch = batch;
  return a;
}

std::string check_case(const Case& c, const Operands& operands, const ModuleResult& expected, const ModuleKernel& kernel) {
  const DeviceCase device(c, operands, kernel.plan());
  kernel.launch(device.args(c.images()), nullptr, true);
  cuda_check(cudaDeviceSynchronize(), "module case");
  for (const GuardedBuffer* b : {device.output.get(), device.pool.get(), device.input.get()}) {
    if (b != nullptr && !b->guards_intact()) return "a guard zone was written";
  }
  if (c.spec.pool != geometry::Pool::only) {
    const std::vector<uint8_t> map = device.output->read();
    const std::string why = compare_repeats(c, map, [&](Bytes part) { return compare_map(c, expected, part); });
    if (!why.empty()) return why;
  }
  if (c.spec.pool != geometry::Pool::none) {
    const std::vector<uint8_t> sums = device.pool->read();
    const auto floats = static_cast<size_t>(kernel.plan().pool_floats);
    return compare_repeats(c, sums, [&](Bytes part) { return compare_pool(c, expected, part, floats); });
  }
  return {};
}

namespace {

struct Prepared {
  Operands operands;
  ModuleResult expected;
};

std::vector<Prepared> prepare(const std::vector<Case>& cases) {
  std::vector<Prepared> prepared(cases.size());
  std::atomic<size_t> next = 0;
  std::vector<std::future<void>> workers;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    workers.push_back(std::async(std::launch::async, [&] {
      for (size_t i = next++; i < cases.size(); i = next++) {
        prepared[i].operands = make_operands(cases[i]);
        prepared[i].expected = reference(cases[i].spec, prepared[i].operands.weights, prepared[i].operands.inputs);
      }
    }));
  }
  for (auto& w : workers) w.get();
  return prepared;
}

}  // namespace

std::vector<Failure> failing_cases(const std::vector<Case>& cases, const jit::Target& target) {
  constexpr size_t kPart = 256;  // bounds the memory of references and loaded kernels
  std::vector<Failure> failures;
  for (size_t first = 0; first < cases.size(); first += kPart) {
    const auto begin = cases.begin() + static_cast<std::ptrdiff_t>(first);
    const std::vector<Case> part(begin, begin + static_cast<std::ptrdiff_t>(std::min(cases.size() - first, kPart)));
    const std::vector<Prepared> prepared = prepare(part);
    const std::vector<jit::Binary> binaries = compile_cases(part, target);
    for (size_t i = 0; i < part.size(); ++i) {
      const ModuleKernel kernel(binaries[i], emit(part[i].spec, part[i].tile, target).launch);
      std::string why = check_case(part[i], prepared[i].operands, prepared[i].expected, kernel);
      if (!why.empty()) failures.push_back({part[i], std::move(why)});
    }
  }
  return failures;
}

std::vector<jit::Binary> compile_cases(const std::vector<Case>& cases, const jit::Target& target, bool jitter) {
  std::vector<jit::Program> programs;
  programs.reserve(cases.size());
  for (const Case& c : cases) programs.push_back(emit(c.spec, c.tile, target, jitter).program);
  return jit::compile_all(programs, target, jit::DiskCache::standard());
}

}  // namespace fcm::testing
