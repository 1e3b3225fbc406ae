// Reading what the compiler prints: ptxas' figures, and the source lines that errors name.
#pragma once

#include <map>
#include <string>

#include "runtime/jit/jit.h"

namespace fcm::jit {

/// The figures by kernel in the output of --ptxas-options=-v.
std::map<std::string, KernelFigures> parse_figures(const std::string& log);

/// The log without ptxas' informational lines: warnings and errors.
std::string diagnostics(const std::string& log);

/// The numbered lines (two around each) of the sources that the errors in `log` name as FILE(LINE).
std::string quoted_lines(const Program& program, const std::string& log);

/// The name under which NVRTC knows the program's main source.
std::string source_name(const Program& program);

}  // namespace fcm::jit
