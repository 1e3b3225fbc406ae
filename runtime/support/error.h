// The one exception type of the library. It never crosses the C API: `runtime/api` turns it into a status.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace fcm {

/// Why something failed. The numeric values are the exit codes of the programs (product.md) where one exists.
enum class ErrorCode {
  command_line = 1,   ///< a bad option or argument
  bad_input = 2,      ///< a bad model, image, tensor or file
  unsupported = 3,    ///< well formed, but this library cannot run it
  device = 4,         ///< no device, or a CUDA, cuDNN, cuBLAS or NVRTC failure
  internal = 5,       ///< a broken promise inside the library
  out_of_memory = 6,  ///< host or device memory exhausted (exit code 4)
  device_lost = 7,    ///< a sticky CUDA error; the context is unusable (exit code 4)
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace fcm
