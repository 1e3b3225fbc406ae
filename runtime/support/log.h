// Logging: to standard error, or to whoever holds the current thread's LogScope. There is no global to set: an embedding program's
// callback travels with its handles and is in force on a thread while that thread is inside a call.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

namespace fcm {

enum class LogLevel { trace, debug, info, warning, error, off };

using LogSink = std::function<void(LogLevel, const std::string&)>;

struct LogTarget {
  LogLevel level = LogLevel::warning;
  LogSink sink;  ///< empty: standard error
};

/// FCM_LOG's level and standard error.
const LogTarget& default_log_target();
/// What this thread logs to now. Hand it to a LogScope on a worker thread, so that its messages reach the same place.
const LogTarget& current_log_target();

/// Redirects the current thread's messages while it lives; scopes nest. `target` must outlive the scope.
class LogScope {
 public:
  explicit LogScope(const LogTarget& target);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  const LogTarget* previous_;
};

inline LogLevel log_level() {
  return current_log_target().level;
}
void log_message(LogLevel level, const std::string& message);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level >= log_level()) log_message(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fcm
