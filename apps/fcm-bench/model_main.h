// fcm-bench MODEL...: the command line of measuring whole models, and of showing what was recorded.
#pragma once

namespace fcm::bench {

/// Returns the exit code; throws what run_program understands.
int run_models(int argc, const char* const* argv);
/// fcm-bench --modules.
int run_modules(int argc, const char* const* argv);

}  // namespace fcm::bench
