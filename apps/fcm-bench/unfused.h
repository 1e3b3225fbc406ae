// A module's layers one by one on cuDNN, each with its fastest form: bias, activation and residual inside cuDNN's kernel where an engine
// can, else the convolution alone and one pointwise kernel of ours. NHWC, channels padded to whole vectors as a careful user would.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/fcm-bench/operands.h"
#include "fcm/spec.h"
#include "runtime/device/cudnn_graph.h"
#include "runtime/device/info.h"
#include "runtime/jit/jit.h"

namespace fcm::bench {

/// A cuDNN handle; one thread.
class CudnnHandle {
 public:
  CudnnHandle();
  ~CudnnHandle();
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

/// bias + residual + activation in place, for what cuDNN cannot fuse.
class EpilogueKernel {
 public:
  EpilogueKernel(const DeviceInfo& device, DType dtype, const Unary& activation, int residual);
  void launch(cudaStream_t stream, void* y, const float* bias, const void* residual, int channels, size_t vectors) const;

 private:
  int blocks_;
  jit::Module module_;
};

class UnfusedModule {
 public:
  /// Measures up to `plans` engine configurations a layer and form and keeps the fastest. `operands` outlive the object, except their
  /// output buffer, which this one does not touch. Throws Error(unsupported) when cuDNN has no engine for a layer.
  UnfusedModule(const DeviceInfo& device, CudnnHandle& handle, const ModuleSpec& spec, int64_t batch, const Operands& operands,
                size_t plans);

  void enqueue(cudaStream_t stream) const;
  const DeviceBuffer& output() const { return layers_.back().output; }
  size_t kernels() const;
  /// "fused fused conv+pointwise": how each layer runs.
  std::string describe() const;

 private:
  struct Layer {
    CudnnConvSpec conv;
    DeviceBuffer weights, bias, output;
    std::vector<CudnnPlan> plans;  ///< one, once chosen
    bool fused = false;
    std::shared_ptr<EpilogueKernel> epilogue;
    const void* input = nullptr;
    const void* residual = nullptr;
  };

  Layer make_layer(const StageSpec& stage, const Plane& in, const StageWeights& weights) const;
  void choose(Layer& layer, size_t plans);
  void run(const Layer& layer, const CudnnPlan& plan, cudaStream_t stream) const;

  const DeviceInfo& device_;
  CudnnHandle& handle_;
  DType dtype_;
  int64_t batch_;
  bool tf32_;
  DeviceBuffer image_;  ///< a first convolution's input as NHWC in the dtype
  DeviceBuffer workspace_;
  std::vector<Layer> layers_;
};

}  // namespace fcm::bench
