#include "runtime/support/env.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace fcm {
namespace {

std::string read(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

bool flag(const char* name, bool otherwise) {
  const std::string text = read(name);
  return text.empty() ? otherwise : text != "0";
}

// FCM_CUDA_FROM_PYPI is read by the scripts; the tests' variables start with FCM_TEST_.
constexpr std::array<std::string_view, 8> kKnown = {"FCM_LOG",         "FCM_CACHE_DIR",  "FCM_JIT_KEEP",     "FCM_JIT_CACHE",
                                                    "FCM_JIT_VERBOSE", "FCM_PDL_JITTER", "FCM_LIBRARY_PATH", "FCM_CUDA_FROM_PYPI"};

// Straight to standard error: the logger itself is configured from here.
void warn_unknown() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const std::string_view name = variable.substr(0, variable.find('='));
    if (!name.starts_with("FCM_") || name.starts_with("FCM_TEST_")) continue;
    bool known = false;
    for (const std::string_view candidate : kKnown) known = known || candidate == name;
    if (!known)
      std::fprintf(stderr, "warning: environment variable %.*s is not one the FCM runtime knows\n", int(name.size()), name.data());
  }
}

Env parse() {
  Env e;
  e.log = read("FCM_LOG");
  e.cache_dir = read("FCM_CACHE_DIR");
  e.jit_keep = read("FCM_JIT_KEEP");
  e.jit_cache = flag("FCM_JIT_CACHE", true);
  e.jit_verbose = flag("FCM_JIT_VERBOSE", false);
  e.pdl_jitter = read("FCM_PDL_JITTER");
  e.library_path = read("FCM_LIBRARY_PATH");
  if (e.log != "off") warn_unknown();
  return e;
}

}  // namespace

const Env& env() {
  static const Env instance = parse();
  return instance;
}

}  // namespace fcm
