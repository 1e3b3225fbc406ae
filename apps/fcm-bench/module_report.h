// The module benchmark's result as text and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/fcm-bench/module_bench.h"

namespace fcm::bench {

std::string to_text(const ModuleBenchResult& result, const ModuleBenchOptions& options);
nlohmann::json to_json(const ModuleBenchResult& result, const ModuleBenchOptions& options);

}  // namespace fcm::bench
