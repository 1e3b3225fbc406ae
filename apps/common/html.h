// Text inside an HTML page.
#pragma once

#include <string>

namespace fcm::apps {

/// With <, >, & and " written as entities.
std::string html_escaped(const std::string& text);

}  // namespace fcm::apps
