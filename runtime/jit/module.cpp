#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <utility>

#include "runtime/device/cuda_check.h"
#include "runtime/jit/jit.h"
#include "runtime/support/error.h"

namespace fcm::jit {

Module::Module(const Binary& binary) {
  cudaLibrary_t library = nullptr;
  cuda_check(cudaLibraryLoadData(&library, binary.cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0), "cudaLibraryLoadData");
  library_ = library;
}

Module::~Module() {
  if (library_ != nullptr) cudaLibraryUnload(static_cast<cudaLibrary_t>(library_));
}

Module::Module(Module&& other) noexcept : library_(std::exchange(other.library_, nullptr)) {}

Module& Module::operator=(Module&& other) noexcept {
  std::swap(library_, other.library_);
  return *this;
}

void* Module::kernel(const std::string& name) const {
  cudaKernel_t kernel = nullptr;
  cuda_check(cudaLibraryGetKernel(&kernel, static_cast<cudaLibrary_t>(library_), name.c_str()), ("cudaLibraryGetKernel " + name).c_str());
  return kernel;
}

}  // namespace fcm::jit
