// How a program starts, fails and ends.
#include "apps/common/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <nlohmann/json.hpp>
#include <string_view>

#include "apps/common/terminal.h"

namespace fcm::apps {
namespace {

int report(const std::string& name, bool json, ExitCode code, const std::string& message) {
  const Style style(stderr);
  fmt::print(stderr, "{}: {} {}\n", name, style.bad("error:"), message);
  if (json) {
    const nlohmann::json document = {{"error", {{"exit_code", static_cast<int>(code)}, {"message", message}}}};
    fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    std::fflush(stdout);
  }
  return code;
}

}  // namespace

ExitCode exit_code_of(fcm_status_code status) {
  switch (status) {
    case FCM_STATUS_OK:
      return kOk;
    case FCM_STATUS_INVALID_ARGUMENT:
      return kCommandLine;
    case FCM_STATUS_BAD_INPUT:
      return kBadInput;
    case FCM_STATUS_UNSUPPORTED:
      return kUnsupported;
    case FCM_STATUS_DEVICE:
    case FCM_STATUS_OUT_OF_MEMORY:
    case FCM_STATUS_DEVICE_LOST:
      return kDevice;
    case FCM_STATUS_INTERNAL:
      return kInternal;
  }
  return kInternal;
}

int run_program(const std::string& name, bool json, const std::function<int()>& body) {
  try {
    const int code = body();
    // An earlier flush may have failed already, and the stream keeps only that it did.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw Failure(kBadInput, "standard output cannot be written");
    return code;
  } catch (const Failure& e) {
    return report(name, json, e.code(), e.what());
  } catch (const fcm::api::Error& e) {
    return report(name, json, exit_code_of(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return report(name, json, kDevice, "out of host memory");
  } catch (const std::exception& e) {
    return report(name, json, kInternal, e.what());
  }
}

std::string version_text() {
  std::string text(fcm_version_text(nullptr, 0) + 1, '\0');
  text.resize(std::min(fcm_version_text(text.data(), text.size()), text.size() - 1));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool has_argument(int argc, const char* const* argv, const std::string& option) {
  return std::any_of(argv + std::min(argc, 1), argv + argc, [&](const char* argument) { return option == argument; });
}

}  // namespace fcm::apps
