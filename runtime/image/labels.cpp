// Class names from text.
#include "runtime/image/labels.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/image/file.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

/// Bytes of the UTF-8 sequence at the front of `text`, 0 when it is malformed. Control characters other than tab do not occur in labels.
size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 || byte(0) == '\t' || byte(0) == '\n' || byte(0) == '\r' ? 1 : 0;
  const size_t length = byte(0) >= 0xC2 && byte(0) < 0xE0   ? 2
                        : byte(0) >= 0xE0 && byte(0) < 0xF0 ? 3
                        : byte(0) >= 0xF0 && byte(0) < 0xF5 ? 4
                                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

void check_utf8(std::string_view text, const std::string& name) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_sequence(text.substr(at));
    if (length == 0) throw Error(ErrorCode::bad_input, fmt::format("label file '{}': byte {} is not UTF-8 text", name, at));
    at += length;
  }
}

bool is_wordnet_id(std::string_view word) {
  return word.size() == 9 && word[0] == 'n' && std::all_of(word.begin() + 1, word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string label_of(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = line.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  line = line.substr(first, line.find_last_not_of(kBlank) - first + 1);
  const size_t space = line.find_first_of(kBlank);
  if (space != std::string_view::npos && is_wordnet_id(line.substr(0, space))) line.remove_prefix(line.find_first_not_of(kBlank, space));
  return std::string(line);
}

}  // namespace

std::vector<std::string> parse_labels(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  check_utf8(text, name);
  std::vector<std::string> labels;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    labels.push_back(label_of(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  if (labels.empty()) throw Error(ErrorCode::bad_input, fmt::format("label file '{}': holds no label", name));
  return labels;
}

std::vector<std::string> load_labels(const std::string& path) {
  constexpr size_t kMaxFile = size_t{64} << 20;
  const std::vector<std::byte> bytes = read_file(path, "label file", kMaxFile);
  return parse_labels({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

}  // namespace fcm
