// Shared libraries opened at run time. cuDNN, cuBLASLt and NVRTC are never linked, so that a program starts without them and a
// missing one is reported only when something needs it.
#pragma once

#include <string>
#include <vector>

namespace fcm {

/// An open shared library; stays open for the life of the process.
class DynamicLibrary {
 public:
  /// Tries `sonames` in each folder of FCM_LIBRARY_PATH, then in the loader's own search, then in /usr/local/cuda/lib64, then in the CUDA
  /// folders this build was configured with. `what` is the name for messages ("NVRTC (CUDA 13)").
  /// Throws Error(device) that lists all that was tried and how to help.
  DynamicLibrary(const std::string& what, const std::vector<std::string>& sonames);

  /// Sets `function` to the symbol's address. Throws Error(device) when the library has no such symbol.
  template <class F>
  void bind(F*& function, const char* symbol) const {
    function = reinterpret_cast<F*>(address(symbol));
  }

  /// The file the library was loaded from.
  const std::string& path() const { return path_; }

 private:
  void* address(const char* symbol) const;

  std::string what_;
  std::string path_;
  void* handle_ = nullptr;
};

/// The folders searched, in order; an empty string stands for the loader's own search.
std::vector<std::string> library_folders();

}  // namespace fcm
