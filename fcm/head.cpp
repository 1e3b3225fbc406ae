// Host side of the head kernels.
#include "fcm/head.h"

#include <fmt/format.h>

#include <cstring>

namespace fcm {
namespace {

using geometry::HeadGeometry;
using geometry::HeadShape;

std::string activation_text(const geometry::Activation& a) {
  return fmt::format("{{{}, {:a}f, {:a}f}}", a.fn, a.a, a.b);
}

void put_rows(std::vector<uint8_t>& blob, int at, int pitch, const StageSpec& s, const StageWeights& w, DType dtype) {
  const size_t el = dtype_size(dtype);
  for (int f = 0; f < s.out_channels; ++f) {
    for (int c = 0; c < s.in_channels; ++c) {
      const float x = w.weight[static_cast<size_t>(f) * static_cast<size_t>(s.in_channels) + static_cast<size_t>(c)];
      uint8_t* to = &blob.at(static_cast<size_t>(at) + (static_cast<size_t>(f) * static_cast<size_t>(pitch) + static_cast<size_t>(c)) * el);
      if (el == 2) {
        const uint16_t v = dtype == DType::f16 ? f32_to_f16(x) : f32_to_bf16(x);
        std::memcpy(to, &v, 2);
      } else {
        std::memcpy(to, &x, 4);
      }
    }
  }
}

void put_bias(std::vector<uint8_t>& blob, int at, const StageWeights& w) {
  for (size_t f = 0; f < w.bias.size(); ++f) std::memcpy(&blob.at(static_cast<size_t>(at) + 4 * f), &w.bias[f], 4);
}

}  // namespace

HeadShape head_shape_of(const ModuleSpec& spec, const TileConfig& tile) {
  HeadShape s;
  s.math = dtype_of(spec) == DType::f16 ? geometry::Math::f16 : dtype_of(spec) == DType::bf16 ? geometry::Math::bf16 : geometry::Math::f32;
  s.sums = spec.input == InputTransform::sums;
  s.sum_tiles = spec.sum_tiles;
  s.pixels = spec.height * spec.width;
  s.c = spec.stages[0].in_channels;
  const StageSpec& last = spec.stages.back();
  s.out_c = last.out_channels;
  s.out_act = {static_cast<int>(last.activation.fn), last.activation.a, last.activation.b};
  s.images = tile.tile_w;
  if (spec.stages.size() == 3) {
    const StageSpec& mid = spec.stages[1];
    s.hidden = mid.out_channels;
    s.hidden_act = {static_cast<int>(mid.activation.fn), mid.activation.a, mid.activation.b};
    s.split = tile.split;
  } else {
    s.n_tile = tile.n_tile;
  }
  s.warps = tile.warps_m;
  s.wide_out = output_dtype(spec) != dtype_of(spec);
  return s;
}

std::string head_refusal(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target) {
  if (!spec.stages[0].activation.is_identity()) return "a pool stage has no activation";
  if (tile.warps_m > 32 || tile.warps_k != 1 || tile.warps_n != 1) return "a head has up to 32 warps along m";
  if (tile.warpgroup || tile.project_groups) return "warps alone compute a head";
  if (tile.tile_w < 1 || tile.tile_w > geometry::kHeadImages)
    return fmt::format("{} images at a time (1 to {})", tile.tile_w, geometry::kHeadImages);
  const int arch = target.major * 10 + target.minor;
  const int most = spec.stages.size() == 2 || arch < 90 ? 1 : arch < 120 ? 16 : 8;
  if (tile.split > most) return fmt::format("split {} (at most {})", tile.split, most);
  if (tile.n_tile > 4096) return "too many outputs a block";
  const HeadGeometry g = geometry::derive(head_shape_of(spec, tile));
  if (g.shared_bytes > shared_limit(target))
    return fmt::format("{} bytes of shared memory, {} a block", g.shared_bytes, shared_limit(target));
  return {};
}

void emit_head(const ModuleSpec& spec, const TileConfig& tile, bool jitter, Emitted& e) {
  HeadShape s = head_shape_of(spec, tile);
  s.jitter = jitter;
  const HeadGeometry g = geometry::derive(s);
  std::string fields = fmt::format("  s.math = static_cast<fcm::geometry::Math>({});\n  s.hidden_act = {};\n  s.out_act = {};\n",
                                   static_cast<int>(s.math), activation_text(s.hidden_act), activation_text(s.out_act));
#define FCM_FIELD(name) fields += fmt::format("  s." #name " = {};\n", static_cast<int>(s.name))
  FCM_FIELD(sums), FCM_FIELD(sum_tiles), FCM_FIELD(pixels), FCM_FIELD(c), FCM_FIELD(hidden), FCM_FIELD(out_c), FCM_FIELD(n_tile);
  FCM_FIELD(images), FCM_FIELD(split), FCM_FIELD(warps), FCM_FIELD(wide_out), FCM_FIELD(jitter);
#undef FCM_FIELD
  e.program.source = fmt::format(
      "// {}\n// {}\n#include \"fcm/kernels/head.cuh\"\n\nnamespace {{\nFCM_CONSTEXPR fcm::geometry::HeadShape make_shape() {{\n"
      "  fcm::geometry::HeadShape s{{}};\n{}  return s;\n}}\nstruct Config {{\n  static constexpr fcm::geometry::HeadShape shape = "
      "make_shape();\n}};\n"
      "}}  // namespace\n\nextern \"C\" __global__ void __launch_bounds__({}) {}(const __grid_constant__ fcm::ModuleArgs args) {{\n"
      "  fcm::kernel::run_head<Config>(args);\n}}\n",
      to_string(spec), to_string(tile), fields, g.threads, e.launch.kernel);
  e.launch.threads = g.threads;
  e.launch.shared_bytes = g.shared_bytes;
  e.launch.cluster = s.split;
  e.launch.blocks_per_work = s.hidden > 0 ? s.split : geometry::ceil_div(g.out_pitch, s.n_tile);
  e.launch.across_images = s.images > 1;  // a run of images, `images` a piece
  e.launch.plane = 1;
  e.launch.tile_pixels = s.images;
  e.launch.weight_bytes = g.blob_bytes;
}

std::vector<uint8_t> pack_head(const ModuleSpec& spec, const ModuleWeights& weights) {
  const HeadGeometry g = geometry::derive(head_shape_of(spec, TileConfig{}));  // the blob does not depend on the tile
  std::vector<uint8_t> blob(static_cast<size_t>(g.blob_bytes), 0);
  const bool se = spec.stages.size() == 3;
  if (se) {
    put_rows(blob, g.hidden_at, g.c_pitch, spec.stages[1], weights.stages[1], dtype_of(spec));
    put_bias(blob, g.hidden_bias_at, weights.stages[1]);
  }
  put_rows(blob, g.out_at, se ? g.hidden_pitch : g.c_pitch, spec.stages.back(), weights.stages.back(), dtype_of(spec));
  put_bias(blob, g.out_bias_at, weights.stages.back());
  return blob;
}

}  // namespace fcm
