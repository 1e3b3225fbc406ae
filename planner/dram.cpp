// A set-associative L2 with lines of some KiB, each set the least recently used out first, over the arena's own offsets. Kernels walk over
// their operands side by side from the first byte to the last, as blocks do.
#include "planner/dram.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <variant>

#include "planner/cost.h"
#include "planner/placement.h"

namespace fcm {
namespace {

// Measured on an H200 (tests/gpu/predicted_traffic.sh, 75 plans of six runs): of the L2, what stays under a plan; of a set's lines, how
// many may wait to be written back, the oldest beyond them is; of its two oldest a clean one goes first. Lines that are hashed onto sets of
// 32 fill them as unevenly as buffers fill the real one.
constexpr double kUsable = 0.95;
constexpr uint32_t kWays = 32, kDirtyWays = kWays / 2;
// The half of the L2 that is not a line's own keeps another where multiprocessors on both sides read it: all of a kernel's weights and of
// what libraries, attention and reductions read; every how manieth of what blocks of several columns read, of what windows read; none of
// what goes element by element from one place to another.
constexpr size_t kCopiedColumns = 4, kCopiedWindows = 3;
// Lines of the whole: as many as accesses of an inference allow at a few milliseconds. What hash they have then decides 0.5 % of kernels.
constexpr double kLines = 8192, kLeastLines = 128, kMostAccesses = 2e5;
constexpr double kWarm = 4;  // times the L2's size: of the end of the inference before, as much goes through it first

enum class Access : uint8_t {
  read,
  write,
  copy,  ///< in the other half of the L2
};

class SmallL2 {
 public:
  explicit SmallL2(double lines) : sets_(std::max<size_t>(1, static_cast<size_t>(std::lround(lines / kWays)))) {}

  void touch(uint64_t address, Access access) {
    const uint64_t hash = hashed(address);
    Set& set = sets_[(hash & 0xffffffffU) * sets_.size() >> 32];
    const uint32_t tag = static_cast<uint32_t>(hash >> 32) | 1U;
    const uint32_t place = place_of(set, tag);
    const bool hit = place < kWays;
    const bool second = set.dirty >> (kWays - 2) == 2;  // the oldest waits, the next one does not
    const uint32_t at = hit ? place : second ? kWays - 2 : kWays - 1;
    const bool was_dirty = (set.dirty >> at & 1) != 0;
    std::copy_backward(set.tags.begin(), set.tags.begin() + at, set.tags.begin() + at + 1);
    set.tags.front() = tag;
    const uint32_t younger = (1U << at) - 1;
    set.dirty = (set.dirty & ~(younger << 1 | 1U)) | (set.dirty & younger) << 1;
    if (!hit) moved_ += (was_dirty ? 1 : 0) + (access == Access::read ? 1 : 0);  // a line that is written whole is not read before
    if (access == Access::write || (hit && was_dirty)) set.dirty |= 1U;
    if (access != Access::write || static_cast<uint32_t>(std::popcount(set.dirty)) <= kDirtyWays) return;
    set.dirty &= ~std::bit_floor(set.dirty);  // the oldest stays, clean
    ++moved_;
  }
  /// Lines read from DRAM and written there since it was asked last.
  size_t take_moved() { return std::exchange(moved_, 0); }

 private:
  struct Set {
    std::array<uint32_t, kWays> tags{};  // the line used last first; 0: none
    uint32_t dirty = 0;                  // bit i: of tags[i], not written back yet
  };
  /// kWays where the set does not have the line. No two tags are equal, and all are looked at: several at a time.
  static uint32_t place_of(const Set& set, uint32_t tag) {
    uint32_t behind = 0;
    for (uint32_t i = 0; i < kWays; ++i) behind |= set.tags[i] == tag ? kWays - i : 0;
    return kWays - behind;
  }
  static uint64_t hashed(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdU;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53U;
    return x ^ x >> 33;
  }

  std::vector<Set> sets_;
  size_t moved_ = 0;
};

/// One operand of a kernel: a range of addresses, of which every `stride`th line is touched, from the `first` on.
struct Stream {
  uint64_t address = 0;
  double bytes = 0;
  Access access = Access::read;
  size_t stride = 1, first = 0;
};
using Kernel = std::vector<Stream>;

// Addresses that no arena reaches.
constexpr uint64_t kBorder = uint64_t{1} << 48, kWeights = uint64_t{2} << 48, kCopies = uint64_t{4} << 48;
constexpr uint64_t kBorderBuffer = uint64_t{1} << 36;

class Accesses {
 public:
  Accesses(const Graph& graph, const PlanVariant& variant, int64_t batch) : graph_(graph), variant_(variant), batch_(batch) {
    const BufferPlaces places = place_buffers(variant, batch);
    for (size_t b = 0; b < places.offsets.size(); ++b)
      addresses_.push_back(places.offsets[b] == BufferPlaces::kOutside ? kBorder + b * kBorderBuffer : places.offsets[b]);
  }

  /// The kernels of a step, one after another.
  std::vector<Kernel> of(const PlanStep& step) {
    if (!op_of<Concat>(step)) return {whole(step)};
    std::vector<Kernel> kernels;  // each writes its part of every pixel
    const auto parts =
        static_cast<size_t>(std::count_if(step.inputs.begin(), step.inputs.end(), [](BufferId b) { return b != kNoBuffer; }));
    for (const BufferId b : step.inputs) {
      if (b != kNoBuffer) kernels.push_back({stream_of(b, Access::read), stream_of(step.outputs[0], Access::write, parts, kernels.size())});
    }
    return kernels;
  }

 private:
  size_t bytes_of(BufferId id) const {
    const PlanBuffer& b = variant_.buffer(id);
    return layout_bytes(b.layout, at_batch(b.shape, batch_));
  }
  Stream stream_of(BufferId id, Access access, size_t stride = 1, size_t first = 0) const {
    return {addresses_[static_cast<size_t>(variant_.root(id))], static_cast<double>(bytes_of(id)), access, stride, first};
  }
  void add(Kernel& kernel, BufferId id, Access access, size_t stride) const {
    if (id == kNoBuffer) return;
    const Stream stream = stream_of(id, access, stride);
    const auto same = [&](const Stream& s) { return s.address == stream.address && s.access == access; };
    if (std::none_of(kernel.begin(), kernel.end(), same)) kernel.push_back(stream);  // a residual may be the input
  }
  Kernel whole(const PlanStep& step) {
    Kernel kernel;
    for (size_t i = 0; i < step.inputs.size(); ++i) add(kernel, step.inputs[i], Access::read, i == 0 ? stride_of(step) : 1);
    const size_t copied = copied_of(step), inputs = copied > 0 ? kernel.size() : 0;
    for (size_t i = 0; i < inputs; ++i)
      kernel.push_back({kCopies + kernel[i].address, kernel[i].bytes, Access::copy, copied * kernel[i].stride});
    const double weights = weight_bytes(step);
    kernel.push_back({kWeights + weights_at_, weights, Access::read});
    kernel.push_back({kCopies + kWeights + weights_at_, weights, Access::copy});
    weights_at_ += static_cast<uint64_t>(weights);
    for (const BufferId b : step.outputs) add(kernel, b, Access::write, 1);
    return kernel;
  }
  template <class... Ops>
  bool op_of(const PlanStep& step) const {
    return step.kind == PlanStep::Kind::node && (std::holds_alternative<Ops>(graph_.nodes[static_cast<size_t>(step.node)].op) || ...);
  }
  size_t stride_of(const PlanStep& step) const {
    return step.kind == PlanStep::Kind::node
               ? static_cast<size_t>(std::lround(1 / read_share(graph_.nodes[static_cast<size_t>(step.node)])))
               : 1;
  }
  /// Every how manieth line of a step's inputs both halves of the L2 keep; 0: none.
  size_t copied_of(const PlanStep& step) const {
    if (step.kind == PlanStep::Kind::convert || op_of<UnaryOp, Binary, Select, Cast, Elementwise>(step)) return 0;
    if (op_of<Pool>(step)) return kCopiedWindows;
    if (!step.module) return 1;
    const std::vector<StageSpec>& stages = step.module->spec.stages;
    if (std::any_of(stages.begin(), stages.end(), [](const StageSpec& s) { return s.op == StageOp::dw; })) return kCopiedWindows;
    return stages.back().op == StageOp::pw && step.module->tile.n_tile < stages.back().out_channels ? kCopiedColumns : 0;
  }
  double weight_bytes(const PlanStep& step) const {
    if (step.module) return module_weight_bytes(step.module->spec, step.module->tile);
    if (step.kind != PlanStep::Kind::node || step.outputs.front() == kNoBuffer) return 0;
    int64_t count = 0;
    for (const ValueId v : graph_.nodes[static_cast<size_t>(step.node)].inputs) {
      if (v != kNoValue && graph_.is_constant(v) && graph_.value(v).shape) count += element_count(at_batch(*graph_.value(v).shape, batch_));
    }
    const bool reads = !step.inputs.empty() && step.inputs[0] != kNoBuffer;  // weights are of the type that is read; sums may leave wider
    const PlanBuffer& like = variant_.buffer(reads ? step.inputs[0] : step.outputs[0]);
    return static_cast<double>(count) * static_cast<double>(dtype_size(like.layout.dtype));
  }

  const Graph& graph_;
  const PlanVariant& variant_;
  int64_t batch_;
  std::vector<uint64_t> addresses_;  // by BufferId; of roots alone
  uint64_t weights_at_ = 0;
};

/// Runs the streams of a kernel side by side.
void run(SmallL2& l2, const Kernel& streams, double line_bytes) {
  struct Walk {
    uint64_t first;
    size_t lines, done;
  };
  std::vector<Walk> walks;
  size_t longest = 1;
  for (const Stream& s : streams) {
    const auto lines = static_cast<size_t>(std::lround(s.bytes / line_bytes));
    walks.push_back({static_cast<uint64_t>(static_cast<double>(s.address) / line_bytes), lines, s.first});
    longest = std::max(longest, lines);
  }
  for (size_t i = 1; i <= longest; ++i) {
    for (size_t s = 0; s < streams.size(); ++s) {
      for (Walk& w = walks[s]; w.done * longest < i * w.lines; w.done += streams[s].stride) l2.touch(w.first + w.done, streams[s].access);
    }
  }
}

}  // namespace

std::vector<double> dram_bytes(const Graph& graph, const PlanVariant& variant, int64_t batch, const DeviceModel& device) {
  Accesses accesses(graph, variant, batch);
  std::vector<std::vector<Kernel>> steps;
  std::vector<double> touched;
  for (const PlanStep& step : variant.steps) {
    double& bytes = touched.emplace_back(0);
    for (const Kernel& kernel : steps.emplace_back(accesses.of(step))) {
      for (const Stream& s : kernel) bytes += s.bytes / static_cast<double>(s.stride);
    }
  }
  const double l2_bytes = device.l2_mib * 1048576;
  const double line_bytes =
      std::clamp(std::accumulate(touched.begin(), touched.end(), 0.0) / kMostAccesses, l2_bytes / kLines, l2_bytes / kLeastLines);
  SmallL2 l2(kUsable * l2_bytes / line_bytes);
  size_t warm = steps.size();
  for (double before = 0; warm > 0 && before < kWarm * l2_bytes;) before += touched[--warm];
  std::vector<double> bytes;
  for (size_t i = warm; i < 2 * steps.size(); ++i) {
    for (const Kernel& kernel : steps[i % steps.size()]) run(l2, kernel, line_bytes);
    const auto moved = static_cast<double>(l2.take_moved());
    if (i >= steps.size()) bytes.push_back(moved * line_bytes);
  }
  return bytes;
}

}  // namespace fcm
