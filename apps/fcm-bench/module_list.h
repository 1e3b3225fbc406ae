// Lists of modules as text: one "name | spec" a line, '#' starts a comment.
#pragma once

#include <string>
#include <vector>

#include "fcm/spec.h"

namespace fcm::bench {

struct ModuleCase {
  std::string name;
  ModuleSpec spec;
};

/// Throws Error(bad_input) naming file and line.
std::vector<ModuleCase> read_module_list(const std::string& path);

/// The spec with every edge of this dtype; `tf32` only together with f32.
ModuleSpec with_precision(ModuleSpec spec, DType dtype, bool tf32);

/// The stages of a module as modules of their own: what runs without fusion. The residual goes to the last one.
std::vector<ModuleSpec> split_stages(const ModuleSpec& spec);

}  // namespace fcm::bench
