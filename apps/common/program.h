// How a program starts, fails and ends: exit codes, error messages, --version.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "fcm/fcm.hpp"

namespace fcm::apps {

/// The exit codes that all programs share.
enum ExitCode : int {
  kOk = 0,
  kCommandLine = 1,
  kBadInput = 2,
  kUnsupported = 3,
  kDevice = 4,
  kInternal = 5,
  kCheckFailed = 6,
};

/// An error of a program itself, in place of fcm::api::Error, which is one of the library.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

ExitCode exit_code_of(fcm_status_code status);

/// Runs `body` and returns the program's exit code. An exception becomes "NAME: error: ..." on standard error and, when `json`, the
/// document {"error": {"exit_code", "message"}} on standard output. Output that cannot be written is an error, too.
int run_program(const std::string& name, bool json, const std::function<int()>& body);

/// The text of --version: library, CUDA, cuDNN, driver, device.
std::string version_text();

/// True when `option` is one of the arguments: for what must be known even if the command line is wrong.
bool has_argument(int argc, const char* const* argv, const std::string& option);

}  // namespace fcm::apps
