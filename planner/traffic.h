// Bytes that a module's kernel moves, as a profiler counts them: sectors of 32 bytes between the multiprocessors and the L2.
//
// Per image batch N, tiles of o_h x o_w outputs (n_sp of them over all images), n_b blocks along output channels, s blocks that share the
// middle channels; el bytes an element, pitch = channels rounded to 16-byte vectors; P = sum over tiles of the rows inside the plane times
// the columns inside the plane of the region that a tile reads:
//   PW, first convolution     n_b P pitch el                        (P = pixels without a window)
//   PWPW, convolution + PW    n_b s P pitch el                      each block expands from the whole depth
//   DW, DWPW                  n_b P pitch el                        blocks that share channels read disjoint ones
//   PWDW, PW-DW-PW, stem      n_b s P pitch el
//   the same, streamed        n_b k P pitch el                      k: chunks of middle channels, each from the whole depth; and
//                             n_b n_sp (weights of the expansion), which never stay but where a team expands: n_b g
//   streamed PW               n_b P pitch el                        and n_b n_sp (weights), or n_b g where they stay
//   PW with a normalised input adds n_b s P pitch el: each block takes the statistics of whole pixels (a streamed one has them in passing)
//   weights                   n_b g (bytes of all chunks)           g = n_sp, or the groups of blocks that run when weights stay
//   output                    N Ho Wo pitch el                      none when only sums are written
//   residual                  the same; none when it is the input, which an expansion holds on chip
//   pool sums                 n_sp F 4
//   gate                      n_b n_sp pitch el                        merged among the blocks of an image
// A head reads its map (or sums) once a block row and its weights once a block.
//
// What makes sectors of bytes (measured on Hopper with copies of known shape):
//   - A copy to shared memory asks for a sector once for each 32-byte place that parts of it go to. A chunk buffer with a window has rows
//     of an odd number of 16 bytes, so that every second pixel lies shifted by 16 bytes and its sectors are asked for twice.
//   - Pixels of an odd number of 16 bytes straddle sectors; stores of 16 channels a pixel then touch two.
//   - Equal lines that several multiprocessors ask for at about the same time are one request (Hopper), where they stand alike within 128
//     bytes on both sides of the copy. A kernel whose blocks all read the same weights takes about a quarter of their bytes from the L2;
//     the more parts there are, and so the further apart a part's readers, the more of them. Of input tiles that many blocks read a third
//     comes, where rows of the tile stand alike: pixels of whole lines always do, others as their tiles' corners fall; bands of less than a
//     line (warpgroups), and pixels that are shifted by 16 bytes, never.
//   - Slices of a streamed pointwise layer need not stand alike, only not be shifted by 16 bytes (728 channels are: every block takes all,
//     half of the pixels' sectors twice, and those of a residual). But blocks drift apart with each slice beyond those that the first
//     copies ask for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fcm/emit.h"
#include "planner/device_model.h"

namespace fcm {

/// Bytes that cross the L2 in one execution, by what they are.
struct Traffic {
  double input = 0, weights = 0, output = 0, residual = 0, sums = 0, gate = 0;
  double total() const { return input + weights + output + residual + sums + gate; }
};

/// Traffic of a module kernel on a device.
Traffic module_traffic(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device);

/// Pixels of an image that the tiles of a module copy, worked out once by extents of the tile.
class CopiedPixels {
 public:
  /// By whether a pixel begins in the second half of a sector (first index), and of a place in shared memory.
  struct Halves {
    std::array<std::array<double, 2>, 2> count{};
    double total() const { return count[0][0] + count[0][1] + count[1][0] + count[1][1]; }
    void add(const Halves& b, double times) {
      for (size_t i = 0; i < 2; ++i) {
        for (size_t j = 0; j < 2; ++j) count[i][j] += b.count[i][j] * times;
      }
    }
  };
  struct Pixels {
    Halves halves;
    double as_they_lie = 0;  ///< share that stands alike within a line on both sides of a copy that leaves pixels as they lie
  };
  /// Of the module that all calls are for.
  const Pixels& of(const geometry::Shape& shape, const geometry::Geometry& geometry);

 private:
  struct Entry {
    int tile_h = 0, tile_w = 0;
    bool odd_to = false;
    Pixels pixels;
  };
  std::vector<Entry> known_;
};
/// The same for a module that is no head.
Traffic module_traffic(const TiledModule& module, int64_t images, const DeviceModel& device, CopiedPixels& copied);

/// Sectors that copies of `bytes` (a multiple of 16) a pixel ask for, on the mean over its pixels. `pitch`: bytes from pixel to pixel in
/// global memory; `odd_from`, `odd_to`: it begins in the second half of a 32-byte sector, or of a 32-byte place of shared memory.
double copied_sectors(int bytes, int pitch, bool odd_from, bool odd_to);

}  // namespace fcm
