// Class names: one a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fcm {

/// Line i is the name of class i. A leading WordNet id ("n01440764 tench") is dropped; CR LF and a UTF-8 byte order mark are accepted;
/// blank lines at the end are ignored, others count as nameless classes. `name` stands for the text in messages. Throws Error(bad_input)
/// when there is no label, or when the text is not UTF-8.
std::vector<std::string> parse_labels(std::string_view text, const std::string& name);
std::vector<std::string> load_labels(const std::string& path);

}  // namespace fcm
