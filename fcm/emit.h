// From a spec and a tile to a program and its launch: pure functions that never compile, launch, cache or choose.
// Legality stands beside them: every refusal is a sentence.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "fcm/geometry.h"
#include "fcm/spec.h"
#include "runtime/jit/jit.h"

namespace fcm {

/// The kernel's constants for a spec and a tile. Meaningful for specs whose stages chain (see `refusal`).
geometry::Shape shape_of(const ModuleSpec& spec, const TileConfig& tile);
/// Writes the tile into a shape.
void set_tile(geometry::Shape& shape, const TileConfig& tile);

/// A module that is no head (pool_fc, se), cut into tiles: the shape that emit writes and every size that follows. A search goes from tile
/// to tile without reading the spec again, which must outlive this.
struct TiledModule {
  const ModuleSpec* spec = nullptr;
  TileConfig tile;
  geometry::Shape shape;
  geometry::Geometry geometry;
  geometry::Geometry planes;  ///< the part of it that tiles of the same plane share
  bool divides = false;       ///< the tile was found to divide the module, whether or not its weights stay

  /// Cuts it into other tiles where they are legal for a spec that is legal itself; false and no meaningful sizes otherwise. What the last
  /// tile has in common with this one is not worked out again.
  bool recut(const TileConfig& other, const jit::Target& target);
};
TiledModule tiled(const ModuleSpec& spec, const TileConfig& tile);

/// Why no tile can run the spec on a target; empty when some can.
std::string refusal(const ModuleSpec& spec, const jit::Target& target);
/// Why this tile cannot; empty when it can.
std::string refusal(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target);
/// The same for a spec that is legal itself.
std::string refusal(const TiledModule& module, const jit::Target& target);

/// Shared memory that a block may use on a target, bytes.
int shared_limit(const jit::Target& target);
/// Whether the target has matrix instructions of warpgroups (wgmma): sm_90a.
bool has_warpgroups(const jit::Target& target);
/// Registers that a thread may use with this tile (the launch bound of the emitted kernel).
int register_limit(const TileConfig& tile);
/// Those of them that the kernel does not need, by a rough count: with few to spare the compiler spills.
int spare_registers(const TiledModule& module);

/// How a module's kernel is launched. Argument: one fcm::ModuleArgs by value (fcm/kernels/args.h).
struct LaunchPlan {
  std::string kernel;    ///< symbol
  int threads = 32;      ///< a block
  int shared_bytes = 0;  ///< dynamic; above 48 KiB needs cudaFuncAttributeMaxDynamicSharedMemorySize
  int lone_bytes = 0;    ///< the same for a block that is to be alone on its multiprocessor (TileConfig::lone); else 0
  int cluster = 1;       ///< blocks of a cluster along x; above 8 needs cudaFuncAttributeNonPortableClusterSizeAllowed
  bool pdl = false;      ///< may be launched with programmatic stream serialisation
  int blocks_per_work = 1;
  bool across_images = false;  ///< pixels of all images are one run
  int plane = 1;               ///< output pixels an image (tiles of whole images: 1)
  int tile_pixels = 1;         ///< across_images: pixels (or images) of a piece of work
  int tiles = 1;               ///< otherwise: pieces of work an image
  int64_t weight_bytes = 0;    ///< packed weights
  int64_t pool_floats = 0;     ///< pool sums an image (ModuleArgs::pool), 0 without a pool epilogue

  /// Blocks for a batch. Kernels loop over the work, so that any multiple of `blocks_per_work` is right; at most about `resident_blocks`
  /// are started (blocks that the device holds at a time; 0: one block a piece of work).
  int64_t grid(int64_t batch, int64_t resident_blocks = 0) const;
};

struct Emitted {
  jit::Program program;
  LaunchPlan launch;
};

/// The device code that every program includes, by file name: what is measured holds for it alone.
const std::map<std::string, std::string>& device_sources();

/// Throws Error(unsupported) with the refusal's text. `jitter` adds random spins around the programmatic wait (tests).
Emitted emit(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target, bool jitter = false);

}  // namespace fcm
