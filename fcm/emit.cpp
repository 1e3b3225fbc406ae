// Writes the constants of a module kernel as source text, with the embedded device headers, and says how it is launched.
#include "fcm/emit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "embed/module_headers.h"
#include "fcm/head.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

using geometry::Shape;

geometry::Math math_of(const ModuleSpec& spec) {
  switch (dtype_of(spec)) {
    case DType::f16:
      return geometry::Math::f16;
    case DType::bf16:
      return geometry::Math::bf16;
    default:
      return spec.tf32 ? geometry::Math::tf32 : geometry::Math::f32;
  }
}

geometry::Window window_of(const StageSpec& s) {
  return {s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left};
}

geometry::Activation activation_of(const StageSpec& s) {
  return {static_cast<int>(s.activation.fn), s.activation.a, s.activation.b};
}

/// A float constant that is exact; infinite bounds of a clip become the largest finite value, which clips the same finite inputs.
std::string literal(float x) {
  if (std::isinf(x)) x = x < 0 ? -FLT_MAX : FLT_MAX;
  return fmt::format("{:a}f", x);
}
std::string literal(const geometry::Activation& a) {
  return fmt::format("{{{}, {}, {}}}", a.fn, literal(a.a), literal(a.b));
}
std::string literal(const geometry::Window& w) {
  return fmt::format("{{{}, {}, {}, {}, {}, {}, {}, {}}}", w.kh, w.kw, w.sh, w.sw, w.dh, w.dw, w.top, w.left);
}

std::string shape_source(const Shape& s) {
  std::string text;
  const auto number = [&](std::string_view name, int value) { text += fmt::format("  s.{} = {};\n", name, value); };
  const auto choice = [&](std::string_view name, std::string_view type, auto value) {
    text += fmt::format("  s.{} = static_cast<fcm::geometry::{}>({});\n", name, type, static_cast<int>(value));
  };
  const auto words = [&](std::string_view name, const std::string& value) { text += fmt::format("  s.{} = {};\n", name, value); };
  choice("math", "Math", s.math);
  choice("input", "InputFormat", s.input);
  words("conv_window", literal(s.conv_window));
  words("expand_act", literal(s.expand_act));
  words("dw_window", literal(s.dw_window));
  words("dw_act", literal(s.dw_act));
  words("out_act", literal(s.out_act));
  choice("residual", "Residual", s.residual);
  choice("pool", "Pool", s.pool);
  choice("norm", "Norm", s.norm);
  words("norm_epsilon", literal(s.norm_epsilon));
#define FCM_FIELD(name) number(#name, static_cast<int>(s.name))
  FCM_FIELD(in_h), FCM_FIELD(in_w), FCM_FIELD(in_c), FCM_FIELD(conv), FCM_FIELD(expand), FCM_FIELD(mid_h), FCM_FIELD(mid_w);
  FCM_FIELD(mid_c), FCM_FIELD(dw), FCM_FIELD(multiplier), FCM_FIELD(out_h), FCM_FIELD(out_w), FCM_FIELD(dw_c), FCM_FIELD(project);
  FCM_FIELD(out_c), FCM_FIELD(residual_is_input), FCM_FIELD(gate), FCM_FIELD(tile_h), FCM_FIELD(tile_w), FCM_FIELD(chunk);
  FCM_FIELD(n_tile), FCM_FIELD(split), FCM_FIELD(warps_m), FCM_FIELD(warps_k), FCM_FIELD(warps_n), FCM_FIELD(stages);
  FCM_FIELD(expand_m), FCM_FIELD(expand_n), FCM_FIELD(resident), FCM_FIELD(min_blocks), FCM_FIELD(warpgroup);
  FCM_FIELD(project_groups);
  FCM_FIELD(streamed), FCM_FIELD(overlaid), FCM_FIELD(team), FCM_FIELD(images), FCM_FIELD(jitter);
#undef FCM_FIELD
  return text;
}

/// A symbol that a profiler's reader recognises: kind, dtype, plane, channels.
std::string symbol_of(const ModuleSpec& spec) {
  std::string text = fmt::format("fcm_{}_{}_{}x{}", kind_name(kind_of(spec)), dtype_name(dtype_of(spec)), spec.height, spec.width);
  for (const StageSpec& s : spec.stages) text += fmt::format("_{}", s.in_channels);
  text += fmt::format("_{}", output_channels(spec));
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

std::string stage_refusal(const StageSpec& s, size_t index) {
  if (!is_activation(s.activation.fn)) return fmt::format("stage {}: {} is not an activation", index, to_string(s.activation));
  switch (s.op) {
    case StageOp::pw:
      if (s.kernel_h != 1 || s.kernel_w != 1 || s.stride_h != 1 || s.stride_w != 1 ||
          s.pad_top + s.pad_left + s.pad_bottom + s.pad_right != 0)
        return fmt::format("stage {}: a pointwise stage is 1x1 with stride 1 and no padding", index);
      break;
    case StageOp::dw:
      if (s.out_channels != s.in_channels * s.multiplier) return fmt::format("stage {}: depthwise channels are not in x multiplier", index);
      if (s.multiplier != 1 && s.multiplier != 2 && s.multiplier != 4 && s.multiplier != 8)
        return fmt::format("stage {}: channel multiplier {} (1, 2, 4 and 8 are supported)", index, s.multiplier);
      if ((s.kernel_h - 1) * s.dilation_h + s.stride_h + 1 > 24 || s.kernel_w > 15 || s.stride_w > 8)
        return fmt::format("stage {}: the depthwise window is too large", index);
      break;
    case StageOp::conv:
      if (index != 0) return fmt::format("stage {}: a dense convolution may only come first", index);
      if (s.kernel_h * s.kernel_w * s.in_channels > 256) return fmt::format("stage {}: patches of more than 256 values", index);
      break;
    case StageOp::pool:
      if (index != 0) return fmt::format("stage {}: a global pool may only come first", index);
      break;
  }
  return {};
}

std::string input_refusal(const ModuleSpec& spec) {
  const bool head = is_head(spec);
  if ((spec.input == InputTransform::nchw_f32 || spec.input == InputTransform::nhwc_u8)) {
    if (spec.stages[0].op != StageOp::conv) return "only a first convolution reads the user's tensor";
    if (spec.stages[0].in_channels > 4) return "a normalised input has at most 4 channels";
  }
  if (spec.input == InputTransform::sums && !head) return "only a pool stage reads sums";
  if (spec.sum_tiles != 1 && spec.input != InputTransform::sums) return "sum_tiles without input sums";
  if (spec.norm == geometry::Norm::none) return spec.norm_epsilon == 0 ? "" : "an epsilon without a normalisation";
  if (spec.stages[0].op != StageOp::pw || spec.input != InputTransform::nhwc)
    return "only a first pointwise stage reads a normalised input";
  if (spec.gate) return "a gated input is not normalised";
  if (spec.tf32) return "TF32 would round the input before its mean is taken off";
  return {};
}

std::string epilogue_refusal(const ModuleSpec& spec, ModuleKind kind, const std::vector<Plane>& planes) {
  const bool head = is_head(spec);
  const bool projects = spec.stages.back().op != StageOp::dw;
  if (head && (spec.residual != geometry::Residual::none || spec.pool != geometry::Pool::none))
    return "a head has no residual and no pool epilogue";
  if (spec.residual != geometry::Residual::none && !projects) return "a residual needs a pointwise stage at the end";
  if (spec.residual_is_input) {
    if (spec.residual == geometry::Residual::none) return "the residual's source is given without a residual";
    if (spec.input != InputTransform::nhwc || spec.stages[0].op == StageOp::conv)
      return "the input of a first convolution cannot be the residual";
    if (planes.front() != planes.back() || spec.stages[0].in_channels != spec.stages.back().out_channels)
      return "the input as residual must have the output's shape";
    for (const StageSpec& s : spec.stages) {
      if (s.stride_h != 1 || s.stride_w != 1) return "the input as residual needs stride 1";
    }
  }
  if (spec.gate && kind != ModuleKind::pw) return "only a pointwise module applies a gate";
  return {};
}

std::string plane_refusal(const ModuleSpec& spec, const std::vector<Plane>& planes) {
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    const StageSpec& s = spec.stages[i];
    const Plane in = planes[i], out = planes[i + 1];
    if (out.height < 1 || out.width < 1) return fmt::format("stage {}: the output plane is empty", i);
    if (s.op == StageOp::pool) continue;
    if ((out.height - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h < s.pad_top ||
        (out.width - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w < s.pad_left)
      return fmt::format("stage {}: the padding swallows the plane", i);
    if (int64_t{in.height} * in.width > (1 << 24)) return fmt::format("stage {}: the plane has more than 2^24 pixels", i);
  }
  return {};
}

}  // namespace

Shape shape_of(const ModuleSpec& spec, const TileConfig& tile) {
  Shape s;
  s.math = math_of(spec);
  s.input = spec.input == InputTransform::nchw_f32  ? geometry::InputFormat::nchw_f32
            : spec.input == InputTransform::nhwc_u8 ? geometry::InputFormat::nhwc_u8
                                                    : geometry::InputFormat::nhwc;
  const std::vector<Plane> planes = planes_of(spec);
  s.in_h = spec.height, s.in_w = spec.width, s.in_c = spec.stages[0].in_channels;
  s.mid_h = s.in_h, s.mid_w = s.in_w, s.mid_c = s.in_c;
  size_t next = 0;
  const bool alone = spec.stages.size() == 1;
  if (spec.stages[0].op == StageOp::conv) {
    s.conv = true;
    s.conv_window = window_of(spec.stages[0]);
    s.mid_h = planes[1].height, s.mid_w = planes[1].width;
    if (alone) s.mid_c = s.conv_window.kh * s.conv_window.kw * s.in_c;  // patches are the operand of the projection
  }
  if (!alone && spec.stages[0].op != StageOp::dw) {
    s.expand = true;
    s.expand_act = activation_of(spec.stages[0]);
    s.mid_c = spec.stages[0].out_channels;
    next = 1;
  }
  s.dw_c = s.mid_c;
  if (spec.stages[next].op == StageOp::dw) {
    s.dw = true;
    s.dw_window = window_of(spec.stages[next]);
    s.multiplier = spec.stages[next].multiplier;
    s.dw_act = activation_of(spec.stages[next]);
    s.dw_c = spec.stages[next].out_channels;
    ++next;
  }
  if (next < spec.stages.size()) {
    s.project = true;
    s.out_c = spec.stages[next].out_channels;
    s.out_act = activation_of(spec.stages[next]);
  } else {
    s.out_c = s.dw_c;
  }
  s.out_h = planes.back().height, s.out_w = planes.back().width;
  s.residual = spec.residual, s.residual_is_input = spec.residual_is_input;
  s.pool = spec.pool, s.gate = spec.gate, s.norm = spec.norm, s.norm_epsilon = spec.norm_epsilon;
  set_tile(s, tile);
  return s;
}

TiledModule tiled(const ModuleSpec& spec, const TileConfig& tile) {
  TiledModule m{&spec, tile, shape_of(spec, tile), {}, {}, false};
  m.planes = m.geometry = geometry::plane_geometry(m.shape);
  geometry::derive_block(m.shape, m.geometry);
  return m;
}

void set_tile(Shape& s, const TileConfig& tile) {
  s.tile_h = tile.tile_h, s.tile_w = tile.tile_w, s.chunk = tile.chunk, s.n_tile = tile.n_tile, s.split = tile.split;
  s.warps_m = tile.warps_m, s.warps_k = tile.warps_k, s.warps_n = tile.warps_n, s.stages = tile.stages;
  s.expand_m = tile.expand_m, s.expand_n = tile.expand_n, s.resident = tile.resident, s.min_blocks = tile.min_blocks;
  s.warpgroup = tile.warpgroup, s.project_groups = tile.project_groups, s.streamed = tile.streamed, s.overlaid = tile.overlaid,
  s.team = tile.team, s.images = tile.images;
}

bool has_warpgroups(const jit::Target& target) {
  return target.major == 9 && target.arch_specific;
}

int shared_limit(const jit::Target& target) {
  switch (target.major * 10 + target.minor) {
    case 75:
      return 64 * 1024;
    case 80:
    case 87:
      return 163 * 1024;
    case 90:
    case 100:
    case 103:
      return 227 * 1024;
    default:
      return 99 * 1024;
  }
}

int register_limit(const TileConfig& tile) {
  const int threads = 32 * (tile.warps_m * tile.warps_k * tile.warps_n + 4 * tile.team);
  return std::min(255, 65536 / (threads * tile.min_blocks) / 8 * 8);
}

std::string refusal(const ModuleSpec& spec, const jit::Target& target) {
  const ModuleKind kind = kind_of(spec);
  if (kind == ModuleKind::unknown) return "these stages form no module: " + to_string(spec);
  const DType dtype = dtype_of(spec);
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) return "modules compute in f32, f16 or bf16";
  const int arch = target.major * 10 + target.minor;
  if (dtype == DType::bf16 && arch < 80) return "bf16 needs compute capability 8.0";
  if (spec.tf32 && (dtype != DType::f32 || arch < 80)) return "tf32 needs f32 data and compute capability 8.0";
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    const StageSpec& s = spec.stages[i];
    const bool wide = kind == ModuleKind::pool_fc && i + 1 == spec.stages.size() && s.dtype == DType::f32;
    if (s.dtype != dtype && !wide) return fmt::format("stage {}: all edges of a module have one dtype (pool_fc may end in f32)", i);
    if (i > 0 && s.in_channels != spec.stages[i - 1].out_channels) return fmt::format("stage {}: channels do not chain", i);
    if (std::string why = stage_refusal(s, i); !why.empty()) return why;
  }
  const std::vector<Plane> planes = planes_of(spec);
  if (std::string why = plane_refusal(spec, planes); !why.empty()) return why;
  if (std::string why = input_refusal(spec); !why.empty()) return why;
  return epilogue_refusal(spec, kind, planes);
}

namespace {

/// Why a tile is refused: text with up to two numbers, made a sentence only where one is wanted. A search refuses thousands.
struct Reason {
  const char* text = nullptr;
  int first = 0, second = 0;
};

std::string sentence(const Reason& r) {
  return r.text == nullptr ? std::string() : fmt::format(fmt::runtime(r.text), r.first, r.second);
}

/// A pointwise layer by warpgroups (kernels/product.cuh).
Reason product_refusal(const Shape& s, const TileConfig& t) {
  if (s.gate || s.pool != geometry::Pool::none) return {"gates and pool sums have no place in a streamed pointwise layer"};
  if (t.team > 0) return {"a pointwise layer has no depthwise stage beside which a team expands"};
  if (!t.warpgroup) return {"a pointwise layer streams its depth by warpgroups"};
  if (t.overlaid || t.expand_m != 1 || t.expand_n != 1) return {"a streamed pointwise layer has no chunk buffer and no expansion"};
  if (t.chunk != geometry::kSliceBytes / 2) return {"a chunk of a streamed pointwise layer is a slice of 64 channels"};
  if (t.split != 1 || t.warps_k != 1 || t.warps_n != 1) return {"warpgroups of a streamed pointwise layer share pixels alone"};
  if (t.warps_m % 4 != 0 || t.tile_w % (16 * t.warps_m) != 0) return {"a warpgroup of a streamed pointwise layer takes whole 64 pixels"};
  if (t.stages < 2 || t.stages > 8) return {"2 to 8 slices of a streamed pointwise layer are under way"};
  return {};
}

/// A team of warpgroups that expands beside the warps that filter (kernels/relay.cuh).
Reason team_refusal(const Shape& s, const geometry::Geometry& g, const TileConfig& t) {
  if (!t.warpgroup || t.overlaid) return {"a team that expands is of warpgroups, and keeps its slices while the other warps filter"};
  if (!s.dw || s.pool != geometry::Pool::none) return {"a team expands for a depthwise stage, without pool sums"};
  if (t.expand_n * 16 != g.e_chunk) return {"a team's unit is 64 pixels x all channels of a chunk"};
  if (g.x_rows / 64 % t.team != 0) return {"the warpgroups of a team have equal numbers of units"};
  if (g.warps % 4 != 0) return {"a team begins at a whole warpgroup"};
  if (!t.resident && !s.project) return {"a team's weights stay where no projection ends the module"};
  if (s.project && t.stages != g.slices) return {"all slices of a tile stay in a team's registers where a projection ends the module"};
  if (t.stages > 4) return {"a team has at most four slices under way"};
  return {};
}

Reason streaming_refusal(const Shape& s, const geometry::Geometry& g, const TileConfig& t) {
  if (g.product) return product_refusal(s, t);
  if (!s.expand || s.conv) return {"an expansion of pixels as they lie streams its depth"};
  if (s.norm != geometry::Norm::none) return {"the statistics of a normalised input need whole pixels"};
  if (t.team > 0) return team_refusal(s, g, t);
  if (t.stages < 2 || t.stages > 8) return {"2 to 8 slices of a streamed expansion are under way"};
  if (t.stages > g.slices + 1) return {"the pipeline is longer than the depth"};
  const int units = g.x_rows / 64 * (g.e_chunk / (16 * t.expand_n));
  if (t.warpgroup && units % (g.warps / 4) != 0) return {"warpgroups have equal numbers of units of a streamed expansion"};
  return {};
}

Reason images_refusal(const Shape& s, const geometry::Geometry& g) {
  if (!s.dw || s.conv) return {"tiles of a depthwise stage on pixels as they lie span images"};
  if (g.tiles != 1) return {"a tile of several images holds whole planes"};
  if (s.pool != geometry::Pool::none) return {"pool sums are those of one image"};
  if (s.images > 64) return {"more than 64 images a tile"};
  return {};
}

Reason partition_refusal(const Shape& s, const TileConfig& t, const jit::Target& target) {
  const int warps = t.warps_m * t.warps_k * t.warps_n;
  if (warps + 4 * t.team > 32) return {"more than 32 warps a block"};
  if (t.chunk > 1024 || t.n_tile > 1024 || t.tile_w > 4096) return {"a tile extent is too large"};
  if (t.chunk % (16 * s.multiplier) != 0) return {"the chunk is not a multiple of 16 channels on both sides of the depthwise stage"};
  if (!s.dw && (t.tile_h != 1 || t.tile_w % 16 != 0)) return {"without a depthwise stage a tile is a run of 16-pixel groups"};
  if (s.dw && (t.tile_h > geometry::round_up(s.out_h, 2) || t.tile_w > geometry::round_up(s.out_w, 8)))
    return {"the tile exceeds the plane"};
  if (s.project && t.n_tile % (16 * t.warps_n) != 0) return {"the output channels of a warp are not a multiple of 16"};
  if (!s.project && t.warps_n != 1) return {"warps share output channels only in a projection"};
  if (!t.streamed && t.stages > (s.expand ? 2 : 4)) return {"too many stages"};
  if (t.min_blocks > 8) return {"more than 8 blocks a multiprocessor"};
  if (s.expand && (t.chunk / s.multiplier / 16) % t.expand_n != 0) return {"the expansion's unit does not divide the chunk"};
  const bool wide_unit = t.warpgroup && (t.expand_n == 6 || t.expand_n == 8 || (t.team > 0 && t.expand_n < 8));
  if (s.expand && (t.expand_m > 4 || (t.expand_n > 4 && !wide_unit))) return {"the expansion's unit is too large"};
  if (t.warpgroup) {
    if (!has_warpgroups(target)) return {"warpgroup matrix instructions need sm_90a"};
    const bool product = t.streamed && !s.dw && !s.conv;
    if ((!s.expand && !product && !geometry::groups_may_project(s, t.warps_m)) ||
        (s.math != geometry::Math::f16 && s.math != geometry::Math::bf16))
      return {"warpgroups serve a 16-bit expansion, a projection of four warps over pixels, or a pointwise layer whose depth streams"};
    if (s.expand && s.norm != geometry::Norm::none) return {"warps expand a normalised input"};
    if (warps % 4 != 0 || t.expand_m != 1) return {"a warpgroup is four warps, its unit 64 rows"};
  }
  if (t.project_groups) {
    if (!has_warpgroups(target)) return {"warpgroup matrix instructions need sm_90a"};
    const bool may = s.expand && !t.warpgroup && !t.streamed && geometry::groups_may_project(s, t.warps_m);
    if (!may || (s.math != geometry::Math::f16 && s.math != geometry::Math::bf16))
      return {"warpgroups alone project, in 16 bits, what warps expand, four of them over pixels"};
  }
  if (t.split > 1) {
    const int arch = target.major * 10 + target.minor;
    const int most = !s.project ? 4096 : arch < 90 ? 1 : arch < 120 ? 16 : 8;
    if (t.split > most) return {"split {} (at most {} blocks share the middle channels here)", t.split, most};
    if (s.project && s.pool != geometry::Pool::none) return {"a pool epilogue after a projection needs split 1"};
  }
  const int chunks = geometry::ceil_div(s.dw_c, t.chunk);
  if (t.split > chunks) return {"more blocks than chunks share the middle channels"};
  if (s.conv && !s.expand && chunks != 1) return {"a convolution's patch does not fit one chunk"};
  const int pixel_groups = s.dw ? t.images * geometry::ceil_div(t.tile_h, 2) * geometry::ceil_div(t.tile_w, 8) : t.tile_w / 16;
  if (t.warps_m > pixel_groups) return {"more warps than pixel groups"};
  const bool wide = s.math == geometry::Math::f16 || s.math == geometry::Math::bf16 || !s.project;
  if (t.warps_k > t.chunk / (wide ? 16 : 8)) return {"more warps than channel groups in a chunk"};
  return {};
}

/// Registers of a thread, roughly: sums, or what a unit of the expansion or the window of the depthwise stage holds, and the rest.
int needed_registers(const Shape& s, const geometry::Geometry& g, const TileConfig& t) {
  if (g.product) return g.warp_m * g.warp_n * 8 + 40;
  const int units = s.streamed ? geometry::streamed_units(s, g) : 1;
  const int sums = s.project ? g.warp_m * g.warp_n * 8 : 0, expansion = s.expand ? units * t.expand_m * t.expand_n * 8 : 0;
  const int length = geometry::run_length(s, g), rows = (g.runs ? length - 1 : 0) * 2 * s.dw_window.sh + g.dw_rows;
  const int taps = s.dw_window.kw * ((s.dw_window.kh + 1) / 2);
  // Rows that are left of a large strided window wait for those of three more columns, beside the sums of a projection.
  const int held = s.project && g.runs && length > 1 && taps > 20 && g.dw_rows % 4 == 1 ? 4 * (rows + 4) : rows;
  const int window = s.dw ? (g.el == 2 ? taps + held : 2 * rows) : 0;
  const int groups = s.project ? 4 * g.warp_m : s.dw ? 8 * length : 0;
  const int rest = g.el == 2 ? 64 : 72, beside_sums = s.streamed && s.warpgroup ? 40 : rest;
  if (t.team > 0) {  // registers change hands: see kernels/relay.cuh
    const int gained = geometry::gained_registers(s, register_limit(t)), given = geometry::given_registers(s, g, gained);
    const int pixels = units * (t.stages + (s.project ? 0 : 1)) * 16;
    return std::max(sums + window + groups + rest + given, expansion + pixels + 32 - gained);
  }
  return std::max(sums + window + groups + rest, sums + expansion + beside_sums);
}

Reason size_refusal(const Shape& s, const geometry::Geometry& g, const TileConfig& t, const jit::Target& target) {
  if (t.images > 1) {
    if (const Reason why = images_refusal(s, g); why.text != nullptr) return why;
  }
  if (t.team > 0 && !t.streamed) return {"a team streams the depth of its expansion"};
  if (t.streamed) {
    if (const Reason why = streaming_refusal(s, g, t); why.text != nullptr) return why;
  }
  if (g.warp_m > 8 && s.project) return {"more than 8 pixel groups a warp"};
  if (s.project && g.warp_m * g.warp_n > 16) return {"more than 16 tiles of sums a warp"};
  if (const int need = needed_registers(s, g, t); need > register_limit(t))
    return {"about {} registers a thread, {} are free", need, register_limit(t)};
  if (g.shared_bytes > shared_limit(target)) return {"{} bytes of shared memory, {} a block", g.shared_bytes, shared_limit(target)};
  if (int64_t{g.shared_bytes + 1024} * t.min_blocks > shared_limit(target) + 1024)
    return {"shared memory for the blocks of a multiprocessor"};
  return {};
}

}  // namespace

std::string refusal(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target) {
  if (std::string why = refusal(spec, target); !why.empty()) return why;
  if (is_head(spec)) return head_refusal(spec, tile, target);
  return refusal(tiled(spec, tile), target);
}

int spare_registers(const TiledModule& m) {
  return register_limit(m.tile) - needed_registers(m.shape, m.geometry, m.tile);
}

std::string refusal(const TiledModule& m, const jit::Target& target) {
  if (const Reason why = partition_refusal(m.shape, m.tile, target); why.text != nullptr) return sentence(why);
  return sentence(size_refusal(m.shape, m.geometry, m.tile, target));
}

bool TiledModule::recut(const TileConfig& other, const jit::Target& target) {
  TileConfig as_now = other;
  as_now.resident = tile.resident;
  const bool same_block = divides && as_now == tile;  // at most weights that stay or rotate are new
  if (!same_block && partition_refusal(shape, other, target).text != nullptr) return false;
  const bool same_planes =
      other.tile_h == tile.tile_h && other.tile_w == tile.tile_w && other.images == tile.images && other.warps_m == tile.warps_m;
  divides = true;
  tile = other;
  set_tile(shape, other);
  if (same_block) {
    geometry::derive_shared(shape, geometry);
  } else {
    if (!same_planes) planes = geometry::plane_geometry(shape);
    geometry = planes;
    geometry::derive_block(shape, geometry);
  }
  return size_refusal(shape, geometry, tile, target).text == nullptr;
}

int64_t LaunchPlan::grid(int64_t batch, int64_t resident_blocks) const {
  const int64_t works = across_images ? (batch * plane + tile_pixels - 1) / tile_pixels : batch * tiles;
  const int64_t most = resident_blocks == 0 ? works : std::max<int64_t>(1, resident_blocks / blocks_per_work);
  return std::min(works, most) * blocks_per_work;
}

const std::map<std::string, std::string>& device_sources() {
  return embedded::module_headers();
}

namespace {

Emitted emit_shared(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target, bool jitter) {
  if (const std::string why = refusal(spec, tile, target); !why.empty())
    throw Error(ErrorCode::unsupported,
                fmt::format("module {} with tile {} on sm_{}: {}", to_string(spec), to_string(tile), target.text(), why));
  Emitted e;
  e.launch.kernel = symbol_of(spec);
  e.launch.pdl = target.major >= 9;
  e.program.name = e.launch.kernel;
  e.program.headers = embedded::module_headers();
  if (is_head(spec)) {
    emit_head(spec, tile, jitter, e);
    return e;
  }
  Shape s = shape_of(spec, tile);
  s.jitter = jitter;
  const geometry::Geometry g = geometry::derive(s);
  e.program.source = fmt::format(
      "// {}\n// {}\n#include \"fcm/kernels/module.cuh\"\n\nnamespace {{\nFCM_CONSTEXPR fcm::geometry::Shape make_shape() {{\n"
      "  fcm::geometry::Shape s{{}};\n{}  return s;\n}}\nstruct Config {{\n  static constexpr fcm::geometry::Shape shape = "
      "make_shape();\n}};\n"
      "}}  // namespace\n\nextern \"C\" __global__ void __launch_bounds__({}, {}) {}(const __grid_constant__ fcm::ModuleArgs args) {{\n"
      "  fcm::kernel::run_module<Config>(args);\n}}\n",
      to_string(spec), to_string(tile), shape_source(s), g.threads, s.min_blocks, e.launch.kernel);
  e.launch.threads = g.threads;
  e.launch.shared_bytes = g.shared_bytes;
  e.launch.cluster = s.project ? s.split : 1;
  e.launch.blocks_per_work = s.split * g.n_blocks;
  e.launch.across_images = s.images > 1 || (g.flat && s.pool == geometry::Pool::none);
  e.launch.plane = s.images > 1 ? 1 : s.out_h * s.out_w;
  e.launch.tile_pixels = s.images > 1 ? s.images : s.tile_w;
  e.launch.tiles = g.tiles;
  e.launch.weight_bytes = g.blob_bytes;
  if (s.pool != geometry::Pool::none) e.launch.pool_floats = int64_t{g.tiles} * geometry::round_up(g.out_channels, 4);
  return e;
}

/// Shared memory that a multiprocessor does not have twice.
int lone_bytes(const jit::Target& target) {
  return shared_limit(target) / 2 + 16;
}

}  // namespace

Emitted emit(const ModuleSpec& spec, const TileConfig& tile, const jit::Target& target, bool jitter) {
  TileConfig code = tile;  // which is the same whether a block is alone
  code.lone = false;
  Emitted e = emit_shared(spec, code, target, jitter);
  if (tile.lone) e.launch.lone_bytes = std::max(e.launch.shared_bytes, lone_bytes(target));
  return e;
}

}  // namespace fcm
