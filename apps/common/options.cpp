// Command line options that all programs share.
#include "apps/common/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

namespace fcm::apps {

void CommonOptions::declare(CLI::App& app) {
  app.set_version_flag("--version", version_text, "Show the versions of library, CUDA, cuDNN and driver, and the devices");
  app.add_option("--device", device, "auto, cpu, cuda or cuda:N")->type_name("NAME")->capture_default_str();
  app.add_option("--precision", precision, "auto, fp32, fp16 or bf16; auto is FP16 on a GPU with tensor cores, else FP32")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--shape", shapes, "Fix the free dimensions of an input, for example input=1x3x224x224; repeatable")
      ->type_name("NAME=DIMS")
      ->allow_extra_args(false);
  app.add_flag("--tf32", tf32, "Let FP32 convolutions and matrix products use TF32 tensor cores");
  app.add_flag("--tune", tune, "Measure fused modules and library algorithms on the device and keep the fastest (cached)");
  app.add_flag("--no-fuse", no_fuse, "Do not fuse layers into modules");
  app.add_flag("-v,--verbose", verbose, "Log more; twice for debugging (FCM_LOG=trace..off sets the level, too)");
  app.add_flag("-q,--quiet", quiet, "Log errors only");
  app.add_option("--objective", objective, "What fusion makes small: time, or gma (accesses to global memory)")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option(
         "--set", set,
         "NODE=nofuse keeps a node out of modules, NODE=fp32 computes it alone in FP32, NODE=tile:TEXT sets the tile of its module; "
         "repeatable")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--plan", plan, "Run a saved plan (fcm-plan --save)")->type_name("FILE");
}

void not_available(const std::string& option) {
  throw Failure(kUnsupported, option + " is not available yet");
}

void CommonOptions::check() const {
  if (objective != "time" && objective != "gma")
    throw Failure(kCommandLine, fmt::format("--objective: '{}' is not time or gma", objective));
}

api::Options CommonOptions::to_api() const {
  api::Options options;
  options.set("device", device).set("precision", precision).set("tf32", tf32 ? "1" : "0").set("tune", tune ? "1" : "0");
  options.set("fuse", no_fuse ? "0" : "1").set("objective", objective);
  for (const std::string& text : set) {
    // Names of nodes may hold '=', what is set never does before its last one.
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      throw Failure(kCommandLine, fmt::format("--set: '{}' is not NODE=nofuse, NODE=fp32 or NODE=tile:TEXT", text));
    options.set("node." + text.substr(0, equals), text.substr(equals + 1));
  }
  if (!plan.empty()) options.set("plan", plan);
  if (quiet) options.set("log_level", "error");
  if (verbose > 0 && !quiet) options.set("log_level", verbose == 1 ? "info" : "debug");
  for (const std::string& shape : shapes) {
    // Names of tensors may hold '=', dimensions never do.
    const size_t equals = shape.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      throw Failure(kCommandLine, fmt::format("--shape: '{}' is not NAME=DIMS, for example input=1x3x224x224", shape));
    }
    options.set("shape." + shape.substr(0, equals), shape.substr(equals + 1));
  }
  return options;
}

bool parse_arguments(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
  } catch (const CLI::CallForVersion& e) {
    fmt::print("{}\n", e.what());
  } catch (const CLI::ParseError& e) {
    throw Failure(kCommandLine, fmt::format("{} (see --help)", e.what()));
  }
  return false;
}

}  // namespace fcm::apps
