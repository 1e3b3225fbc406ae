// Layers as cuDNN runs them fastest. What cuDNN proposes for a layer is built ahead, for all layers on all cores, since many of its
// engines compile when they are built; the fastest proposal of a layer is measured once and kept.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/fcm-bench/bench_kernels.h"
#include "runtime/device/cudnn_graph.h"
#include "runtime/device/info.h"
#include "runtime/device/memory.h"

namespace fcm::bench {

/// A cuDNN handle; one thread at a time.
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

/// Device pointers of a layer; `residual` may be null.
struct LayerOperands {
  const void* input = nullptr;
  const void* weights = nullptr;
  const void* bias = nullptr;
  const void* residual = nullptr;
  void* output = nullptr;
};

/// One way to run a layer.
struct LayerForm {
  std::shared_ptr<CudnnHandle> handle;  ///< that the plan was built with
  CudnnPlan plan;
  bool fused = true;  ///< bias, activation and residual inside cuDNN's kernel; else a pointwise kernel of ours follows
  std::shared_ptr<const EpilogueKernel> epilogue;

  /// "fused a0" or "conv+pointwise a3": see CudnnPlan::engine.
  std::string text() const { return (fused ? "fused " : "conv+pointwise ") + plan.engine(); }
};

/// Layer -> text of its form.
using LayerChoices = std::map<std::string, std::string>;

class CudnnLayers {
 public:
  /// `plans`: engine configurations tried a layer and form. A layer in `known` gets the form named there and is not measured.
  CudnnLayers(const DeviceInfo& device, bool tf32, size_t plans, LayerChoices known);

  /// Builds what cuDNN proposes for each layer that is new. Returns how many plans that were.
  size_t build(const std::vector<CudnnConvSpec>& layers);
  /// The fastest form, measured with these operands at the first call for an equal layer. The layer must have been built. Throws
  /// Error(unsupported) when cuDNN has no engine for it.
  const LayerForm& fastest(const CudnnConvSpec& layer, const LayerOperands& operands);
  void run(const LayerForm& form, const CudnnConvSpec& layer, const LayerOperands& operands, cudaStream_t stream) const;
  /// What was chosen so far.
  const LayerChoices& choices() const { return choices_; }

 private:
  std::vector<LayerForm> propose(const CudnnConvSpec& layer, const std::shared_ptr<CudnnHandle>& handle, bool fused,
                                 const std::string& engine) const;
  double time_us(const LayerForm& form, const CudnnConvSpec& layer, const LayerOperands& operands, double best_us) const;
  std::shared_ptr<const EpilogueKernel> epilogue(const CudnnConvSpec& layer);
  std::string key_of(const CudnnConvSpec& layer) const { return to_string(layer) + (tf32_ ? " tf32" : ""); }

  const DeviceInfo& device_;
  bool tf32_;
  size_t plans_;
  LayerChoices known_, choices_;
  DeviceBuffer workspace_;
  std::vector<std::shared_ptr<CudnnHandle>> handles_;  // one a thread
  std::map<std::string, std::shared_ptr<const EpilogueKernel>> epilogues_;
  std::map<std::string, std::vector<LayerForm>> forms_;  // by layer; one once chosen
};

}  // namespace fcm::bench
