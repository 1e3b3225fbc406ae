// fcm-bench --modules in a build without CUDA.
#include "apps/common/program.h"
#include "apps/fcm-bench/model_main.h"

int fcm::bench::run_modules(int /*argc*/, const char* const* /*argv*/) {
  throw apps::Failure(apps::kDevice, "--modules needs a GPU, and this build has no CUDA");
}
