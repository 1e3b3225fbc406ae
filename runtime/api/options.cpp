// Options: text keys and values, so that a new one breaks no caller.
#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <string_view>

#include "runtime/api/handles.h"

namespace {

using fcm::DeviceChoice;
using fcm::Error;
using fcm::ErrorCode;
using fcm::LogLevel;
using fcm::Precision;

[[noreturn]] void reject(std::string_view key, std::string_view value, std::string_view accepted) {
  throw Error(ErrorCode::command_line, fmt::format("option \"{}\": \"{}\" is not accepted; expected {}", key, value, accepted));
}

template <class Integer>
Integer parse_integer(std::string_view key, std::string_view value, std::string_view accepted) {
  Integer number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || value.empty()) reject(key, value, accepted);
  return number;
}

bool parse_switch(std::string_view key, std::string_view value) {
  if (value == "0") return false;
  if (value == "1") return true;
  reject(key, value, "0 or 1");
}

DeviceChoice parse_device(std::string_view value) {
  constexpr std::string_view kAccepted = "auto, cpu, cuda or cuda:N";
  if (value == "auto") return {DeviceChoice::Kind::automatic, 0};
  if (value == "cpu") return {DeviceChoice::Kind::cpu, 0};
  if (value == "cuda") return {DeviceChoice::Kind::cuda, 0};
  if (!value.starts_with("cuda:")) reject("device", value, kAccepted);
  const int ordinal = parse_integer<int>("device", value.substr(5), kAccepted);
  if (ordinal < 0) reject("device", value, kAccepted);
  return {DeviceChoice::Kind::cuda, ordinal};
}

Precision parse_precision(std::string_view value) {
  if (value == "auto") return Precision::automatic;
  if (value == "fp32") return Precision::f32;
  if (value == "fp16") return Precision::f16;
  if (value == "bf16") return Precision::bf16;
  if (value == "int8") throw Error(ErrorCode::unsupported, "precision int8 is not available yet; accepted are auto, fp32, fp16 and bf16");
  reject("precision", value, "auto, fp32, fp16 or bf16");
}

LogLevel parse_log_level(std::string_view value) {
  if (value == "trace") return LogLevel::trace;
  if (value == "debug") return LogLevel::debug;
  if (value == "info") return LogLevel::info;
  if (value == "warning") return LogLevel::warning;
  if (value == "error") return LogLevel::error;
  if (value == "off") return LogLevel::off;
  reject("log_level", value, "trace, debug, info, warning, error or off");
}

fcm::Dims parse_dims(std::string_view key, std::string_view value) {
  constexpr std::string_view kAccepted = "positive dimensions such as 1x3x224x224";
  fcm::Dims dims;
  size_t start = 0;
  while (start <= value.size()) {
    const size_t end = std::min(value.find('x', start), value.size());
    const int64_t dim = parse_integer<int64_t>(key, value.substr(start, end - start), kAccepted);
    if (dim <= 0 || dims.size() == FCM_MAX_RANK) reject(key, value, kAccepted);
    dims.push_back(dim);
    start = end + 1;
  }
  return dims;
}

std::vector<int64_t> parse_batches(std::string_view key, std::string_view value) {
  constexpr std::string_view kAccepted = "batch sizes such as 1,8,64";
  std::vector<int64_t> batches;
  size_t start = 0;
  while (start <= value.size()) {
    const size_t end = std::min(value.find(',', start), value.size());
    const auto batch = parse_integer<int64_t>(key, value.substr(start, end - start), kAccepted);
    if (batch < 1) reject(key, value, kAccepted);
    batches.push_back(batch);
    start = end + 1;
  }
  return batches;
}

fcm::Objective parse_objective(std::string_view value) {
  if (value == "time") return fcm::Objective::time;
  if (value == "gma") return fcm::Objective::gma;
  reject("objective", value, "time or gma");
}

void set_node(fcm::NodeOverride& node, std::string_view key, std::string_view value) {
  constexpr std::string_view kTile = "tile:";
  if (value == "nofuse") {
    node.fuse = false;
  } else if (value.starts_with(kTile)) {
    node.tile = value.substr(kTile.size());
  } else if (value == "fp32") {
    node.full_precision = true;
  } else {
    reject(key, value, "nofuse, fp32 or tile:TEXT");
  }
}

std::string read_text_file(std::string_view path) {
  std::ifstream file(std::string(path), std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file || text.empty()) throw Error(ErrorCode::bad_input, fmt::format("plan '{}' cannot be read, or is empty", path));
  return text;
}

void set_option(fcm_options& options, std::string_view key, std::string_view value) {
  constexpr std::string_view kShape = "shape.", kNode = "node.";
  if (key == "device") {
    options.engine.device = parse_device(value);
  } else if (key == "precision") {
    options.engine.precision = parse_precision(value);
  } else if (key == "tf32") {
    options.engine.tf32 = parse_switch(key, value);
  } else if (key == "tune") {
    options.engine.tune = parse_switch(key, value);
  } else if (key == "tune_batches") {
    options.engine.tune_batches = parse_batches(key, value);
  } else if (key == "fuse") {
    options.engine.fuse = parse_switch(key, value);
  } else if (key == "kernel_cache") {
    options.engine.kernel_cache = parse_switch(key, value);
  } else if (key == "programmatic_launch") {
    options.engine.programmatic_launch = parse_switch(key, value);
  } else if (key == "objective") {
    options.engine.fusion.objective = parse_objective(value);
  } else if (key == "plan") {
    options.engine.plan_file = read_text_file(value);
    options.engine.plan_source = std::string(value);
  } else if (key == "max_batch") {
    options.engine.fusion.max_batch = parse_integer<int64_t>(key, value, "the largest batch size, or 0");
    if (options.engine.fusion.max_batch < 0) reject(key, value, "the largest batch size, or 0");
  } else if (key == "batch") {
    options.batch = parse_integer<int64_t>(key, value, "a batch size, or 0");
    if (options.batch < 0) reject(key, value, "a batch size, or 0");
  } else if (key.starts_with(kNode) && key.size() > kNode.size()) {
    set_node(options.engine.fusion.overrides[std::string(key.substr(kNode.size()))], key, value);
  } else if (key == "memory_limit") {
    options.engine.memory_limit = parse_integer<size_t>(key, value, "a number of bytes");
  } else if (key == "log_level") {
    options.log->level = parse_log_level(value);
  } else if (key.starts_with(kShape) && key.size() > kShape.size()) {
    options.import.shapes[std::string(key.substr(kShape.size()))] = parse_dims(key, value);
  } else {
    throw Error(
        ErrorCode::command_line,
        fmt::format("unknown option \"{}\"; known are device, precision, tf32, tune, tune_batches, fuse, plan, objective, max_batch, "
                    "kernel_cache, programmatic_launch, memory_limit, log_level, batch, shape.NAME, node.NAME",
                    key));
  }
}

}  // namespace

fcm_status* fcm_options_create(uint32_t abi_version, fcm_options** out) {
  return fcm::capi::guard([&] {
    fcm::capi::require(out != nullptr, "out is NULL");
    if (abi_version != FCM_ABI_VERSION)
      throw Error(ErrorCode::command_line, fmt::format("the caller was built for ABI version {} of the FCM runtime, this library has {}",
                                                       abi_version, FCM_ABI_VERSION));
    *out = new fcm_options;
  });
}

void fcm_options_release(fcm_options* options) {
  delete options;
}

fcm_status* fcm_options_set(fcm_options* options, const char* key, const char* value) {
  return fcm::capi::guard([&] {
    fcm::capi::require(options != nullptr && key != nullptr && value != nullptr, "NULL given to fcm_options_set");
    set_option(*options, key, value);
  });
}

fcm_status* fcm_options_set_log(fcm_options* options, fcm_log_callback callback, void* user) {
  return fcm::capi::guard([&] {
    fcm::capi::require(options != nullptr, "options is NULL");
    if (callback == nullptr) {
      options->log->sink = {};
      return;
    }
    options->log->sink = [callback, user](LogLevel level, const std::string& message) {
      callback(user, static_cast<fcm_log_level>(level), message.c_str());
    };
  });
}

fcm_status* fcm_options_set_progress(fcm_options* options, fcm_progress_callback callback, void* user) {
  return fcm::capi::guard([&] {
    fcm::capi::require(options != nullptr, "options is NULL");
    options->engine.progress = {};
    if (callback == nullptr) return;
    options->engine.progress = [callback, user](const std::string& stage, double fraction) { callback(user, stage.c_str(), fraction); };
  });
}

fcm_status* fcm_options_set_allocator(fcm_options* options, fcm_allocate_callback allocate, fcm_free_callback release, void* user) {
  return fcm::capi::guard([&] {
    fcm::capi::require(options != nullptr, "options is NULL");
    fcm::capi::require((allocate == nullptr) == (release == nullptr), "an allocator needs both callbacks, or neither");
    options->engine.allocator = {allocate, release, user};
  });
}
