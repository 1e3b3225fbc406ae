// Attention: one kernel, compiled for the layer. Two forms of it for 16-bit types, by how many blocks the batch gives: few queries a block
// and its keys shared out among warps while multiprocessors would be idle, four times as many queries a block once they are busy.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "embed/attention_headers.h"
#include "ops/attention/attention.h"
#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

// Shared memory that every target gives a block (sm_75).
constexpr int64_t kMostShared = 64 * 1024;
constexpr int64_t kWarp = 32;

int64_t round_up(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit * unit;
}
int64_t ceil_div(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit;
}

// How a block of the tensor-core kernel is cut.
struct Tile {
  int64_t query_warps = 1;
  int64_t key_warps = 1;
  int64_t chunk = 16;  // keys in shared memory at a time
  int64_t span = 16;   // of a chunk, a key warp's part
  int64_t step = 16;   // keys whose scores a warp holds at a time

  int64_t queries() const { return query_warps * 16; }
  int64_t threads() const { return query_warps * key_warps * kWarp; }
  friend bool operator==(const Tile&, const Tile&) = default;
};

struct Extent {
  int64_t qk_pad, v_pad;

  explicit Extent(const Attention& op) : qk_pad(round_up(op.qk_size, 16)), v_pad(round_up(op.v_size, 16)) {}
  // Eight elements more than the channels: the rows that ldmatrix reads together then lie in different banks.
  int64_t qk_pitch() const { return qk_pad + 8; }
  int64_t v_pitch() const { return v_pad + 8; }
  int64_t key_bytes() const { return (qk_pitch() + v_pitch()) * 2; }
};

int64_t shared_bytes(const Attention& op, const Tile& tile) {
  const Extent e(op);
  const int64_t stages = tile.chunk < round_up(op.keys, 16) ? 2 : 1;
  const int64_t operands = tile.queries() * e.qk_pitch() * 2 + stages * tile.chunk * e.key_bytes();
  const int64_t parts = tile.key_warps > 1 ? tile.query_warps * tile.key_warps * (32 + 16 * e.v_pad) * 4 : 0;
  return std::max(operands, parts);
}

// The largest chunk that fits, all keys at best; whole 16s for each key warp.
Tile make_tile(const Attention& op, int64_t query_warps, int64_t key_warps, int64_t most_chunk) {
  const Extent e(op);
  const int64_t keys = round_up(op.keys, 16);
  Tile tile;
  tile.query_warps = std::min(query_warps, ceil_div(op.queries, 16));
  tile.key_warps = std::min(key_warps, keys / 16);
  tile.chunk = std::min(keys, most_chunk);
  if (shared_bytes(op, tile) > kMostShared) {
    const int64_t unit = 16 * tile.key_warps;
    tile.chunk = round_up(tile.chunk, unit);
    while (tile.chunk > unit && shared_bytes(op, tile) > kMostShared) tile.chunk -= unit;
  }
  tile.span = round_up(ceil_div(tile.chunk, tile.key_warps), 16);
  tile.step = std::min<int64_t>(tile.span, e.qk_pad + e.v_pad > 64 ? 32 : 64);
  return tile;
}

// Elements that an access of up to 16 bytes may hold everywhere in a view.
int64_t access_width(const HeadView& view, int64_t size, DType dtype) {
  int64_t common = std::gcd(std::gcd(view.offset, view.item), std::gcd(view.head, view.token));
  common = std::gcd(common, size);
  int64_t width = 16 / static_cast<int64_t>(dtype_size(dtype));
  while (common % width != 0) width /= 2;
  return width;
}

std::string view_text(const char* name, const HeadView& view, int64_t size, DType dtype) {
  return fmt::format(
      "  struct {} {{\n    static constexpr int64 kOffset = {};\n    static constexpr int64 kItem = {};\n    static constexpr int64 kHead "
      "= {};\n"
      "    static constexpr int64 kToken = {};\n    static constexpr int kSize = {};\n    static constexpr int kWidth = {};\n  }};\n",
      name, view.offset, view.item, view.head, view.token, size, access_width(view, size, dtype));
}

// A bias in device memory: its type, strides, and what its values must be multiplied with beside log2(e).
struct BiasSource {
  Place place = Place::none();
  DType dtype = DType::f32;
  Dim groups{1};
  int64_t head = 0, query = 0, group = 0;
  bool pairs = false;
  float scale = 0.0f;
};

// Constants are packed in rows of whole 16s and carry log2(e) already; f16 keeps its type, everything else is f32 (bf16 has too few bits).
BiasSource bias_source(const Request& r, const Attention& op, DType dtype) {
  BiasSource b;
  if (!r.has(kBias)) return b;
  const Shape shape = r.shape(kBias);
  const bool constant = r.is_constant(kBias);
  const int64_t pitch = constant ? round_up(op.keys, 16) : op.keys;
  b.groups = shape[0];
  b.query = shape[2].factor == 1 ? 0 : pitch;
  b.head = shape[1].factor == 1 ? 0 : pitch * shape[2].factor;
  b.group = pitch * shape[2].factor * shape[1].factor;
  b.pairs = pitch % 2 == 0;
  if (!constant) {
    b.place = r.source(kBias).place;
    b.dtype = r.inputs[kBias]->layout.dtype;
    b.scale = std::numbers::log2e_v<float>;
    return b;
  }
  b.dtype = dtype == DType::f16 ? DType::f16 : DType::f32;
  b.scale = 1.0f;
  const std::vector<float> values = float_values(r.constant(kBias));
  std::vector<float> packed(values.size() / static_cast<size_t>(op.keys) * static_cast<size_t>(pitch), 0.0f);
  constexpr float kMostF16 = 65504.0f;
  for (size_t i = 0; i < values.size(); ++i) {
    float x = values[i] * std::numbers::log2e_v<float>;
    if (b.dtype == DType::f16 && std::isfinite(x)) x = std::clamp(x, -kMostF16, kMostF16);
    packed[i / static_cast<size_t>(op.keys) * static_cast<size_t>(pitch) + i % static_cast<size_t>(op.keys)] = x;
  }
  b.place = Place::weight(r.build.weights.add(to_bytes(packed, b.dtype)));
  return b;
}

// An operand that the model holds as a constant is stored in the type of the others.
Place operand_place(const Request& r, AttentionInput input, DType dtype) {
  const size_t i = holder_of(r.node, input);
  if (!r.is_constant(i)) return Place::input(i);
  return Place::weight(r.build.weights.add(to_bytes(float_values(r.constant(i)), dtype)));
}

DType operand_dtype(const Request& r) {
  for (size_t i = kQuery; i <= kValue; ++i)
    if (r.has(i) && !r.is_constant(i)) return r.inputs[i]->layout.dtype;
  throw Error(ErrorCode::internal, "an attention of constants was not folded");
}

Place rows_place(const Request& r) {
  if (!r.has(kRows)) return Place::none();
  const Tensor table = r.constant(kRows).cast(DType::i32);
  return Place::weight(r.build.weights.add({table.raw(), table.raw() + table.bytes()}));
}

std::string float_text(double x) {
  return literal(static_cast<float>(x));
}

const char* math_name(DType dtype) {
  return dtype == DType::bf16 ? "bf16" : "f16";
}

class AttentionStep : public Step {
 public:
  struct Form {
    std::shared_ptr<const Kernel> kernel;
    Dim blocks;
    int64_t threads = 0;
    int64_t shared = 0;
  };

  // `forms` from the one with most blocks on; a later one is taken when it gives at least `enough` blocks.
  AttentionStep(std::vector<Form> forms, std::vector<Place> places, int64_t enough, std::string text)
      : forms_(std::move(forms)), places_(std::move(places)), enough_(enough), text_(std::move(text)) {}

  void enqueue(const StepArgs& args) const override {
    const Form* form = forms_.data();
    for (const Form& f : forms_)
      if (f.blocks.at(args.batch) >= enough_) form = &f;
    const int64_t blocks = form->blocks.at(args.batch);
    if (blocks == 0) return;
    if (blocks > std::numeric_limits<int32_t>::max())
      throw Error(ErrorCode::unsupported, fmt::format("{}: {} blocks are more than a grid can hold; use a smaller batch", text_, blocks));
    std::vector<void*> pointers;
    for (const Place& place : places_) pointers.push_back(place.resolve(args));
    std::vector<void*> arguments;
    for (void*& pointer : pointers) arguments.push_back(&pointer);
    int64_t batch = args.batch;
    arguments.push_back(&batch);
    int next_waits = args.programmatic && args.before_own ? 1 : 0;
    arguments.push_back(&next_waits);
    form->kernel->launch(args.stream, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(form->threads)),
                         static_cast<size_t>(form->shared), arguments.data());
  }
  std::string describe() const override { return text_; }

 private:
  std::vector<Form> forms_;
  std::vector<Place> places_;
  int64_t enough_;
  std::string text_;
};

// Writes the kernels of one node.
class Emitter {
 public:
  Emitter(const Request& r, const Attention& op) : r_(r), op_(op), dtype_(operand_dtype(r)), bias_(bias_source(r, op, dtype_)) {}

  std::unique_ptr<Step> make() {
    std::vector<AttentionStep::Form> forms;
    if (op_.fn == AttentionFn::relu) {
      forms.push_back(relu_form());
    } else if (dtype_ == DType::f32 || (dtype_ == DType::bf16 && r_.build.device.target.major < 8)) {
      forms.push_back(scalar_form());
    } else {
      const Tile narrow = make_tile(op_, 1, 4, op_.keys + 15);
      const Tile wide = make_tile(op_, 4, 1, 64);
      forms.push_back(tensor_core_form(narrow));
      if (!(wide == narrow)) forms.push_back(tensor_core_form(wide));
    }
    std::vector<Place> places = {operand_place(r_, kQuery, dtype_),
                                 operand_place(r_, kKey, dtype_),
                                 operand_place(r_, kValue, dtype_),
                                 bias_.place,
                                 rows_place(r_),
                                 Place::output(0)};
    const std::string text = fmt::format("attention {} {}x{} tokens {}x{} heads {}", op_.fn == AttentionFn::relu ? "relu" : "softmax",
                                         op_.queries, op_.keys, op_.heads, op_.qk_size, dtype_name(dtype_));
    return std::make_unique<AttentionStep>(std::move(forms), std::move(places), int64_t{2} * r_.build.device.sm_count, text);
  }

 private:
  // What all kernels read of P.
  std::string common(int64_t tile_queries) const {
    const std::string element = device_type(dtype_);
    std::string text = fmt::format(
        "  using TE = {};\n  using TO = {};\n  using TB = {};\n  static constexpr int kHeads = {};\n  static constexpr int kWindows = {};\n"
        "  static constexpr int kQueries = {};\n  static constexpr int kKeys = {};\n  static constexpr int kQkSize = {};\n"
        "  static constexpr int kVSize = {};\n  static constexpr int kTiles = {};\n  static constexpr bool kRows = {};\n",
        element, device_type(r_.outputs[0].layout.dtype), device_type(bias_.dtype), op_.heads, op_.windows, op_.queries, op_.keys,
        op_.qk_size, op_.v_size, ceil_div(op_.queries, tile_queries), r_.has(kRows));
    text += fmt::format(
        "  static constexpr bool kBias = {};\n  static constexpr bool kBiasPairs = {};\n  static constexpr int64 kBiasGroup = {};\n"
        "  static constexpr int64 kBiasHead = {};\n  static constexpr int64 kBiasQuery = {};\n  static constexpr float kBiasScale = {};\n"
        "  static constexpr float kScale = {};\n  static constexpr float kEpsilon = {};\n"
        "  __device__ __forceinline__ static int64 bias_groups(int64 batch) {{ return {}; }}\n",
        r_.has(kBias), bias_.pairs, bias_.group, bias_.head, bias_.query, float_text(bias_.scale),
        float_text(static_cast<double>(op_.scale) * std::numbers::log2e), float_text(op_.epsilon), expression(bias_.groups));
    return text + view_text("Q", op_.q, op_.qk_size, dtype_) + view_text("K", op_.k, op_.qk_size, dtype_) +
           view_text("V", op_.v, op_.v_size, dtype_);
  }

  AttentionStep::Form form(const std::string& body, const std::string& call, int64_t tile_queries, int64_t threads, int64_t shared) const {
    const std::string text = fmt::format(
        "struct P {{\n{}{}}};\n\nextern \"C\" __global__ void __launch_bounds__({}) attention_step(const void* q, const void* k, const "
        "void* v, "
        "const void* bias, const void* rows, void* y, int64 batch) {{\n  attention::{};\n}}\n",
        common(tile_queries), body, threads, call);
    jit::Program program = kernel_program("attention", "attention.cuh", text);
    program.headers.insert(embedded::attention_headers().begin(), embedded::attention_headers().end());
    Dim blocks = attention_groups(op_);
    blocks.factor *= op_.heads * ceil_div(op_.queries, tile_queries);
    return {r_.build.kernels.add(program, "attention_step", static_cast<size_t>(shared)), blocks, threads, shared};
  }

  AttentionStep::Form tensor_core_form(const Tile& tile) const {
    const Extent e(op_);
    const std::string body = fmt::format(
        "  static constexpr attention::Math kMath = attention::Math::{};\n  static constexpr int kQueryWarps = {};\n"
        "  static constexpr int kKeyWarps = {};\n  static constexpr int kThreads = {};\n  static constexpr int kChunk = {};\n"
        "  static constexpr int kSpan = {};\n  static constexpr int kStep = {};\n  static constexpr int kQkPad = {};\n"
        "  static constexpr int kVPad = {};\n  static constexpr int kQkPitch = {};\n  static constexpr int kVPitch = {};\n",
        math_name(dtype_), tile.query_warps, tile.key_warps, tile.threads(), tile.chunk, tile.span, tile.step, e.qk_pad, e.v_pad,
        e.qk_pitch(), e.v_pitch());
    return form(body, "tensor_core_kernel<P>(q, k, v, bias, rows, y, batch)", tile.queries(), tile.threads(), shared_bytes(op_, tile));
  }

  AttentionStep::Form scalar_form() const { return form("", "scalar_kernel<P>(q, k, v, bias, rows, y, batch)", 16, 128, 0); }

  AttentionStep::Form relu_form() const {
    constexpr int64_t kThreads = 256;
    const int64_t chunk = op_.qk_size + op_.v_size > 64 ? 64 : 128;
    const int64_t groups = ceil_div(op_.v_size, 4);
    const int64_t slices = std::max<int64_t>(1, kThreads / (op_.qk_size * groups));
    const int64_t floats = chunk * (4 * groups + op_.qk_size + 1) + slices * op_.qk_size * (4 * groups + 1);
    const std::string body = fmt::format("  static constexpr int kThreads = {};\n  static constexpr int kChunk = {};\n", kThreads, chunk);
    return form(body, "relu_kernel<P>(q, k, v, rows, y)", op_.queries, kThreads, floats * 4);
  }

  const Request& r_;
  const Attention& op_;
  const DType dtype_;
  const BiasSource bias_;
};

}  // namespace

std::unique_ptr<Step> make_attention(const Request& r, const Attention& op) {
  return Emitter(r, op).make();
}

}  // namespace fcm::ops::cuda
