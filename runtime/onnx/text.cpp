#include "runtime/onnx/text.h"

#include "runtime/support/error.h"

namespace fcm::onnx {
namespace {

// Length of the well-formed UTF-8 sequence that starts at `i`, or 0. Overlong forms are let through: they only look odd.
size_t sequence_length(std::string_view text, size_t i) {
  const auto lead = static_cast<unsigned char>(text[i]);
  size_t length = 0;
  if (lead < 0x80) {
    length = 1;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    length = 2;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    length = 3;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    length = 4;
  }
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((static_cast<unsigned char>(text[i + k]) & 0xC0U) != 0x80U) return 0;
  }
  return length;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 200;
  std::string result;
  for (size_t i = 0; i < text.size();) {
    if (result.size() >= kLongest) return result + "...";
    const size_t length = sequence_length(text, i);
    const bool control = length == 1 && (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7F);
    if (length == 0 || control) {
      result += '?';
      ++i;
    } else {
      result += text.substr(i, length);
      i += length;
    }
  }
  return result;
}

void malformed(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::bad_input, file + ": " + what);
}

}  // namespace fcm::onnx
