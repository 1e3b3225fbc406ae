// Text from a model file made safe to print, and the prefix that every message of this room carries.
#pragma once

#include <string>
#include <string_view>

namespace fcm::onnx {

/// `text` with control characters and malformed UTF-8 shown as '?', cut at 200 bytes: names in a file may hold anything.
std::string printable(std::string_view text);

/// "file: what", thrown as Error(bad_input).
[[noreturn]] void malformed(const std::string& file, const std::string& what);

}  // namespace fcm::onnx
