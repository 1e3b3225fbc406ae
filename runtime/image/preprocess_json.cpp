// Preprocess to and from the JSON text that models carry.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/image/preprocess.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

using nlohmann::json;

/// The value as the text that PreprocessSettings::set takes, so that both ways in check the same things.
std::string setting_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const json& item : value) text += (text.empty() ? "" : ",") + item.dump();
  return text;
}

}  // namespace

Preprocess parse_preprocess(std::string_view text, const std::string& name) {
  try {
    const json document = json::parse(text);
    if (!document.is_object()) throw Error(ErrorCode::bad_input, "expected a JSON object");
    if ((document.contains("mean") || document.contains("std")) && !document.contains("range")) {
      throw Error(ErrorCode::bad_input, "\"mean\" and \"std\" need a \"range\" beside them: 255 (pixel units) or 1 (fractions)");
    }
    PreprocessSettings settings;
    for (const auto& [key, value] : document.items()) {
      if (!value.is_null()) settings.set(key, setting_text(value));
    }
    Preprocess result = settings.resolve();
    result.source = name;
    return result;
  } catch (const json::exception& e) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", name, e.what()));
  } catch (const Error& e) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", name, e.what()));
  }
}

std::string to_json(const Preprocess& preprocess) {
  json document = {
      {"interpolation", interpolation_name(preprocess.interpolation)}, {"mean", preprocess.mean}, {"std", preprocess.std}, {"range", 255}};
  if (preprocess.resize) document["resize"] = *preprocess.resize;
  if (preprocess.crop) document["crop"] = *preprocess.crop;
  return document.dump();
}

}  // namespace fcm
