#include "runtime/device/cublaslt.h"

#include <fmt/format.h>

#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

CublasLt open_cublas_lt() {
  const DynamicLibrary library("cuBLASLt (CUDA 13)", {"libcublasLt.so.13"});
  CublasLt f;
  library.bind(f.get_version, "cublasLtGetVersion");
  library.bind(f.get_status_string, "cublasLtGetStatusString");
  library.bind(f.create, "cublasLtCreate");
  library.bind(f.destroy, "cublasLtDestroy");
  library.bind(f.matmul_desc_create, "cublasLtMatmulDescCreate");
  library.bind(f.matmul_desc_destroy, "cublasLtMatmulDescDestroy");
  library.bind(f.matmul_desc_set_attribute, "cublasLtMatmulDescSetAttribute");
  library.bind(f.matrix_layout_create, "cublasLtMatrixLayoutCreate");
  library.bind(f.matrix_layout_destroy, "cublasLtMatrixLayoutDestroy");
  library.bind(f.matrix_layout_set_attribute, "cublasLtMatrixLayoutSetAttribute");
  library.bind(f.matmul_preference_create, "cublasLtMatmulPreferenceCreate");
  library.bind(f.matmul_preference_destroy, "cublasLtMatmulPreferenceDestroy");
  library.bind(f.matmul_preference_set_attribute, "cublasLtMatmulPreferenceSetAttribute");
  library.bind(f.matmul_algo_get_heuristic, "cublasLtMatmulAlgoGetHeuristic");
  library.bind(f.matmul, "cublasLtMatmul");
  const size_t version = f.get_version();
  f.version_text = fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
  return f;
}

}  // namespace

const CublasLt& cublas_lt() {
  static const CublasLt functions = open_cublas_lt();
  return functions;
}

void cublas_check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("cuBLASLt {}: {}: {}", cublas_lt().version_text, what, cublas_lt().get_status_string(status)));
}

}  // namespace fcm
