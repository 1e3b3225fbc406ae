// Rating of tiles. Omitted because equal for all tiles of a module: launch cost, output bytes, activation arithmetic.
#include "fcm/tiles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "fcm/head.h"
#include "fcm/tile_trees.h"

namespace fcm {
namespace {

using geometry::Geometry;
using geometry::Math;
using geometry::Shape;

/// Cycles that `rows` x `columns` tiles of 16 x 16 sums and ks of their depth occupy one of the four quarters of a multiprocessor.
double dense_step(Math math, int rows, int columns, const TileModel& m) {
  return math == Math::f32 ? f32_cycles(rows, columns, m) : 2.0 * rows * columns * m.matrix_f16;
}

/// How much arithmetic an activation is, a rough scale: special functions count most.
double activation_weight(const geometry::Activation& a) {
  switch (static_cast<UnaryFn>(a.fn)) {
    case UnaryFn::identity:
    case UnaryFn::relu:
    case UnaryFn::clip:
      return 0;
    case UnaryFn::leaky_relu:
    case UnaryFn::hard_sigmoid:
    case UnaryFn::hard_swish:
      return 3;
    case UnaryFn::sigmoid:
    case UnaryFn::silu:
      return 16;
    default:
      return 24;
  }
}

/// Cycles of one dense stage of a head: `rows` outputs of a block over `depth` inputs.
double dense_cycles(const geometry::HeadShape& s, const geometry::HeadGeometry& g, int rows, int depth, double images, double turns,
                    const TileModel& m) {
  if (g.el == 4) return std::ceil(static_cast<double>(rows) / s.warps) * images * (depth / 256.0 * m.head_depth + m.head_row) * turns;
  const int tiles = geometry::ceil_div(rows, 16), shares = geometry::depth_shares(rows, depth, s.warps);
  const double rounds = geometry::ceil_div(tiles * shares, s.warps), steps = std::ceil(depth / 16.0 / shares);
  return m.matrix_latency + rounds * steps * m.head_step * turns + m.barrier +
         std::ceil(tiles * 16 * images / g.threads) * m.head_output * turns;
}

/// What the blocks of `clusters` clusters wait for each other.
double cluster_cycles(int split, int clusters, const TileModel& m) {
  return m.cluster_barrier + m.cluster_doubling * (std::log2(split) - 1) + (split > 8 && clusters > 7 ? m.crowded_clusters : 0.0);
}

TileRating rate_head(const ModuleSpec& spec, const TileConfig& tile, int batch, const TileDevice& device, const TileModel& m) {
  const geometry::HeadShape s = head_shape_of(spec, tile);
  const geometry::HeadGeometry g = geometry::derive(s);
  const bool se = s.hidden > 0;
  const double images = std::min(batch, s.images);
  TileRating r;
  r.blocks = geometry::ceil_div(batch, s.images) * (se ? s.split : geometry::ceil_div(g.out_pitch, s.n_tile));
  r.concurrent = std::clamp((shared_limit(device.target) + 1024) / (g.shared_bytes + 1024), 1, 2048 / g.threads);
  const double per_unit = static_cast<double>(r.blocks) / device.multiprocessors;
  const double waves = std::ceil(per_unit / r.concurrent), held = std::min<double>(r.concurrent, std::ceil(per_unit));
  const double turns = std::max(1.0, held * s.warps / m.head_turns);
  const double active = std::min<double>(r.blocks, device.multiprocessors);
  const double bandwidth = std::min(m.bytes_alone, m.bytes_a_cycle * device.multiprocessors / active);
  const double row_bytes = s.sums ? 4.0 * s.c : static_cast<double>(g.c_pitch) * g.el;
  const double rounds = std::ceil(static_cast<double>(g.mean_lanes) / g.threads),
               addends = std::ceil(static_cast<double>(g.addends) / g.mean_groups);
  r.fetch = m.global_latency + rounds * addends * (s.sums ? m.head_sum : m.head_pixel) * turns +
            (g.mean_groups > 1 ? m.barrier + g.mean_groups * m.head_group : 0.0) + held * images * g.addends * row_bytes / bandwidth;
  if (se)
    r.expand = dense_cycles(s, g, g.hidden_slice, g.c_depth, images, turns, m) +
               (s.split > 1 ? cluster_cycles(s.split, r.blocks / s.split, m) : m.barrier);
  r.depthwise = dense_cycles(s, g, g.out_slice, g.depth, images, turns, m);
  r.finish = s.split > 1 ? cluster_cycles(s.split, r.blocks / s.split, m) : 0;
  r.prologue = m.global_latency + m.head_weights * held * g.s_mean / bandwidth;
  r.total = r.prologue + waves * (r.fetch + r.expand + r.depthwise + r.finish) + (held - 1) * m.head_blocks;
  return r;
}

/// Blocks that a multiprocessor holds, by shared memory, registers and threads.
int concurrency(const TileConfig& t, const Geometry& g, const jit::Target& target) {
  const int by_shared = (shared_limit(target) + 1024) / (g.shared_bytes + 1024);
  const int registers = std::min(register_limit(t), 152);
  return std::clamp(std::min({by_shared, 65536 / (registers * g.threads), 2048 / g.threads}), 1, 8);
}

/// The next whole number from zero on, without a call.
double up(double x) {
  const auto whole = static_cast<double>(static_cast<int64_t>(x));
  return whole < x ? whole + 1 : whole;
}

/// Bytes of a slice of a streamed expansion as the L2 is asked for them: sectors of pixels that begin in the middle of one twice.
double slice_bytes(const Shape& s, const Geometry& g) {
  const bool odd = g.in_pitch * g.el / 16 % 2 != 0;
  return static_cast<double>(g.core_px) * geometry::kSliceBytes * (odd ? 1.5 : 1.0) + (s.streamed ? g.weight_slice : 0);
}

/// Cycles of a streamed expansion of a chunk while a multiprocessor holds `held` such blocks: a slice takes as long as its copies, of which
/// stages - 1 are under way, or its matrix steps.
double streamed_cycles(const Shape& s, const Geometry& g, double held, double turns, double active_share, const TileModel& m) {
  const double bytes = slice_bytes(s, g), bandwidth = std::min(m.bytes_alone, m.slice_bytes / active_share) / held;
  const double copies = std::max(bytes / bandwidth, (m.slice_latency + bytes / m.bytes_alone) / (s.stages - 1));
  const double tiles = static_cast<double>(geometry::streamed_units(s, g)) * s.expand_m * s.expand_n,
               depth = static_cast<double>(g.slice) / g.ks;
  const double a_step = dense_step(s.math, s.expand_m, s.expand_n, m) + 3.0 * (s.expand_m + s.expand_n);
  const double a_tile = s.warpgroup ? m.warpgroup_step : a_step / (s.expand_m * s.expand_n);
  const double store = (m.unit_work + m.activation * activation_weight(s.expand_act)) * tiles * turns * m.streamed_store + m.barrier;
  return g.slices * (std::max(copies, depth * tiles * a_tile * turns) + m.slice_barrier) + store + (s.overlaid ? m.slice_begin : 0.0);
}

/// Wavefronts of shared memory of one block in all its chunks: 128 bytes each, so that a load of sixteen bytes a lane takes four, equal
/// addresses or not. FP32 operands are loaded by every lane that multiplies them.
double wavefronts(const Shape& s, const Geometry& g) {
  const bool f32 = s.math == Math::f32;
  const double wide = g.el / 2.0, rows = f32 ? 16 : 4, columns = f32 ? 32 : 4;  // a 16 x ks and a ks x 16 operand
  double count = 0;
  if (s.expand) {
    const double stores = 4.0 * (g.x_rows / 16.0) * (g.e_chunk / 16.0);
    const double units = (g.x_rows / 16.0 / s.expand_m) * (g.e_chunk / 16.0 / s.expand_n);
    const double loads = s.warpgroup ? 0.0 : units * (static_cast<double>(g.k1) / g.ks) * (s.expand_m * rows + s.expand_n * columns);
    count += stores * wide + loads;
  }
  const double steps = s.chunk / 16.0, depth = static_cast<double>(s.chunk) / g.ks;
  if (s.dw) {
    const int length = geometry::run_length(s, g);
    const double runs = static_cast<double>(s.warps_m) * geometry::ceil_div(g.warp_m, g.runs ? length : 1);
    const double window_rows = (g.runs ? length - 1 : 0) * 2.0 * s.dw_window.sh + g.dw_rows;
    const double words = s.dw_window.kw * geometry::ceil_div(s.dw_window.kh, 2);
    count += wide * s.warps_n * steps * runs * 2 * (s.dw_window.kw * window_rows + 4 * up(words / 4) + 2);
  } else if (s.project) {
    count += s.warps_n * depth * g.m_tiles * rows;  // rows of E are the operand
  }
  if (s.project)
    count += depth * (s.n_tile / 16.0) * columns * (g.project_by_groups && (g.copied || s.project_groups) ? s.warps_m / 4.0 : s.warps_m);
  return count * g.block_chunks;
}

/// Blocks that stay and walk over a module's tiles, `columns` of them over the same ones.
struct Walks {
  int works = 1, count = 1;     ///< tiles, and groups of blocks that share them
  double held = 1, active = 1;  ///< blocks of a multiprocessor, and multiprocessors that have any
};
Walks walks_of(const TiledModule& module, int columns, int batch, const TileDevice& device, TileRating& r) {
  Walks w;
  w.works = geometry::work_items(module.shape, module.geometry, batch);
  r.concurrent = concurrency(module.tile, module.geometry, device.target);
  w.count = std::clamp(device.multiprocessors * r.concurrent / columns, 1, w.works);
  r.blocks = w.count * columns;
  w.held = std::min<double>(r.concurrent, up(static_cast<double>(r.blocks) / device.multiprocessors));
  w.active = std::min(r.blocks, device.multiprocessors);
  return w;
}

/// A streamed pointwise layer (kernels/product.cuh): blocks walk over their tiles. Copies, matrix steps and the values' way out add up, as
/// measured: what warpgroups do beside each other is in the constants.
TileRating rate_product(const TiledModule& module, int batch, const TileDevice& device, const TileModel& m) {
  const Shape& s = module.shape;
  const Geometry& g = module.geometry;
  TileRating r;
  const auto [works, walks, held, active] = walks_of(module, g.n_blocks, batch, device, r);
  const double tiles = static_cast<double>(works) / walks, most_tiles = up(tiles);  // of a walk
  const double groups = held * g.warps / 4.0, bandwidth = std::min(64.0, m.product_bytes * device.multiprocessors / active) / held;
  const double input = static_cast<double>(s.tile_w) * s.in_c * g.el, weights = static_cast<double>(g.slices) * g.weight_slice;
  const double maps = s.residual == geometry::Residual::none ? 1 : 2;
  const double output = maps * s.tile_w * s.n_tile * g.el / bandwidth;
  const double depth = geometry::ceil_div(s.in_c, g.ks), units = groups * g.warp_m * g.warp_n;
  const double steps = units * depth * m.product_step + (s.norm == geometry::Norm::none ? 0.0 : groups * depth * m.product_moment);
  const double values = units * (m.product_value + m.product_activation * activation_weight(s.out_act)) * (1 + m.product_lone / groups);
  if (s.resident) {
    r.fetch = m.product_begin + (input + weights) / bandwidth + (tiles - 1) * input / bandwidth;
    const double waits = std::max(0, g.slices - (s.stages - 1)) * m.product_latency / groups;
    r.depthwise = most_tiles * (steps + waits);
    r.finish = tiles * output + most_tiles * values;
  } else {
    const int ahead = s.stages > 3 ? s.stages - 2 : s.stages - 1;
    const double copies = std::max((input + weights) / g.slices / bandwidth, m.product_latency / ahead);
    r.fetch = m.product_begin + input / g.slices / bandwidth;
    r.depthwise = most_tiles * (g.slices * (copies + m.product_slice) + steps);
    r.finish = most_tiles * (output + values);
  }
  r.total = r.fetch + r.depthwise + r.finish;
  return r;
}

/// Parts of sums that a cluster's warps push to other blocks, row by row.
double pushed_cycles(const Geometry& g, double held, const TileModel& m) {
  return m.push * held * g.warps * g.warp_m * g.warp_n * 2;
}
/// Sums over warps and a cluster, and the way out.
double finish_cycles(const Shape& s, const Geometry& g, double held, int blocks, double turns, const TileModel& m) {
  const double vectors = up(g.m_tiles * 16.0 * s.n_tile / g.vec / g.threads / s.split);
  const double pushes = s.split > 1 ? cluster_cycles(s.split, blocks / s.split, m) + pushed_cycles(g, held, m) : 2 * m.barrier;
  const double activation = m.activation * activation_weight(s.out_act) * turns;
  return m.finish + vectors * (m.finish_vector + m.finish_part * s.split * s.warps_k + activation) + pushes;
}
/// What of that is less where a cluster's warps exchange sums (kernels/finish.cuh), which the trees do not know.
double exchanged_cycles(const Shape& s, const Geometry& g, double held, const TileModel& m) {
  return g.parties > 1 && s.split > 1 ? m.exchanged * pushed_cycles(g, held, m) : 0.0;
}

/// Matrix steps of a window, of three columns one each.
double relayed_window(const Shape& s, const Geometry& g) {
  return s.dw_window.kw * geometry::ceil_div(g.dw_rows, 4) / 3.0;
}

/// A team that expands beside warps that filter (kernels/relay.cuh): a chunk takes as long as the slower of the two, the first one's
/// expansion and the last one's depthwise stage both.
TileRating rate_relay(const TiledModule& module, int batch, const TileDevice& device, const TileModel& m) {
  const Shape& s = module.shape;
  const Geometry& g = module.geometry;
  TileRating r;
  const auto [works, walks, held, active] = walks_of(module, s.split, batch, device, r);
  const double bandwidth = std::min(m.bytes_alone, m.relay_bytes * device.multiprocessors / active) / held;
  // A pixel's half slice of 64 bytes that begins in the middle of a sector touches three of them.
  const double bytes = static_cast<double>(g.core_px) * g.in_pitch * g.el * (g.in_pitch * g.el / 16 % 2 != 0 ? 1.25 : 1.0);
  const double tiles = static_cast<double>(geometry::streamed_units(s, g)) * s.team * s.expand_n;  // of 64 x 16 sums
  const double steps = tiles * geometry::ceil_div(s.in_c, g.ks) * m.relay_step * held;
  const double waits = g.slices * m.relay_latency / (s.stages + 1);
  r.fetch = m.relay_begin + static_cast<double>(g.block_chunks) * g.slices * g.weight_slice / bandwidth;
  r.expand =
      std::max({steps, bytes / bandwidth, waits}) + tiles / s.team * (m.relay_value + m.activation * activation_weight(s.expand_act));
  const double runs = up(static_cast<double>(g.warp_m) / geometry::run_length(s, g)) * up(s.chunk / 16.0 / s.warps_k);
  r.depthwise =
      runs * (m.relay_run + (m.relay_turn * relayed_window(s, g) + 4 * m.activation * activation_weight(s.dw_act)) * held * g.warps / 4.0);
  const double chunks = up(static_cast<double>(works) / walks) * g.block_chunks;
  r.total = r.fetch + chunks * std::max(r.expand, r.depthwise) + std::min(r.expand, r.depthwise);
  return r;
}

/// The same with a projection, for which pixels stay in registers and weights may rotate.
TileRating rate_projecting_relay(const TiledModule& module, int batch, const TileDevice& device, const TileModel& m) {
  const Shape& s = module.shape;
  const Geometry& g = module.geometry;
  TileRating r;
  const auto [works, walks, held, active] = walks_of(module, s.split * g.n_blocks, batch, device, r);
  const double bandwidth = std::min(m.bytes_alone, m.passed_bytes * device.multiprocessors / active) / held;
  const double tiles = static_cast<double>(geometry::streamed_units(s, g)) * s.expand_n;  // of 64 x 16 sums of a warpgroup
  r.expand = tiles * (geometry::ceil_div(s.in_c, g.ks) * m.passed_step * s.team * held + m.passed_value +
                      m.activation * activation_weight(s.expand_act));
  const double group = m.passed_group * relayed_window(s, g) + 4 * m.activation * activation_weight(s.dw_act);
  r.depthwise = up(s.chunk / 16.0 / s.warps_k) * g.warp_m * group * std::max(1.0, held * g.warps / 8.0);
  const double given = g.parties > 1 ? m.passed_part * g.warp_m * g.warp_n : 0.0;
  r.finish = m.passed_finish * g.warp_m * g.own_n + given + (s.split > 1 ? cluster_cycles(s.split, r.blocks / s.split, m) : 0.0);
  const double tiles_walked = up(static_cast<double>(works) / walks), chunks = tiles_walked * g.block_chunks;
  const double weights = g.slices * g.weight_slice + g.record_a + g.record_b;
  r.fetch = m.passed_begin + (s.resident ? g.block_chunks : 1) * weights / bandwidth;
  const double rotating = s.resident ? 0.0 : weights / bandwidth;
  r.total = r.fetch + chunks * (m.passed_chunk + std::max({r.expand, r.depthwise, rotating})) + std::min(r.expand, r.depthwise) +
            tiles_walked * r.finish;
  return r;
}

}  // namespace

double f32_cycles(int rows, int columns, const TileModel& m) {
  return std::max(64 * m.f32_multiply * rows * columns, m.f32_load * (4 * rows + 8 * columns));
}

TileRating rate(const ModuleSpec& spec, const TileConfig& tile, int batch, const TileDevice& device, const TileModel& m) {
  if (is_head(spec)) return rate_head(spec, tile, batch, device, m);
  return rate(tiled(spec, tile), batch, device, m);
}

TileRating rate(const TiledModule& module, int batch, const TileDevice& device, const TileModel& m) {
  const Shape& s = module.shape;
  const Geometry& g = module.geometry;
  if (g.product) return rate_product(module, batch, device, m);
  if (s.team > 0) return s.project ? rate_projecting_relay(module, batch, device, m) : rate_relay(module, batch, device, m);
  TileRating r;
  const double works = geometry::work_items(s, g, batch);
  r.blocks = static_cast<int>(works) * s.split * g.n_blocks;
  r.concurrent = concurrency(module.tile, g, device.target);
  const double chunks = g.block_chunks;
  const double input_bytes =
      s.streamed ? chunks * g.slices * slice_bytes(s, g) : static_cast<double>(g.core_px) * (s.expand ? g.k1 : g.e_chunk * chunks) * g.el;
  const double weight_bytes = chunks * (g.record_a + g.record_b);
  const double gather = s.conv ? m.gather * (s.expand ? g.k1 : g.e_chunk) * up(static_cast<double>(g.core_px) / g.threads) : 0.0;
  const double per_unit = static_cast<double>(r.blocks) / device.multiprocessors;
  const double waves = up(per_unit / r.concurrent), held = std::min<double>(r.concurrent, up(per_unit));
  // Warps that share a quarter take turns; fewer than m.lone_warps wait for their own results as long as that many would.
  const double turns = std::max(held * g.warps / 4.0, m.lone_warps);
  const double copies = s.conv ? 0.0 : up(input_bytes / 16 / g.threads) * m.copy * turns;
  const double active = std::min<double>(r.blocks, device.multiprocessors);
  const double bandwidth = std::min(m.bytes_alone, m.bytes_a_cycle * device.multiprocessors / active);
  r.fetch = s.streamed ? m.slice_begin : m.global_latency + std::max(input_bytes / bandwidth, copies) + gather;
  if (s.norm != geometry::Norm::none) {  // two passes over a tile's pixels, eight lanes each
    const double steps = up(g.stat_rows * 8.0 / g.threads) * up(s.in_c / 8.0 / g.vec);
    r.fetch += m.stat_latency + steps * m.stat_step + (s.expand ? m.barrier : 0.0);
  }
  const double unit_work = m.unit_work + m.activation * activation_weight(s.expand_act);
  if (s.streamed) {
    r.expand = chunks * streamed_cycles(s, g, held, turns, active / device.multiprocessors, m);
  } else if (s.warpgroup) {
    const double units = (g.x_rows / 64.0) * (g.e_chunk / 16.0 / s.expand_n), depth = static_cast<double>(g.k1) / g.ks;
    const double a_unit =
        depth * m.warpgroup_step * s.expand_n * turns + unit_work * s.expand_n * turns + m.unit_latency + m.matrix_latency;
    r.expand = chunks * (up(units / (g.warps / 4.0)) * a_unit + m.barrier);
  } else if (s.expand) {
    const double units = (g.x_rows / 16.0 / s.expand_m) * (g.e_chunk / 16.0 / s.expand_n), tiles = s.expand_m * s.expand_n;
    const double depth = static_cast<double>(g.k1) / g.ks,
                 a_step = dense_step(s.math, s.expand_m, s.expand_n, m) + 3.0 * (s.expand_m + s.expand_n);
    const double a_unit = depth * std::max(m.matrix_latency, a_step * turns) + unit_work * tiles * turns + m.unit_latency;
    r.expand = chunks * (up(units / g.warps) * a_unit + m.barrier);
  }
  const double groups = up(s.chunk / (s.project ? static_cast<double>(g.ks) : 16.0) / s.warps_k);
  const double eights = s.project ? g.ks / 8.0 : 2.0, pairs = geometry::ceil_div(s.dw_window.kh, 2);
  const double window = g.el == 2 ? s.dw_window.kw * (pairs * (m.window_pair + m.matrix_f16 / 2) + m.window_column)
                                  : s.dw_window.kw * s.dw_window.kh * m.window_f32 + 10;
  const double operand = s.dw ? g.warp_m * eights * (window + m.operand) + eights * m.operand_group : g.warp_m * m.operand_flat;
  const double dense = s.project ? g.warp_n * m.dense + dense_step(s.math, g.warp_m, g.warp_n, m) : m.store * g.warp_m;
  r.depthwise = chunks * (groups * ((operand + dense) * turns + m.group_latency) + (s.stages > 1 && s.expand ? 1 : 2) * m.barrier);
  if (s.streamed) r.depthwise *= m.streamed_rest;
  if (s.project) r.finish = finish_cycles(s, g, held, r.blocks, turns, m);
  const double first_weights = s.resident ? weight_bytes : g.weight_stages * static_cast<double>(g.record_a + g.record_b);
  if (2 * held > r.concurrent)
    r.prologue = m.global_latency + held * first_weights / bandwidth + static_cast<double>(g.e_buffers * g.e_bytes) / 64;
  const double reloaded = s.resident && works > device.multiprocessors ? m.reloaded : 1.0;
  const double traffic = s.streamed ? 0.0 : held * (input_bytes + (waves > 1 ? reloaded : m.first_weights) * weight_bytes) / bandwidth;
  // A later tile's input comes beside the depthwise stage of the tile before, unless the residual is read from that one's place.
  const bool early = s.expand && !s.conv && !s.overlaid && (s.streamed || !(s.residual != geometry::Residual::none && s.residual_is_input));
  const double hidden = early ? (1 - 1 / waves) * std::min(r.fetch, r.depthwise + r.finish) : 0.0;
  const double latency = r.prologue / waves + r.fetch - hidden + r.expand + r.depthwise + r.finish;
  const double wavefront = s.math == Math::f32 ? m.f32_load / 16 : m.wavefront;
  r.shared = held * wavefront * wavefronts(s, g) + r.fetch;
  // Starting blocks takes time; clusters that cannot all be resident at once wait for whole groups of multiprocessors.
  const double starting = (held - 1) * (s.project && s.split > 1 ? m.more_clusters : m.more_blocks);
  r.total = waves * std::max({latency, traffic, r.shared}) + starting;
  r.total -= waves * exchanged_cycles(s, g, held, m);
  if (m.trees) r.total *= tile_correction(module, r, device);
  return r;
}

double tile_correction(const TiledModule& module, const TileRating& rating, const TileDevice& device, double most) {
  if (module.geometry.el != 2 || device.target.major != 9) return 1;
  // Streamed expansions and tiles of several images are younger than the trees, whose questions (of input fetched at once, of stages) would
  // mean something else of them. Streamed pointwise layers have a rating of their own.
  if (module.geometry.product) return 1;
  if (module.shape.streamed || module.shape.images > 1) return TileModel{}.untaught;
  const TileFeatures features = tile_features(module, rating, device.multiprocessors);
  return std::exp(forest(forest_of(module)).correction(features, static_cast<float>(std::log(most))));
}

std::string to_string(const TileRating& r) {
  return fmt::format("prologue {:.0f} fetch {:.0f} expand {:.0f} depthwise {:.0f} finish {:.0f} shared {:.0f}, {} blocks x {}: {:.0f}",
                     r.prologue, r.fetch, r.expand, r.depthwise, r.finish, r.shared, r.blocks, r.concurrent, r.total);
}

std::vector<TileConfig> head_tiles(const ModuleSpec& spec, int batch, const jit::Target& target) {
  std::vector<TileConfig> list;
  if (!refusal(spec, target).empty()) return list;
  const bool se = kind_of(spec) == ModuleKind::se;
  TileConfig t;
  for (t.tile_w = 1; t.tile_w <= geometry::kHeadImages && t.tile_w < 2 * batch; t.tile_w *= 2) {
    for (t.warps_m = 4; t.warps_m <= 16; t.warps_m *= 2) {
      for (const int cut : {1, 2, 4, 8, 16, 32, 64}) {
        if (!se && cut < 4) continue;
        (se ? t.split : t.n_tile) = cut;
        if (head_refusal(spec, t, target).empty()) list.push_back(t);
      }
    }
  }
  return list;
}

}  // namespace fcm
