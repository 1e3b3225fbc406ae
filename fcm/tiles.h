// Tiles that a module may run with, rated by a simple model of a multiprocessor.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "fcm/emit.h"
#include "fcm/spec.h"

namespace fcm {

struct TileDevice {
  jit::Target target;
  int multiprocessors = 132;
};

/// Constants of the rating, cycles of one Hopper multiprocessor unless said. Fitted (tests/calibration/fit.cpp) to measured launches on an
/// H200. They are effective values of this model (a barrier's cost holds what warps wait for each other), not properties of the hardware
/// one by one.
struct TileModel {
  double global_latency = 314;  ///< first bytes of a dependent load, with address arithmetic
  double bytes_a_cycle = 29.2;  ///< L2 to one multiprocessor when all of them read, and when it alone does
  double bytes_alone = 76.9;
  double copy = 3.68;  ///< of 16 bytes of input that a thread asks for
  double barrier = 96.9;
  double cluster_barrier =
      86.4;  ///< of two blocks, what each doubling adds, and more than seven clusters of over eight blocks (a GPC each)
  double cluster_doubling = 41.4;
  double crowded_clusters = 904;
  double matrix_f16 = 8.99;      ///< a 16 x 8 matrix step of depth 16 (TF32: 8) on one of the four quarters
  double f32_multiply = 1.61;    ///< an FP32 multiply-add of a warp on one of the four quarters
  double f32_load = 13.8;        ///< 16 bytes of FP32 operands for each lane of a warp from shared memory, which the quarters share
  double warpgroup_step = 12.2;  ///< a 64 x 16 step of a warpgroup's matrix product
  double slice_latency = 1425;   ///< of a slice of a streamed expansion from the L2 while all multiprocessors read, and bytes a cycle
  double slice_bytes = 43;
  double slice_barrier = 440;  ///< beside its copies and matrix steps, and what a chunk waits for its first
  double slice_begin = 745;
  double streamed_store = 1.9;  ///< of the model's words on a streamed expansion's stores, and on the stages behind it: in the trees' place
  double streamed_rest = 0.5;
  double product_bytes = 52.9;  ///< a cycle between the L2 and one multiprocessor in a streamed pointwise layer, read and written
  double product_step = 3.93;   ///< a 64 x 16 step of its matrix product
  double product_value = 70.4;  ///< eight values of a lane that leave it, and that times activation_weight
  double product_activation = 2.58;
  double product_lone = 1.4;     ///< a lone warp of a quarter takes so much longer for them
  double product_moment = 61.6;  ///< a step of a warpgroup's statistics of normalised pixels
  double product_latency = 196;  ///< of a slice that is asked for while the one before it is multiplied
  double product_slice = 66.9;   ///< of a slice beside its copies and matrix steps, where weights rotate
  double product_begin = 663;    ///< of the first tile's operands beside their bytes, and the last tile's way out
  double relay_bytes = 24.6;     ///< a cycle from the L2 to one multiprocessor where a team expands
  double relay_step = 10;        ///< a 64 x 16 step of its matrix product
  double relay_latency = 1400;   ///< of a slice that is asked for when the one before it is taken
  double relay_value = 110;      ///< of 64 x 16 sums that a warpgroup stores
  double relay_run = 1000;       ///< of four pixel groups and 16 channels in the depthwise stage, and for each warp of a quarter
  double relay_turn = 600;
  double relay_begin = 4000;   ///< of the first slice beside the weights' bytes, and the last chunk's way out
  double passed_bytes = 29.4;  ///< the same where a projection follows: bytes a cycle, a 64 x 16 step, 64 x 16 sums
  double passed_step = 30.6;
  double passed_value = 76;
  double passed_group = 19.2;  ///< of a pixel group's window and 16 channels, which are projected
  double passed_chunk = 745;   ///< of a chunk that changes hands
  double passed_part = 109;    ///< of 16 x 16 sums that warps exchange, and of those that leave a warp
  double passed_finish = 423;
  double passed_begin = 3280;  ///< of the first operands beside the weights' bytes
  double matrix_latency = 51.6;
  double unit_work = 37.5;       ///< activation and stores of a 16 x 16 tile of the expansion
  double activation = 5.79;      ///< of eight values a lane, times activation_weight
  double unit_latency = 347;     ///< of a unit beside its matrix steps
  double group_latency = 0.743;  ///< of a group of the depthwise stage beside its work
  double window_pair = 9.11;     ///< loads for two taps of a window's column, and a column
  double window_column = 0.0986;
  double window_f32 = 23;  ///< a tap of an FP32 window
  double operand = 0.247;  ///< of eight channels of a pixel group beside the window, of eight channels of a group, and without a window
  double operand_group = 31.2;
  double operand_flat = 48.2;
  double dense = 0.127;        ///< of an output column tile beside its matrix steps
  double store = 102;          ///< of a pixel group that leaves without a projection
  double gather = 22.5;        ///< of an element of a convolution's patch
  double stat_latency = 1500;  ///< of a pixel's statistics beside its steps, and of 16 bytes in both passes
  double stat_step = 500;
  double finish = 1.89;
  double finish_vector = 253;  ///< of 16 bytes of output a thread, and of each partial sum in it
  double finish_part = 5.25;
  double push = 105;            ///< a warp's 512 bytes to other blocks of a cluster
  double exchanged = 0.4;       ///< share of that less where a cluster's warps exchange sums
  double lone_warps = 1.75;     ///< fewer warps a quarter wait for their own results as long as this many would
  double more_blocks = 218;     ///< start of a second, third, ... block on a multiprocessor
  double more_clusters = 28.5;  ///< the same for blocks of clusters
  double reloaded = 0.35;       ///< share of the weights fetched again for later tiles when they stay
  double first_weights = 0.3;   ///< share of the first weights' fetch that is not hidden behind the kernel before
  double wavefront = 1.77;      ///< of shared memory: one a cycle at best
  double head_depth = 115;      ///< 256 channels of an output row of an FP32 head, and an output
  double head_row = 831;
  double head_output = 881;  ///< outputs that a thread of a 16-bit head finishes
  double head_sum = 32;      ///< a partial sum of four channels that a thread adds, and a pixel of a map
  double head_pixel = 61.7;
  double head_group = 69.2;    ///< partial means of a group of threads that are added
  double untaught = 1.08;      ///< tiles that the trees have not seen the like of must be better by more than their rating's error
  bool trees = true;           ///< correct the rating of 16-bit modules on Hopper by what was learnt (fcm/tile_trees.h)
  double head_step = 10.5;     ///< a 16 x 8 matrix step of depth 16 of a head, with both loads
  double head_turns = 33.4;    ///< warps of a multiprocessor that a head's work runs as fast as one's
  double head_weights = 1.15;  ///< share of the weights' fetch that is not hidden behind the kernel before
  double head_blocks = 9.49;   ///< start of a second, third, ... block on a multiprocessor
};

/// Predicted clock cycles of a module's kernel, by term. Launch and the kernels around it are not included.
struct TileRating {
  double prologue = 0;   ///< weights and tables, where the kernel cannot start beside the one before it
  double fetch = 0;      ///< input of a tile until the first arithmetic can start: latency and bytes
  double expand = 0;     ///< expansion of all chunks of a block
  double depthwise = 0;  ///< depthwise stage and projection of all chunks of a block
  double finish = 0;     ///< sums over warps and cluster, stores
  double shared = 0;     ///< what the blocks of a multiprocessor take of its shared memory's data path
  int blocks = 1;        ///< of the grid
  int concurrent = 1;    ///< blocks that a multiprocessor holds
  double total = 0;      ///< waves x the slowest of one block's latency and what a full multiprocessor can fetch and read
};

/// Cycles of a quarter for `rows` x `columns` tiles of 16 x 16 FP32 sums and eight of their depth: multiply-adds, or loads where a lane
/// holds few rows for the columns' weights that it loads.
double f32_cycles(int rows, int columns, const TileModel& model = {});
TileRating rate(const ModuleSpec& spec, const TileConfig& tile, int batch, const TileDevice& device, const TileModel& model = {});
TileRating rate(const TiledModule& module, int batch, const TileDevice& device, const TileModel& model = {});
/// What the trees make of a rating that left them out: a factor, 1 for modules that they have not seen the like of. Factors above `most`
/// need not be told apart.
double tile_correction(const TiledModule& module, const TileRating& rating, const TileDevice& device,
                       double most = std::numeric_limits<double>::infinity());
/// "prologue 0 fetch 812 expand 240 depthwise 410 finish 900, 128 blocks x 2: 2362".
std::string to_string(const TileRating& rating);

/// Every legal tile of a pool_fc or se module that is worth rating at a batch.
std::vector<TileConfig> head_tiles(const ModuleSpec& spec, int batch, const jit::Target& target);
}  // namespace fcm
