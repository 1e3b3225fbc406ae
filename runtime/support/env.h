// The FCM_* environment variables, read once. Unknown FCM_* names warn.
#pragma once

#include <string>

namespace fcm {

struct Env {
  std::string log;           ///< FCM_LOG: trace, debug, info, warning, error, off
  std::string cache_dir;     ///< FCM_CACHE_DIR: kernel and tuning cache
  std::string jit_keep;      ///< FCM_JIT_KEEP: folder that keeps generated kernel sources and cubins, with line numbers
  bool jit_cache = true;     ///< FCM_JIT_CACHE=0: bypass the kernel cache
  bool jit_verbose = false;  ///< FCM_JIT_VERBOSE=1: log ptxas figures
  std::string pdl_jitter;    ///< FCM_PDL_JITTER: random spins around programmatic waits (tests)
  std::string library_path;  ///< FCM_LIBRARY_PATH: folders searched first for cuDNN, cuBLAS, NVRTC (colon separated)
};

/// Parsed at the first call.
const Env& env();

}  // namespace fcm
