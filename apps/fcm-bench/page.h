// The page of a recorded measurement: one HTML file without scripts and without anything fetched.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace fcm::bench {

inline constexpr const char* kPeersSchema = "fcm-peers 1";

/// `document`: what --json writes. `peers`: an array of documents of apps/bench/peers.py. Throws nlohmann::json::exception when a field
/// that the schema promises is missing.
std::string page_text(const nlohmann::json& document, const nlohmann::json& peers);

}  // namespace fcm::bench
