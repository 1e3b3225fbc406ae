// One convolution with its bias, activation and residual as a cuDNN operation graph: cuDNN's engines run it as one kernel where they
// can fuse it. Used where cuDNN is to show its best (benchmarks), since the graph interface offers more engines than the legacy calls.
#pragma once

#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/support/dtype.h"
#include "runtime/support/unary.h"

namespace fcm {

/// Y[N,F,P,Q] = act(conv(X[N,C,H,W], W[F,C/groups,R,S]) + bias[F] (+ residual[N,F,P,Q])), all dense NHWC (W: KRSC), bias in f32.
struct CudnnConvSpec {
  int64_t batch = 1, channels = 1, height = 1, width = 1, filters = 1;
  int64_t kernel[2] = {1, 1};
  int64_t stride[2] = {1, 1};
  int64_t pad_begin[2] = {0, 0};
  int64_t pad_end[2] = {0, 0};
  int64_t dilation[2] = {1, 1};
  int64_t groups = 1;
  DType dtype = DType::f16;  ///< f32, f16 or bf16; accumulation is FP32
  Unary activation;
  bool residual = false;
  bool residual_after_activation = false;
  bool fuse = true;  ///< false: the convolution alone, without bias, activation and residual

  int64_t out_height() const { return out_size(height, 0); }
  int64_t out_width() const { return out_size(width, 1); }

 private:
  int64_t out_size(int64_t size, int axis) const {
    return (size + pad_begin[axis] + pad_end[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
  }
};

/// "f16 n64 64x56x56 -> 128 k3x3 s2x2 p0.0.1.1 d1x1 g64 clip(0,6) residual=before": the operations as text, equal for equal ones.
std::string to_string(const CudnnConvSpec& spec);

/// True when cuDNN has a pointwise mode for the function.
bool cudnn_graph_supports(const Unary& activation);

/// A cuDNN backend descriptor; destroyed with its owner.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor(const CudnnDescriptor&) = delete;

  /// Throws Error(device) naming the attribute's number.
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  void finalize();
  bool try_finalize();
  cudnnBackendDescriptor_t get() const { return descriptor_; }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// An executable form of a CudnnConvSpec by one engine configuration.
class CudnnPlan {
 public:
  CudnnPlan(CudnnDescriptor plan, size_t workspace, std::string engine)
      : plan_(std::move(plan)), workspace_(workspace), engine_(std::move(engine)) {}

  size_t workspace_bytes() const { return workspace_; }
  /// The heuristic that proposed it and its place there: "a0" is the first of mode A, "f2" the third of the fallback engines.
  const std::string& engine() const { return engine_; }
  /// Device pointers; `bias` and `residual` are ignored where the spec has none.
  void execute(cudnnHandle_t handle, const void* x, const void* w, const void* bias, const void* residual, void* y, void* workspace) const;

 private:
  CudnnDescriptor plan_;
  size_t workspace_;
  std::string engine_;
};

/// Up to `limit` deterministic plans, in the order of cuDNN's heuristics (mode A, then fallback). `tf32`: allow TF32 tensor cores for f32.
/// Empty when no engine takes the spec. `engine`: only the plan of that name, unless it is empty.
std::vector<CudnnPlan> cudnn_plans(cudnnHandle_t handle, const CudnnConvSpec& spec, bool tf32, size_t limit,
                                   const std::string& engine = {});

}  // namespace fcm
