// The formulas of traffic.h. Tile facts come from fcm/geometry.h.
#include "planner/traffic.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "fcm/head.h"

namespace fcm {
namespace {

using geometry::Axis;
using geometry::ceil_div;
using geometry::Geometry;
using geometry::round_up;
using ModuleShape = geometry::Shape;
using Halves = CopiedPixels::Halves;

constexpr int kSector = 32, kPiece = 16, kLine = 128;
// Share of equal reads of all multiprocessors that reach the L2; others meet the less often the fewer they are and the further apart they
// lie, in blocks.
constexpr double kMergedAll = 0.286, kMergedNear = 6.42;
constexpr double kHalfLines = 0.142;  // more of them where lines begin in the middle of a copy's
constexpr double kMergedRows = 0.97;  // of the weights of heads, whose rows are shifted
// Where blocks on all multiprocessors ask for more KiB of weights than this at once, requests wait and meet more often: an exponent.
constexpr double kManyKiB = 97, kManyMeet = 1.31;
// Requests of the copy engine do not meet but for a few of all multiprocessors'; where a block expands from its weights, or shares them
// with others, up to an eighth comes again.
constexpr double kAskedExpanding = 1.141, kAskedByClusters = 1.131, kAskedBySharers = 1.11, kAskedByAll = 0.963;
// Patches of a first convolution, of what their warps ask for: where a multiprocessor sees few tiles, rows are still in its first-level
// cache.
constexpr int kFewTiles = 8;
constexpr double kGatherWindow = 0.738, kGatherWindows = 0.884, kGatherWideWindows = 0.902, kGatherRun = 0.837, kGatherWideRun = 0.775,
                 kGatherRuns = 1.141, kGatherWideRuns = 1.166;
// Streamed pointwise layers. Blocks of other columns read the same slices of a tile, blocks of other tiles the same weights. Slices that
// the first copies bring are asked for at once; then blocks drift apart, slice by slice: exponents of the slices in units of what is under
// way (weights that stay, or rotate; more where a multiprocessor has several blocks), and of the share of the multiprocessors that are
// busy. Of pixels that are no whole lines less meets from the second tile on. Equal weights meet the less often the more different parts
// there are (those that rotate do whatever the parts) and the fewer blocks read them.
constexpr double kProductAlike = 0.922, kProductDrift = 0.24, kRotatingAlike = 0.749, kRotatingDrift = 0.092, kCrowdedDrift = 0.551;
constexpr double kProductSpread = 0.358, kProductPartLines = 0.756;
constexpr double kProductWeights = 0.229, kProductParts = 13.4, kProductReaders = 11.7, kRotatingWeights = 0.217, kWeightsDrift = 0.137;
constexpr double kMergedApart = 0.523;  // the least for blocks that have drifted apart over several tiles
// Streamed expansions: the blocks that read a tile drift apart from slice to slice, and share the weights' slices less than one copy. Where
// the slices begin anew for every tile the input is hardly shared.
constexpr double kDrift = 0.636, kStreamedWeights = 0.374, kBegunAnew = 0.87;
/// The same where a team expands: of what blocks ask for that all have one tile each, or walk over several.
constexpr double kTeamsOnce = 0.87, kTeamsInput = 0.82, kTeamsWeights = 0.5;
/// Weights that rotate where a team expands and the block projects alone: blocks ask for the same ones when a chunk changes hands, in step.
constexpr double kTeamsRing = 0.61;
// Input that several blocks read: what does not come again of an expansion's lines that stand alike on both sides of the copy, and of
// copied chunks, of which more meets than lines stand alike: an exponent. Blocks of a cluster read different channels.
constexpr double kAlikeTiles = 0.654, kAlikeChunks = 0.588, kAlikeParts = 0.36;
// Where all blocks begin at once, several on a multiprocessor, what they read meets more often: exponent of their number.
constexpr double kAlikeCrowd = 0.128;

/// Share of the bytes that reach the L2 when `readers` neighbouring blocks read the same at about the same time.
double merged(double readers, const DeviceModel& d) {
  return d.target.major != 9 || readers <= 1 ? 1.0 : std::max(kMergedAll, 1 / readers);
}
/// The same when every `parts`th block reads the same one of as many parts.
double merged_apart(double parts, double readers, const DeviceModel& d) {
  return 1 - (1 - merged(readers, d)) * (1 - std::exp(-readers / (kMergedNear * parts)));
}

/// The same of a streamed pointwise layer's input and weights, whose `walks` are of n_blocks blocks each.
struct ProductShares {
  double input = 1, weights = 1;
  ProductShares(const ModuleShape& s, const Geometry& g, int works, int walks, const DeviceModel& d) {
    if (d.target.major != 9) return;
    const double columns = g.n_blocks, blocks = walks * columns, active = std::min(1.0, blocks / d.sm_count);
    const double drift = std::max(1.0, static_cast<double>(works) / walks * g.slices / std::max(1, s.stages - 1));
    const double rotating = kRotatingDrift + (blocks > d.sm_count ? kCrowdedDrift : 0.0);
    const int pixel = g.in_pitch * g.el;
    if (pixel % kSector == 0) {  // others are shifted against their places
      double met = s.resident ? kProductAlike * std::pow(drift, -kProductDrift) : kRotatingAlike * std::pow(drift, -rotating);
      if (pixel % kLine != 0 && works > walks) met *= kProductPartLines;
      input = 1 - (1 - 1 / columns) * met * std::pow(active, kProductSpread);
    }
    const double met = s.resident ? (1 - kProductWeights) * std::exp((1 - columns) / kProductParts)
                                  : (1 - kRotatingWeights) * std::pow(drift, -kWeightsDrift);
    if (walks > 1) weights = 1 - met * (1 - std::exp(-walks / kProductReaders));
  }
};

/// The same for a linear copy from `global` to `shared`, of which only the offsets within a line matter: a copy that is shifted by 16 bytes
/// asks for every sector twice, and lines become one request only where both sides are aligned alike. `met`: the share of those that do.
double copied_share(int global, int shared, double met, const DeviceModel& d) {
  const int shift = (shared - global) % kLine;
  if (shift % kSector != 0) return 2;
  if (shift != 0) return 1;
  return std::min(1.0, met + (global % kLine != 0 && d.target.major == 9 ? kHalfLines : 0.0));
}

/// Positions inside the plane that all tiles of an axis read. `from_step`: the next position moves on by an odd number of 16 bytes in
/// global memory; `place`: where a position of the region lies, in steps of the pitch in shared memory.
template <class Place>
Halves axis_halves(const Axis& axis, int tile, int stride, int pad, int extent, bool from_step, Place&& place) {
  Halves h;
  const auto count = [&](Halves& to, int begin, int first, int end) {
    for (int at = first; at < end; ++at) ++to.count[from_step ? at & 1 : 0][place(at - begin) & 1];
  };
  std::array<int, 2> whole{};  // tiles that lie inside the plane, by whether they begin at an odd position: they are alike
  for (int i = 0; i < axis.tiles; ++i) {
    const int begin = i * tile * stride - pad + axis.core_at, end = begin + axis.core;
    if (begin >= 0 && end <= extent) {
      ++whole[static_cast<size_t>(begin & 1)];
    } else {
      count(h, begin, std::max(begin, 0), std::min(end, extent));
    }
  }
  for (const int odd : {0, 1}) {
    const int tiles = whole[static_cast<size_t>(odd)];
    if (tiles == 0) continue;
    Halves one;
    count(one, odd, odd, odd + axis.core);
    h.add(one, tiles);
  }
  return h;
}

/// Rows times columns.
Halves crossed(const Halves& y, const Halves& x) {
  Halves h;
  for (int a = 0; a < 16; ++a) {
    const int ys = a & 1, yd = a >> 1 & 1, xs = a >> 2 & 1, xd = a >> 3 & 1;
    h.count[static_cast<size_t>(ys ^ xs)][static_cast<size_t>(yd ^ xd)] +=
        y.count[static_cast<size_t>(ys)][static_cast<size_t>(yd)] * x.count[static_cast<size_t>(xs)][static_cast<size_t>(xd)];
  }
  return h;
}

/// Pixels of an image that its tiles copy. `odd_from`, `odd_to`: a pixel is an odd number of 16 bytes, in global and in shared memory.
Halves copied_pixels(const ModuleShape& s, const Geometry& g, bool odd_from, bool odd_to) {
  if (g.flat) {
    Halves h;
    for (int i = 0; i < 2; ++i)
      h.count[odd_from ? static_cast<size_t>(i) : 0][odd_to ? static_cast<size_t>(i) : 0] += s.out_h * s.out_w / 2.0;
    return h;
  }
  const geometry::Window& w = s.dw_window;
  const int line = s.expand ? g.ax.core : g.e_line / kPiece;  // whose oddness counts
  const Halves y = axis_halves(g.ay, s.tile_h, w.sh, w.top, s.mid_h, odd_from && s.mid_w % 2 != 0,
                               [&](int row) { return odd_to ? (s.expand ? row : row + g.ay.core_at) * line : 0; });
  const Halves x = axis_halves(g.ax, s.tile_w, w.sw, w.left, s.mid_w, odd_from, [&](int column) {
    const int ex = column + g.ax.core_at;
    return !odd_to ? 0 : s.expand ? column : ex % w.sw * (g.e_column / kPiece) + ex / w.sw;
  });
  return crossed(y, x);
}

/// Share of the pixels of a region that stand alike within 128 bytes where they lie in global memory and, one behind the other, in shared.
double lying_alike(const ModuleShape& s, const Geometry& g) {
  constexpr int kPieces = kLine / kPiece;
  const geometry::Window& w = s.dw_window;
  std::array<double, kPieces> rows{}, columns{};  // by pixels from the one place to the other
  for (int i = 0; i < g.ay.tiles; ++i) {
    const int begin = i * s.tile_h * w.sh - w.top + g.ay.core_at, end = std::min(begin + g.ay.core, s.mid_h);
    for (int y = std::max(begin, 0); y < end; ++y) ++rows[static_cast<size_t>(y * s.mid_w - (y - begin) * g.ax.core) % kPieces];
  }
  for (int i = 0; i < g.ax.tiles; ++i) {
    const int begin = i * s.tile_w * w.sw - w.left + g.ax.core_at;
    columns[static_cast<size_t>(begin) % kPieces] += std::max(0, std::min(begin + g.ax.core, s.mid_w) - std::max(begin, 0));
  }
  double alike = 0, all = 0;
  for (size_t y = 0; y < kPieces; ++y) {
    for (size_t x = 0; x < kPieces; ++x) {
      all += rows[y] * columns[x];
      if ((y + x) * static_cast<size_t>(g.in_pitch * g.el) % kLine == 0) alike += rows[y] * columns[x];
    }
  }
  return all > 0 ? alike / all : 0;
}

/// Bytes of the copies of `bytes` a pixel.
double copied_bytes(const Halves& pixels, int bytes, int pitch) {
  double sectors = 0;
  for (const bool from : {false, true}) {
    for (const bool to : {false, true}) {
      if (const double n = pixels.count[from ? 1 : 0][to ? 1 : 0]; n > 0) sectors += n * copied_sectors(bytes, pitch, from, to);
    }
  }
  return sectors * kSector;
}

/// Share of what the warps of a block ask for that they do not find in the first-level cache, since others loaded it: rows of the picture
/// above each other. `few`: a multiprocessor sees few tiles.
double found_apart(const Geometry& g, bool few) {
  if (!g.flat) return few ? kGatherWindow : g.warps > 4 ? kGatherWideWindows : kGatherWindows;
  if (few) return g.warps > 4 ? kGatherWideRun : kGatherRun;
  return g.warps > 2 ? kGatherWideRuns : kGatherRuns;
}

/// Bytes of a first convolution's patches over the tiles of an image: a warp asks for those of 32 pixels, row of the kernel by row.
double gathered_bytes(const ModuleSpec& spec, const ModuleShape& s, const Geometry& g, bool few) {
  const geometry::Window& w = s.conv_window;
  const bool planes = spec.input == InputTransform::nchw_f32;
  const double element = planes ? 4.0 : spec.input == InputTransform::nhwc_u8 ? spec.stages[0].in_channels : g.in_pitch * g.el;
  double pixels = 0, pieces = 0;  // stretches of a row that one warp asks for
  if (g.flat) {
    pixels = s.out_h * s.out_w;
    pieces = pixels / std::min(32, s.out_w) + s.out_h;
  } else {
    const auto none = [](int) { return 0; };
    const double rows = axis_halves(g.ay, s.tile_h, s.dw_window.sh, s.dw_window.top, s.mid_h, false, none).total();
    const double columns = axis_halves(g.ax, s.tile_w, s.dw_window.sw, s.dw_window.left, s.mid_w, false, none).total();
    pixels = rows * columns;
    pieces = rows * g.ax.tiles + pixels / 32;
  }
  const double bytes = (pixels * w.sw + pieces * (w.kw - w.sw)) * element + pieces * (kSector - std::min(element, 28.0));
  return bytes * w.kh * (planes ? spec.stages[0].in_channels : 1) * found_apart(g, few);
}

double input_bytes(const ModuleSpec& spec, const ModuleShape& s, const Geometry& g, CopiedPixels& copied, bool few) {
  if (s.conv) return gathered_bytes(spec, s, g, few);
  const int pitch = g.in_pitch * g.el;
  Halves pixels = copied.of(s, g).halves;
  if (s.expand && !s.streamed) return copied_bytes(pixels, pitch, pitch);
  if (s.team > 0) {  // to registers, half a slice at a time
    double sectors = 0;
    for (int at = 0; at < pitch; at += geometry::kSliceBytes / 2) {
      const int bytes = std::min(geometry::kSliceBytes / 2, pitch - at);
      for (const int odd : {0, 1})
        sectors += (pixels.count[static_cast<size_t>(odd)][0] + pixels.count[static_cast<size_t>(odd)][1]) *
                   ceil_div(bytes + odd * kPiece, kSector);
    }
    return sectors * kSector;
  }
  if (g.copied && !g.product && g.e_bytes / kPiece % 2 != 0 && s.stages > 1) {  // every second buffer lies shifted
    Halves other = pixels;
    for (size_t i = 0; i < 2; ++i) {
      for (size_t j = 0; j < 2; ++j) pixels.count[i][j] = (pixels.count[i][j] + other.count[i][1 - j]) / 2;
    }
  }
  const int chunk = s.streamed ? geometry::kSliceBytes : g.e_chunk * g.el, whole = pitch / chunk, rest = pitch % chunk;
  return whole * copied_bytes(pixels, chunk, pitch) + (rest > 0 ? copied_bytes(pixels, rest, pitch) : 0.0);
}

/// Share of the lines of copied chunks of whole tiles that stand alike within 128 bytes on both sides.
double alike_chunks(const Geometry& g) {
  const int pixel = g.in_pitch * g.el, chunk = g.e_chunk * g.el;
  constexpr int kShifts = kLine / kPiece;
  double alike = 0;
  for (int at = 0; at < pixel; at += chunk) {
    for (int p = 0; p < kShifts; ++p) alike += (p * (pixel - chunk) + at) % kLine == 0 ? std::min(chunk, pixel - at) : 0;
  }
  return alike / static_cast<double>(pixel * kShifts);
}

/// The same of the tiles that an expansion reads, of `as_they_lie` where pixels follow each other as in global memory. Matrix instructions
/// of warpgroups read bands of less than a line, in which a line does not stay together.
double alike_tiles(const ModuleShape& s, const Geometry& g, double as_they_lie) {
  const int pixel = g.in_pitch * g.el, row = s.warpgroup ? g.x_width : g.x_pitch;
  if (s.warpgroup && row == kLine) return pixel % kLine == 0 ? 1 : 0;
  return row == pixel ? as_they_lie : 0;
}

/// Share of the input that reaches the L2 when `readers` blocks read each pixel: lines that stand alike on both sides become one request.
double alike_share(const ModuleShape& s, const Geometry& g, double readers, CopiedPixels& copied, const DeviceModel& d) {
  if (d.target.major != 9 || g.el != 2 || s.conv || s.streamed || readers <= 1 || !(s.expand || (g.flat && s.split == 1))) return 1;
  const double alike = s.expand ? kAlikeTiles * alike_tiles(s, g, g.flat ? 1.0 : copied.of(s, g).as_they_lie)
                                : kAlikeChunks * std::pow(alike_chunks(g), kAlikeParts);
  return 1 - alike * (1 - std::exp(1 - readers));
}

/// Bytes of the output pixels as they are stored, or as a residual is read: whole pixels, one block's channels of them, or 16 channels at a
/// time; by a streamed pointwise layer 64. `sectors(bytes, odd)`: of a piece that begins in the second half of one, or does not.
template <class Sectors>
double moved_bytes(const ModuleShape& s, const Geometry& g, double pixels, Sectors&& sectors) {
  const int pitch = g.out_pitch * g.el;
  const bool by_sixteen = !s.project || s.split > 1;
  if (pitch / kPiece % 2 == 0 || (!by_sixteen && !g.product && g.n_blocks == 1)) return pixels * pitch;
  const int piece = by_sixteen ? 16 * g.el : s.n_tile * g.el, most = g.product ? kLine : piece;
  double count = 0;
  for (int first = 0; first < pitch; first += piece) {
    const int end = std::min(first + piece, pitch);
    for (int at = first; at < end; at += most) {
      const int bytes = std::min(most, end - at);
      count += (sectors(bytes, false) + sectors(bytes, true)) / 2.0;
    }
  }
  return pixels * count * kSector;
}
double stored_bytes(const ModuleShape& s, const Geometry& g, double pixels) {
  return moved_bytes(s, g, pixels, [](int bytes, bool odd) { return ceil_div(bytes + (odd ? kPiece : 0), kSector); });
}
/// A streamed pointwise layer copies its residual to where its sums will be.
double residual_bytes(const ModuleShape& s, const Geometry& g, double pixels) {
  if (!g.product) return stored_bytes(s, g, pixels);
  return moved_bytes(s, g, pixels, [&](int bytes, bool odd) { return copied_sectors(bytes, g.out_pitch * g.el, odd, false); });
}

/// Blocks that one multiprocessor of the device holds.
int blocks_per_sm(const TileConfig& tile, int threads, int shared_bytes, const DeviceModel& d) {
  if (tile.lone) return 1;
  const double by_shared = d.shared_per_sm_kib * 1024 / (shared_bytes + 1024);
  const double registers = std::min(register_limit(tile), 128);
  const double by_registers = d.registers_per_sm / (registers * threads), by_threads = d.threads_per_sm / threads;
  return std::max(1, static_cast<int>(std::min({by_shared, by_registers, by_threads, d.blocks_per_sm})));
}

/// `count` rows of `bytes` from `global` on, copied to rows of `pitch` bytes at the begin of a sector.
double row_bytes(double count, int global, int bytes, int pitch) {
  const bool from = global / kPiece % 2 != 0, odd_from = bytes / kPiece % 2 != 0, odd_to = pitch / kPiece % 2 != 0;
  return count / 2 * kSector * (copied_sectors(bytes, bytes, from, false) + copied_sectors(bytes, bytes, from != odd_from, odd_to));
}

Traffic head_traffic(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& d) {
  const geometry::HeadShape s = head_shape_of(spec, tile);
  const geometry::HeadGeometry g = geometry::derive(s);
  const double plane = s.sums ? s.sum_tiles * 4.0 * round_up(s.c, 4) : static_cast<double>(s.pixels) * g.c_pitch * g.el;
  const bool se = s.hidden > 0;
  const double rows = se ? s.split : ceil_div(g.out_pitch, s.n_tile);
  const double groups = std::ceil(static_cast<double>(images) / s.images), blocks = rows * groups;
  Traffic t;
  // The blocks of a group read the same plane, those of one multiprocessor through its first-level cache.
  (s.sums ? t.sums : t.input) = plane * static_cast<double>(images) * rows * merged(std::min(rows, d.sm_count), d) /
                                std::max(1.0, std::min(rows, blocks / d.sm_count));
  const int out_row = (se ? g.hidden_pitch : g.c_pitch) * g.el;
  const double weights = row_bytes(s.hidden, g.hidden_at, g.c_pitch * g.el, geometry::head_row_bytes(g.c_depth, g.el)) +
                         row_bytes(s.out_c, g.out_at, out_row, geometry::head_row_bytes(g.depth, g.el));
  t.weights = (weights + (s.hidden + s.out_c) * 4.0) * groups * (groups > 1 && d.target.major == 9 ? kMergedRows : 1.0);
  t.output = static_cast<double>(images) * g.out_pitch * (s.wide_out ? 4 : g.el);
  return t;
}

/// Share of its bytes that a copy of weights asks the L2 of Hopper for. `drifting`: blocks take several tiles each; `apart`: their columns
/// are divided among blocks.
double asked_share(const ModuleShape& s, bool drifting, bool apart) {
  if (s.split > 1) return !s.expand ? kAskedByClusters : s.project ? 1.0 : kAskedBySharers;
  if (s.expand) return kAskedExpanding;
  if (drifting) return kMergedApart;
  return apart ? 1.0 : kAskedByAll;
}

/// Bytes of the records of weights, of `groups` groups of blocks that walk over `works` tiles.
double weights_bytes(const ModuleShape& s, const Geometry& g, int works, int groups, const DeviceModel& d) {
  const bool stays = g.weight_stages == g.block_chunks, at_once = works == groups, hopper = d.target.major == 9;
  const double columns = s.split * g.n_blocks, blocks = groups * columns;
  const double kib = (g.record_a + g.record_b) / 1024.0 * g.block_chunks * std::min(1.0, blocks / d.sm_count);
  const double queued = stays && hopper ? std::pow(std::max(1.0, kib / kManyKiB), -kManyMeet) : 1.0;
  const double least = stays || at_once ? 0.0 : kMergedApart, asked = asked_share(s, !at_once, g.n_blocks > 1);
  const int records = g.record_a + g.record_b;
  // Of a record of every chunk. `queued`: what waiting in a long queue leaves of equal reads.
  const auto copied = [&](int bytes, int global, int shared, int step, double parts) {
    const double met = merged_apart(parts, blocks / parts, d) * queued;
    double share = 0;
    for (int chunk = 0; chunk < g.chunks; ++chunk)
      share += copied_share(global + chunk * step, shared + chunk / s.split % g.weight_stages * records, met, d);
    return bytes * std::max(least, share / g.chunks);
  };
  const auto record = [&](int bytes, int global, int shared, int step, double parts) {
    if (bytes == 0) return 0.0;
    return g.counts_weights && hopper ? bytes * asked : copied(bytes, global, shared, step, parts);
  };
  return static_cast<double>(g.n_blocks) * (stays ? groups : works) * g.chunks *
         (record(g.record_a, g.a_at, g.s_weights, g.record_a, s.split) +
          record(g.record_b, g.b_at, g.s_weights + g.record_a, g.n_blocks * g.record_b, columns));
}

}  // namespace

double copied_sectors(int bytes, int pitch, bool odd_from, bool odd_to) {
  const double touched = ceil_div(bytes + (odd_from ? kPiece : 0), kSector);
  if (odd_from == odd_to) return touched;
  // Both halves of a sector are asked for, unless a line holds no more than one sector of it (or two, half of the time).
  const int lines = bytes / kLine, rest = bytes % kLine / kSector;
  constexpr double kRest[] = {0, 0.5, 1.6, 2.4}, kNeighbours = 0.8;
  const double twice = pitch < kLine ? kNeighbours : (4 * lines + kRest[rest]) / std::max(1, bytes / kSector);
  return touched + (bytes / static_cast<double>(kPiece) - touched) * twice;
}

const CopiedPixels::Pixels& CopiedPixels::of(const ModuleShape& s, const Geometry& g) {
  const bool odd_from = g.in_pitch * g.el / kPiece % 2 != 0, odd_to = (s.expand || s.streamed ? g.x_pitch : g.e_pitch) / kPiece % 2 != 0;
  for (const Entry& e : known_) {
    if (e.tile_h == s.tile_h && e.tile_w == s.tile_w && e.odd_to == odd_to) return e.pixels;
  }
  const double alike = s.expand && !g.flat ? lying_alike(s, g) : 0.0;
  return known_.emplace_back(Entry{s.tile_h, s.tile_w, odd_to, {copied_pixels(s, g, odd_from, odd_to), alike}}).pixels;
}

Traffic module_traffic(const TiledModule& m, int64_t images, const DeviceModel& d, CopiedPixels& copied) {
  const ModuleShape& s = m.shape;
  const Geometry& g = m.geometry;
  const auto n = static_cast<double>(images);
  const double n_b = g.n_blocks;
  const int works = geometry::work_items(s, g, static_cast<int>(images));
  const int blocks_a_work = s.split * g.n_blocks;
  const auto resident = static_cast<int>(d.sm_count) * blocks_per_sm(m.tile, g.threads, g.shared_bytes, d);
  const int groups = std::min(works, std::max(1, resident / blocks_a_work));
  const double map = stored_bytes(s, g, n * s.out_h * s.out_w);
  Traffic t;
  const bool keeps = s.team > 0 && s.project;                                                        // a tile's pixels, for all chunks
  const int depth_reads = g.product ? 1 : s.streamed && !keeps ? g.chunks : s.expand ? s.split : 1;  // of a tile's whole depth
  t.input = n_b * depth_reads * n * input_bytes(*m.spec, s, g, copied, works <= kFewTiles * d.sm_count);
  if (s.norm != geometry::Norm::none && !s.expand && !g.product)  // every block takes the statistics of whole pixels
    t.input += n_b * s.split * n * s.out_h * s.out_w * g.in_pitch * g.el;
  const bool at_once = works == groups;
  t.input *= alike_share(s, g, n_b * depth_reads, copied, d);
  t.weights = weights_bytes(s, g, works, groups, d);
  if (g.product) {
    const ProductShares shares(s, g, works, groups, d);
    t.input *= shares.input;
    t.weights = n_b * (s.resident ? groups : works) * g.slices * g.weight_slice * shares.weights;
  } else if (s.team > 0) {
    t.weights += n_b * (s.resident ? groups : works) * g.chunks * g.slices * g.weight_slice;
    if (d.target.major == 9 && !keeps) {
      t.input *= at_once ? kTeamsOnce : kTeamsInput;
      t.weights *= at_once ? kTeamsOnce : kTeamsWeights;
    }
  } else if (s.streamed) {
    if (d.target.major == 9) t.input *= s.overlaid ? kBegunAnew : 1 - (1 - 1.0 / s.split) / std::pow(g.slices, kDrift);
    t.weights += n_b * works * g.chunks * g.slices * g.weight_slice * (s.overlaid || d.target.major != 9 ? 1 : kStreamedWeights);
  }
  if (const double blocks = static_cast<double>(groups) * blocks_a_work;
      d.target.major == 9 && at_once && g.flat && !g.product && !s.conv && blocks > d.sm_count) {
    const double met = std::pow(d.sm_count / blocks, kAlikeCrowd);
    t.input *= met;
    t.weights *= met;
  }
  if (s.project) t.weights += static_cast<double>(groups) * blocks_a_work * s.n_tile * 4 * merged_apart(g.n_blocks, groups, d);
  if (d.target.major == 9 && s.team > 0 && s.project && !s.resident && s.split == 1) t.weights *= kTeamsRing;
  if (s.pool != geometry::Pool::only) t.output = map;
  if (s.residual != geometry::Residual::none && !(s.residual_is_input && s.expand && !s.streamed))
    t.residual = residual_bytes(s, g, n * s.out_h * s.out_w);
  if (s.pool != geometry::Pool::none) t.sums = n * g.tiles * round_up(g.out_channels, 4) * 4;
  if (s.gate) t.gate = n_b * works * g.gate_rows * g.in_pitch * g.el * merged(n_b * works / n, d);
  return t;
}

Traffic module_traffic(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device) {
  if (is_head(spec)) return head_traffic(spec, tile, images, device);
  CopiedPixels copied;
  return module_traffic(tiled(spec, tile), images, device, copied);
}

}  // namespace fcm
