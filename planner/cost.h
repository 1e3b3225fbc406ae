// What a step costs: bytes at L2 and DRAM, arithmetic, and time with named terms. Formulas for module kernels (spec + tile) and for the
// steps of the libraries and of single operators.
//
// Bytes of a module at batch N, tiles of o_h x o_w outputs (n_sp of them over all images), n_b blocks along output channels, s blocks that
// share the middle channels; el bytes an element, pitch = channels rounded to 16-byte vectors; P = sum over tiles of the rows inside the
// plane times the columns inside the plane of the region that a tile reads:
//   PW, first convolution     n_b P pitch el                        (P = pixels without a window)
//   PWPW, convolution + PW    n_b s P pitch el                      each block expands from the whole depth
//   DW, DWPW                  n_b P pitch el                        blocks that share channels read disjoint ones
//   PWDW, PW-DW-PW, stem      n_b s P pitch el
//   PW with a normalised input adds n_b s P pitch el: each block takes the statistics of whole pixels
//   weights                   n_b g (bytes of all chunks)           g = n_sp, or the groups of blocks that run when weights stay
//   output                    N Ho Wo pitch el                      none when only sums are written
//   residual                  the same; none when it is the input, which an expansion holds on chip
//   pool sums                 n_sp F 4
//   gate                      n_b n_sp pitch el
// A head reads its map (or sums) once a block row and its weights once a block.
#pragma once

#include <string>

#include "fcm/spec.h"
#include "fcm/tiles.h"
#include "planner/device_model.h"
#include "runtime/graph/graph.h"

namespace fcm {

/// Bytes that cross the L2 in one execution, by what they are.
struct Traffic {
  double input = 0, weights = 0, output = 0, residual = 0, sums = 0, gate = 0;
  double total() const { return input + weights + output + residual + sums + gate; }
};

/// A step's predicted cost.
struct Cost {
  Traffic traffic;
  double elements = 0;     ///< compulsory accesses: every input, weight and output once
  double dram_bytes = 0;   ///< what is not resident in the L2
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

  double l2_bytes() const { return traffic.total(); }
};
Cost& operator+=(Cost& a, const Cost& b);
/// "0.86 step + max(dram 0.1, l2 0.3, compute 0.9, latency 1.2) = 2.06 us".
std::string to_string(const Cost& cost);

/// What decides whether a step's operands are still in the L2: bytes touched since they were written.
struct Residency {
  double weights_of_model = 0;  ///< packed weights of the whole model, read again at every inference
  double since_residual = 0;    ///< bytes touched since the residual operand was written
};

/// Whether a tile can run on the modelled device (shared memory and threads of the model, legality of the module).
std::string refusal(const ModuleSpec& spec, const TileConfig& tile, const DeviceModel& device);
std::string refusal(const TiledModule& module, const DeviceModel& device);

/// Traffic of a module kernel; `resident_blocks`: blocks that the device holds at a time.
Traffic module_traffic(const ModuleSpec& spec, const TileConfig& tile, int64_t images, int64_t resident_blocks);
/// Elements that any kernel of this module must touch.
double module_elements(const ModuleSpec& spec, int64_t images);
Cost module_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device, const Residency& residency,
                 const TileModel& model = {});
/// The same for a module that is no head, but for `elements`, which do not depend on the tile.
Cost module_cost(const TiledModule& module, int64_t images, const DeviceModel& device, const Residency& residency = {},
                 const TileModel& model = {});

/// A node run by a library or an operator kernel of its own. Nodes that move nothing cost nothing.
Cost node_cost(const Graph& graph, const Node& node, int64_t batch, DType dtype, const DeviceModel& device, const Residency& residency);

}  // namespace fcm
