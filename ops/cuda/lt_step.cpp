// cuBLASLt descriptors, the choice of an algorithm, and the call.
#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "ops/cuda/gemm.h"
#include "runtime/device/cublaslt.h"
#include "runtime/support/error.h"

namespace fcm::ops::cuda {
namespace {

// Enough for split-K partial sums of small products; part of a context's one allocation.
constexpr size_t kWorkspaceBytes = size_t{4} << 20;
constexpr int kMaxCandidates = 8;

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return CUDA_R_16F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f32:
      return CUDA_R_32F;
    default:
      throw Error(ErrorCode::internal, fmt::format("cuBLASLt product of {}", dtype_name(dtype)));
  }
}

class MatmulDescriptor {
 public:
  MatmulDescriptor(const LtProblem& p, const void* bias) {
    const cublasComputeType_t compute = p.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublas_check(cublas_lt().matmul_desc_create(&handle_, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(p.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N));
    set(CUBLASLT_MATMUL_DESC_TRANSB, static_cast<int32_t>(p.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N));
    cublasLtEpilogue_t epilogue = p.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
    if (p.bias) epilogue = p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (p.bias) {
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(data_type(p.out)));
    }
  }
  ~MatmulDescriptor() { cublas_lt().matmul_desc_destroy(handle_); }
  MatmulDescriptor(const MatmulDescriptor&) = delete;
  MatmulDescriptor& operator=(const MatmulDescriptor&) = delete;
  cublasLtMatmulDesc_t get() const { return handle_; }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) {
    cublas_check(cublas_lt().matmul_desc_set_attribute(handle_, name, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  }
  cublasLtMatmulDesc_t handle_ = nullptr;
};

class MatrixLayout {
 public:
  MatrixLayout(DType dtype, int64_t rows, int64_t columns, int64_t leading, int64_t count, int64_t stride) {
    cublas_check(
        cublas_lt().matrix_layout_create(&handle_, data_type(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), leading),
        "cublasLtMatrixLayoutCreate");
    if (count == 1) return;
    const auto batches = static_cast<int32_t>(count);
    cublas_check(cublas_lt().matrix_layout_set_attribute(handle_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches, sizeof(batches)),
                 "batch count");
    cublas_check(cublas_lt().matrix_layout_set_attribute(handle_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)),
                 "batch stride");
  }
  ~MatrixLayout() { cublas_lt().matrix_layout_destroy(handle_); }
  MatrixLayout(const MatrixLayout&) = delete;
  MatrixLayout& operator=(const MatrixLayout&) = delete;
  cublasLtMatrixLayout_t get() const { return handle_; }

 private:
  cublasLtMatrixLayout_t handle_ = nullptr;
};

struct Layouts {
  Layouts(const LtProblem& p, int64_t batch)
      : count(p.count.at(batch)),
        a(p.in, p.trans_a ? p.k.at(batch) : p.m.at(batch), p.trans_a ? p.m.at(batch) : p.k.at(batch), p.lda.at(batch), count,
          p.stride_a.at(batch)),
        b(p.in, p.trans_b ? p.n.at(batch) : p.k.at(batch), p.trans_b ? p.k.at(batch) : p.n.at(batch), p.ldb.at(batch), count,
          p.stride_b.at(batch)),
        c(p.out, p.m.at(batch), p.n.at(batch), p.add_c ? p.ldc.at(batch) : p.ldd.at(batch), count, p.stride_d.at(batch)),
        d(p.out, p.m.at(batch), p.n.at(batch), p.ldd.at(batch), count, p.stride_d.at(batch)) {}
  int64_t count;
  MatrixLayout a, b, c, d;
};

// The largest power of two up to 256 that divides the addresses of all products of an operand.
uint32_t alignment(int64_t stride_elements, DType dtype) {
  uint32_t bytes = 256;
  const auto step = static_cast<uint64_t>(stride_elements) * dtype_size(dtype);
  while (step % bytes != 0) bytes /= 2;
  return bytes;
}

class Preference {
 public:
  Preference(const LtProblem& p, int64_t batch) {
    cublas_check(cublas_lt().matmul_preference_create(&handle_), "cublasLtMatmulPreferenceCreate");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    // Split-K partial sums meet in a workspace, in index order: the same input gives the same bits.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.stride_a.at(batch), p.in));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.stride_b.at(batch), p.in));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p.stride_d.at(batch), p.out));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.stride_d.at(batch), p.out));
  }
  ~Preference() { cublas_lt().matmul_preference_destroy(handle_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  cublasLtMatmulPreference_t get() const { return handle_; }

 private:
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t name, const T& value) {
    cublas_check(cublas_lt().matmul_preference_set_attribute(handle_, name, &value, sizeof(value)), "cublasLtMatmulPreferenceSetAttribute");
  }
  cublasLtMatmulPreference_t handle_ = nullptr;
};

}  // namespace

struct LtStep::Algorithms {
  std::vector<cublasLtMatmulAlgo_t> list;
};

std::shared_ptr<const LtStep::Algorithms> LtStep::algorithms(int64_t batch, LibraryHandles& handles) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(batch); found != known_.end()) return found->second;
  }
  const MatmulDescriptor operation(problem_, nullptr);
  const Layouts layouts(problem_, batch);
  const Preference preference(problem_, batch);
  std::vector<cublasLtMatmulHeuristicResult_t> results(kMaxCandidates);
  int found = 0;
  const cublasStatus_t status =
      cublas_lt().matmul_algo_get_heuristic(handles.cublas_lt(), operation.get(), layouts.a.get(), layouts.b.get(), layouts.c.get(),
                                            layouts.d.get(), preference.get(), kMaxCandidates, results.data(), &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0)
    throw Error(ErrorCode::unsupported,
                fmt::format("cuBLASLt {} has no algorithm for {} at batch {}", cublas_lt().version_text, text_, batch));
  auto made = std::make_shared<Algorithms>();
  for (int i = 0; i < found; ++i)
    if (results[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS) made->list.push_back(results[static_cast<size_t>(i)].algo);
  if (made->list.empty())
    throw Error(ErrorCode::unsupported, fmt::format("cuBLASLt {} offers no usable algorithm for {}", cublas_lt().version_text, text_));
  const std::lock_guard lock(mutex_);
  return known_.emplace(batch, std::move(made)).first->second;
}

size_t LtStep::workspace_bytes(int64_t /*max_batch*/, LibraryHandles& /*handles*/) const {
  return kWorkspaceBytes;
}

int LtStep::candidates(int64_t batch, LibraryHandles& handles) const {
  return static_cast<int>(algorithms(batch, handles)->list.size());
}

void LtStep::enqueue(const StepArgs& args) const {
  StepArgs ahead = args;
  ahead.before_own = false;
  enqueue_in_turn(before_, ahead);
  const Dim* const extents[] = {&problem_.m, &problem_.n, &problem_.count};
  const bool empty = std::any_of(std::begin(extents), std::end(extents), [&](const Dim* d) { return d->at(args.batch) == 0; });
  if (!empty) {
    const auto algos = algorithms(args.batch, *args.handles);
    if (args.choice < 0 || static_cast<size_t>(args.choice) >= algos->list.size())
      throw Error(ErrorCode::internal, fmt::format("{}: candidate {} of {}", text_, args.choice, algos->list.size()));
    const MatmulDescriptor operation(problem_, places_.bias.resolve(args));
    const Layouts layouts(problem_, args.batch);
    const float alpha = problem_.alpha;
    const float beta = problem_.add_c ? 1.0f : 0.0f;
    void* d = places_.d.resolve(args);
    const void* c = problem_.add_c ? places_.c.resolve(args) : d;
    cublas_check(cublas_lt().matmul(args.handles->cublas_lt(), operation.get(), &alpha, places_.a.resolve(args), layouts.a.get(),
                                    places_.b.resolve(args), layouts.b.get(), &beta, c, layouts.c.get(), d, layouts.d.get(),
                                    &algos->list[static_cast<size_t>(args.choice)], args.workspace, kWorkspaceBytes, args.stream),
                 text_.c_str());
  }
  StepArgs behind = args;
  behind.overlaps = true;
  enqueue_in_turn(after_, behind);
}

}  // namespace fcm::ops::cuda
