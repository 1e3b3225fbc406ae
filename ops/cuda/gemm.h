// Matrix products by cuBLASLt, as a step with launches of own kernels before and after it.
#pragma once

#include <map>
#include <mutex>

#include "ops/cuda/sequence.h"

namespace fcm::ops::cuda {

/// D[b] = epilogue(alpha * op(A[b]) * op(B[b]) + beta * C[b]) in cuBLASLt's column-major terms: A is m x k, B is k x n, D is m x n.
struct LtProblem {
  Dim m, n, k;
  bool trans_a = false, trans_b = false;
  Dim lda, ldb, ldc, ldd;            ///< leading dimensions, elements
  Dim count = Dim(1);                ///< products in the batch
  Dim stride_a, stride_b, stride_d;  ///< elements from one product to the next
  DType in = DType::f32;             ///< of A and B
  DType out = DType::f32;            ///< of C and D
  float alpha = 1.0f;
  bool add_c = false;  ///< beta = 1
  bool bias = false;   ///< a vector of m elements of type `out`
  bool relu = false;
  bool tf32 = false;
};

/// Where the operands are. `c` may equal `d`.
struct LtPlaces {
  Place a, b, c, d, bias;
};

class LtStep : public Step {
 public:
  LtStep(LtProblem problem, LtPlaces places, std::vector<Launch> before, std::vector<Launch> after, std::string text)
      : problem_(problem), places_(places), before_(std::move(before)), after_(std::move(after)), text_(std::move(text)) {}

  size_t workspace_bytes(int64_t max_batch, LibraryHandles& handles) const override;
  int candidates(int64_t batch, LibraryHandles& handles) const override;
  void enqueue(const StepArgs& args) const override;
  std::string describe() const override { return text_; }

 private:
  struct Algorithms;  // what the heuristics gave at a batch size
  std::shared_ptr<const Algorithms> algorithms(int64_t batch, LibraryHandles& handles) const;

  LtProblem problem_;
  LtPlaces places_;
  std::vector<Launch> before_;
  std::vector<Launch> after_;
  std::string text_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::shared_ptr<const Algorithms>> known_;  // by batch; a cache of a pure function
};

}  // namespace fcm::ops::cuda
