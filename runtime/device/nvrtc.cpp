#include "runtime/device/nvrtc.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

// NVRTC opens the library of its built-in functions by name alone, which fails where both lie in a folder that the loader does not search,
// unless it is open already. Not found beside NVRTC: left to the loader.
void open_builtins(const std::filesystem::path& nvrtc_path, const std::string& version) {
  dlopen((nvrtc_path.parent_path() / ("libnvrtc-builtins.so." + version)).c_str(), RTLD_NOW | RTLD_LOCAL);
}

Nvrtc open_nvrtc() {
  const DynamicLibrary library("NVRTC (CUDA 13)", {"libnvrtc.so.13"});
  Nvrtc f;
  library.bind(f.version, "nvrtcVersion");
  library.bind(f.get_error_string, "nvrtcGetErrorString");
  library.bind(f.get_num_supported_archs, "nvrtcGetNumSupportedArchs");
  library.bind(f.get_supported_archs, "nvrtcGetSupportedArchs");
  library.bind(f.create_program, "nvrtcCreateProgram");
  library.bind(f.destroy_program, "nvrtcDestroyProgram");
  library.bind(f.compile_program, "nvrtcCompileProgram");
  library.bind(f.get_cubin_size, "nvrtcGetCUBINSize");
  library.bind(f.get_cubin, "nvrtcGetCUBIN");
  library.bind(f.get_program_log_size, "nvrtcGetProgramLogSize");
  library.bind(f.get_program_log, "nvrtcGetProgramLog");
  int major = 0;
  int minor = 0;
  if (f.version(&major, &minor) != NVRTC_SUCCESS) throw Error(ErrorCode::device, library.path() + ": nvrtcVersion failed");
  f.version_text = fmt::format("{}.{}", major, minor);
  open_builtins(library.path(), f.version_text);
  std::error_code ignored;
  f.identity = fmt::format("nvrtc {} {}", f.version_text, std::filesystem::file_size(library.path(), ignored));
  return f;
}

}  // namespace

const Nvrtc& nvrtc() {
  static const Nvrtc functions = open_nvrtc();
  return functions;
}

}  // namespace fcm
