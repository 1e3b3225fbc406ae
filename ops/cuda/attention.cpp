// Attention: one kernel, compiled for the layer. Up to three forms of it for 16-bit types, by how many blocks the batch gives: few queries
// a block and its keys shared out among warps while multiprocessors would be idle, more queries a block once they are busy.
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

// Shared memory that every target gives a block, of the generations up to sm_75 and from sm_80 on.
int64_t most_shared(const jit::Target& target) {
  return (target.major < 8 ? 64 : 96) * int64_t{1024};
}
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
  int64_t step = 16;   // keys whose scores a warp holds at a time

  int64_t queries() const { return query_warps * 16; }
  int64_t threads() const { return query_warps * key_warps * kWarp; }
  friend bool operator==(const Tile&, const Tile&) = default;
};

// Channels in whole eights, in rows that begin an odd number of eights apart: those that ldmatrix reads together lie in different banks.
struct Extent {
  int64_t qk_pad, v_pad;

  explicit Extent(const Attention& op) : qk_pad(round_up(op.qk_size, 8)), v_pad(round_up(op.v_size, 8)) {}
  static int64_t pitch(int64_t pad) { return pad / 8 % 2 == 1 ? pad : pad + 8; }
  int64_t qk_pitch() const { return pitch(qk_pad); }
  int64_t v_pitch() const { return pitch(v_pad); }
  int64_t query_pitch() const { return std::max(qk_pitch(), v_pitch()); }  // rows of the result lie there later
};

int64_t shared_bytes(const Attention& op, const Tile& tile) {
  const Extent e(op);
  const int64_t full = (op.keys - 1) / tile.chunk;  // chunks before the last
  const int64_t rows = full > 0 ? 2 * tile.chunk : round_up(op.keys, 16 * tile.key_warps);
  const int64_t operands = (tile.queries() * e.query_pitch() + rows * (e.qk_pitch() + e.v_pitch())) * 2;
  const int64_t parts = tile.key_warps > 1 ? tile.query_warps * tile.key_warps * 16 * (2 + e.v_pad + 8) * 4 : 0;
  return std::max(operands, parts);
}

// Blocks of up to `query_warps` warps, as few as hold all queries and then as even as they can be; likewise the keys of a chunk among up to
// `key_warps`. Chunks of up to `chunk` keys, smaller where they would take more shared memory than `most`.
Tile make_tile(const Attention& op, int64_t query_warps, int64_t key_warps, int64_t chunk, int64_t step, int64_t most) {
  const auto even = [](int64_t pieces, int64_t warps) { return ceil_div(pieces, ceil_div(pieces, warps)); };
  const Extent e(op);
  Tile tile;
  tile.query_warps = even(ceil_div(op.queries, 16), query_warps);
  tile.key_warps = even(ceil_div(std::min(op.keys, chunk), 16), key_warps);
  const int64_t unit = 16 * tile.key_warps;
  tile.chunk = round_up(std::min(op.keys, chunk), unit);
  while (tile.chunk > unit && shared_bytes(op, tile) > most) tile.chunk -= unit;
  tile.step = std::min(tile.chunk / tile.key_warps, e.qk_pad + e.v_pad > 128 ? std::min<int64_t>(step, 32) : step);
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
  bool packed = false;  // 16 x 16 scores at a time, in the order of the lanes that hold them; `query` then steps over 16
  bool pairs = false;
  float scale = 0.0f;
};

// A constant bias as the kernels read it: carrying log2(e) already; f16 keeps its type, everything else is f32 (bf16 has too few bits).
struct ConstantBias {
  DType dtype;
  int64_t rows, keys;  // of one head; 1 row: the same for all queries
  std::vector<float> values;

  ConstantBias(const Tensor& tensor, const Shape& shape, DType operands)
      : dtype(operands == DType::f16 ? DType::f16 : DType::f32),
        rows(shape[2].factor),
        keys(shape[3].factor),
        values(float_values(tensor)) {
    constexpr float kMostF16 = 65504.0f;
    for (float& x : values) {
      x *= std::numbers::log2e_v<float>;
      if (dtype == DType::f16 && std::isfinite(x)) x = std::clamp(x, -kMostF16, kMostF16);
    }
  }

  int64_t row_tiles() const { return ceil_div(rows, 16); }
  int64_t key_tiles() const { return ceil_div(keys, 16); }
  // Tiles of 16 x 16 scores; a lane's eight values side by side: keys 2q, 2q + 1 of rows lane / 4 and lane / 4 + 8, the same of keys 8-15.
  std::vector<float> packed() const {
    const auto heads = static_cast<int64_t>(values.size()) / (rows * keys);
    std::vector<float> result(static_cast<size_t>(heads * row_tiles() * key_tiles() * 256), 0.0f);
    for (size_t i = 0; i < result.size(); ++i) {
      const auto element = static_cast<int64_t>(i % 8), lane = static_cast<int64_t>(i / 8 % 32), tile = static_cast<int64_t>(i / 256);
      const int64_t key = tile % key_tiles() * 16 + element / 4 * 8 + 2 * (lane % 4) + element % 2;
      const int64_t in_tile = element / 2 % 2 * 8 + lane / 4;
      const int64_t row = rows == 1 ? 0 : tile / key_tiles() % row_tiles() * 16 + in_tile;
      const int64_t head = tile / key_tiles() / row_tiles();
      if (key < keys && row < rows) result[i] = values[static_cast<size_t>((head * rows + row) * keys + key)];
    }
    return result;
  }
};

BiasSource bias_source(const Request& r, const Attention& op, DType dtype, bool tensor_cores) {
  BiasSource b;
  if (!r.has(kBias)) return b;
  const Shape shape = r.shape(kBias);
  b.groups = shape[0];
  b.packed = tensor_cores && r.is_constant(kBias);
  int64_t row = op.keys, rows = shape[2].factor;
  b.scale = std::numbers::log2e_v<float>;
  if (r.is_constant(kBias)) {
    const ConstantBias constant(r.constant(kBias), shape, dtype);
    b.dtype = constant.dtype;
    b.scale = 1.0f;
    if (b.packed) row = constant.key_tiles() * 256, rows = constant.row_tiles();
    b.place = Place::weight(r.build.weights.add(to_bytes(b.packed ? constant.packed() : constant.values, b.dtype)));
  } else {
    b.place = r.source(kBias).place;
    b.dtype = r.inputs[kBias]->layout.dtype;
  }
  b.pairs = op.keys % 2 == 0;
  b.query = rows == 1 ? 0 : row;
  b.head = shape[1].factor == 1 ? 0 : row * rows;
  b.group = row * rows * shape[1].factor;
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
    int64_t enough = 0;  // taken where it gives at least so many blocks
  };

  // `forms` from the one with most blocks on; the last one that gives enough of them is taken.
  AttentionStep(std::vector<Form> forms, std::vector<Place> places, std::string text)
      : forms_(std::move(forms)), places_(std::move(places)), text_(std::move(text)) {}

  void enqueue(const StepArgs& args) const override {
    const Form* form = forms_.data();
    for (const Form& f : forms_)
      if (f.blocks.at(args.batch) >= f.enough) form = &f;
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
                         static_cast<size_t>(form->shared), arguments.data(), args.programmatic && args.overlaps);
  }
  std::string describe() const override { return text_; }

 private:
  std::vector<Form> forms_;
  std::vector<Place> places_;
  std::string text_;
};

// Writes the kernels of one node.
class Emitter {
 public:
  Emitter(const Request& r, const Attention& op)
      : r_(r), op_(op), dtype_(operand_dtype(r)), tensor_cores_(on_tensor_cores()), bias_(bias_source(r, op, dtype_, tensor_cores_)) {}

  std::unique_ptr<Step> make() {
    std::vector<AttentionStep::Form> forms;
    if (op_.fn == AttentionFn::relu) {
      forms.push_back(tensor_cores_ ? relu_tensor_core_form() : relu_form());
    } else if (!tensor_cores_) {
      forms.push_back(scalar_form());
    } else {
      forms = tensor_core_forms();
    }
    std::vector<Place> places = {operand_place(r_, kQuery, dtype_),
                                 operand_place(r_, kKey, dtype_),
                                 operand_place(r_, kValue, dtype_),
                                 bias_.place,
                                 rows_place(r_),
                                 Place::output(0)};
    const std::string text = fmt::format("attention {} {}x{} tokens {}x{} heads {}", op_.fn == AttentionFn::relu ? "relu" : "softmax",
                                         op_.queries, op_.keys, op_.heads, op_.qk_size, dtype_name(dtype_));
    return std::make_unique<AttentionStep>(std::move(forms), std::move(places), text);
  }

 private:
  // Softmax: 16-bit operands. The ReLU form has the product of K and V in registers and needs TF32 beside.
  bool on_tensor_cores() const {
    const int major = r_.build.device.target.major;
    if (dtype_ == DType::f32 || (dtype_ == DType::bf16 && major < 8)) return false;
    if (op_.fn == AttentionFn::softmax) return true;
    const auto pairs = [&](const HeadView& view, int64_t size) { return access_width(view, size, dtype_) >= 2; };
    return major >= 8 && op_.qk_size % 16 == 0 && op_.v_size % 8 == 0 && op_.qk_size * (op_.v_size + 8) <= 32 * 40 &&
           pairs(op_.q, op_.qk_size) && pairs(op_.k, op_.qk_size) && pairs(op_.v, op_.v_size);
  }

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
        "  static constexpr bool kBias = {};\n  static constexpr bool kBiasPacked = {};\n  static constexpr bool kBiasPairs = {};\n"
        "  static constexpr int64 kBiasGroup = {};\n"
        "  static constexpr int64 kBiasHead = {};\n  static constexpr int64 kBiasQuery = {};\n  static constexpr float kBiasScale = {};\n"
        "  static constexpr float kScale = {};\n  static constexpr float kEpsilon = {};\n"
        "  __device__ __forceinline__ static int64 bias_groups(int64 batch) {{ return {}; }}\n"
        "  __device__ __forceinline__ static float activated(float x) {{ return {}; }}\n",
        r_.has(kBias), bias_.packed, bias_.pairs, bias_.group, bias_.head, bias_.query, float_text(bias_.scale),
        float_text(static_cast<double>(op_.scale) * std::numbers::log2e), float_text(op_.epsilon), expression(bias_.groups),
        unary_text(op_.activation, "x"));
    return text + view_text("Q", op_.q, op_.qk_size, dtype_) + view_text("K", op_.k, op_.qk_size, dtype_) +
           view_text("V", op_.v, op_.v_size, dtype_);
  }

  AttentionStep::Form form(const std::string& body, const std::string& call, int64_t tile_queries, int64_t threads, int64_t shared) const {
    const std::string text = fmt::format(
        "struct P {{\n{}{}}};\n\nextern \"C\" __global__ void __launch_bounds__({}) attention_step(const void* q, const void* k, const "
        "void* v, "
        "const void* bias, const void* rows, void* y, int64 batch) {{\n  attention::{};\n}}\n",
        common(tile_queries), body, threads, call);
    const char* header = op_.fn == AttentionFn::relu ? "attention_relu.cuh" : "attention.cuh";
    jit::Program program = kernel_program("attention", header, text);
    program.headers.insert(embedded::attention_headers().begin(), embedded::attention_headers().end());
    Dim blocks = attention_groups(op_);
    blocks.factor *= op_.heads * ceil_div(op_.queries, tile_queries);
    return {r_.build.kernels.add(program, "attention_step", static_cast<size_t>(shared)), blocks, threads, shared, 0};
  }

  AttentionStep::Form tensor_core_form(const Tile& tile) const {
    const Extent e(op_);
    const std::string body = fmt::format(
        "  static constexpr attention::Math kMath = attention::Math::{};\n"
        "  static constexpr int kQueryWarps = {};\n  static constexpr int kKeyWarps = {};\n  static constexpr int kThreads = {};\n"
        "  static constexpr int kChunk = {};\n  static constexpr int kStep = {};\n  static constexpr int kQkPad = {};\n"
        "  static constexpr int kVPad = {};\n  static constexpr int kQkPitch = {};\n  static constexpr int kVPitch = {};\n"
        "  static constexpr int kQPitch = {};\n  static constexpr bool kShifted = {};\n",
        math_name(dtype_), tile.query_warps, tile.key_warps, tile.threads(), tile.chunk, tile.step, e.qk_pad, e.v_pad, e.qk_pitch(),
        e.v_pitch(), e.query_pitch(), r_.has(kBias) || op_.scale <= 0.0f);
    return form(body, "tensor_core_kernel<P>(q, k, v, bias, rows, y, batch)", tile.queries(), tile.threads(), shared_bytes(op_, tile));
  }

  // Measured on an H100: four query warps are the better form from a third of the multiprocessors on, eight from two blocks for each.
  std::vector<AttentionStep::Form> tensor_core_forms() const {
    const int64_t most = most_shared(r_.build.device.target);
    const int64_t sm_count = r_.build.device.sm_count;
    const Tile narrow = make_tile(op_, 1, 4, op_.keys, 64, most), middle = make_tile(op_, 4, 1, 64, 64, most);
    std::vector<AttentionStep::Form> forms = {tensor_core_form(narrow)};
    const auto add = [&](const Tile& tile, int64_t enough) {
      forms.push_back(tensor_core_form(tile));
      forms.back().enough = enough;
    };
    if (!(middle == narrow)) add(middle, sm_count / 3);
    if (op_.queries > 64) add(make_tile(op_, 8, 1, 64, 32, most), 2 * sm_count);
    return forms;
  }

  AttentionStep::Form scalar_form() const { return form("", "scalar_kernel<P>(q, k, v, bias, rows, y, batch)", 16, 128, 0); }

  AttentionStep::Form relu_tensor_core_form() const {
    const std::string body = fmt::format(
        "  static constexpr attention::Math kMath = attention::Math::{};\n  static constexpr int kThreads = 128;\n", math_name(dtype_));
    return form(body, "relu_tensor_core_kernel<P>(q, k, v, rows, y)", op_.queries, 128, 0);
  }

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
  const bool tensor_cores_;
  const BiasSource bias_;
};

}  // namespace

std::unique_ptr<Step> make_attention(const Request& r, const Attention& op) {
  return Emitter(r, op).make();
}

}  // namespace fcm::ops::cuda
