#include "runtime/onnx/report.h"

#include <fmt/format.h>

#include "runtime/onnx/operators/registry.h"
#include "runtime/support/error.h"

namespace fcm::onnx {

void UnsupportedReport::add(const std::string& subject, const std::string& what, const std::string& accepted) {
  nodes_.insert(subject);
  lines_.push_back(fmt::format("{}: {}{}", subject, what, accepted.empty() ? "" : "; accepted: " + accepted));
}

void UnsupportedReport::add(const Origin& origin, const std::string& what, const std::string& accepted) {
  add(describe(origin), what, accepted);
}

void UnsupportedReport::add_operator(const Origin& origin, const std::string& domain, const std::string& accepted) {
  add(describe(origin), fmt::format("operator of domain {} is not supported", domain), "");
  operators_.insert(fmt::format("{}: {}", origin.type, accepted));
}

void UnsupportedReport::raise(const std::string& file) const {
  std::string text = fmt::format("{}: {} {} not supported\n", file, nodes_.size(), nodes_.size() == 1 ? "part is" : "parts are");
  for (const std::string& line : lines_) text += "  " + line + "\n";
  if (!operators_.empty()) {
    text += "accepted instead:\n";
    for (const std::string& line : operators_) text += "  " + line + "\n";
    text += fmt::format("operators of ai.onnx (opset {} to {}) that are supported:", kOldestOpset, kNewestOpset);
    for (const OperatorEntry* entry : all_operators()) text += fmt::format(" {}", entry->type);
    text += "\n";
  }
  text.pop_back();
  throw Error(ErrorCode::unsupported, text);
}

}  // namespace fcm::onnx
