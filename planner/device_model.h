// What the planner knows of a GPU: sizes, rates and the cost of a step. Known cards are shipped as data (planner/devices/*.json), so that
// planning works for a card that is not there.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/device/info.h"
#include "runtime/support/dtype.h"

namespace fcm {

class KnownKernels;

struct DeviceModel {
  std::string key;   ///< "h200": the name of its file and of `--gpu`
  std::string name;  ///< "NVIDIA H200"
  jit::Target target;
  double sm_count = 1;
  double clock_mhz = 1000;
  double shared_per_block_kib = 48;  ///< largest dynamic shared memory of a block
  double shared_per_sm_kib = 48;
  double registers_per_sm = 65536;
  double threads_per_sm = 1024;
  double blocks_per_sm = 16;

  double l2_mib = 4;
  double l2_usable = 0.6;        ///< share of the L2 that data survives in from one step to the next
  double dram_gbps = 100;        ///< read plus written, all multiprocessors
  double dram_gbps_per_sm = 50;  ///< what one multiprocessor can draw
  double l2_gbps = 1000;
  double l2_gbps_per_sm = 50;

  double tensor_f16 = 0;  ///< multiply-adds a cycle and multiprocessor, FP16 or BF16 in, FP32 sums; 0: none
  double tensor_tf32 = 0;
  double mma_share = 1;       ///< what mma.sync, which the modules use, gets of that
  double core_f32 = 64;       ///< multiply-adds a cycle and multiprocessor on CUDA cores
  double shared_bytes = 128;  ///< of shared memory a cycle and multiprocessor

  double step_plain_us = 4;  ///< a dependent trivial kernel after another: stream launch, CUDA graph, graph with programmatic launch
  double step_graph_us = 1.5;
  double step_pdl_us = 0;           ///< 0: the device has none
  double library_conv_us = 3;       ///< what a small cuDNN or cuBLASLt step takes beyond its launch
  double library_depthwise_us = 2;  ///< likewise a standalone depthwise convolution
  double library_small_us = 1;      ///< likewise an elementwise step, pooling or a conversion
  double library_share = 0.6;       ///< of the peak rates and bandwidths, at large sizes

  std::map<std::string, std::string> origin;  ///< by field: "measured", "specification", "estimate"

  std::string kernels_of;                       ///< key of the card that `kernels` were measured on, where it is another
  std::shared_ptr<const KnownKernels> kernels;  ///< measured on this card or on one like it (planner/known_kernels.h), or null

  bool has_tensor_cores() const { return tensor_f16 > 2 * core_f32; }
  /// GB/s with `blocks` blocks in flight.
  double dram_at(double blocks) const;
  double l2_at(double blocks) const;
  /// Cost of a step of ours that follows another of ours, and of any other step.
  double step_us(bool programmatic) const { return programmatic && step_pdl_us > 0 ? step_pdl_us : step_graph_us; }
  /// "NVIDIA H200 sm_90a 132 SMs model 3f2c...": every number and the known kernels are in the digest, so that a plan's hash covers them.
  std::string fingerprint() const;
};

/// Keys of the shipped models, sorted.
std::vector<std::string> known_devices();
/// By key ("h200", "rtx-a4000"; case and "nvidia" do not matter). Throws Error(command_line) listing the known ones.
DeviceModel device_model(std::string_view key);
/// For a card that is there: its shipped model when name and size agree; else the shipped model of the nearest kind, scaled to the card's
/// multiprocessors, clock and L2. `note` (may be null) receives what was done when it was not an exact match.
DeviceModel device_model_for(const DeviceInfo& device, std::string* note = nullptr);
/// The card that a model describes, which need not be here: what kernels and plans for it depend on.
DeviceInfo described_device(const DeviceModel& model);
/// A model from JSON text. Throws Error(bad_input) naming `source` and the field.
DeviceModel parse_device_model(std::string_view json, const std::string& source);
/// The JSON text of a model, as the shipped files are written.
std::string to_json(const DeviceModel& model);

}  // namespace fcm
