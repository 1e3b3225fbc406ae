// Kinds, planes and the canonical text of module specs and tiles.
#include "fcm/spec.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <initializer_list>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr int kMaxDimension = 1 << 20;

[[noreturn]] void malformed(std::string_view what, std::string_view piece, std::string_view accepted) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: '{}' is not {}", what, piece, accepted));
}

/// Reads text left to right; every failure names the whole piece.
class Cursor {
 public:
  Cursor(std::string_view what, std::string_view piece) : what_(what), piece_(piece), rest_(piece) {}

  bool take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }
  void expect(std::string_view prefix) {
    if (!take(prefix)) fail(fmt::format("followed by '{}' where '{}' stands", prefix, rest_));
  }
  int number(int least) {
    int value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || value < least || value > kMaxDimension) fail(fmt::format("a number from {} to {}", least, kMaxDimension));
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return value;
  }
  std::string_view until(char stop) {
    const size_t at = rest_.find(stop);
    const std::string_view part = rest_.substr(0, at);
    rest_.remove_prefix(part.size());
    return part;
  }
  std::string_view rest() const { return rest_; }
  void end() {
    if (!rest_.empty()) fail("complete: nothing may follow");
  }
  [[noreturn]] void fail(std::string_view accepted) const { malformed(what_, piece_, accepted); }

 private:
  std::string_view what_, piece_, rest_;
};

Unary parse_activation(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('('));
  Unary u;
  bool found = false;
  for (int f = 0; f <= static_cast<int>(UnaryFn::softsign) && !found; ++f) {
    u.fn = static_cast<UnaryFn>(f);
    const std::string own = to_string(u);
    found = name == std::string_view(own).substr(0, own.find('('));
  }
  if (!found) malformed("module spec", text, "an activation");
  std::string_view rest = text.substr(name.size());
  if (rest.empty()) return u;
  std::array<float, 2> parameters{};
  size_t count = 0;
  rest.remove_prefix(1);
  while (true) {
    if (count == parameters.size()) malformed("module spec", text, "an activation with at most two parameters");
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), parameters[count++]);
    if (error != std::errc()) malformed("module spec", text, "an activation with numbers as parameters");
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (rest == ")") break;
    if (!rest.starts_with(",")) malformed("module spec", text, "an activation ending in ')'");
    rest.remove_prefix(1);
  }
  u.a = parameters[0];
  u.b = parameters[1];
  return u;
}

std::string stage_text(const StageSpec& s) {
  std::string text;
  switch (s.op) {
    case StageOp::pw:
      text = "pw";
      break;
    case StageOp::pool:
      text = "pool";
      break;
    case StageOp::dw:
    case StageOp::conv:
      text = fmt::format("{}{}x{}s{}x{}p{}.{}.{}.{}", s.op == StageOp::dw ? "dw" : "conv", s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
                         s.pad_top, s.pad_left, s.pad_bottom, s.pad_right);
      if (s.dilation_h != 1 || s.dilation_w != 1) text += fmt::format("d{}x{}", s.dilation_h, s.dilation_w);
      if (s.multiplier != 1) text += fmt::format("m{}", s.multiplier);
      break;
  }
  return fmt::format("{}/{}-{}/{}/{}", text, s.in_channels, s.out_channels, dtype_name(s.dtype), to_string(s.activation));
}

void parse_window(Cursor& c, StageSpec& s) {
  s.kernel_h = c.number(1);
  c.expect("x");
  s.kernel_w = c.number(1);
  c.expect("s");
  s.stride_h = c.number(1);
  c.expect("x");
  s.stride_w = c.number(1);
  c.expect("p");
  s.pad_top = c.number(0);
  c.expect(".");
  s.pad_left = c.number(0);
  c.expect(".");
  s.pad_bottom = c.number(0);
  c.expect(".");
  s.pad_right = c.number(0);
  if (c.take("d")) {
    s.dilation_h = c.number(1);
    c.expect("x");
    s.dilation_w = c.number(1);
  }
  if (c.take("m")) s.multiplier = c.number(1);
}

StageSpec parse_stage(std::string_view piece) {
  Cursor c("module spec", piece);
  StageSpec s;
  if (c.take("pw")) {
    s.op = StageOp::pw;
  } else if (c.take("pool")) {
    s.op = StageOp::pool;
  } else if (c.take("dw")) {
    s.op = StageOp::dw;
    parse_window(c, s);
  } else if (c.take("conv")) {
    s.op = StageOp::conv;
    parse_window(c, s);
  } else {
    c.fail("a stage (pw, dw, conv, pool) or a flag");
  }
  c.expect("/");
  s.in_channels = c.number(1);
  c.expect("-");
  s.out_channels = c.number(1);
  c.expect("/");
  const std::string_view dtype = c.until('/');
  if (dtype == "f32") {
    s.dtype = DType::f32;
  } else if (dtype == "f16") {
    s.dtype = DType::f16;
  } else if (dtype == "bf16") {
    s.dtype = DType::bf16;
  } else {
    c.fail("a stage of dtype f32, f16 or bf16");
  }
  c.expect("/");
  s.activation = parse_activation(c.rest());
  return s;
}

// "norm=layer(1e-05)".
void parse_norm(std::string_view piece, ModuleSpec& spec) {
  Cursor c("module spec", piece);
  c.expect("norm=");
  spec.norm = c.take("rms") ? geometry::Norm::rms : geometry::Norm::layer;
  if (spec.norm == geometry::Norm::layer) c.expect("layer");
  c.expect("(");
  const std::string_view number = c.until(')');
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), spec.norm_epsilon);
  if (error != std::errc() || end != number.data() + number.size() || !(spec.norm_epsilon >= 0 && spec.norm_epsilon < 1e6f))
    c.fail("a normalisation with an epsilon from 0");
  c.expect(")");
  c.end();
}

bool parse_flag(std::string_view piece, ModuleSpec& spec) {
  if (piece == "residual=before") {
    spec.residual = geometry::Residual::before_activation;
  } else if (piece == "residual=after") {
    spec.residual = geometry::Residual::after_activation;
  } else if (piece == "from=input") {
    spec.residual_is_input = true;
  } else if (piece == "pool=only") {
    spec.pool = geometry::Pool::only;
  } else if (piece == "pool=also") {
    spec.pool = geometry::Pool::also;
  } else if (piece == "gate") {
    spec.gate = true;
  } else if (piece == "tf32") {
    spec.tf32 = true;
  } else if (piece.starts_with("norm=")) {
    parse_norm(piece, spec);
  } else {
    return false;
  }
  return true;
}

void parse_input(std::string_view piece, ModuleSpec& spec) {
  Cursor c("module spec", piece);
  if (c.take("nhwc_u8")) {
    spec.input = InputTransform::nhwc_u8;
  } else if (c.take("nhwc")) {
    spec.input = InputTransform::nhwc;
  } else if (c.take("nchw_f32")) {
    spec.input = InputTransform::nchw_f32;
  } else if (c.take("sums")) {
    spec.input = InputTransform::sums;
    spec.sum_tiles = c.number(1);
  } else {
    c.fail("an input (nhwc, nhwc_u8, nchw_f32, sumsN)");
  }
  c.end();
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t at = text.find(' ');
    if (at != 0) words.push_back(text.substr(0, at));
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  }
  return words;
}

}  // namespace

ModuleKind kind_of(const ModuleSpec& spec) {
  static constexpr auto behind = [](unsigned number, StageOp op) { return 8 * number + static_cast<unsigned>(op) + 1; };
  constexpr auto pattern = [](std::initializer_list<StageOp> ops) {
    unsigned number = 0;
    for (const StageOp op : ops) number = behind(number, op);
    return number;
  };
  if (spec.stages.size() > 3) return ModuleKind::unknown;
  unsigned number = 0;
  for (const StageSpec& s : spec.stages) number = behind(number, s.op);
  struct Row {
    unsigned pattern;
    ModuleKind kind;
  };
  using enum StageOp;
  constexpr std::array<Row, 12> rows = {{{pattern({pw}), ModuleKind::pw},
                                         {pattern({dw}), ModuleKind::dw},
                                         {pattern({conv}), ModuleKind::conv},
                                         {pattern({dw, pw}), ModuleKind::dwpw},
                                         {pattern({pw, dw}), ModuleKind::pwdw},
                                         {pattern({pw, pw}), ModuleKind::pwpw},
                                         {pattern({pw, dw, pw}), ModuleKind::pwdwpw},
                                         {pattern({conv, dw}), ModuleKind::conv_dw},
                                         {pattern({conv, pw}), ModuleKind::conv_pw},
                                         {pattern({conv, dw, pw}), ModuleKind::conv_dwpw},
                                         {pattern({pool, pw}), ModuleKind::pool_fc},
                                         {pattern({pool, pw, pw}), ModuleKind::se}}};
  for (const Row& row : rows) {
    if (row.pattern == number) return row.kind;
  }
  return ModuleKind::unknown;
}

std::string_view kind_name(ModuleKind kind) {
  constexpr std::array<std::string_view, 13> names = {"PW",     "DW",     "CONV",     "DWPW",   "PWDW", "PWPW",   "PWDWPW",
                                                      "CONVDW", "CONVPW", "CONVDWPW", "POOLFC", "SE",   "UNKNOWN"};
  return names[static_cast<size_t>(kind)];
}

int output_extent(int in, int kernel, int stride, int dilation, int before, int after) {
  const int reach = (kernel - 1) * dilation + 1;
  const int padded = in + before + after;
  return padded < reach ? 0 : (padded - reach) / stride + 1;
}

std::vector<Plane> planes_of(const ModuleSpec& spec) {
  std::vector<Plane> planes;
  planes.reserve(spec.stages.size() + 1);
  planes.push_back(Plane{spec.height, spec.width});
  for (const StageSpec& s : spec.stages) {
    const Plane in = planes.back();
    if (s.op == StageOp::pool) {
      planes.push_back(Plane{1, 1});
    } else {
      planes.push_back(Plane{output_extent(in.height, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, s.pad_bottom),
                             output_extent(in.width, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, s.pad_right)});
    }
  }
  return planes;
}

Plane output_plane(const ModuleSpec& spec) {
  return planes_of(spec).back();
}
int output_channels(const ModuleSpec& spec) {
  return spec.stages.empty() ? 0 : spec.stages.back().out_channels;
}
DType dtype_of(const ModuleSpec& spec) {
  return spec.stages.empty() ? DType::f32 : spec.stages.front().dtype;
}
DType output_dtype(const ModuleSpec& spec) {
  return spec.stages.empty() ? DType::f32 : spec.stages.back().dtype;
}
int output_pitch(const ModuleSpec& spec) {
  const int vector = static_cast<int>(16 / dtype_size(output_dtype(spec)));
  return output_dtype(spec) == dtype_of(spec) ? geometry::round_up(output_channels(spec), vector) : output_channels(spec);
}

std::string to_string(const ModuleSpec& spec) {
  constexpr std::array<std::string_view, 4> inputs = {"nhwc", "nchw_f32", "nhwc_u8", "sums"};
  std::string text(inputs[static_cast<size_t>(spec.input)]);
  if (spec.input == InputTransform::sums) text += fmt::format("{}", spec.sum_tiles);
  text += fmt::format(" {}x{}", spec.height, spec.width);
  for (const StageSpec& s : spec.stages) text += " " + stage_text(s);
  if (spec.norm != geometry::Norm::none)
    text += fmt::format(" norm={}({})", spec.norm == geometry::Norm::rms ? "rms" : "layer", spec.norm_epsilon);
  if (spec.gate) text += " gate";
  if (spec.residual == geometry::Residual::before_activation) text += " residual=before";
  if (spec.residual == geometry::Residual::after_activation) text += " residual=after";
  if (spec.residual_is_input) text += " from=input";
  if (spec.pool == geometry::Pool::only) text += " pool=only";
  if (spec.pool == geometry::Pool::also) text += " pool=also";
  if (spec.tf32) text += " tf32";
  return text;
}

std::string to_string(const TileConfig& t) {
  const std::string team = t.team > 0 ? fmt::format("_team{}", t.team) : "", images = t.images > 1 ? fmt::format("_i{}", t.images) : "";
  return fmt::format("t{}x{}_c{}_n{}_x{}_w{}.{}.{}_s{}_e{}.{}_r{}_b{}{}{}{}{}{}", t.tile_h, t.tile_w, t.chunk, t.n_tile, t.split, t.warps_m,
                     t.warps_k, t.warps_n, t.stages, t.expand_m, t.expand_n, t.resident ? 1 : 0, t.min_blocks,
                     t.warpgroup        ? "_wg"
                     : t.project_groups ? "_pg"
                                        : "",
                     !t.streamed  ? ""
                     : t.overlaid ? "_so"
                                  : "_st",
                     team, images, t.lone ? "_lone" : "");
}

ModuleSpec parse_spec(std::string_view text) {
  const std::vector<std::string_view> words = split_words(text);
  if (words.size() < 3) malformed("module spec", text, "an input, a plane and at least one stage");
  ModuleSpec spec;
  parse_input(words[0], spec);
  Cursor plane("module spec", words[1]);
  spec.height = plane.number(1);
  plane.expect("x");
  spec.width = plane.number(1);
  plane.end();
  for (size_t i = 2; i < words.size(); ++i) {
    if (!parse_flag(words[i], spec)) spec.stages.push_back(parse_stage(words[i]));
  }
  return spec;
}

TileConfig parse_tile(std::string_view text) {
  Cursor c("tile", text);
  TileConfig t;
  const auto field = [&](std::string_view prefix, int least) {
    c.expect(prefix);
    return c.number(least);
  };
  t.tile_h = field("t", 1);
  t.tile_w = field("x", 1);
  t.chunk = field("_c", 1);
  t.n_tile = field("_n", 1);
  t.split = field("_x", 1);
  t.warps_m = field("_w", 1);
  t.warps_k = field(".", 1);
  t.warps_n = field(".", 1);
  t.stages = field("_s", 1);
  t.expand_m = field("_e", 1);
  t.expand_n = field(".", 1);
  t.resident = field("_r", 0) != 0;
  t.min_blocks = field("_b", 1);
  t.warpgroup = c.take("_wg");
  t.project_groups = !t.warpgroup && c.take("_pg");
  t.overlaid = c.take("_so");
  t.streamed = t.overlaid || c.take("_st");
  if (c.take("_team")) t.team = c.number(1);
  if (c.take("_i")) t.images = c.number(2);
  t.lone = c.take("_lone");
  c.end();
  return t;
}

}  // namespace fcm
