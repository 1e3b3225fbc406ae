// Choice of the device for an engine.
#include "runtime/engine/engine.h"

#include <fmt/format.h>

#include "runtime/device/info.h"
#include "runtime/engine/cpu_engine.h"
#include "runtime/engine/ports.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"
#if FCM_HAS_CUDA
#include "runtime/engine/cuda_engine.h"
#include "runtime/engine/device_rates.h"
#endif

namespace fcm {
namespace {

std::shared_ptr<const Engine> create_on_gpu(std::shared_ptr<const Graph> graph, const EngineOptions& options) {
#if FCM_HAS_CUDA
  std::string reason;
  if (cuda_device_count(&reason) == 0) throw Error(ErrorCode::device, fmt::format("no CUDA device can be used: {}", reason));
  return create_cuda_engine(std::move(graph), options);
#else
  static_cast<void>(graph);
  static_cast<void>(options);
  throw Error(ErrorCode::device, "device cuda: this build has no CUDA support; accepted: the devices auto and cpu");
#endif
}

}  // namespace

std::shared_ptr<const Engine> Engine::create(std::shared_ptr<const Graph> graph, const EngineOptions& options) {
  if (!graph) throw Error(ErrorCode::internal, "an engine was asked for without a graph");
  check_shapes(*graph);
  switch (options.device.kind) {
    case DeviceChoice::Kind::cpu:
      return create_cpu_engine(std::move(graph), options);
    case DeviceChoice::Kind::cuda:
      return create_on_gpu(std::move(graph), options);
    case DeviceChoice::Kind::automatic:
      break;
  }
  std::string reason;
  if (cuda_device_count(&reason) > 0) return create_on_gpu(std::move(graph), options);
  log(LogLevel::info, "no GPU is used ({}): running on the CPU", reason);
  return create_cpu_engine(std::move(graph), options);
}

DeviceModel model_of_device(int ordinal, std::string* note) {
#if FCM_HAS_CUDA
  return model_of_device(device_info(ordinal), note);
#else
  static_cast<void>(note);
  throw Error(ErrorCode::device, fmt::format("no CUDA device {}: this build has no CUDA support", ordinal));
#endif
}

DeviceModel measured_model(int ordinal) {
#if FCM_HAS_CUDA
  return measured_model(device_info(ordinal));
#else
  throw Error(ErrorCode::device, fmt::format("no CUDA device {}: this build has no CUDA support", ordinal));
#endif
}

int cuda_device_count(std::string* reason) {
  return device_count(reason);
}

}  // namespace fcm
