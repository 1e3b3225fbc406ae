// Packing: positions come from geometry.h, so that this file holds only the orders inside a record.
#include "fcm/pack.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

using geometry::Geometry;
using geometry::Math;
using geometry::Shape;

/// Round to nearest even to TF32's 10 mantissa bits.
float to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
}

void put_element(uint8_t* at, float x, Math math) {
  if (math == Math::f16 || math == Math::bf16) {
    const uint16_t v = math == Math::f16 ? f32_to_f16(x) : f32_to_bf16(x);
    std::memcpy(at, &v, 2);
  } else {
    std::memcpy(at, &x, 4);
  }
}

/// Byte offset of B(k, n) inside a 512-byte unit; k < ks, n < 16. See fcm/kernels/mma.cuh for the fragments.
int unit_offset(int k, int n, Math math) {
  const int tile = n / 8, column = n % 8;
  switch (math) {
    case Math::f16:
    case Math::bf16: {
      const int lane = column * 4 + (k % 8) / 2;
      return lane * 16 + tile * 8 + (k / 8) * 4 + (k % 2) * 2;
    }
    case Math::tf32: {  // register 0 of lane q stands for channel 2q, register 1 for 2q + 1
      const int lane = column * 4 + k / 2;
      return lane * 16 + tile * 8 + (k % 2) * 4;
    }
    case Math::f32:
      return k * 64 + (column / 2) * 16 + tile * 8 + (column % 2) * 4;
  }
  return 0;
}

/// Where a dense weight lies: `row` of the operand's columns (output channel) and `depth` within a run of `depth_units` units a column
/// group.
class Packer {
 public:
  Packer(const ModuleSpec& spec, const TileConfig& tile) : shape_(shape_of(spec, tile)), g_(geometry::derive(shape_)) {}

  const Shape& shape() const { return shape_; }
  const Geometry& geometry() const { return g_; }

  /// Expansion weight from depth k to middle channel `c`.
  size_t expand_at(int c, int k) const {
    const int chunk = c / g_.e_chunk, local = place(c % g_.e_chunk);
    if (shape_.streamed)
      return slice(chunk, k / g_.slice) + at(in_slice(local, shape_.team > 0 ? geometry::team_depth(k % g_.slice) : k % g_.slice));
    if (shape_.warpgroup) return record_a(chunk) + at((k / 8) * g_.e_chunk * 16 + local * 16 + (k % 8) * 2);  // core matrices of 8 x 8
    const int unit = (local / 16) * (g_.k1 / g_.ks) + k / g_.ks;
    return record_a(chunk) + at(unit * geometry::kUnitBytes + unit_offset(k % g_.ks, local % 16, shape_.math));
  }
  /// Projection weight from channel `c` to output channel `f`.
  size_t project_at(int f, int c) const {
    const int chunk = c / shape_.chunk, local = c % shape_.chunk, block = f / shape_.n_tile, column = column_of(f);
    if (g_.product) return slice(block, chunk) + at(in_slice(column, local));
    const size_t record = at(g_.b_at) + at(chunk * g_.n_blocks + block) * at(g_.record_b);
    if (g_.project_by_groups) return record + at(local / 8 * shape_.n_tile * 16 + column * 16 + local % 8 * 2);  // core matrices
    const int unit = (local / g_.ks) * (shape_.n_tile / 16) + column / 16;
    return record + at(unit * geometry::kUnitBytes + unit_offset(local % g_.ks, column % 16, shape_.math));
  }
  size_t expand_bias_at(int c) const { return record_a(c / g_.e_chunk) + at(g_.expand_bias_at + place(c % g_.e_chunk) * 4); }
  size_t dw_at(int c, int ky, int kx) const {
    const int local = place(c % shape_.chunk);
    const geometry::Window& w = shape_.dw_window;
    const int tap = kx * w.kh + ky, half = local / shape_.multiplier % 4 == 3 ? 2 : 0;  // of its word: see DiagonalPlace
    const int offset = g_.el == 2 ? local * g_.dw_channel_bytes + tap * 4 + half : (tap * shape_.chunk + local) * 4;
    return record_a(c / shape_.chunk) + at(g_.dw_at + offset);
  }
  size_t dw_bias_at(int c) const {
    const int local = place(c % shape_.chunk);
    const int offset = g_.el == 2 ? g_.dw_at + (local + 1) * g_.dw_channel_bytes - 4 : g_.dw_bias_at + local * 4;
    return record_a(c / shape_.chunk) + at(offset);
  }
  size_t bias_at(int f) const { return at(g_.bias_at + (f / shape_.n_tile * shape_.n_tile + column_of(f)) * 4); }
  /// The sum over the depth of the weights to channel `f` of the stage that reads a normalised input.
  size_t sum_at(int f) const {
    return shape_.expand ? record_a(f / g_.e_chunk) + at(g_.expand_sums_at + place(f % g_.e_chunk) * 4) : at(g_.sums_at + f * 4);
  }

 private:
  /// Of a middle channel in its chunk.
  int place(int channel) const { return g_.paired ? geometry::paired_place(channel) : channel; }
  /// Of an output channel among its block's.
  int column_of(int f) const { return geometry::column_place(g_, f % shape_.n_tile); }
  static size_t at(int offset) { return static_cast<size_t>(offset); }
  size_t record_a(int chunk) const { return at(g_.a_at) + at(chunk) * at(g_.record_a); }
  /// The `k`-th slice of a chunk of middle channels (or of a block's output channels).
  size_t slice(int chunk, int k) const { return at(g_.slices_at) + at(chunk * g_.slices + k) * at(g_.weight_slice); }
  /// A slice is rows of those channels (warpgroups), or units, those of one depth together.
  int in_slice(int local, int k) const {
    if (shape_.warpgroup) return local * geometry::kSliceBytes + geometry::slice_piece(g_.el, local, k / g_.vec) * 16 + k % g_.vec * g_.el;
    const int unit = (k / g_.ks) * (g_.e_chunk / 16) + local / 16;
    return unit * geometry::kUnitBytes + unit_offset(k % g_.ks, local % 16, shape_.math);
  }

  Shape shape_;
  Geometry g_;
};

void put_float(std::vector<uint8_t>& blob, size_t at, float x) {
  std::memcpy(&blob.at(at + 3) - 3, &x, 4);
}

void put_weight(std::vector<uint8_t>& blob, size_t at, float x, Math math) {
  const float rounded = math == Math::tf32 ? to_tf32(x) : x;
  put_element(&blob.at(at), rounded, math);
}

float round_to(float x, Math math) {
  switch (math) {
    case Math::f16:
      return f16_to_f32(f32_to_f16(x));
    case Math::bf16:
      return bf16_to_f32(f32_to_bf16(x));
    case Math::tf32:
      return to_tf32(x);
    case Math::f32:
      break;
  }
  return x;
}

float bias_of(const StageWeights& w, int f) {
  return w.bias.empty() ? 0.0f : w.bias[static_cast<size_t>(f)];
}

/// Calls fn(f, k, weight) for a dense stage, k in the order of the operand's depth: channels, or (ky, kx, c) of a patch.
template <class Fn>
void for_dense(const StageSpec& s, const StageWeights& w, Fn fn) {
  const int area = s.kernel_h * s.kernel_w;
  for (int f = 0; f < s.out_channels; ++f) {
    for (int c = 0; c < s.in_channels; ++c) {
      for (int t = 0; t < area; ++t) {
        const size_t from =
            (static_cast<size_t>(f) * static_cast<size_t>(s.in_channels) + static_cast<size_t>(c)) * static_cast<size_t>(area);
        fn(f, t * s.in_channels + c, w.weight[from + static_cast<size_t>(t)]);
      }
    }
  }
}

void check_counts(const ModuleSpec& spec, const ModuleWeights& weights) {
  bool good = weights.stages.size() == spec.stages.size();
  for (size_t i = 0; good && i < spec.stages.size(); ++i) {
    const StageSpec& s = spec.stages[i];
    const StageWeights& w = weights.stages[i];
    const size_t inputs = s.op == StageOp::dw ? 1 : static_cast<size_t>(s.in_channels);
    const size_t area = static_cast<size_t>(s.kernel_h) * static_cast<size_t>(s.kernel_w);
    const size_t count = s.op == StageOp::pool ? 0 : static_cast<size_t>(s.out_channels) * inputs * area;
    good = w.weight.size() == count && (w.bias.empty() || w.bias.size() == static_cast<size_t>(s.out_channels));
  }
  if (!good) throw Error(ErrorCode::internal, "packing: the weights do not match " + to_string(spec));
}

// Sums of the rounded weights: the mean of an input pixel times them is what the mean adds to each output.
void put_sums(std::vector<uint8_t>& blob, const Packer& p, const StageSpec& s, const StageWeights& w) {
  const auto depth = static_cast<size_t>(s.in_channels);
  for (int f = 0; f < s.out_channels; ++f) {
    double sum = 0;
    for (size_t c = 0; c < depth; ++c) sum += round_to(w.weight[static_cast<size_t>(f) * depth + c], p.shape().math);
    put_float(blob, p.sum_at(f), static_cast<float>(sum));
  }
}

void put_depthwise(std::vector<uint8_t>& blob, const Packer& p, const StageSpec& s, const StageWeights& w) {
  for (int c = 0; c < s.out_channels; ++c) {
    for (int ky = 0; ky < s.kernel_h; ++ky) {
      for (int kx = 0; kx < s.kernel_w; ++kx) {
        const size_t from =
            (static_cast<size_t>(c) * static_cast<size_t>(s.kernel_h) + static_cast<size_t>(ky)) * static_cast<size_t>(s.kernel_w);
        const Math plain = p.shape().math == Math::tf32 ? Math::f32 : p.shape().math;  // depthwise stages stay FP32
        put_weight(blob, p.dw_at(c, ky, kx), w.weight[from + static_cast<size_t>(kx)], plain);
      }
    }
    put_float(blob, p.dw_bias_at(c), bias_of(w, c));
  }
}

}  // namespace

std::vector<uint8_t> pack_weights(const ModuleSpec& spec, const TileConfig& tile, const ModuleWeights& weights) {
  check_counts(spec, weights);
  if (is_head(spec)) return pack_head(spec, weights);
  const Packer p(spec, tile);
  const Math math = p.shape().math;
  std::vector<uint8_t> blob(static_cast<size_t>(p.geometry().blob_bytes), 0);
  if (p.shape().norm != geometry::Norm::none) put_sums(blob, p, spec.stages[0], weights.stages[0]);
  size_t next = 0;
  if (p.shape().expand) {
    const StageWeights& w = weights.stages[0];
    for_dense(spec.stages[0], w, [&](int f, int k, float x) { put_weight(blob, p.expand_at(f, k), x, math); });
    for (int f = 0; f < spec.stages[0].out_channels; ++f) put_float(blob, p.expand_bias_at(f), bias_of(w, f));
    ++next;
  }
  if (p.shape().dw) {
    put_depthwise(blob, p, spec.stages[next], weights.stages[next]);
    ++next;
  }
  if (p.shape().project) {
    const StageWeights& w = weights.stages[next];
    for_dense(spec.stages[next], w, [&](int f, int k, float x) { put_weight(blob, p.project_at(f, k), x, math); });
    for (int f = 0; f < spec.stages[next].out_channels; ++f) put_float(blob, p.bias_at(f), bias_of(w, f));
  }
  return blob;
}

float unpack_dense(const ModuleSpec& spec, const TileConfig& tile, const std::vector<uint8_t>& blob, bool projection, int f, int c) {
  const Packer p(spec, tile);
  const size_t at = projection ? p.project_at(f, c) : p.expand_at(f, c);
  if (dtype_size(dtype_of(spec)) == 2) {
    uint16_t v = 0;
    std::memcpy(&v, &blob.at(at), 2);
    return dtype_of(spec) == DType::f16 ? f16_to_f32(v) : bf16_to_f32(v);
  }
  float v = 0;
  std::memcpy(&v, &blob.at(at + 3) - 3, 4);
  return v;
}

}  // namespace fcm
