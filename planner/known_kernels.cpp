// Reading of measured kernels; see known_kernels.h.
#include "planner/known_kernels.h"

#include <fmt/format.h>

#include <sstream>

#include "planner/plan.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

std::string key_of(int64_t images, std::string_view spec) {
  return fmt::format("{} {}", images, spec);
}

}  // namespace

KnownKernels::KnownKernels(std::string_view text, const std::string& source) : digest_(text_hash(text)) {
  constexpr std::string_view kModule = "module ";
  std::istringstream lines{std::string(text)};
  std::string spec;
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty() || line.front() == '#') continue;
    if (line.starts_with(kModule)) {
      spec = line.substr(kModule.size());
      continue;
    }
    std::istringstream words(line);
    int64_t images = 0;
    Entry entry;
    if (spec.empty() || !(words >> images >> entry.us >> entry.tile) || images < 1 || !(entry.us > 0))
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: '{}' is no kernel of a module", source, number, line));
    known_.insert_or_assign(key_of(images, spec), std::move(entry));
  }
}

ModuleSpec KnownKernels::canonical(ModuleSpec spec) {
  if (spec.residual == geometry::Residual::after_activation && spec.stages.back().activation.fn == UnaryFn::identity)
    spec.residual = geometry::Residual::before_activation;
  return spec;
}

std::optional<KnownKernels::Kernel> KnownKernels::find(const ModuleSpec& spec, int64_t images) const {
  const auto known = known_.find(key_of(images, to_string(canonical(spec))));
  return known == known_.end() ? std::nullopt : std::optional(kernel_of(known->second));
}

}  // namespace fcm
