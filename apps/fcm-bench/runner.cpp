#include "apps/fcm-bench/runner.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "runtime/support/dtype.h"

namespace fcm::bench {
namespace {

template <class T, class Draw>
void fill(std::vector<std::byte>& bytes, Draw draw) {
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    const T value = draw();
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
}

std::vector<std::byte> random_bytes(const fcm_port& port, int64_t batch) {
  std::vector<std::byte> bytes(port_bytes(port, batch));
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same input every time
  std::normal_distribution<float> normal;
  if (port.dtype == FCM_FLOAT32) fill<float>(bytes, [&] { return normal(random); });
  if (port.dtype == FCM_FLOAT64) fill<double>(bytes, [&] { return static_cast<double>(normal(random)); });
  if (port.dtype == FCM_FLOAT16) fill<uint16_t>(bytes, [&] { return f32_to_f16(normal(random)); });
  if (port.dtype == FCM_BFLOAT16) fill<uint16_t>(bytes, [&] { return f32_to_bf16(normal(random)); });
  if (port.dtype == FCM_UINT8) fill<uint8_t>(bytes, [&] { return static_cast<uint8_t>(random()); });
  return bytes;
}

}  // namespace

size_t port_bytes(const fcm_port& port, int64_t batch) {
  const bool free = std::any_of(port.batch_dims, port.batch_dims + port.rank, [](int64_t d) { return d != 0; });
  return port.bytes_per_batch * static_cast<size_t>(free ? batch : 1);
}

Runner::Runner(const api::Engine& engine, int64_t batch, std::unique_ptr<Gpu> gpu)
    : gpu_(std::move(gpu)), batch_(batch), context_(engine, batch) {
  for (const fcm_port& port : engine.inputs()) {
    const std::vector<std::byte>& bytes = memory_.emplace_back(random_bytes(port, batch));
    host_inputs_.push_back(api::host_input(bytes.data(), bytes.size()));
  }
  for (const fcm_port& port : engine.outputs()) {
    std::vector<std::byte>& bytes = memory_.emplace_back(port_bytes(port, batch));
    host_outputs_.push_back(api::host_output(bytes.data(), bytes.size()));
  }
  inputs_ = host_inputs_;
  outputs_ = host_outputs_;
  if (gpu_ != nullptr) {
    for (fcm_input& input : inputs_) {
      input.data = gpu_->place(input.data, input.bytes);
      input.space = FCM_DEVICE;
    }
    for (fcm_output& output : outputs_) {
      output.data = gpu_->place(nullptr, output.bytes);
      output.space = FCM_DEVICE;
    }
  }
  context_.prepare(batch);
}

void Runner::enqueue() {
  context_.run(batch_, inputs_, outputs_, gpu_ == nullptr ? nullptr : gpu_->stream());
}

void Runner::run_on_host() {
  context_.run(batch_, host_inputs_, host_outputs_);
}

void Runner::run() {
  enqueue();
  if (gpu_ != nullptr) gpu_->wait();
}

void Runner::trace(fcm_step_callback before, void* user) {
  api::check(fcm_context_trace(context_.get(), batch_, inputs_.data(), inputs_.size(), outputs_.data(), outputs_.size(), before, user));
}

}  // namespace fcm::bench
