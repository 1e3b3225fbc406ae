// Colour and progress: on a terminal only.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace fcm::apps {

bool is_terminal(std::FILE* stream);

/// Colours text when the stream is a terminal and NO_COLOR is unset or empty; otherwise returns it as it is.
class Style {
 public:
  explicit Style(std::FILE* stream);
  std::string strong(const std::string& text) const { return wrap("1", text); }
  std::string faint(const std::string& text) const { return wrap("2", text); }
  std::string good(const std::string& text) const { return wrap("32", text); }
  std::string bad(const std::string& text) const { return wrap("1;31", text); }

 private:
  std::string wrap(const char* code, const std::string& text) const;
  bool on_;
};

/// One line on standard error that is overwritten, shown once the work has taken longer than a second and only on a terminal. It wipes
/// itself when it ends.
class Progress {
 public:
  explicit Progress(bool wanted);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `fraction` of `stage` is done, from 0 to 1.
  void update(const std::string& stage, double fraction);
  /// Wipes the line, so that other output can be written.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool on_;
  bool shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

}  // namespace fcm::apps
