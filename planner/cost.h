// What a step costs: bytes at L2 and DRAM, arithmetic, and time with named terms. Formulas for module kernels (spec + tile) and for the
// steps of the libraries and of single operators.
#pragma once

#include <string>

#include "fcm/spec.h"
#include "fcm/tiles.h"
#include "planner/device_model.h"
#include "planner/known_kernels.h"
#include "planner/traffic.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// A step's predicted cost.
struct Cost {
  Traffic traffic;
  double elements = 0;     ///< compulsory accesses: every input, weight and output once
  double dram_bytes = 0;   ///< what is not resident in the L2; by sizes alone until a plan stands (planner/dram.h)
  double tensor_macs = 0;  ///< issued, padding and repetition included
  double core_macs = 0;
  double blocks = 0;
  double waves = 1;
  // Terms of the time, microseconds.
  double step_us = 0;  ///< launch after the predecessor
  double dram_us = 0;
  double l2_us = 0;
  double compute_us = 0;  ///< arithmetic at the rates of the device, waves included
  double latency_us = 0;  ///< a block's own dependent chain, waves included
  double time_us = 0;     ///< step + the largest of the others
  double among_us = 0;    ///< of the step: what it costs among modules alone, and a measurement of this step by itself does not show
  bool known = false;  ///< of a module: its time comes from the device's known kernels; the latency is what is left of it beside the step

  double l2_bytes() const { return traffic.total(); }
};
Cost& operator+=(Cost& a, const Cost& b);
/// "0.86 step + max(dram 0.1, l2 0.3, compute 0.9, latency 1.2) = 2.06 us", and ", known" where it is.
std::string to_string(const Cost& cost);

/// What decides whether a step's operands are still in the L2: bytes touched since they were written.
struct Residency {
  double since_residual = 0;  ///< bytes touched since the residual operand was written
  double run_bytes = 0;       ///< that an inference touches, weights included: what came in before the last one began has seen them all
};

/// Whether a tile can run on the modelled device (shared memory and threads of the model, legality of the module).
std::string refusal(const ModuleSpec& spec, const TileConfig& tile, const DeviceModel& device);
/// The same for a tile that is legal on the device's architecture.
std::string block_refusal(const ModuleSpec& spec, const TileConfig& tile, const DeviceModel& device);

/// What a module's kernel takes in a network beyond its time among launches of itself, on which models and known kernels rest: maps that
/// another kernel has just written, blocks of another size. The mean of what networks of 14 to 60 modules take at batch 1 (H200).
inline constexpr double kAmongOthersUs = 0.15;
/// Launch of a module's kernel after another of ours.
double module_step_us(const DeviceModel& device);

/// Elements that any kernel of this module must touch.
double module_elements(const ModuleSpec& spec, int64_t images);
/// Bytes of its weights as the kernel reads them.
double module_weight_bytes(const ModuleSpec& spec, const TileConfig& tile);
/// Share of its input that a node reads: strides wider than the window leave rows and columns out.
double read_share(const Node& node);
/// By formulas alone.
Cost predicted_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device, const Residency& residency,
                    const TileModel& model = {});
/// Of a kernel that the device knows: the time is measured, but for what the operands take that are not in the L2.
Cost known_cost(const ModuleSpec& spec, const KnownKernels::Kernel& kernel, int64_t images, const DeviceModel& device,
                const Residency& residency);
/// The one or the other.
Cost module_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device, const Residency& residency);
/// A time that no tile of a module is below under this model: its step, its maps once, its arithmetic without padding or repetition.
double least_module_us(const ModuleSpec& spec, int64_t images, const DeviceModel& device, const Residency& residency);

/// Costs many tiles of one module that is no head: what no tile changes is worked out once.
class TileCosts {
 public:
  /// `spec` and `device` must outlive this.
  TileCosts(const ModuleSpec& spec, int64_t images, const DeviceModel& device, const Residency& residency);

  /// Cuts `module` into `tile` where the modelled device can run it; false otherwise.
  bool recut(TiledModule& module, const TileConfig& tile) const;
  /// Whether blocks are better alone on their multiprocessors (TileConfig::lone). Costs leave it out: as much as it gains, the best of many
  /// predictions takes more than predicted.
  bool runs_alone(const TiledModule& module) const;
  double step_us() const { return step_us_; }
  /// A block's latency by a model; with the step, the time is never below. `rating` receives what it comes from.
  double latency_us(const TiledModule& module, const TileModel& model, TileRating& rating) const;
  /// What the trees make of a latency that was rated without them: a factor. Times above `most_us` need not be told apart.
  double correction(const TiledModule& module, const TileRating& rating, double latency_us, double most_us) const;
  /// The cost of a rated tile, but for `elements`, which do not depend on it.
  Cost cost(const TiledModule& module, const TileRating& rating, double latency_us);

 private:
  const ModuleSpec& spec_;
  const DeviceModel& device_;
  int images_;
  TileDevice tile_device_;
  double step_us_, dense_rate_;  // multiply-adds a cycle and multiprocessor
  CopiedPixels copied_;
  double map_dram_, residual_missed_, weights_missed_;
};

/// A node run by a library or an operator kernel of its own. Nodes that move nothing cost nothing.
Cost node_cost(const Graph& graph, const Node& node, int64_t batch, DType dtype, const DeviceModel& device, const Residency& residency);

/// What a library's kernel costs beyond that in a network where ours overlap: neither it nor what follows it begins ahead, and its
/// instructions are cold. On an H200 legacy_xception took 334.7 us at batch 1 with 33 of its convolutions by libraries, as predicted best
/// without this, and 292.9 with six; 869.8 at batch 8 with 35 and 808.4 with 15.
inline constexpr double kLibraryAmongUs = 2.0;
/// That for a node by a library on a device whose kernels overlap, else nothing.
double among_modules_us(const Node& node, const DeviceModel& device);

}  // namespace fcm
