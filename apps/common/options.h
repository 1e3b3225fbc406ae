// Command line options that all programs share, and what they become in the C API.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/common/program.h"

namespace CLI {
class App;
}

namespace fcm::apps {

struct CommonOptions {
  std::string device = "auto";
  std::string precision = "auto";
  std::vector<std::string> shapes;  ///< name=1x3x224x224
  bool tf32 = false;
  bool tune = false;
  bool no_fuse = false;
  int verbose = 0;
  bool quiet = false;

  std::string objective = "time";
  std::string plan;
  std::vector<std::string> set;

  /// Declares --device, --precision, --shape, --tf32, --tune, --no-fuse, -v, -q, --version and the planning options.
  void declare(CLI::App& app);
  /// Failure(kCommandLine) for a value that is none of an option's.
  void check() const;
  api::Options to_api() const;
};

/// Parses and returns true, or prints the help or version and returns false. Throws Failure(kCommandLine) with CLI11's message.
bool parse_arguments(CLI::App& app, int argc, const char* const* argv);

/// Failure(kUnsupported): "OPTION is not available yet".
[[noreturn]] void not_available(const std::string& option);

}  // namespace fcm::apps
