// A module's layers one by one on cuDNN, each with its fastest form: bias, activation and residual inside cuDNN's kernel where an engine
// can, else the convolution alone and one pointwise kernel of ours. NHWC, channels padded to whole vectors as a careful user would.
#pragma once

#include <string>
#include <vector>

#include "apps/fcm-bench/cudnn_layers.h"
#include "apps/fcm-bench/operands.h"
#include "fcm/spec.h"

namespace fcm::bench {

/// The layers of a module as cuDNN takes them.
std::vector<CudnnConvSpec> cudnn_layers_of(const ModuleSpec& spec, int64_t batch);

class UnfusedModule {
 public:
  /// `layers` has built the module's layers. `operands` and `layers` outlive the object; the operands' output buffer is not touched.
  /// Throws Error(unsupported) when cuDNN has no engine for a layer.
  UnfusedModule(CudnnLayers& layers, const ModuleSpec& spec, int64_t batch, const Operands& operands);

  void enqueue(cudaStream_t stream) const;
  const DeviceBuffer& output() const { return layers_.back().output; }
  /// "fused a0 | conv+pointwise a3": how each layer runs.
  std::string describe() const;

 private:
  struct Layer {
    CudnnConvSpec conv;
    DeviceBuffer weights, bias, output;
    LayerOperands operands;
    const LayerForm* form = nullptr;
  };

  CudnnLayers& cudnn_;
  DeviceBuffer image_;  ///< a first convolution's input as NHWC in the dtype
  std::vector<Layer> layers_;
};

}  // namespace fcm::bench
