// Random module cases. Dimensions stay small so that a thousand references take seconds; corners come more often than chance would.
#include "tests/modules/cases.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "fcm/tiles.h"

namespace fcm::testing {
namespace {

float round_to(float x, DType t) {
  if (t == DType::f16) return f16_to_f32(f32_to_f16(x));
  if (t == DType::bf16) return bf16_to_f32(f32_to_bf16(x));
  return x;
}

Unary random_activation(Random& random) {
  switch (between(random, 0, 11)) {
    case 0:
    case 1:
      return {UnaryFn::clip, 0, 6};
    case 2:
      return {UnaryFn::relu, 0, 0};
    case 3:
      return {UnaryFn::hard_swish, 0, 0};
    case 4:
      return {UnaryFn::silu, 0, 0};
    case 5:
      return {UnaryFn::gelu, 0, 0};
    case 6:
      return {UnaryFn::sigmoid, 0, 0};
    case 7:
      return {UnaryFn::hard_sigmoid, 0.2f, 0.5f};
    case 8:
      return {static_cast<UnaryFn>(between(random, static_cast<int>(UnaryFn::leaky_relu), static_cast<int>(UnaryFn::elu))), 0.1f, 0};
    case 9:
      return {static_cast<UnaryFn>(between(random, static_cast<int>(UnaryFn::gelu_tanh), static_cast<int>(UnaryFn::softsign))), 0, 0};
    default:
      return {};
  }
}

int random_channels(Random& random) {
  if (between(random, 0, 23) == 0) return pick(random, {568, 728});  // long pixels of an odd number of 16-byte pieces
  if (between(random, 0, 2) == 0) return between(random, 1, 40);
  return pick(random, {1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 65, 72, 96, 144});
}

StageSpec window_stage(Random& random, StageOp op, int in, Plane plane) {
  StageSpec s;
  s.op = op;
  s.in_channels = in;
  s.kernel_h = s.kernel_w = pick(random, {3, 3, 3, 3, 5, 5, 7, 9, 1, 2});
  if (between(random, 0, 7) == 0) s.kernel_h = 1;
  if (between(random, 0, 7) == 0) s.kernel_w = 1;
  if (op == StageOp::conv && s.kernel_h * s.kernel_w * in > 160) s.kernel_h = s.kernel_w = 3;
  s.stride_h = s.stride_w = pick(random, {1, 1, 2});
  if (between(random, 0, 9) == 0) s.stride_w = 3 - s.stride_h;
  if (between(random, 0, 5) == 0) s.dilation_h = s.dilation_w = pick(random, {2, 3});
  const int reach_h = (s.kernel_h - 1) * s.dilation_h, reach_w = (s.kernel_w - 1) * s.dilation_w;
  const bool asymmetric = between(random, 0, 2) == 0;
  s.pad_top = asymmetric ? between(random, 0, reach_h) : reach_h / 2;
  s.pad_left = asymmetric ? between(random, 0, reach_w) : reach_w / 2;
  s.pad_bottom = std::max(asymmetric ? between(random, 0, reach_h) : reach_h - reach_h / 2, reach_h + 1 - plane.height - s.pad_top);
  s.pad_right = std::max(asymmetric ? between(random, 0, reach_w) : reach_w - reach_w / 2, reach_w + 1 - plane.width - s.pad_left);
  return s;
}

void fill(std::vector<float>& values, size_t count, Random& random, float scale, DType dtype) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  values.resize(count);
  for (float& v : values) v = round_to(uniform(random), dtype);
}

void add_epilogue(Random& random, ModuleSpec& spec) {
  const bool head = is_head(spec), projects = spec.stages.back().op != StageOp::dw;
  if (head) {
    if (between(random, 0, 1) == 0) {
      spec.input = InputTransform::sums;
      spec.sum_tiles = between(random, 1, 5);
    }
    return;
  }
  if (projects && between(random, 0, 1) == 0)
    spec.residual = between(random, 0, 1) == 0 ? geometry::Residual::before_activation : geometry::Residual::after_activation;
  if (spec.residual != geometry::Residual::none) {
    spec.residual_is_input = true;
    if (!refusal(spec, jit::Target{9, 0, true}).empty()) spec.residual_is_input = false;
  }
  if (between(random, 0, 4) == 0) spec.pool = between(random, 0, 1) == 0 ? geometry::Pool::only : geometry::Pool::also;
  if (kind_of(spec) == ModuleKind::pw && between(random, 0, 2) == 0) spec.gate = true;
  // Of few channels the variance may be near zero, and the products cancel: within the bound, but not the mean error of other cases.
  const bool enough = spec.stages[0].op == StageOp::pw && spec.stages[0].in_channels >= 7;
  if (enough && !spec.gate && !spec.tf32 && between(random, 0, 2) == 0) {
    spec.norm = between(random, 0, 3) == 0 ? geometry::Norm::rms : geometry::Norm::layer;
    spec.norm_epsilon = between(random, 0, 1) == 0 ? 1e-5f : 1e-3f;
  }
}

}  // namespace

int pick(Random& random, std::initializer_list<int> values) {
  return values.begin()[random() % values.size()];
}
int between(Random& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
}

std::string to_string(const Case& c) {
  const std::string repeats = c.repeats > 1 ? fmt::format(" repeats {}", c.repeats) : "";
  return fmt::format("{} | {} | batch {} seed {}{}", fcm::to_string(c.spec), fcm::to_string(c.tile), c.batch, c.seed, repeats);
}

Case parse_case(const std::string& text) {
  Case c;
  const size_t first = text.find(" | "), second = text.find(" | ", first + 3);
  c.spec = parse_spec(text.substr(0, first));
  c.tile = parse_tile(text.substr(first + 3, second - first - 3));
  if (std::sscanf(text.c_str() + second, " | batch %d seed %u repeats %d", &c.batch, &c.seed, &c.repeats) < 2)
    throw std::runtime_error("bad case id: " + text);
  return c;
}

ModuleSpec random_spec(Random& random) {
  constexpr std::array<const char*, 15> patterns = {"p",   "d",  "c",  "dp",  "pd", "pp",  "pdp", "pdp",
                                                    "pdp", "cd", "cp", "cdp", "op", "opp", "p"};
  const std::string pattern = patterns[random() % patterns.size()];
  ModuleSpec spec;
  spec.height = between(random, 0, 3) == 0 ? pick(random, {1, 2, 3}) : between(random, 4, 30);
  spec.width = between(random, 0, 2) == 0 ? spec.height : between(random, 1, 30);
  const DType dtype = static_cast<DType>(pick(
      random, {static_cast<int>(DType::f16), static_cast<int>(DType::f16), static_cast<int>(DType::bf16), static_cast<int>(DType::f32)}));
  spec.tf32 = dtype == DType::f32 && between(random, 0, 2) == 0;
  int channels = random_channels(random);
  Plane plane{spec.height, spec.width};
  for (const char op : pattern) {
    StageSpec s;
    if (op == 'c') {
      channels = between(random, 1, 4);
      s = window_stage(random, StageOp::conv, channels, plane);
      spec.input = static_cast<InputTransform>(pick(random, {0, 1, 1, 2}));
    } else if (op == 'd') {
      s = window_stage(random, StageOp::dw, channels, plane);
      s.multiplier = between(random, 0, 6) == 0 ? pick(random, {2, 4, 8}) : 1;
    } else if (op == 'o') {
      s.op = StageOp::pool;
    }
    s.in_channels = channels;
    s.out_channels = op == 'd' ? channels * s.multiplier : op == 'o' ? channels : random_channels(random);
    s.dtype = dtype;
    if (op != 'o') s.activation = random_activation(random);
    channels = s.out_channels;
    plane = Plane{output_extent(plane.height, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, s.pad_bottom),
                  output_extent(plane.width, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, s.pad_right)};
    spec.stages.push_back(s);
  }
  if (pattern == "op" && between(random, 0, 1) == 0) spec.stages.back().dtype = DType::f32;  // logits
  if (pattern == "pdp" && between(random, 0, 1) == 0) {                                      // an inverted residual with its add
    StageSpec& d = spec.stages[1];
    d.stride_h = d.stride_w = 1;
    d.pad_bottom = (d.kernel_h - 1) * d.dilation_h - d.pad_top;
    d.pad_right = (d.kernel_w - 1) * d.dilation_w - d.pad_left;
    spec.stages[2].out_channels = spec.stages[0].in_channels;
  }
  add_epilogue(random, spec);
  return spec;
}

namespace {

/// Any tile, legal or not.
TileConfig draw_tile(Random& random, const ModuleSpec& spec, const jit::Target& target) {
  const bool head = is_head(spec);
  TileConfig t;
  const bool flat = !head && !shape_of(spec, t).dw;
  t.tile_h = flat || head ? 1 : between(random, 1, 12);
  t.tile_w = flat ? 16 * between(random, 1, 6) : between(random, 1, head ? 8 : 20);
  t.chunk = 16 * pick(random, {1, 1, 2, 3, 4, 8, 10});
  t.n_tile = 16 * pick(random, {1, 2, 3, 4, 6, 8});
  t.split = pick(random, {1, 1, 2, 3, 4, 5, 8, 12, 16});
  t.warps_m = pick(random, {1, 2, 3, 4});
  t.warps_k = head ? 1 : pick(random, {1, 1, 2, 3});
  t.warps_n = head ? 1 : pick(random, {1, 1, 2});
  t.stages = between(random, 1, 4);
  t.expand_m = between(random, 1, dtype_of(spec) == DType::f32 ? 4 : 2);
  t.expand_n = between(random, 1, 3);
  t.resident = between(random, 0, 1) == 1;
  t.min_blocks = pick(random, {1, 1, 1, 2});
  t.warpgroup = has_warpgroups(target) && between(random, 0, 2) == 0;
  if (t.warpgroup) t.expand_m = 1;
  return t;
}

/// The first legal one of many tiles that `draw` gives; false when none is.
template <class Draw>
bool first_legal(const ModuleSpec& spec, const jit::Target& target, TileConfig& tile, Draw draw) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    const TileConfig t = draw();
    if (!refusal(spec, t, target).empty()) continue;
    tile = t;
    return true;
  }
  return false;
}

}  // namespace

bool random_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, TileConfig& tile) {
  return first_legal(spec, target, tile, [&] { return draw_tile(random, spec, target); });
}

namespace {

/// A tile of a pointwise layer by warpgroups.
void draw_product(Random& random, TileConfig& t) {
  t.warpgroup = true, t.overlaid = false;
  t.warps_m = 4 * between(random, 1, 4), t.warps_k = t.warps_n = t.split = t.expand_m = t.expand_n = 1;
  t.tile_h = 1, t.tile_w = 16 * t.warps_m * between(random, 1, 2);
  t.chunk = geometry::kSliceBytes / 2;
  t.n_tile = 16 * between(random, 1, 16);
}

}  // namespace

bool random_wide_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, bool streamed, TileConfig& tile) {
  if (kind_of(spec) == ModuleKind::pw && !has_warpgroups(target)) return false;
  return first_legal(spec, target, tile, [&] {
    TileConfig t = draw_tile(random, spec, target);
    t.streamed = streamed;
    t.overlaid = streamed && between(random, 0, 1) == 0;
    if (streamed) t.stages = between(random, 2, 6);
    if (t.warpgroup) t.expand_n = pick(random, {1, 2, 3, 4, 6, 8});
    if (kind_of(spec) == ModuleKind::pw) draw_product(random, t);
    if (!streamed || (kind_of(spec) != ModuleKind::pw && between(random, 0, 2) == 0)) {
      const Plane out = output_plane(spec);
      t.tile_h = out.height, t.tile_w = out.width, t.images = between(random, 2, 5);
    }
    return t;
  });
}

bool random_team_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, TileConfig& tile) {
  const bool projects = kind_of(spec) == ModuleKind::pwdwpw;
  if ((kind_of(spec) != ModuleKind::pwdw && !projects) || dtype_of(spec) == DType::f32 || !has_warpgroups(target)) return false;
  return first_legal(spec, target, tile, [&] {
    TileConfig t = draw_tile(random, spec, target);
    t.warpgroup = t.streamed = t.resident = true;
    t.tile_h = between(random, 1, 14), t.expand_m = 1, t.expand_n = t.chunk / 16 / spec.stages[1].multiplier;
    t.team = between(random, 1, 3), t.stages = between(random, 1, 3);
    t.warps_m = pick(random, {1, 2, 4, 8}), t.warps_k = pick(random, {1, 2, 4}), t.warps_n = 1;
    if (projects) {
      t.stages = geometry::ceil_div(spec.stages[0].in_channels, geometry::kSliceBytes / 2);
      t.resident = between(random, 0, 1) == 0;
      t.warps_n = t.n_tile % 32 == 0 ? between(random, 1, 2) : 1;
      t.chunk = 16 * spec.stages[1].multiplier * between(random, 1, 8), t.expand_n = t.chunk / 16 / spec.stages[1].multiplier;
    }
    if (between(random, 0, 3) == 0) {
      const Plane out = output_plane(spec);
      t.tile_h = out.height, t.tile_w = out.width, t.images = between(random, 2, 3);
    }
    return t;
  });
}

namespace {

/// A tile by warpgroups of a module that has a stage for them.
bool random_group_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, TileConfig& tile) {
  return first_legal(spec, target, tile, [&] {
    TileConfig t = draw_tile(random, spec, target);
    t.project_groups = kind_of(spec) == ModuleKind::pwdwpw && between(random, 0, 2) == 0;
    t.warpgroup = !t.project_groups;
    if (t.warpgroup) t.expand_m = 1;
    if (t.project_groups || between(random, 0, 1) == 0) t.warps_m = 4 * between(random, 1, 2);  // which project by warpgroups too
    return t;
  });
}

}  // namespace

std::vector<Case> random_cases(uint32_t seed, int count, const jit::Target& target) {
  Random random(seed);
  std::vector<Case> cases;
  while (static_cast<int>(cases.size()) < count) {
    Case c;
    c.spec = random_spec(random);
    c.batch = pick(random, {1, 1, 2, 3, 5});
    c.seed = random();
    if (!refusal(c.spec, target).empty() || !random_tile(random, c.spec, target, c.tile)) continue;
    // Every other module that can stream its depth or span images does, and some of the others run by warpgroups: drawn aside, so that the
    // other cases of a seed stay what they are.
    Random aside(c.seed);
    TileConfig wide;
    const ModuleKind kind = kind_of(c.spec);
    const bool expands = kind == ModuleKind::pwdw || kind == ModuleKind::pwpw || kind == ModuleKind::pwdwpw;
    const bool windows = kind == ModuleKind::dw || kind == ModuleKind::dwpw || kind == ModuleKind::pwdw || kind == ModuleKind::pwdwpw;
    const bool product = kind == ModuleKind::pw && !c.spec.gate && c.spec.pool == geometry::Pool::none && dtype_of(c.spec) != DType::f32;
    const bool streamed = product || (expands && c.spec.norm == geometry::Norm::none && (!windows || between(aside, 0, 3) > 0));
    if (product && !c.spec.residual_is_input && between(aside, 0, 2) == 0) c.spec.stages[0].in_channels += 8 * between(aside, 1, 60);
    const bool grouped = (expands || kind == ModuleKind::dwpw) && has_warpgroups(target) && dtype_of(c.spec) != DType::f32;
    if ((kind == ModuleKind::pwdw || kind == ModuleKind::pwdwpw) && between(aside, 0, 1) == 0 &&
        random_team_tile(aside, c.spec, target, wide)) {
      c.tile = wide;
    } else if ((streamed || windows) && (product || between(aside, 0, 1) == 0) && random_wide_tile(aside, c.spec, target, streamed, wide)) {
      c.tile = wide;
    } else if (grouped && between(aside, 0, 1) == 0 && random_group_tile(aside, c.spec, target, wide)) {
      c.tile = wide;
    }
    cases.push_back(c);
  }
  return cases;
}

Operands make_operands(const Case& c) {
  Random random(c.seed);
  Operands o;
  const DType dtype = dtype_of(c.spec);
  for (const StageSpec& s : c.spec.stages) {
    StageWeights w;
    if (s.op != StageOp::pool) {
      const size_t depth = static_cast<size_t>(s.kernel_h * s.kernel_w) * static_cast<size_t>(s.op == StageOp::dw ? 1 : s.in_channels);
      fill(w.weight, depth * static_cast<size_t>(s.out_channels), random, 2.0f / std::sqrt(static_cast<float>(depth)), dtype);
      if (between(random, 0, 7) != 0) fill(w.bias, static_cast<size_t>(s.out_channels), random, 1.0f, DType::f32);
    }
    o.weights.stages.push_back(std::move(w));
  }
  const auto batch = static_cast<size_t>(c.batch), channels = static_cast<size_t>(c.spec.stages[0].in_channels);
  const size_t plane =
      c.spec.input == InputTransform::sums ? static_cast<size_t>(c.spec.sum_tiles) : static_cast<size_t>(c.spec.height * c.spec.width);
  const bool user = c.spec.input != InputTransform::nhwc;
  fill(o.inputs.input, batch * plane * channels, random, 1.0f, user ? DType::f32 : dtype);
  if (c.spec.norm != geometry::Norm::none) {  // a mean that is not near zero
    const float mean = static_cast<float>(between(random, -4, 4)) / 4.0f;
    for (float& v : o.inputs.input) v = round_to(v + mean, dtype);
  }
  if (c.spec.input == InputTransform::nhwc_u8) {
    for (float& v : o.inputs.input) v = std::floor((v + 1.0f) * 127.5f);
  }
  if (c.spec.input == InputTransform::nhwc_u8 || c.spec.input == InputTransform::nchw_f32) {
    const float range = c.spec.input == InputTransform::nhwc_u8 ? 255.0f : 1.0f;
    for (size_t i = 0; i < channels; ++i) {
      o.inputs.scale.push_back((2.0f + static_cast<float>(i)) / range);
      o.inputs.shift.push_back(-0.5f * static_cast<float>(i));
    }
  }
  o.inputs.batch = c.batch;
  const Plane out = output_plane(c.spec);
  if (c.spec.residual != geometry::Residual::none && !c.spec.residual_is_input)
    fill(o.inputs.residual, batch * static_cast<size_t>(out.height * out.width * output_channels(c.spec)), random, 1.0f, dtype);
  if (c.spec.gate) fill(o.inputs.gate, batch * channels, random, 1.0f, dtype);
  return o;
}

int pitch_of(int channels, DType dtype) {
  return geometry::round_up(channels, static_cast<int>(16 / dtype_size(dtype)));
}

std::vector<uint8_t> to_nhwc(const std::vector<float>& values, int channels, int pitch, DType dtype) {
  const size_t el = dtype_size(dtype), pixels = values.size() / static_cast<size_t>(channels);
  std::vector<uint8_t> bytes(pixels * static_cast<size_t>(pitch) * el, 0);
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t ch = 0; ch < static_cast<size_t>(channels); ++ch) {
      const float v = values[p * static_cast<size_t>(channels) + ch];
      uint8_t* to = &bytes[(p * static_cast<size_t>(pitch) + ch) * el];
      if (el == 2) {
        const uint16_t half = dtype == DType::f16 ? f32_to_f16(v) : f32_to_bf16(v);
        std::memcpy(to, &half, 2);
      } else {
        std::memcpy(to, &v, 4);
      }
    }
  }
  return bytes;
}

std::vector<uint8_t> input_bytes(const Case& c, const ModuleInputs& inputs) {
  const int channels = c.spec.stages[0].in_channels;
  switch (c.spec.input) {
    case InputTransform::nhwc:
      return to_nhwc(inputs.input, channels, pitch_of(channels, dtype_of(c.spec)), dtype_of(c.spec));
    case InputTransform::sums:
      return to_nhwc(inputs.input, channels, geometry::round_up(channels, 4), DType::f32);
    case InputTransform::nchw_f32:
      return to_nhwc(inputs.input, channels, channels, DType::f32);  // plain copy
    case InputTransform::nhwc_u8: {
      std::vector<uint8_t> bytes;
      for (const float v : inputs.input) bytes.push_back(static_cast<uint8_t>(v));
      return bytes;
    }
  }
  return {};
}

}  // namespace fcm::testing
