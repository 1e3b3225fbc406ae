#include "runtime/support/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <mutex>

#include "runtime/support/env.h"

namespace fcm {
namespace {

LogLevel level_from_env() {
  const std::string& text = env().log;
  if (text == "trace") return LogLevel::trace;
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "error") return LogLevel::error;
  if (text == "off") return LogLevel::off;
  return LogLevel::warning;
}

struct State {
  std::atomic<LogLevel> level{level_from_env()};
  std::mutex mutex;
  std::function<void(LogLevel, const std::string&)> sink;
  spdlog::logger standard_error{"fcm", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()};

  State() {
    standard_error.set_level(spdlog::level::trace);
    standard_error.set_pattern("%^%l%$: %v");
  }
};

State& state() {
  static State instance;
  return instance;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

}  // namespace

void set_log_level(LogLevel level) {
  state().level = level;
}

LogLevel log_level() {
  return state().level;
}

void set_log_sink(std::function<void(LogLevel, const std::string&)> sink) {
  const std::lock_guard lock(state().mutex);
  state().sink = std::move(sink);
}

void log_message(LogLevel level, const std::string& message) {
  std::function<void(LogLevel, const std::string&)> sink;
  {
    const std::lock_guard lock(state().mutex);
    sink = state().sink;
  }
  // Called outside the lock, so that a sink may log or replace itself.
  if (sink) {
    sink(level, message);
  } else {
    state().standard_error.log(to_spdlog(level), message);
  }
}

}  // namespace fcm
