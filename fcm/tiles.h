// Which tiles a module may run with, rated by a simple model of a multiprocessor, and the one taken when nothing is measured.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "fcm/emit.h"
#include "fcm/spec.h"

namespace fcm {

struct TileDevice {
  jit::Target target;
  int multiprocessors = 132;
};

/// Predicted clock cycles of a module's kernel, by term. Launch and the kernels around it are not included.
struct TileRating {
  double prologue = 0;   ///< weights and tables, where the kernel cannot start beside the one before it
  double fetch = 0;      ///< input of a tile until the first arithmetic can start: latency and bytes
  double expand = 0;     ///< expansion of all chunks of a block
  double depthwise = 0;  ///< depthwise stage and projection of all chunks of a block
  double finish = 0;     ///< sums over warps and cluster, stores
  int blocks = 1;        ///< of the grid
  int concurrent = 1;    ///< blocks that a multiprocessor holds
  double total = 0;      ///< waves x the slower of one block's latency and what a full multiprocessor can do
};
struct RatedTile {
  TileConfig tile;
  TileRating rating;
};

TileRating rate(const ModuleSpec& spec, const TileConfig& tile, int batch, const TileDevice& device);
/// "prologue 0 fetch 812 expand 240 depthwise 410 finish 900, 128 blocks x 2: 2362".
std::string to_string(const TileRating& rating);

/// The best `most` legal tiles by rating, best first; the same inputs give the same list. Empty when the spec is refused.
std::vector<RatedTile> candidate_tiles(const ModuleSpec& spec, int batch, const TileDevice& device, size_t most = 32);
/// The first of them. Throws Error(unsupported) with the reason when there is none.
TileConfig default_tile(const ModuleSpec& spec, int batch, const TileDevice& device);

}  // namespace fcm
