// The command line of fcm-infer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/options.h"

namespace fcm::apps {

struct Arguments {
  CommonOptions common;
  std::string model;
  std::vector<std::string> inputs;  ///< image, folder, or [name=]file.npy
  int64_t top = 5;
  std::string labels;
  int64_t batch = 0;   ///< 0: chosen by the program
  std::string layout;  ///< "", nchw or nhwc
  std::string save;
  std::string check;
  std::optional<double> atol, rtol;
  int64_t repeat = 1;
  std::optional<std::pair<size_t, size_t>> check_steps;  ///< first and last
  bool find_nonfinite = false;
  bool memory = false;
  bool json = false;
  std::vector<std::pair<std::string, std::string>> preprocess;  ///< settings for fcm_preprocess_set
};

/// False when there is nothing more to do (help, version). Throws Failure(kCommandLine), or Failure(kUnsupported) for what is not
/// available yet.
bool parse_infer_arguments(int argc, const char* const* argv, Arguments& out);

}  // namespace fcm::apps
