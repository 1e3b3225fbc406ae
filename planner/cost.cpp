// The formulas of cost.h. Tile facts come from fcm/geometry.h, the latency of a block from fcm::rate.
#include "planner/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "runtime/graph/pointwise.h"

namespace fcm {
namespace {

using geometry::Geometry;
using ModuleShape = geometry::Shape;

constexpr double kMapShare = 0.9;  // of the bandwidth, for operators that only move or map
// Of the CUDA cores' rate, for a library's depthwise convolution (measured on an H200: 2.5 G multiply-adds a millisecond).
constexpr double kDepthwiseShare = 0.075;
// With fewer registers to spare every third kernel spills (compiled surveys); the rating does not see which.
constexpr int kTight = 24, kTightExpanding = 40;
constexpr double kTightPenalty = 1.05;
// A library's matrix product, fitted to 90 shapes of transformers on an H200 (8 % off on the mean): shares of the tensor cores' rate and of
// the bandwidths, what storing costs beside loading, latency beside a convolution's, and cycles of one input channel of a block's sums.
constexpr double kGemmShare = 0.59, kGemmL2 = 0.65, kGemmDram = 0.63, kGemmStore = 1.93, kGemmLatency = 0.48, kGemmDepth = 1.9;
// A depth that is no multiple of a library kernel's step takes longer: 1.3 to 2.3 times for 728, 144 and 112 channels on large maps.
constexpr int kGemmStep = 64;
constexpr double kGemmOdd = 1.3;
constexpr double kNormaliseUs = 1.7;  // two passes of a block over its rows
// A library's other convolutions wait as long as its products, and for each channel under the window in turn: 14 of mobilevit_s, xception
// and efficientvit_b1 at batch 1.
constexpr double kConvDepth = 4.7;
// On CUDA cores both wait longer, and products reach another share: 60 of mobilenetv1 and xception at batch 1, 8 and 64.
constexpr double kCoreGemmShare = 0.61, kCoreGemmLatency = 0.6, kCoreDepth = 26;
constexpr double kReferenceMacs = 1024;  // a cycle and multiprocessor: what fcm::rate assumes of mma.sync

struct BlockSize {
  int threads = 32, shared_bytes = 0;
};
BlockSize block_of(const ModuleSpec& spec, const TileConfig& tile) {
  if (is_head(spec)) {
    const geometry::HeadGeometry g = geometry::derive(head_shape_of(spec, tile));
    return {g.threads, g.shared_bytes};
  }
  const Geometry g = geometry::derive(shape_of(spec, tile));
  return {g.threads, g.shared_bytes};
}

bool has_shared(const BlockSize& block, const DeviceModel& d) {
  return block.shared_bytes <= d.shared_per_block_kib * 1024;
}
bool has_threads(const BlockSize& block, const DeviceModel& d) {
  return block.threads <= std::min(1024.0, d.threads_per_sm);
}

/// Of the L2's usable part: what may be touched until data begins to leave, and until all has left. What is written leaves gradually.
struct Ramp {
  double begin, end;
};
constexpr Ramp kRead{0.67, 1.38}, kWritten{0.13, 2.1}, kAcrossRuns{1.0, 1.6};

/// Share of data that has left the L2 after `touched` bytes since it was last used.
double missed(double touched, const DeviceModel& d, const Ramp& ramp = kRead) {
  const double room = d.l2_usable * d.l2_mib * 1048576;
  return std::clamp((touched / room - ramp.begin) / (ramp.end - ramp.begin), 0.0, 1.0);
}

double gb_us(double bytes, double gbps) {
  return bytes / (gbps * 1e3);
}

/// Fills the time from bytes, arithmetic and latency.
void finish(Cost& c, const DeviceModel& d) {
  const double n = std::min(c.blocks, d.sm_count);
  c.dram_us = gb_us(c.dram_bytes, d.dram_at(n));
  c.l2_us = gb_us(c.l2_bytes(), d.l2_at(n));
  c.time_us = c.step_us + std::max({c.dram_us, c.l2_us, c.compute_us, c.latency_us});
}

/// The time of a step whose latency does not hide behind its work as a tuned kernel's does: those of the libraries, attention.
double unhidden_us(const Cost& c) {
  return c.step_us + c.latency_us + std::max({c.dram_us, c.l2_us, c.compute_us});
}

/// Bytes at DRAM of a step's operands. `input`, `output`: distinct bytes, however often they are read. `from_outside`: the input is the
/// user's, written before the inference before was run.
struct AtDram {
  double map, residual_share, weights_share;
  AtDram(double input, double output, bool from_outside, const DeviceModel& d, const Residency& r)
      : map(input * missed(from_outside ? std::max(r.run_bytes, input + output) : input + output, d) +
            output * missed(input + output, d, kWritten)),
        residual_share(missed(std::max(r.since_residual, input + output), d)),
        weights_share(missed(std::max(r.run_bytes, input + output), d, kAcrossRuns)) {}
};

void set_dram(Cost& c, double input, double output, double weight_bytes, const DeviceModel& d, const Residency& r) {
  const AtDram at(input, output, false, d, r);
  c.dram_bytes = at.map + c.traffic.residual * at.residual_share + weight_bytes * at.weights_share;
}

/// Weights of a head, each of which is multiplied once an image.
double head_weights(const ModuleSpec& spec) {
  double count = 0;
  for (const StageSpec& s : spec.stages) count += s.op == StageOp::pw ? static_cast<double>(s.in_channels) * s.out_channels : 0.0;
  return count;
}

/// Distinct bytes of a module's input.
double input_once(const ModuleSpec& spec, int64_t images) {
  const StageSpec& first = spec.stages[0];
  const auto n = static_cast<double>(images);
  if (spec.input == InputTransform::sums) return n * spec.sum_tiles * geometry::round_up(first.in_channels, 4) * 4;
  const auto element = static_cast<double>(dtype_size(dtype_of(spec)));
  const int vector = static_cast<int>(16 / element);
  const double pixel = spec.input == InputTransform::nhwc ? geometry::round_up(first.in_channels, vector) * element
                                                          : first.in_channels * (spec.input == InputTransform::nchw_f32 ? 4.0 : 1.0);
  return n * spec.height * spec.width * pixel;
}
bool is_from_outside(const ModuleSpec& spec) {
  return spec.input == InputTransform::nchw_f32 || spec.input == InputTransform::nhwc_u8;
}
double output_once(const ModuleSpec& spec, int64_t images) {
  if (spec.pool == geometry::Pool::only) return 0;
  const Plane out = output_plane(spec);
  return static_cast<double>(images) * out.height * out.width * output_pitch(spec) * static_cast<double>(dtype_size(output_dtype(spec)));
}

/// Multiply-adds of dense stages on tensor cores, a cycle and multiprocessor; 0 where they run on CUDA cores.
double dense_rate(const ModuleSpec& spec, const DeviceModel& d) {
  if (dtype_of(spec) == DType::f32) return spec.tf32 ? d.tensor_tf32 * d.mma_share : 0;
  return d.tensor_f16 * d.mma_share;
}

void set_module_work(Cost& c, const ModuleSpec& spec, const ModuleShape& s, const Geometry& g, int64_t images) {
  const double works = geometry::work_items(s, g, static_cast<int>(images)) * static_cast<double>(g.n_blocks);
  double dense = 0;
  if (s.expand) dense += static_cast<double>(g.chunks) * g.x_rows * g.k1 * g.e_chunk;
  if (s.project) dense += static_cast<double>(g.chunks) * g.m_tiles * 16 * s.chunk * s.n_tile;
  double depthwise = 0;
  if (s.dw) depthwise = static_cast<double>(g.chunks) * s.chunk * g.m_tiles * 16 * s.dw_window.kh * s.dw_window.kw;
  const bool tensor = dtype_of(spec) != DType::f32 || spec.tf32;
  (tensor ? c.tensor_macs : c.core_macs) += works * dense;
  c.core_macs += works * depthwise;
}

/// fcm::rate in microseconds of this device: its arithmetic assumes a Hopper multiprocessor. `dense`: see dense_rate.
double latency_of(const TileRating& r, double dense, const DeviceModel& d) {
  const double slower = dense > 0 ? std::max(1.0, kReferenceMacs / dense) : 1.0;
  const double work = r.expand + r.depthwise, all = r.fetch + work + r.finish;
  const double factor = all > 0 ? (all + (slower - 1) * work) / all : 1.0;
  return r.total * factor / d.clock_mhz;
}

Cost head_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& d, const Residency& residency,
               const TileModel& model) {
  Cost c;
  c.traffic = module_traffic(spec, tile, images, d);
  c.elements = module_elements(spec, images);
  const TileRating r = rate(spec, tile, static_cast<int>(images), {d.target, static_cast<int>(d.sm_count)}, model);
  c.blocks = r.blocks;
  c.waves = std::ceil(c.blocks / (d.sm_count * r.concurrent));
  const double weights = head_weights(spec);
  c.core_macs = static_cast<double>(images) * weights;
  c.compute_us = c.core_macs / (d.core_f32 * std::min(c.blocks, d.sm_count) * d.clock_mhz);
  c.latency_us = latency_of(r, dense_rate(spec, d), d);
  c.step_us = module_step_us(d);
  set_dram(c, input_once(spec, images), output_once(spec, images), module_weight_bytes(spec, tile), d, residency);
  finish(c, d);
  return c;
}

double value_bytes(const Graph& graph, ValueId v, int64_t batch, DType dtype) {
  const Value& value = graph.value(v);
  if (!value.shape) return 0;
  const Dims dims = at_batch(*value.shape, batch);
  const size_t element = is_float(value.dtype) ? dtype_size(dtype) : dtype_size(value.dtype);
  return static_cast<double>(element_count(dims)) * static_cast<double>(element);
}

/// Input values of one output of a convolution; 0 for another node.
double conv_depth(const Graph& graph, const Node& node) {
  const auto* conv = std::get_if<Conv>(&node.op);
  if (conv == nullptr) return 0;
  double depth = static_cast<double>((*graph.value(node.input(0)).shape)[1].factor) / static_cast<double>(conv->group);
  for (const int64_t k : conv->window.kernel) depth *= static_cast<double>(k);
  return depth;
}

/// Multiply-adds of a node, 0 for one that only moves or maps.
double node_macs(const Graph& graph, const Node& node, int64_t batch) {
  const auto count = [&](ValueId v) { return static_cast<double>(element_count(at_batch(*graph.value(v).shape, batch))); };
  const auto extent = [&](ValueId v, size_t axis) { return static_cast<double>((*graph.value(v).shape)[axis].factor); };
  if (std::holds_alternative<Conv>(node.op)) return count(node.outputs[0]) * conv_depth(graph, node);
  if (const auto* gemm = std::get_if<Gemm>(&node.op))
    return count(node.outputs[0]) * extent(node.input(0), gemm->trans_a ? 0 : graph.value(node.input(0)).shape->size() - 1);
  if (std::holds_alternative<MatMul>(node.op)) {
    const size_t rank = graph.value(node.input(0)).shape->size();
    return rank == 0 ? 0.0 : count(node.outputs[0]) * extent(node.input(0), rank - 1);
  }
  return 0;
}

// Activations that cuBLASLt has as an epilogue; the others take a kernel of their own behind the product.
bool is_library_epilogue(const Unary& u) {
  return u.is_identity() || u.fn == UnaryFn::relu;
}

bool is_depthwise(const Graph& graph, const Node& node) {
  const auto* conv = std::get_if<Conv>(&node.op);
  return conv != nullptr && conv->group > 1 && conv->group == (*graph.value(node.input(0)).shape)[1].factor;
}

/// A convolution of the few channels of a picture that is an input of the model: no tensor cores, and a conversion before it.
bool is_first_convolution(const Graph& graph, const Node& node) {
  const auto* conv = std::get_if<Conv>(&node.op);
  if (conv == nullptr || (*graph.value(node.input(0)).shape)[1].factor > 4) return false;
  return std::find(graph.inputs.begin(), graph.inputs.end(), node.input(0)) != graph.inputs.end();
}

// Attention, one kernel of ours. A block works through its keys: what that takes at least, and what the tensor cores, the softmax and the
// bias cost a pair of query and key. Measured on an H100 with heads of 16 to 64 channels and 16 to 256 tokens; the FP32 kernel's share of
// the CUDA cores is an estimate.
constexpr double kAttentionStartUs = 0.9;
constexpr double kAttentionKeyUs = 0.006;
constexpr double kAttentionChannelMacs = 2.1;  // a multiply-add of one channel, in those of mma.sync at its peak
constexpr double kAttentionScoreMacs = 50;     // likewise a score's exponential, maximum and sum
constexpr double kAttentionBiasMacs = 70;      // likewise a score's bias
constexpr double kAttentionReluMacs = 14;      // a multiply-add of the ReLU form
constexpr double kAttentionCoreShare = 0.17;

void set_attention_work(Cost& c, const Node& node, const Attention& op, int64_t batch, DType dtype, const DeviceModel& d) {
  const auto up = [](int64_t x, int64_t unit) {
    const int64_t rounded = (x + unit - 1) / unit * unit;
    return static_cast<double>(rounded);
  };
  const double heads = static_cast<double>(op.items.at(batch)) * static_cast<double>(op.windows * op.heads);
  const bool tensor = dtype != DType::f32 && d.has_tensor_cores();
  const double channels = up(op.qk_size, 8) + up(op.v_size, 8);
  const bool relu = op.fn == AttentionFn::relu;
  const double pairs = heads * up(op.queries, 16) * up(op.keys, 16);
  const double tokens = heads * (up(op.queries, 16) + up(op.keys, 16));
  const double macs = relu ? tokens * up(op.qk_size, 8) * (up(op.v_size, 8) + 8) : pairs * channels;
  (tensor ? c.tensor_macs : c.core_macs) = macs;
  c.blocks = heads * std::ceil(static_cast<double>(op.queries) / 64);
  if (tensor) {
    const double score = kAttentionScoreMacs + (node.input(3) != kNoValue ? kAttentionBiasMacs : 0);
    const double issued = relu ? kAttentionReluMacs * macs : pairs * (kAttentionChannelMacs * channels + score);
    c.compute_us = issued / (d.tensor_f16 * d.mma_share * d.sm_count * d.clock_mhz);
  } else {
    c.compute_us = macs / (d.core_f32 * kAttentionCoreShare * d.sm_count * d.clock_mhz);
  }
  c.latency_us = kAttentionStartUs + kAttentionKeyUs * static_cast<double>(op.keys);
}

void set_node_traffic(Cost& c, const Graph& graph, const Node& node, int64_t batch, DType dtype) {
  const bool residual_of_conv = std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId v = node.inputs[i];
    if (v == kNoValue) continue;
    const double bytes = value_bytes(graph, v, batch, dtype) * (i == 0 ? read_share(node) : 1.0);
    (graph.is_constant(v) ? c.traffic.weights : residual_of_conv && i == 3 ? c.traffic.residual : c.traffic.input) += bytes;
  }
  for (const ValueId v : node.outputs) {
    if (v != kNoValue) c.traffic.output += value_bytes(graph, v, batch, dtype);
  }
}

/// Reading and writing a map once, behind the kernel that made it: an activation that a library does not have.
void add_map_pass(Cost& c, double bytes, const DeviceModel& d) {
  const double dram_bytes = bytes * (missed(2 * bytes, d) + missed(2 * bytes, d, kWritten));
  c.traffic.input += bytes, c.traffic.output += bytes;
  c.dram_bytes += dram_bytes;
  const double dram_us = gb_us(dram_bytes, d.dram_at(d.sm_count)) / kMapShare, l2_us = gb_us(2 * bytes, d.l2_at(d.sm_count)) / kMapShare;
  c.step_us += d.step_us(false);
  c.latency_us += d.library_small_us;
  c.dram_us += dram_us, c.l2_us += l2_us;
  c.time_us += d.step_us(false) + d.library_small_us + std::max(dram_us, l2_us);
}

/// A global average (ops/cuda/reduce.cpp): up to 32 threads share the pixels of a channel, so that a large map of few channels keeps few
/// multiprocessors busy, and a thread many loads.
void set_pooling(Cost& c, const Graph& graph, const Node& node, int64_t batch, const DeviceModel& d) {
  constexpr double kBlock = 256, kMostLanes = 32, kPixelsALane = 8;
  constexpr double kLoadCycles = 27;  // measured: 98 and 392 loads a thread
  const Dims x = at_batch(*graph.value(node.input(0)).shape, batch);
  const auto positions = static_cast<double>(x[0] * x[1]);
  const double pixels = static_cast<double>(element_count(x)) / positions;
  const double lanes = std::clamp(std::exp2(std::floor(std::log2(pixels / kPixelsALane))), 1.0, kMostLanes);
  c.blocks = std::max(1.0, positions * lanes / kBlock);
  c.latency_us += pixels / lanes * kLoadCycles / d.clock_mhz;
}

/// A fully connected layer or pointwise convolution by a library, its activation in a kernel of its own where the library has none such.
/// The traffic is set.
void set_gemm_time(Cost& c, const Unary& activation, double depth, const DeviceModel& d, const Residency& residency) {
  const bool tensor = c.tensor_macs > 0;
  const double rate = (tensor ? d.tensor_f16 * kGemmShare : d.core_f32 * kCoreGemmShare) * d.sm_count * d.clock_mhz;
  c.blocks = d.sm_count;
  c.compute_us = (c.tensor_macs + c.core_macs) / rate;
  c.latency_us = (tensor ? kGemmLatency : kCoreGemmLatency) * d.library_conv_us + (tensor ? kGemmDepth : kCoreDepth) * depth / d.clock_mhz;
  c.step_us = d.step_us(false);
  const double output = c.traffic.output;
  set_dram(c, c.traffic.input, output, c.traffic.weights, d, residency);
  c.dram_us = gb_us(c.dram_bytes, d.dram_at(d.sm_count)) / kGemmDram;
  c.l2_us = gb_us(c.l2_bytes() + (kGemmStore - 1) * output, d.l2_at(d.sm_count)) / kGemmL2;
  if (tensor && std::fmod(depth, kGemmStep) != 0) c.compute_us *= kGemmOdd, c.dram_us *= kGemmOdd, c.l2_us *= kGemmOdd;
  c.time_us = unhidden_us(c);
  if (!is_library_epilogue(activation)) add_map_pass(c, output, d);
}

}  // namespace

Cost& operator+=(Cost& a, const Cost& b) {
  a.traffic.input += b.traffic.input, a.traffic.weights += b.traffic.weights, a.traffic.output += b.traffic.output;
  a.traffic.residual += b.traffic.residual, a.traffic.sums += b.traffic.sums, a.traffic.gate += b.traffic.gate;
  a.elements += b.elements, a.dram_bytes += b.dram_bytes, a.tensor_macs += b.tensor_macs, a.core_macs += b.core_macs;
  a.blocks = std::max(a.blocks, b.blocks), a.waves = std::max(a.waves, b.waves);
  a.step_us += b.step_us, a.among_us += b.among_us, a.dram_us += b.dram_us, a.l2_us += b.l2_us, a.compute_us += b.compute_us;
  a.latency_us += b.latency_us, a.time_us += b.time_us;
  return a;
}

std::string to_string(const Cost& c) {
  return fmt::format("{:.2f} step + max(dram {:.2f}, l2 {:.2f}, compute {:.2f}, latency {:.2f}) = {:.2f} us{}", c.step_us, c.dram_us,
                     c.l2_us, c.compute_us, c.latency_us, c.time_us, c.known ? ", known" : "");
}

std::string refusal(const ModuleSpec& spec, const TileConfig& tile, const DeviceModel& device) {
  if (std::string why = refusal(spec, tile, device.target); !why.empty()) return why;
  return block_refusal(spec, tile, device);
}

std::string block_refusal(const ModuleSpec& spec, const TileConfig& tile, const DeviceModel& device) {
  const BlockSize block = block_of(spec, tile);
  if (!has_shared(block, device))
    return fmt::format("{} bytes of shared memory, {} KiB a block on {}", block.shared_bytes, device.shared_per_block_kib, device.name);
  return has_threads(block, device) ? "" : fmt::format("{} threads a block", block.threads);
}

double module_weight_bytes(const ModuleSpec& spec, const TileConfig& tile) {
  return is_head(spec) ? head_weights(spec) * static_cast<double>(dtype_size(dtype_of(spec)))
                       : static_cast<double>(geometry::derive(shape_of(spec, tile)).blob_bytes);
}

double read_share(const Node& node) {
  double share = 1;
  if (const auto* conv = std::get_if<Conv>(&node.op)) {
    for (size_t i = 0; i < conv->window.kernel.size(); ++i)
      share *= std::min(1.0, static_cast<double>(conv->window.kernel[i]) / static_cast<double>(conv->window.strides[i]));
  }
  return share;
}

double module_elements(const ModuleSpec& spec, int64_t images) {
  const auto n = static_cast<double>(images);
  const Plane out = output_plane(spec);
  const double map = n * out.height * out.width * output_channels(spec);
  double elements =
      spec.input == InputTransform::sums ? n * spec.stages[0].in_channels : n * spec.height * spec.width * spec.stages[0].in_channels;
  if (spec.pool != geometry::Pool::only) elements += map;
  if (spec.pool != geometry::Pool::none) elements += n * output_channels(spec);
  if (spec.residual != geometry::Residual::none && !spec.residual_is_input) elements += map;
  if (spec.gate) elements += n * spec.stages[0].in_channels;
  for (const StageSpec& s : spec.stages) {
    if (s.op == StageOp::pool) continue;
    elements += static_cast<double>(s.kernel_h) * s.kernel_w * s.out_channels * (s.op == StageOp::dw ? 1 : s.in_channels);
  }
  return elements;
}

Cost predicted_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device, const Residency& residency,
                    const TileModel& model) {
  if (is_head(spec)) return head_cost(spec, tile, images, device, residency, model);
  TileCosts costs(spec, images, device, residency);
  const TiledModule module = tiled(spec, tile);
  TileRating rating;
  const double latency = costs.latency_us(module, model, rating);
  Cost c = costs.cost(module, rating, latency);
  c.elements = module_elements(spec, images);
  return c;
}

Cost module_cost(const ModuleSpec& spec, const TileConfig& tile, int64_t images, const DeviceModel& device, const Residency& residency) {
  const auto known = device.kernels == nullptr ? std::nullopt : device.kernels->find(spec, images);
  return known && known->tile == tile ? known_cost(spec, *known, images, device, residency)
                                      : predicted_cost(spec, tile, images, device, residency);
}

Cost known_cost(const ModuleSpec& spec, const KnownKernels::Kernel& kernel, int64_t images, const DeviceModel& device,
                const Residency& residency) {
  Cost c = predicted_cost(spec, kernel.tile, images, device, residency);
  c.known = true;
  c.latency_us = std::max(0.0, kernel.us + kAmongOthersUs - c.step_us);
  c.time_us = std::max(c.step_us + std::max(c.latency_us, c.dram_us), least_module_us(spec, images, device, residency));
  return c;
}

double module_step_us(const DeviceModel& device) {
  return device.step_us(true) + kAmongOthersUs;
}

double least_module_us(const ModuleSpec& spec, int64_t images, const DeviceModel& d, const Residency& residency) {
  if (is_head(spec)) {
    const bool sums = spec.input == InputTransform::sums;
    const int addends = std::min(sums ? spec.sum_tiles : spec.height * spec.width, geometry::kLeastAddends);  // of one thread
    return module_step_us(d) + addends * (sums ? TileModel{}.head_sum : TileModel{}.head_pixel) / d.clock_mhz;
  }
  const double input = input_once(spec, images), output = output_once(spec, images);
  const std::vector<Plane> planes = planes_of(spec);
  double tensor_macs = 0, core_macs = 0;
  bool reads_all = spec.input == InputTransform::nhwc;  // strides may leave the last pixels out
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    const StageSpec& s = spec.stages[i];
    const double pixels = static_cast<double>(images) * planes[i + 1].height * planes[i + 1].width, taps = s.kernel_h * s.kernel_w;
    const bool tensor = s.op != StageOp::dw && dense_rate(spec, d) > 0;
    (tensor ? tensor_macs : core_macs) += pixels * taps * s.out_channels * (s.op == StageOp::dw ? 1 : s.in_channels);
    reads_all = reads_all && s.op != StageOp::conv && s.stride_h == 1 && s.stride_w == 1;
  }
  const double cycles = d.sm_count * d.clock_mhz;
  const double compute = std::max(tensor_macs > 0 ? tensor_macs / (dense_rate(spec, d) * cycles) : 0.0, core_macs / (d.core_f32 * cycles));
  const double l2 = gb_us((reads_all ? input : 0.0) + output, d.l2_at(d.sm_count));
  const double dram = gb_us(AtDram(input, output, is_from_outside(spec), d, residency).map, d.dram_at(d.sm_count));
  return module_step_us(d) + std::max({compute, l2, dram});
}

TileCosts::TileCosts(const ModuleSpec& spec, int64_t images, const DeviceModel& device, const Residency& residency)
    : spec_(spec),
      device_(device),
      images_(static_cast<int>(images)),
      tile_device_{device.target, static_cast<int>(device.sm_count)},
      step_us_(module_step_us(device)),
      dense_rate_(dense_rate(spec, device)) {
  const AtDram at(input_once(spec, images), output_once(spec, images), is_from_outside(spec), device, residency);
  map_dram_ = at.map, weights_missed_ = at.weights_share;
  residual_missed_ = spec.residual_is_input ? 0 : at.residual_share;  // just read
}

bool TileCosts::recut(TiledModule& m, const TileConfig& tile) const {
  if (!m.recut(tile, device_.target)) return false;
  const BlockSize block{m.geometry.threads, m.geometry.shared_bytes};
  return has_shared(block, device_) && has_threads(block, device_);
}

// Measured on an H200, 971 kernels that could be two on one multiprocessor: grids of a third of the multiprocessors or more 9 to 14 %
// faster, smaller ones equal; clusters 10 % faster on up to half of them, and slower on more, where they wait for room.
bool TileCosts::runs_alone(const TiledModule& m) const {
  const bool cluster = m.shape.project && m.shape.split > 1;
  const double blocks = static_cast<double>(geometry::work_items(m.shape, m.geometry, images_)) * m.geometry.n_blocks * m.shape.split;
  return device_.step_pdl_us > 0 &&
         (cluster ? 2 * blocks <= device_.sm_count : blocks <= device_.sm_count && 3 * blocks >= device_.sm_count);
}

double TileCosts::latency_us(const TiledModule& m, const TileModel& model, TileRating& rating) const {
  rating = rate(m, images_, tile_device_, model);
  const bool tight = spare_registers(m) < (m.shape.expand ? kTightExpanding : kTight);
  return latency_of(rating, dense_rate_, device_) * (tight ? kTightPenalty : 1.0);
}

double TileCosts::correction(const TiledModule& module, const TileRating& rating, double latency_us, double most_us) const {
  return tile_correction(module, rating, tile_device_, std::max(0.0, most_us - step_us_) / latency_us);
}

Cost TileCosts::cost(const TiledModule& m, const TileRating& rating, double latency_us) {
  Cost c;
  c.traffic = module_traffic(m, images_, device_, copied_);
  c.blocks = rating.blocks;
  c.waves = std::ceil(c.blocks / device_.sm_count);
  set_module_work(c, spec_, m.shape, m.geometry, images_);
  const double quantised = device_.sm_count * c.waves / c.blocks, cycles = device_.sm_count * device_.clock_mhz;
  const double share = m.geometry.product ? 1 / device_.mma_share : 1.0;  // instructions of warpgroups reach the whole rate
  const double dense = dense_rate_ * share * cycles, core = device_.core_f32 * cycles;
  c.compute_us = quantised * std::max(dense > 0 ? c.tensor_macs / dense : 0.0, c.core_macs / core);
  c.latency_us = latency_us;
  c.step_us = step_us_;
  c.dram_bytes = map_dram_ + c.traffic.residual * residual_missed_ + m.geometry.blob_bytes * weights_missed_;
  finish(c, device_);
  return c;
}

double among_modules_us(const Node& node, const DeviceModel& device) {
  const bool library = std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op);
  return library && device.step_pdl_us > 0 ? kLibraryAmongUs : 0;
}

Cost node_cost(const Graph& graph, const Node& node, int64_t batch, DType dtype, const DeviceModel& d, const Residency& residency) {
  Cost c;
  if (std::holds_alternative<Reshape>(node.op) || std::holds_alternative<Identity>(node.op)) return c;
  set_node_traffic(c, graph, node, batch, dtype);
  c.elements = c.traffic.total() / static_cast<double>(dtype_size(dtype));
  if (const auto* attention = std::get_if<Attention>(&node.op)) {
    set_attention_work(c, node, *attention, batch, dtype, d);
    c.step_us = d.step_us(false);
    set_dram(c, c.traffic.input, c.traffic.output, c.traffic.weights, d, residency);
    finish(c, d);
    c.dram_us /= kMapShare, c.l2_us /= kMapShare;
    c.time_us = unhidden_us(c);
    return c;
  }
  const double macs = node_macs(graph, node, batch);
  const bool depthwise = is_depthwise(graph, node), few = is_first_convolution(graph, node);
  const bool tensor = !depthwise && !few && dtype != DType::f32 && d.has_tensor_cores();
  (tensor ? c.tensor_macs : c.core_macs) = macs;
  if (const auto* gemm = std::get_if<Gemm>(&node.op)) {
    const Shape& x = *graph.value(node.input(0)).shape;
    set_gemm_time(c, gemm->activation, static_cast<double>(x[gemm->trans_a ? 0 : x.size() - 1].factor), d, residency);
    return c;
  }
  if (const auto* conv = std::get_if<Conv>(&node.op); conv != nullptr && conv->window.kernel.size() == 2 && is_pointwise(*conv) && !few) {
    set_gemm_time(c, conv->activation, conv_depth(graph, node), d, residency);
    return c;
  }
  if (few) {  // the caller's NCHW floats are converted before it
    c.traffic.input += value_bytes(graph, node.input(0), batch, DType::f32) + value_bytes(graph, node.input(0), batch, dtype);
    c.step_us += d.step_us(false) + d.library_small_us;
  }
  c.blocks = d.sm_count;
  const double share = macs == 0 || depthwise ? kMapShare : d.library_share;
  const double arithmetic_share = depthwise ? kDepthwiseShare : d.library_share;
  const double rate = (tensor ? d.tensor_f16 : d.core_f32) * d.sm_count * d.clock_mhz * arithmetic_share;
  c.compute_us = macs / rate;
  c.latency_us = macs == 0 ? d.library_small_us
                 : depthwise
                     ? d.library_depthwise_us
                     : kGemmLatency * d.library_conv_us + (tensor ? kConvDepth : kCoreDepth) * conv_depth(graph, node) / d.clock_mhz;
  c.step_us += d.step_us(false);
  if (std::holds_alternative<Normalize>(node.op)) c.latency_us += kNormaliseUs;
  if (std::holds_alternative<GlobalPool>(node.op)) set_pooling(c, graph, node, batch, d);
  set_dram(c, c.traffic.input, c.traffic.output, c.traffic.weights, d, residency);
  finish(c, d);
  c.dram_us /= share, c.l2_us /= share;
  c.time_us = unhidden_us(c);
  return c;
}

}  // namespace fcm
