// Logging: one sink, standard error unless the embedding program takes it; level from FCM_LOG or set_log_level.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>

namespace fcm {

enum class LogLevel { trace, debug, info, warning, error, off };

void set_log_level(LogLevel level);
LogLevel log_level();
/// Replaces standard error; an empty function restores it. Thread-safe; the sink may be called from any thread.
void set_log_sink(std::function<void(LogLevel, const std::string&)> sink);
void log_message(LogLevel level, const std::string& message);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level >= log_level()) log_message(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fcm
