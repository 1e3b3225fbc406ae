#include "runtime/support/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "runtime/support/env.h"

namespace fcm {
namespace {

thread_local const LogTarget* thread_target = nullptr;

LogLevel level_from_env() {
  const std::string& text = env().log;
  if (text == "trace") return LogLevel::trace;
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "error") return LogLevel::error;
  if (text == "off") return LogLevel::off;
  return LogLevel::warning;
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

void write_standard_error(LogLevel level, const std::string& message) {
  static spdlog::logger logger = [] {
    spdlog::logger made("fcm", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made.set_level(spdlog::level::trace);
    made.set_pattern("%^%l%$: %v");
    return made;
  }();
  logger.log(to_spdlog(level), message);
}

}  // namespace

const LogTarget& default_log_target() {
  static const LogTarget target{level_from_env(), {}};
  return target;
}

const LogTarget& current_log_target() {
  return thread_target != nullptr ? *thread_target : default_log_target();
}

LogScope::LogScope(const LogTarget& target) : previous_(thread_target) {
  thread_target = &target;
}

LogScope::~LogScope() {
  thread_target = previous_;
}

void log_message(LogLevel level, const std::string& message) {
  const LogTarget& target = current_log_target();
  if (target.sink) {
    target.sink(level, message);
  } else {
    write_standard_error(level, message);
  }
}

}  // namespace fcm
