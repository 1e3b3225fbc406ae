// Compute targets: their text form and which of them are known.
#include <fmt/format.h>

#include "runtime/jit/jit.h"
#include "runtime/support/error.h"

namespace fcm::jit {

Target Target::parse(const std::string& text) {
  std::string digits = text.starts_with("sm_") ? text.substr(3) : text;
  Target target;
  target.arch_specific = digits.ends_with('a');
  if (target.arch_specific) digits.pop_back();
  const bool numeric = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
  if (!numeric || digits.size() < 2 || digits.size() > 3)
    throw Error(ErrorCode::command_line,
                fmt::format("'{}' is not a GPU architecture; accepted: 75, 80, 86, 87, 89, 90a, 100, 120, ...", text));
  const int number = std::stoi(digits);
  target.major = number / 10;
  target.minor = number % 10;
  if (number < 75) throw Error(ErrorCode::unsupported, fmt::format("GPU architecture {}: the oldest supported one is 75 (Turing)", text));
  return target;
}

std::string Target::text() const {
  return fmt::format("{}{}{}", major, minor, arch_specific ? "a" : "");
}

}  // namespace fcm::jit
