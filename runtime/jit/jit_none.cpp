// A build without CUDA: every use of the compiler says so.
#include "runtime/jit/jit.h"
#include "runtime/support/error.h"

namespace fcm::jit {
namespace {

[[noreturn]] void throw_no_cuda() {
  throw Error(ErrorCode::device, "kernels cannot be compiled: this library was built without CUDA");
}

}  // namespace

bool compiler_available(std::string* reason) {
  if (reason != nullptr) *reason = "this library was built without CUDA";
  return false;
}

std::string compiler_version() {
  throw_no_cuda();
}
Binary compile(const Program& /*program*/, const Target& /*target*/, const DiskCache& /*cache*/) {
  throw_no_cuda();
}
std::vector<Binary> compile_all(const std::vector<Program>& /*programs*/, const Target& /*target*/, const DiskCache& /*cache*/,
                                int /*threads*/) {
  throw_no_cuda();
}

Module::Module(const Binary& /*binary*/) {
  throw_no_cuda();
}
Module::~Module() = default;
Module::Module(Module&&) noexcept = default;
Module& Module::operator=(Module&&) noexcept = default;
void* Module::kernel(const std::string& /*name*/) const {
  throw_no_cuda();
}

}  // namespace fcm::jit
