#include "runtime/device/dynlib.h"

#include <dlfcn.h>
#include <link.h>

#include <sstream>

#include "runtime/support/env.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm {
namespace {

void append_folders(std::vector<std::string>& folders, const std::string& list) {
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ':');)
    if (!part.empty()) folders.push_back(part);
}

std::string loaded_path(void* handle, const std::string& fallback) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name != nullptr && map->l_name[0] != '\0') return map->l_name;
  return fallback;
}

}  // namespace

std::vector<std::string> library_folders() {
  std::vector<std::string> folders;
  append_folders(folders, env().library_path);
  folders.emplace_back();
  folders.emplace_back("/usr/local/cuda/lib64");
  append_folders(folders, FCM_CUDA_LIBRARY_FOLDERS);
  return folders;
}

DynamicLibrary::DynamicLibrary(const std::string& what, const std::vector<std::string>& sonames) : what_(what) {
  std::string tried;
  for (const std::string& folder : library_folders()) {
    for (const std::string& soname : sonames) {
      const std::string file = folder.empty() ? soname : folder + "/" + soname;
      handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) {
        path_ = loaded_path(handle_, file);
        log(LogLevel::debug, "{} is {}", what_, path_);
        return;
      }
      const char* reason = dlerror();
      tried += "\n  " + file + ": " + (reason != nullptr ? reason : "cannot be opened");
    }
  }
  throw Error(ErrorCode::device, what_ + " cannot be opened; tried:" + tried + "\nInstall it, or name its folder in FCM_LIBRARY_PATH.");
}

void* DynamicLibrary::address(const char* symbol) const {
  void* found = dlsym(handle_, symbol);
  if (found == nullptr) throw Error(ErrorCode::device, what_ + " (" + path_ + ") has no function " + symbol + ": its version does not fit");
  return found;
}

}  // namespace fcm
