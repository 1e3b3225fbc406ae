// Colour and progress: on a terminal only.
#include "apps/common/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace fcm::apps {

bool is_terminal(std::FILE* stream) {
  return ::isatty(::fileno(stream)) == 1;
}

Style::Style(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  on_ = is_terminal(stream) && (no_color == nullptr || *no_color == '\0');
}

std::string Style::wrap(const char* code, const std::string& text) const {
  return on_ ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
}

Progress::Progress(bool wanted) : on_(wanted && is_terminal(stderr)) {}

void Progress::update(const std::string& stage, double fraction) {
  if (!on_) return;
  const auto now = Clock::now();
  constexpr auto kSilence = std::chrono::seconds(1);
  constexpr auto kInterval = std::chrono::milliseconds(100);
  if (now - start_ < kSilence || (shown_ && now - last_ < kInterval)) return;
  fmt::print(stderr, "\r\033[K{:3.0f}% {}", fraction * 100, stage);
  std::fflush(stderr);
  shown_ = true;
  last_ = now;
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace fcm::apps
