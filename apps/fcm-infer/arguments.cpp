// The command line of fcm-infer.
#include "apps/fcm-infer/arguments.h"

#include <CLI/CLI.hpp>
#include <array>
#include <limits>

namespace fcm::apps {
namespace {

constexpr const char* kFooter = R"(
Examples:
  fcm-infer model.onnx photo.jpg                      the five likeliest classes
  fcm-infer model.onnx photos/ --batch 8 --top 1      a folder, eight images a run
  fcm-infer model.onnx photo.jpg --preset timm --labels names.txt
  fcm-infer model.onnx input=batch.npy --save out     tensors in, tensors out
  fcm-infer model.onnx batch.npy --check expected     compare with expected/NAME.npy; exit code 6 when they differ
  fcm-infer model.onnx photo.jpg --json               one JSON document
  fcm-infer model.onnx photo.jpg --check-steps        which step of the plan differs from the CPU reference
  fcm-infer model.onnx photo.jpg --set conv7=fp32     one layer in FP32

Exit codes: 0 ok, 1 bad command line, 2 bad input, 3 unsupported, 4 device or memory, 5 internal, 6 a check failed.)";

/// Options that this version parses, so that it can say why it does not serve them.
struct Later {
  std::string save_engine;

  void declare(CLI::App& app) {
    const std::string group = "Not available yet";
    app.add_option("--save-engine", save_engine, "Save the engine to a file")->type_name("FILE")->group(group);
  }
  void refuse(const Arguments& arguments) const {
    if (!save_engine.empty()) not_available("--save-engine");
    if (arguments.model.ends_with(".fcm")) not_available("running a saved engine ('" + arguments.model + "')");
    if (arguments.common.precision == "int8") not_available("--precision int8");
  }
};

struct PreprocessOptions {
  struct Entry {
    const char *key, *type, *help;
  };
  static constexpr std::array<Entry, 7> kEntries = {
      {{"preset", "NAME",
        "imagenet, timm, inception, lite, clip, unit or raw; by default what the model or MODEL.json says, else imagenet"},
       {"resize", "PIXELS", "Short side before the crop (default: input side / 0.875)"},
       {"crop", "PIXELS", "Side of the centre crop (default: the input side)"},
       {"interpolation", "NAME", "bilinear, bicubic or lanczos"},
       {"mean", "R,G,B", "Subtracted, in pixel units 0..255"},
       {"std", "R,G,B", "Divided by, in pixel units"},
       {"range", "NUMBER", "Unit of --mean and --std: 255 (pixels) or 1 (fractions)"}}};
  std::array<std::string, kEntries.size()> values;

  void declare(CLI::App& app) {
    for (size_t i = 0; i < kEntries.size(); ++i) {
      app.add_option(std::string("--") + kEntries[i].key, values[i], kEntries[i].help)->type_name(kEntries[i].type)->group("Preprocessing");
    }
  }
  void collect(const CLI::App& app, Arguments& out) const {
    for (size_t i = 0; i < kEntries.size(); ++i) {
      if (app.count(std::string("--") + kEntries[i].key) > 0) out.preprocess.emplace_back(kEntries[i].key, values[i]);
    }
  }
};

void declare(CLI::App& app, Arguments& out, std::string& steps) {
  constexpr int64_t kMaxBatch = 1 << 16;
  constexpr int64_t kMany = std::numeric_limits<int32_t>::max();
  app.add_option("MODEL", out.model, "The model: an .onnx file")->required()->option_text("FILE");
  app.add_option("INPUT", out.inputs, "Images (JPEG, PNG, BMP, GIF), folders of images, or tensors [name=]file.npy")
      ->option_text("FILE...");
  app.add_option("--top", out.top, "How many classes to show")->type_name("K")->check(CLI::Range(int64_t{1}, kMany))->capture_default_str();
  app.add_option("--labels", out.labels, "Class names, one a line; 'n01440764 tench' is understood")->type_name("FILE");
  app.add_option("--batch", out.batch, "Items a run; the last run may have fewer (default: 1 for images, up to 64 for tensors)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMaxBatch));
  app.add_option("--layout", out.layout, "How the model's input holds an image: nchw or nhwc")
      ->type_name("NAME")
      ->check(CLI::IsMember({"nchw", "nhwc"}));
  app.add_option("--save", out.save, "Write every output as DIR/NAME.npy")->type_name("DIR");
  app.add_option("--check", out.check, "Compare every output with DIR/NAME.npy")->type_name("DIR");
  app.add_option("--atol", out.atol, "Absolute tolerance of --check (default by precision)")->type_name("X")->check(CLI::NonNegativeNumber);
  app.add_option("--rtol", out.rtol, "Relative tolerance of --check (default by precision)")->type_name("X")->check(CLI::NonNegativeNumber);
  app.add_option("--repeat", out.repeat, "Run everything N times and show the spread")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMany))
      ->capture_default_str();
  app.add_option("--check-steps", steps, "Before the first run: each step of the plan, or steps A to B, against the CPU reference")
      ->type_name("A..B")
      ->expected(0, 1);
  app.add_flag("--find-nonfinite", out.find_nonfinite, "Before the first run: name the first step that makes an infinity or NaN");
  app.add_flag("--memory", out.memory, "Show the bytes taken, by kind; needs no INPUT");
  app.add_flag("--json", out.json, "Print one JSON document and nothing else");
}

/// "3..7", "3" or nothing (all steps).
std::pair<size_t, size_t> parse_steps(const std::string& text) {
  if (text.empty()) return {0, std::numeric_limits<size_t>::max()};
  const size_t dots = text.find("..");
  const std::string from = text.substr(0, dots), to = dots == std::string::npos ? from : text.substr(dots + 2);
  std::pair<size_t, size_t> range;
  if (!CLI::detail::lexical_cast(from, range.first) || !CLI::detail::lexical_cast(to, range.second) || range.second < range.first)
    throw Failure(kCommandLine, "--check-steps: '" + text + "' is no range A..B of steps");
  return range;
}

}  // namespace

bool parse_infer_arguments(int argc, const char* const* argv, Arguments& out) {
  CLI::App app("Runs a compact CNN on images or tensors.", "fcm-infer");
  app.footer(kFooter);
  std::string steps;
  declare(app, out, steps);
  PreprocessOptions preprocess;
  preprocess.declare(app);
  out.common.declare(app);
  Later later;
  later.declare(app);
  if (!parse_arguments(app, argc, argv)) return false;
  preprocess.collect(app, out);
  if (app.count("--check-steps") > 0) out.check_steps = parse_steps(steps);
  later.refuse(out);
  out.common.check();
  if (out.inputs.empty() && !out.memory)
    throw Failure(kCommandLine, "an INPUT is required: an image, a folder, or [name=]file.npy (see --help)");
  return true;
}

}  // namespace fcm::apps
