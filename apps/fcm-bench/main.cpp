// fcm-bench: measures whole models, and with --modules fused modules.
#include "apps/common/program.h"
#include "apps/fcm-bench/model_main.h"

int main(int argc, char** argv) {
  const auto has = [&](const char* argument) { return fcm::apps::has_argument(argc, argv, argument); };
  const bool json = has("--json=-") || (has("--json") && has("-"));
  return fcm::apps::run_program(
      "fcm-bench", json, [&] { return has("--modules") ? fcm::bench::run_modules(argc, argv) : fcm::bench::run_models(argc, argv); });
}
