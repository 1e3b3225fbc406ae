// Every size of a module kernel, in one place: tile counts, halos, pitches, shared-memory offsets, packed-weight offsets, grid.
// constexpr and free of CUDA and of the standard library, so that planner, emit, packing, tests and the kernels themselves (through
// NVRTC) read the same formulas. `Shape` is what emit writes as a constant; `Geometry` is everything that follows from it.
#pragma once

#ifdef __CUDACC__
#define FCM_CONSTEXPR __host__ __device__ constexpr
#else
#define FCM_CONSTEXPR constexpr
#endif

namespace fcm::geometry {

FCM_CONSTEXPR int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}
FCM_CONSTEXPR int round_up(int a, int b) {
  return ceil_div(a, b) * b;
}
FCM_CONSTEXPR int max_of(int a, int b) {
  return a > b ? a : b;
}
FCM_CONSTEXPR int min_of(int a, int b) {
  return a < b ? a : b;
}

/// What the arithmetic runs on: 16-bit tensor cores, FP32 CUDA cores, or FP32 data through TF32 tensor cores.
enum class Math : int { f16, bf16, f32, tf32 };
/// How the module's input lies in memory.
enum class InputFormat : int { nhwc, nchw_f32, nhwc_u8 };
enum class Residual : int { none, before_activation, after_activation };
enum class Pool : int { none, only, also };  ///< `only`: sums alone are written; `also`: the map too
/// Normalisation of a pixel's channels before the first stage: (x - mean) / sqrt(variance + epsilon), or x / sqrt(mean(x * x) + epsilon).
enum class Norm : int { none, layer, rms };

/// A sliding window: kernel, stride, dilation, padding before the first row and column (what lies after follows from the output).
struct Window {
  int kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1, top = 0, left = 0;
};
/// A unary function: `fn` is the value of fcm::UnaryFn.
struct Activation {
  int fn = 0;
  float a = 0, b = 0;
};

/// A module and its tile. Planes: in (module input) -> mid (read by the depthwise stage) -> out. Channels: in_c -> mid_c -> dw_c -> out_c.
struct Shape {
  Math math = Math::f16;
  InputFormat input = InputFormat::nhwc;
  int in_h = 1, in_w = 1, in_c = 1;
  bool conv = false;  ///< the first stage is a dense KxK convolution (its patches are gathered into shared memory)
  Window conv_window{};
  bool expand = false;  ///< a dense stage before the depthwise one, or before the projection (PWPW)
  Activation expand_act{};
  int mid_h = 1, mid_w = 1, mid_c = 1;
  bool dw = false;
  Window dw_window{};
  int multiplier = 1;
  Activation dw_act{};
  int out_h = 1, out_w = 1, dw_c = 1;
  bool project = false;  ///< a last dense stage, accumulated over the chunks
  int out_c = 1;
  Activation out_act{};
  Residual residual = Residual::none;
  bool residual_is_input = false;  ///< the residual operand is the module's own input
  Pool pool = Pool::none;
  bool gate = false;  ///< the input is multiplied by a vector per image and channel
  Norm norm = Norm::none;
  float norm_epsilon = 0;
  // the tile
  int tile_h = 1, tile_w = 16;  ///< output tile; without a depthwise stage tile_h is 1 and tile_w counts flattened pixels
  int images = 1;               ///< whole planes of a tile (depthwise stage)
  int chunk = 16;               ///< channels after the depthwise stage handled at a time
  int n_tile = 16;              ///< output channels of a block (project)
  int split = 1;                ///< blocks that share the chunks: a cluster when there is a projection
  int warps_m = 1, warps_k = 1, warps_n = 1;
  int stages = 1;                  ///< chunk buffers: double buffering of the expansion, pipeline depth of a copied source
  int expand_m = 1, expand_n = 1;  ///< one warp's unit of the expansion, in 16-row and 16-column tiles
  bool resident = false;           ///< all weights of a block stay in shared memory
  int min_blocks = 1;              ///< blocks a multiprocessor should hold (bounds registers)
  bool warpgroup = false;       ///< the first dense stage (of DWPW the last) by matrix instructions of four warps (wgmma): sm_90a, 16-bit
  bool project_groups = false;  ///< only the projection so, of what warps expand
  bool streamed = false;        ///< its operands pass through shared memory in slices of their depth, in `stages` buffers
  bool overlaid = false;        ///< the chunk buffer takes the place of the slices that it was made from
  int team = 0;         ///< warpgroups that do nothing but expand, beside the warps that filter the chunk before; 0: all warps do both
  bool jitter = false;  ///< random spins around the programmatic wait (tests)
};

/// One axis of the halo'd region that the depthwise stage reads. `core` is the part that is computed or copied; the rest stays zero.
struct Axis {
  int tiles = 1;
  int core_at = 0;
  int core = 1;
  int extent = 1;
};
FCM_CONSTEXPR Axis make_axis(int out, int tile, int granule, int mid, int k, int s, int d, int before) {
  Axis a;
  a.tiles = ceil_div(out, tile);
  if (a.tiles == 1) {
    const int last = min_of((out - 1) * s + (k - 1) * d - before, mid - 1);
    a.core_at = before;
    a.core = last + 1;
  } else {
    a.core = (tile - 1) * s + (k - 1) * d + 1;
  }
  a.extent = max_of((round_up(tile, granule) - 1) * s + (k - 1) * d + 1, a.core_at + a.core);
  return a;
}

/// The window row under which an input row lies, for the upper (0) or lower (1) of two output rows; -1: under none. Input rows count from
/// the upper output row's first.
FCM_CONSTEXPR int tap_of(const Window& w, int input_row, int output_row) {
  const int d = input_row - output_row * w.sh;
  return d >= 0 && d % w.dh == 0 && d / w.dh < w.kh ? d / w.dh : -1;
}

inline constexpr int kMostParties = 8;   ///< that may give each other their parts of sums as they are in registers
inline constexpr int kSumsBytes = 1024;  ///< 16 x 16 sums on their way from warp to warp: a lane's are 16 bytes in either half
inline constexpr int kUnitBytes = 512;   ///< one packed B unit: k16 x n16 (16-bit) or k8 x n16 (FP32); a lane's fragment is 16 bytes
inline constexpr int kMaxSharedBytes = 232448;
inline constexpr int kSliceBytes = 128;  ///< of a pixel, or of a middle channel's weights, in a slice of the depth: a line of the cache

struct Geometry {
  int el = 2, vec = 8, ks = 16;  ///< element bytes, elements in 16 bytes, channels of one B unit
  bool flat = false;             ///< pixels are flattened (no depthwise stage)
  bool copied = false;           ///< chunks come from global memory, not from an expansion
  bool product = false;          ///< a pointwise layer by warpgroups (kernels/product.cuh): a chunk is a slice of the depth
  int in_pitch = 8, out_channels = 1, out_pitch = 8;
  int k1 = 0;                                ///< depth of the expansion, padded
  int x_pitch = 0, x_rows = 0, x_bytes = 0;  ///< input tile in shared memory; x_pitch: bytes of a row, or of its part of a band
  int x_width = 0;                           ///< bytes within which the pieces of a row trade places (see traded_piece); 0: they do not
  int x_band = 0;                            ///< by warpgroups: bytes from x_width bytes of all rows to the next ones; 0: rows are whole
  int slice = 0, slices = 0;                 ///< streamed: channels of a slice of the depth, and slices of the whole
  int x_slice = 0, weight_slice = 0;         ///< bytes of a slice of the input tile, and of the expansion's weights of a chunk
  int e_chunk = 16, chunks = 1, block_chunks = 1;
  Axis ay{}, ax{};
  int tiles = 1, m_tiles = 1, m_tiles_w = 1, core_px = 16;
  int image_px = 16, image_pairs = 1;  ///< core pixels, and pairs of output rows, from an image of a tile to the next
  int dw_rows = 1;                     ///< input rows that two output rows of one column need
  bool runs = false;                   ///< a warp's pixel groups stand below each other
  int e_rows = 1, e_half = 1, e_slots = 16, e_pitch = 0, e_bytes = 0;  ///< one chunk buffer
  int e_width = 0;                                                     ///< as x_width
  int e_column = 0, e_line = 0;  ///< bytes from the columns of one residue modulo the stride to those of the next, and from row to row
  int e_buffers = 1;             ///< of `stages` that a copied source or a whole expansion rotates
  int n_blocks = 1, warp_m = 1, warp_n = 1;
  int gate_rows = 0, gate_at = 0;  ///< gates of the images that a run of pixels touches, behind the rows of a chunk buffer
  int dw_channel_bytes = 0, expand_bytes = 0, expand_bias_at = 0, expand_sums_at = 0, dw_at = 0, dw_bias_at = 0, record_a = 0, record_b = 0;
  int bias_at = 0, sums_at = 0, a_at = 0, b_at = 0, slices_at = 0, blob_bytes = 0;  ///< packed weights in global memory
  int weight_stages = 1;
  bool counts_weights = false;     ///< a barrier a stage of weights counts what has arrived of them
  bool project_by_groups = false;  ///< the projection by matrix instructions of four warps, its left operand from registers
  bool direct = false;             ///< sums leave from registers: no other warp or block has a part of them, or gives it away before
  bool wide = false;               ///< direct: 32 columns that a warp keeps leave together where it keeps both 16 of them
  int parties = 1, own_n = 0;  ///< direct: warps of a cluster that have parts of the same sums, and how many 16 columns each of them keeps
  int corner_pitch = 0;        ///< bytes of a pixel in a warp's corner on the way out
  bool paired = false;         ///< a chunk's channels lie in the order of paired_place
  bool red_aliases_e = false;
  int red_pitch = 0, red_items = 0,
      red_bytes = 0;  ///< partial sums; split > 1: red_items groups of 8 channels from each warp share of each block
  int stat_rows = 0;  ///< pixels of a tile whose mean and deviation are kept (a normalised input)
  int s_barrier = 0, s_arrivals = 0, s_biases = 0, s_bias = 0, s_sums = 0, s_stats = 0, s_sites = 0, s_weights = 0, s_x = 0, s_slices = 0,
      s_e = 0, s_red = 0, s_stage = 0, s_pool = 0, shared_bytes = 0;
  int sites = 0;                ///< entries of the table of pixel places (0: pixels are flattened)
  int warps = 1, threads = 32;  ///< warps: without those of the team that expands
};

/// Bytes of a row of `channels` in shared memory such that eight rows at 16 bytes (16-bit) or 32 bytes (FP32) meet different banks.
FCM_CONSTEXPR int bank_pitch(int channels, int el) {
  const int bytes = channels * el;
  const int unit = el == 2 ? 16 : 32;
  return (bytes / unit) % 2 == 0 ? bytes + unit : bytes;
}

/// Where in a row its `piece`-th 16 bytes lie, when pieces trade places within `width` bytes (32, 64 or 128) and rows are an odd multiple
/// of that (or any, of 128): eight rows' pieces meet no bank twice, though no byte is spent on a pitch, and 32 bytes that lie together in
/// memory stay together. So a copy of neighbouring pixels puts a line of the cache into a line of banks: with a pitch it takes 1.7 times
/// (128-byte pixels) to 7 times (32-byte pixels) as long, and asks for up to 2.7 times the sectors (H200). It is the order that matrix
/// instructions of a warpgroup know for rows of `width` bytes.
FCM_CONSTEXPR int traded_piece(int width, int row, int piece) {
  return width == 0 ? piece : piece ^ (row * width / 128 % (width / 16));
}
/// The widest that a row of `bytes` allows; 0 where its odd number of pieces meets no bank twice as it is.
FCM_CONSTEXPR int trading_width(int bytes) {
  return bytes % 128 == 0 ? 128 : bytes % 64 == 0 ? 64 : bytes % 32 == 0 ? 32 : 0;
}
/// The same in a row of a slice: of 16-bit elements, or of 32-bit ones, whose matrix loads are of 32 bytes.
FCM_CONSTEXPR int slice_piece(int el, int row, int piece) {
  return el == 2 ? traded_piece(128, row, piece) : piece ^ row % 4 * 2;
}

/// Where in a slice's depth a team (kernels/relay.cuh) multiplies its `k`-th channel: the eight channels that a lane loads at once are two
/// of either half of two steps.
FCM_CONSTEXPR int team_depth(int k) {
  return k / 32 * 32 + k % 8 / 4 * 16 + k % 4 / 2 * 8 + k % 32 / 8 * 2 + k % 2;
}

/// Where the `channel`-th is computed of those that leave from registers: a lane's two of either eight (by place) of sixteen are four
/// neighbours. So an expansion orders a chunk that is filtered and stored, and a projection its columns whose sums are stored directly.
FCM_CONSTEXPR int paired_place(int channel) {
  return channel / 16 * 16 + channel / 2 % 2 * 8 + channel % 16 / 4 * 2 + channel % 2;
}

/// Where the `column`-th of a block's output channels is computed: in its order, or as paired_place has it of 16 or of 32 columns that
/// leave together.
FCM_CONSTEXPR int column_place(const Geometry& g, int column) {
  if (!g.direct) return column;
  const int tile = column / 16, own = tile % g.warp_n / g.own_n * g.own_n, n = tile % g.warp_n - own;  // of its warp's; of a party's
  if (!g.wide || (n ^ 1) >= min_of(g.own_n, g.warp_n - own)) return paired_place(column);
  const int c = column - (tile - n % 2) * 16;  // of 32
  return (tile - n % 2) * 16 + c / 4 % 2 * 16 + c / 2 % 2 * 8 + c / 8 * 2 + c % 2;
}

/// Registers a thread that a team's warps gain from the others where `budget` is what all have: warps that project need their own.
FCM_CONSTEXPR int gained_registers(const Shape& s, int budget) {
  return !s.project && budget <= 208 ? 16 : 0;
}
FCM_CONSTEXPR int given_registers(const Shape& s, const Geometry& g, int gained) {
  return round_up(gained * 4 * s.team / g.warps, 8);
}

/// Pixel groups below each other that a warp handles at a time in the depthwise stage.
FCM_CONSTEXPR int run_length(const Shape& s, const Geometry& g) {
  const int most = s.project ? g.warp_m : min_of(g.warp_m, 4);
  return g.runs ? most : s.project ? g.warp_m : min_of(g.warp_m, 2);
}
/// The pixel group that is the `j`-th of the warps `warp` along pixels; at least m_tiles where there is none. Groups are numbered row by
/// row of the tile. A run's spare groups continue it downwards.
FCM_CONSTEXPR int group_of(const Shape& s, const Geometry& g, int warp, int j) {
  if (!g.runs) return warp + j * s.warps_m;
  return ((warp / g.m_tiles_w) * g.warp_m + j) * g.m_tiles_w + warp % g.m_tiles_w;
}

/// Whether matrix instructions of four warps may project what a depthwise stage leaves in registers: they need a warp's 16 pixels each.
FCM_CONSTEXPR bool groups_may_project(const Shape& s, int warps_m) {
  return s.dw && s.project && warps_m % 4 == 0;
}

FCM_CONSTEXPR void derive_planes(const Shape& s, Geometry& g) {
  g.flat = !s.dw;
  g.copied = !s.expand;
  if (g.flat) {
    g.tiles = ceil_div(s.out_h * s.out_w, s.tile_w);  // of one image; only with a pool epilogue do tiles stop at images
    g.m_tiles_w = 1;
    g.m_tiles = s.tile_w / 16;
    g.core_px = s.tile_w;
    g.warp_m = ceil_div(g.m_tiles, s.warps_m);
    g.e_rows = 1;
    g.e_half = g.e_slots = s.tile_w;
    return;
  }
  const Window& w = s.dw_window;
  g.ay = make_axis(s.out_h, s.tile_h, 2, s.mid_h, w.kh, w.sh, w.dh, w.top);
  // A group's columns that do not exist read past the row's end, of a team's chunk buffers into the next row.
  g.ax = make_axis(s.out_w, s.tile_w, s.team > 0 ? 1 : 8, s.mid_w, w.kw, w.sw, w.dw, w.left);
  g.tiles = g.ay.tiles * g.ax.tiles;
  g.m_tiles_w = ceil_div(s.tile_w, 8);
  g.image_px = g.ay.core * g.ax.core;
  g.core_px = s.images * g.image_px;
  g.dw_rows = (w.kh - 1) * w.dh + w.sh + 1;
  // Images stand below each other like one tall plane, far enough apart that none reads another's rows.
  g.image_pairs = ceil_div(s.tile_h, 2);
  if (s.images > 1) {
    const int apart = max_of(g.ay.core_at + g.ay.core, (s.out_h - 1) * w.sh + (w.kh - 1) * w.dh + 1 - g.ay.core_at);
    g.image_pairs = max_of(g.image_pairs, ceil_div(apart, 2 * w.sh));
  }
  const int row_pairs = s.images * g.image_pairs;
  g.m_tiles = row_pairs * g.m_tiles_w;
  g.runs = s.warps_m % g.m_tiles_w == 0;
  g.warp_m = g.runs ? ceil_div(row_pairs, s.warps_m / g.m_tiles_w) : ceil_div(g.m_tiles, s.warps_m);
  // Spare groups of the last run, and rows that a load brings along, lie in the buffer too.
  const int length = run_length(s, g), rows = (g.runs ? length - 1 : 0) * 2 * w.sh + g.dw_rows;
  const int pairs_read = g.runs ? (s.warps_m / g.m_tiles_w - 1) * g.warp_m + round_up(g.warp_m, length) : row_pairs;
  g.e_rows =
      max_of((pairs_read - 1) * 2 * w.sh + g.dw_rows + (rows % 4 == 3 ? 1 : 0), (s.images - 1) * g.image_pairs * 2 * w.sh + g.ay.extent);
  g.e_half = ceil_div(g.ax.extent, w.sw);  // columns of one residue modulo the stride lie together
  g.e_slots = g.e_half * w.sw;
}

FCM_CONSTEXPR void derive_weights(const Shape& s, Geometry& g) {
  if (s.expand && !s.streamed) g.expand_bytes = (g.k1 / g.ks) * (g.e_chunk / 16) * kUnitBytes;
  const int normalised = s.norm == Norm::none ? 0 : 1;  // column sums of the stage that reads the input
  g.expand_bias_at = g.expand_bytes;
  g.expand_sums_at = g.expand_bias_at + (s.expand ? g.e_chunk * 4 : 0);
  g.dw_at = g.expand_sums_at + (s.expand ? normalised * g.e_chunk * 4 : 0);
  if (s.dw) {
    const Window& w = s.dw_window;
    // 16-bit: a word a tap, and the bias in the last, for which an odd number of taps leaves room.
    g.dw_channel_bytes = g.el == 2 ? round_up((w.kw * w.kh + 1) * 4, 16) : w.kw * w.kh * 4;
  }
  g.dw_bias_at = g.dw_at + g.dw_channel_bytes * s.chunk;
  g.record_a = g.dw_bias_at + (s.dw && g.el == 4 ? s.chunk * 4 : 0);
  g.record_b = s.project && !g.product ? (s.chunk / g.ks) * (s.n_tile / 16) * kUnitBytes : 0;
  g.bias_at = 0;
  g.sums_at = g.bias_at + (s.project ? g.n_blocks * s.n_tile * 4 : 0);
  g.a_at = g.sums_at + (s.project && !s.expand ? normalised * g.n_blocks * s.n_tile * 4 : 0);
  g.b_at = g.a_at + g.chunks * g.record_a;
  g.slices_at = g.b_at + g.chunks * g.n_blocks * g.record_b;
  if (s.streamed) g.slices_at = round_up(g.slices_at, kSliceBytes);
  g.blob_bytes = g.slices_at + (g.product ? g.n_blocks : g.chunks) * g.slices * g.weight_slice;
}

/// Slices of weights that lie in shared memory.
FCM_CONSTEXPR int weight_slices(const Shape& s, const Geometry& g) {
  if (s.team > 0) return g.weight_stages * g.slices;
  return g.product && s.resident ? g.slices : s.stages;
}

FCM_CONSTEXPR void derive_shared(const Shape& s, Geometry& g) {
  g.weight_stages = s.resident ? g.block_chunks : min_of(g.block_chunks, g.copied ? s.stages : 2);
  const bool from_x = s.residual_is_input && s.expand && !s.conv && !s.streamed;  // a residual that lies in the input tile
  const bool from_rows = s.team > 0;                                              // or that passes through a warp's corner
  const int parties = s.split * s.warps_k;
  g.direct = s.project && g.el == 2 && (s.dw || s.expand) && s.pool == Pool::none &&
             (parties == 1 || (s.dw && parties <= min_of(kMostParties, g.warp_n))) &&
             (s.residual == Residual::none || ((from_x || from_rows) && (s.residual == Residual::before_activation || s.out_act.fn == 0)));
  g.parties = g.direct ? parties : 1;
  g.own_n = ceil_div(g.warp_n, g.parties);
  g.wide = g.direct && (s.residual == Residual::none || from_rows);  // an input tile's pixels are added to 16 columns at a time
  g.corner_pitch = 16 * g.el;
  const bool publishes = s.project && !g.product && (!g.direct || g.parties > 1);
  g.red_pitch = publishes ? bank_pitch(s.n_tile, 4) : 0;
  g.red_items = s.project && s.split > 1 ? 2 * ceil_div(g.m_tiles * 16 * (s.n_tile / 16), s.split) : 0;
  g.red_bytes = !publishes    ? 0
                : g.direct    ? (g.parties - 1) * g.warps * g.warp_m * g.own_n * kSumsBytes
                : s.split > 1 ? s.split * s.warps_k * g.red_items * 32
                              : s.warps_k * g.m_tiles * 16 * g.red_pitch;
  g.red_aliases_e = s.expand && publishes && s.split == 1 && s.team == 0;  // other blocks push, teams store, while buffers are in use
  g.sites = g.flat ? 0 : s.expand ? g.x_rows : g.core_px;
  int at = 0;
  if (s.team > 0) {  // first what lies in whole kilobytes
    g.s_slices = at;
    at += weight_slices(s, g) * g.weight_slice;
  }
  g.s_barrier = at;
  at += s.project && s.split > 1 ? 16 : 0;
  const bool asked = g.weight_stages < g.block_chunks || (s.project && (s.split > 1 || s.team > 0));
  g.counts_weights = g.record_a + g.record_b > 0 && asked;
  g.s_arrivals = at;
  at += g.counts_weights ? round_up((s.team > 0 ? 2 : 1) * g.weight_stages * 8, 16) : 0;  // slices have their own
  g.s_biases = at;
  at += s.project && s.team > 0 ? g.block_chunks * g.e_chunk * 4 : 0;
  g.s_bias = at;
  at += s.project ? s.n_tile * 4 : 0;
  g.s_sums = at;
  at += s.norm != Norm::none && !s.expand ? s.n_tile * 4 : 0;
  g.stat_rows = s.norm == Norm::none || g.product ? 0 : s.expand ? g.x_rows : g.core_px;
  g.s_stats = at;
  at += round_up(g.stat_rows * 8, 16);
  g.s_sites = at;
  at += round_up(g.sites * 8, 16);
  g.s_weights = at;
  at += g.weight_stages * (g.record_a + g.record_b);
  g.s_x = s.team > 0 ? at : s.streamed || g.x_band > 0 ? round_up(at, 8 * kSliceBytes) : g.x_width > 0 ? round_up(at, kSliceBytes) : at;
  at = g.s_x + g.x_bytes;
  if (s.team == 0) {
    g.s_slices = at;
    at += weight_slices(s, g) * g.weight_slice;
  }
  if (g.e_width > 0) at = round_up(at, kSliceBytes);
  g.s_e = s.overlaid ? g.s_x : at;
  const int e_all = g.e_buffers * g.e_bytes;
  at = max_of(at, g.s_e + (g.red_aliases_e ? max_of(e_all, g.red_bytes) : e_all));
  g.s_red = g.red_aliases_e ? g.s_e : at;
  at += g.red_aliases_e ? 0 : g.red_bytes;
  g.s_stage = at;
  // A warp's 16 pixels on their way out where registers do not hold what is stored together: 16 channels, or 64 of a pointwise layer; all
  // that it has where a residual waits in their place.
  const int kept = s.residual == Residual::none ? 1 : g.warp_m * ceil_div(g.warp_n, 4);
  at += g.product ? g.warps * kept * 16 * kSliceBytes : g.paired || s.project ? 0 : g.warps * 16 * g.corner_pitch;
  g.s_pool = at;
  at += s.pool != Pool::none && !s.project ? s.warps_m * s.chunk * 4 : 0;
  // Matrix instructions read whole units of 64 rows: behind the last rows of a slice whatever lies there, for sums that are not stored.
  g.shared_bytes = s.streamed && s.team == 0 ? max_of(at, g.s_x + (s.stages - 1) * g.x_slice + g.x_rows * kSliceBytes) : at;
}

/// What follows from the module and from a tile's extent on the plane, its images and its warps along pixels alone.
FCM_CONSTEXPR Geometry plane_geometry(const Shape& s) {
  Geometry g;
  g.el = s.math == Math::f16 || s.math == Math::bf16 ? 2 : 4;
  g.vec = 16 / g.el;
  g.ks = g.el == 2 ? 16 : 8;
  g.in_pitch = round_up(s.in_c, g.vec);
  g.out_channels = s.project ? s.out_c : s.dw_c;
  g.out_pitch = round_up(g.out_channels, g.vec);
  derive_planes(s, g);
  return g;
}
/// All other sizes.
FCM_CONSTEXPR void derive_block(const Shape& s, Geometry& g) {
  g.warps = s.warps_m * s.warps_k * s.warps_n;
  g.threads = (g.warps + 4 * s.team) * 32;
  g.e_chunk = s.chunk / s.multiplier;
  g.chunks = ceil_div(s.dw_c, s.chunk);
  g.block_chunks = ceil_div(g.chunks, s.split);
  g.product = s.streamed && s.project && !s.expand && !s.dw && !s.conv;
  if (g.product) {
    g.slice = s.chunk;
    g.slices = g.chunks;
    g.weight_slice = s.n_tile * kSliceBytes;
    g.x_rows = s.tile_w;
    g.x_pitch = kSliceBytes;
    g.x_slice = g.x_rows * kSliceBytes;
    g.x_bytes = s.stages * g.x_slice;
  }
  if (s.expand) {
    g.k1 = round_up(s.conv ? s.conv_window.kh * s.conv_window.kw * s.in_c : s.in_c, g.ks);
    g.x_rows = round_up(g.core_px, (s.warpgroup ? 64 : 16) * s.expand_m);
    if (s.streamed) {
      g.slice = kSliceBytes / g.el;
      g.slices = ceil_div(g.k1, g.slice);
      g.k1 = g.slices * g.slice;
      g.weight_slice = g.e_chunk * kSliceBytes;
      g.x_pitch = kSliceBytes;
      g.x_slice = (s.warpgroup ? round_up(g.core_px, 8) : g.x_rows) * kSliceBytes;
      g.x_bytes = s.team > 0 ? 0 : s.stages * g.x_slice;
    } else if (s.warpgroup) {  // bands of rows as a matrix descriptor knows them
      g.x_pitch = g.x_width = trading_width(g.k1 * g.el);
      g.x_band = g.x_rows * g.x_width;
      g.x_bytes = g.k1 * g.el * g.x_rows;
    } else if (g.el == 2 && !s.conv) {  // pixels as they lie; of an odd number of pieces the last is multiplied by zeros from the next one
      g.x_pitch = g.in_pitch * g.el;
      g.x_width = trading_width(g.x_pitch);
      g.x_bytes = g.x_rows * g.x_pitch + (g.k1 - g.in_pitch) * g.el;
    } else {
      g.x_pitch = bank_pitch(g.k1, g.el);
      g.x_bytes = g.x_rows * g.x_pitch;
    }
  }
  g.e_buffers = s.team > 0 ? 2 : s.streamed ? 1 : s.stages;
  if (g.flat && g.copied && !s.conv && g.el == 2) {
    g.e_pitch = g.e_chunk * g.el;
    g.e_width = trading_width(g.e_pitch);
  } else {
    g.e_pitch = bank_pitch(g.e_chunk, g.el);
  }
  // Where an expansion stores the region of a strided window, neighbours lie half a line of banks apart: eight of them, four of either
  // residue, meet no bank twice.
  g.e_column = g.e_half * g.e_pitch;
  if (s.expand && !g.flat && g.el == 2 && s.dw_window.sw == 2) g.e_column += (64 + 128 - g.e_column % 128) % 128;
  g.e_line = g.e_slots / g.e_half * g.e_column;
  g.gate_at = g.e_rows * g.e_line + (s.team > 0 && s.dw ? round_up(s.tile_w, 8) - s.tile_w : 0) * g.e_pitch;
  if (s.gate) g.gate_rows = s.pool != Pool::none ? 1 : ceil_div(s.tile_w - 1, s.out_h * s.out_w) + 1;
  g.e_bytes = g.product ? 0 : round_up(g.gate_at + g.gate_rows * g.e_chunk * g.el, g.e_width > 0 ? kSliceBytes : 16);
  g.n_blocks = s.project ? ceil_div(s.out_c, s.n_tile) : 1;
  g.paired = s.expand && s.dw && !s.project && g.el == 2 && s.multiplier == 1;
  g.project_by_groups = (s.warpgroup || s.project_groups) && groups_may_project(s, s.warps_m);
  g.warp_n = s.project ? s.n_tile / 16 / s.warps_n : 0;
  derive_weights(s, g);
  derive_shared(s, g);
}

/// All sizes of a module kernel. Meaningful for shapes that `fcm::refusal` accepts.
FCM_CONSTEXPR Geometry derive(const Shape& s) {
  Geometry g = plane_geometry(s);
  derive_block(s, g);
  return g;
}

/// Units of a streamed expansion that one warp (or warpgroup) keeps the sums of.
FCM_CONSTEXPR int streamed_units(const Shape& s, const Geometry& g) {
  const int units = g.x_rows / (s.warpgroup ? 64 : 16 * s.expand_m) * (g.e_chunk / (16 * s.expand_n));
  return ceil_div(units, s.team > 0 ? s.team : s.warpgroup ? g.warps / 4 : g.warps);
}

/// Independent pieces of work at a batch: spatial tiles of all images. Each is done by n_blocks * split blocks.
FCM_CONSTEXPR int work_items(const Shape& s, const Geometry& g, int batch) {
  if (g.flat && s.pool == Pool::none) return ceil_div(batch * s.out_h * s.out_w, s.tile_w);
  return g.tiles * ceil_div(batch, s.images);
}

}  // namespace fcm::geometry
