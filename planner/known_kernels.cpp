// Reading of measured kernels; see known_kernels.h.
#include "planner/known_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "planner/plan.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

/// Takes what stands ahead of the next `end` (all, when there is none) off `text`.
std::string_view take(std::string_view& text, char end) {
  const size_t at = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return taken;
}

/// Whether all of `text` is a number above zero.
template <class Number>
bool read(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number > 0;
}

}  // namespace

KnownKernels::KnownKernels(std::string_view text, const std::string& source) : digest_(text_hash(text)) {
  constexpr std::string_view kModule = "module ";
  std::map<int64_t, Entry>* module = nullptr;
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = take(text, '\n');
    if (line.empty() || line.front() == '#') continue;
    if (line.starts_with(kModule)) {
      module = &known_[std::string(line.substr(kModule.size()))];
      continue;
    }
    std::string_view rest = line;
    int64_t images = 0;
    double us = 0;
    if (module == nullptr || !read(take(rest, ' '), images) || !read(take(rest, ' '), us) || rest.empty())
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: '{}' is no kernel of a module", source, number, line));
    (*module)[images] = {std::string(rest), us};
  }
}

ModuleSpec KnownKernels::canonical(ModuleSpec spec) {
  if (spec.residual == geometry::Residual::after_activation && spec.stages.back().activation.fn == UnaryFn::identity)
    spec.residual = geometry::Residual::before_activation;
  return spec;
}

std::optional<KnownKernels::Kernel> KnownKernels::find(const ModuleSpec& spec, int64_t images) const {
  const auto module = known_.find(to_string(canonical(spec)));
  if (module == known_.end()) return std::nullopt;
  const auto kernel = module->second.find(images);
  return kernel == module->second.end() ? std::nullopt : std::optional(kernel_of(kernel->second));
}

}  // namespace fcm
