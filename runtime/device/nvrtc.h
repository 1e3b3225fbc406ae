// NVRTC's functions, bound at first use.
#pragma once

#include <nvrtc.h>

#include <string>

namespace fcm {

struct Nvrtc {
  decltype(&::nvrtcVersion) version = nullptr;
  decltype(&::nvrtcGetErrorString) get_error_string = nullptr;
  decltype(&::nvrtcGetNumSupportedArchs) get_num_supported_archs = nullptr;
  decltype(&::nvrtcGetSupportedArchs) get_supported_archs = nullptr;
  decltype(&::nvrtcCreateProgram) create_program = nullptr;
  decltype(&::nvrtcDestroyProgram) destroy_program = nullptr;
  decltype(&::nvrtcCompileProgram) compile_program = nullptr;
  decltype(&::nvrtcGetCUBINSize) get_cubin_size = nullptr;
  decltype(&::nvrtcGetCUBIN) get_cubin = nullptr;
  decltype(&::nvrtcGetProgramLogSize) get_program_log_size = nullptr;
  decltype(&::nvrtcGetProgramLog) get_program_log = nullptr;

  std::string version_text;  ///< "13.0"
  std::string identity;      ///< version and size of the library file: differs between patch releases
};

/// Opens NVRTC at the first call (thread-safe). Throws Error(device); a later call tries again.
const Nvrtc& nvrtc();

}  // namespace fcm
