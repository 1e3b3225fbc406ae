// Offline placement as a search over orders: blocks are placed one by one, each into the gap left by the placed blocks that it
// conflicts with. Several orders that are good on networks are tried first, then the best one is perturbed (blocks at the top of
// the arena are placed earlier, others turn to the other end of their gap) until the lower bound is met or a fixed amount of work is spent.
#include "runtime/engine/arena/arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include "runtime/support/error.h"

namespace fcm {
namespace {

using Order = std::vector<int32_t>;
using Conflicts = std::vector<std::vector<int32_t>>;  // by block, the blocks it must not overlap

// Pairs of blocks looked at by the perturbation; a few hundredths of a second at most.
constexpr size_t kSearchWork = 5'000'000;
constexpr size_t kSearchRounds = 5000;  // from each start

std::vector<size_t> aligned_sizes(std::span<const ArenaBlock> blocks, size_t alignment) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0)
    throw Error(ErrorCode::internal, fmt::format("arena: alignment {} is not a power of two", alignment));
  constexpr size_t kMost = std::numeric_limits<size_t>::max() / 2;
  std::vector<size_t> sizes;
  sizes.reserve(blocks.size());
  size_t total = 0;
  for (const ArenaBlock& block : blocks) {
    if (block.steps.empty() || block.steps.front() < 0 || !std::is_sorted(block.steps.begin(), block.steps.end()))
      throw Error(ErrorCode::internal, "arena: a block needs the steps that touch it, in ascending order");
    if (block.bytes > kMost - alignment || total > kMost - alignment - block.bytes)
      throw Error(ErrorCode::out_of_memory, "out of memory: the sizes of the activations overflow");
    sizes.push_back((block.bytes + alignment - 1) & ~(alignment - 1));
    total += sizes.back();
  }
  return sizes;
}

// Bytes live during each step.
std::vector<size_t> live_profile(std::span<const ArenaBlock> blocks, const std::vector<size_t>& sizes) {
  int32_t last = -1;
  for (const ArenaBlock& block : blocks) last = std::max(last, block.steps.back());
  std::vector<size_t> live(static_cast<size_t>(last + 1), 0);
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (auto s = static_cast<size_t>(blocks[b].steps.front()); s <= static_cast<size_t>(blocks[b].steps.back()); ++s) live[s] += sizes[b];
  }
  return live;
}

Conflicts conflicts_where(const std::vector<size_t>& sizes, const std::function<bool(size_t, size_t)>& conflict) {
  Conflicts conflicts(sizes.size());
  for (size_t a = 0; a < sizes.size(); ++a) {
    for (size_t b = a + 1; b < sizes.size(); ++b) {
      if (sizes[a] == 0 || sizes[b] == 0 || !conflict(a, b)) continue;
      conflicts[a].push_back(static_cast<int32_t>(b));
      conflicts[b].push_back(static_cast<int32_t>(a));
    }
  }
  return conflicts;
}

// ancestors[s][p]: step s cannot start before step p has ended.
std::vector<std::vector<bool>> ancestors_of(std::span<const std::vector<int32_t>> depends_on) {
  const size_t steps = depends_on.size();
  std::vector<std::vector<bool>> ancestors(steps, std::vector<bool>(steps, false));
  for (size_t s = 0; s < steps; ++s) {
    for (const int32_t p : depends_on[s]) {
      const auto parent = static_cast<size_t>(p);
      if (p < 0 || parent >= s)
        throw Error(ErrorCode::internal, fmt::format("arena: step {} depends on step {}, which is not earlier", s, p));
      ancestors[s][parent] = true;
      for (size_t a = 0; a < parent; ++a) {
        if (ancestors[parent][a]) ancestors[s][a] = true;
      }
    }
  }
  return ancestors;
}

enum class Fit : uint8_t { lowest, tightest };  // lowest: the first gap from the block's end of the arena

// What decides a layout.
struct Candidate {
  Order order;
  std::vector<bool> from_top;  // by block: it lies at the upper end of its gap
  Fit fit = Fit::lowest;
};

class Search {
 public:
  Search(std::span<const ArenaBlock> blocks, std::vector<size_t> sizes, Conflicts conflicts)
      : blocks_(blocks), sizes_(std::move(sizes)), conflicts_(std::move(conflicts)), live_(live_profile(blocks, sizes_)) {
    bound_ = live_.empty() ? 0 : *std::max_element(live_.begin(), live_.end());
    best_.bytes = std::numeric_limits<size_t>::max();
  }

  ArenaLayout run() {
    std::vector<Start> starts;
    // Both ends of the arena in turn: exact for a chain, where each block conflicts with its neighbours alone.
    std::vector<bool> alternating(sizes_.size());
    for (size_t b = 0; b < sizes_.size(); ++b) alternating[b] = blocks_[b].steps.front() % 2 != 0;
    const std::vector<bool> from_bottom(sizes_.size(), false);
    for (const Order& order : starting_orders()) {
      for (const Fit fit : {Fit::lowest, Fit::tightest}) {
        for (const std::vector<bool>& from_top : {alternating, from_bottom}) {
          const Candidate candidate{order, from_top, fit};
          starts.push_back({candidate, place(candidate)});
          if (starts.back().layout.bytes < best_.bytes) best_ = starts.back().layout;
        }
        if (best_.bytes <= bound_) return best_;
      }
    }
    perturb(std::move(starts));
    return best_;
  }

 private:
  struct Start {
    Candidate candidate;
    ArenaLayout layout;
  };

  // Orders sorted by a key, larger first; ties by position keep the result independent of the sort.
  Order order_by(const std::function<std::pair<size_t, size_t>(size_t)>& key) const {
    Order order(sizes_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return key(static_cast<size_t>(a)) > key(static_cast<size_t>(b)); });
    return order;
  }

  std::vector<Order> starting_orders() const {
    const auto first = [&](size_t b) { return static_cast<size_t>(blocks_[b].steps.front()); };
    const auto length = [&](size_t b) { return static_cast<size_t>(blocks_[b].steps.back()) - first(b) + 1; };
    // The fullest step a block lives through: the blocks of the peak are placed first, then those of the next step, ...
    std::vector<size_t> fullest(sizes_.size(), 0);
    for (size_t b = 0; b < sizes_.size(); ++b) {
      const auto begin = live_.begin() + static_cast<std::ptrdiff_t>(first(b));
      fullest[b] = *std::max_element(begin, begin + static_cast<std::ptrdiff_t>(length(b)));
    }
    const size_t steps = live_.size();
    return {
        order_by([&](size_t b) { return std::pair(sizes_[b], length(b)); }),
        order_by([&](size_t b) { return std::pair(fullest[b], sizes_[b]); }),
        order_by([&](size_t b) { return std::pair(fullest[b], length(b)); }),
        order_by([&](size_t b) { return std::pair(length(b), sizes_[b]); }),
        order_by([&](size_t b) { return std::pair(sizes_[b] / 256 * length(b), sizes_[b]); }),
        order_by([&](size_t b) { return std::pair(steps - first(b), length(b)); }),
        order_by([&](size_t b) { return std::pair(static_cast<size_t>(blocks_[b].steps.back()), sizes_[b]); }),
    };
  }

  // The offset of block `b` among the conflicting blocks that are placed already: in the gap that `fit` prefers, at its lower end,
  // or at its upper end when `from_top`. The room between the placed blocks and the bound counts as a gap; above it, the arena grows.
  size_t offset_for(size_t b, const ArenaLayout& layout, const std::vector<bool>& placed, Fit fit, bool from_top) {
    taken_.clear();
    for (const int32_t other : conflicts_[b]) {
      const auto o = static_cast<size_t>(other);
      if (placed[o]) taken_.emplace_back(layout.offsets[o], layout.offsets[o] + sizes_[o]);
    }
    std::sort(taken_.begin(), taken_.end());
    taken_.emplace_back(bound_, bound_);
    size_t end = 0;  // of everything below the gap
    size_t best_gap = std::numeric_limits<size_t>::max();
    size_t best_offset = 0;
    for (const auto& [from, to] : taken_) {
      const size_t gap = from > end ? from - end : 0;
      const bool preferred = fit == Fit::tightest ? gap < best_gap : from_top || best_gap == std::numeric_limits<size_t>::max();
      if (gap >= sizes_[b] && preferred) {
        best_gap = gap;
        best_offset = from_top ? from - sizes_[b] : end;
      }
      if (to > from) end = std::max(end, to);
    }
    return best_gap == std::numeric_limits<size_t>::max() ? end : best_offset;
  }

  ArenaLayout place(const Candidate& candidate) {
    ArenaLayout layout;
    layout.offsets.assign(sizes_.size(), 0);
    std::vector<bool> placed(sizes_.size(), false);
    for (const int32_t block : candidate.order) {
      const auto b = static_cast<size_t>(block);
      if (sizes_[b] == 0) continue;
      layout.offsets[b] = offset_for(b, layout, placed, candidate.fit, candidate.from_top[b]);
      placed[b] = true;
      layout.bytes = std::max(layout.bytes, layout.offsets[b] + sizes_[b]);
      work_ += conflicts_[b].size() + 1;
    }
    return layout;
  }

  // Hill climbing from every start in turn, the best ones first; equal layouts are taken too, so that the walk drifts over plateaus.
  void perturb(std::vector<Start> starts) {
    std::stable_sort(starts.begin(), starts.end(), [](const Start& a, const Start& b) { return a.layout.bytes < b.layout.bytes; });
    std::minstd_rand random(1);  // its sequence is fixed by the standard
    work_ = 0;
    for (Start& current : starts) {
      for (size_t round = 0; round < kSearchRounds && work_ < kSearchWork && best_.bytes > bound_; ++round) {
        Candidate next = current.candidate;
        mutate(next, current.layout, random);
        ArenaLayout layout = place(next);
        if (layout.bytes > current.layout.bytes) continue;
        current = {std::move(next), std::move(layout)};
        if (current.layout.bytes < best_.bytes) best_ = current.layout;
      }
    }
  }

  // Moves a block that ends at the top of the arena, and now and then another, to an earlier place in the order, and turns some
  // blocks to the other end of their gap.
  void mutate(Candidate& next, const ArenaLayout& layout, std::minstd_rand& random) const {
    const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
    const size_t count = sizes_.size();
    std::vector<size_t> top;
    for (size_t i = 0; i < count; ++i) {
      const auto b = static_cast<size_t>(next.order[i]);
      if (sizes_[b] > 0 && layout.offsets[b] + sizes_[b] == layout.bytes) top.push_back(i);
    }
    if (below(4) != 0) move_earlier(next.order, top[below(top.size())], below);
    for (size_t extra = below(3); extra > 0; --extra) move_earlier(next.order, below(count), below);
    for (size_t extra = below(3); extra > 0; --extra) next.from_top[below(count)].flip();
    if (below(16) == 0) next.fit = next.fit == Fit::lowest ? Fit::tightest : Fit::lowest;
  }

  static void move_earlier(Order& order, size_t from, const std::function<size_t(size_t)>& below) {
    const size_t to = below(from + 1);
    const auto begin = order.begin();
    std::rotate(begin + static_cast<std::ptrdiff_t>(to), begin + static_cast<std::ptrdiff_t>(from),
                begin + static_cast<std::ptrdiff_t>(from) + 1);
  }

  std::span<const ArenaBlock> blocks_;
  std::vector<size_t> sizes_;
  Conflicts conflicts_;
  std::vector<size_t> live_;
  size_t bound_ = 0;
  size_t work_ = 0;
  std::vector<std::pair<size_t, size_t>> taken_;  // scratch of offset_for
  ArenaLayout best_;
};

ArenaLayout solve(std::span<const ArenaBlock> blocks, std::vector<size_t> sizes, Conflicts conflicts) {
  if (std::all_of(sizes.begin(), sizes.end(), [](size_t bytes) { return bytes == 0; })) return {std::vector<size_t>(blocks.size(), 0), 0};
  return Search(blocks, std::move(sizes), std::move(conflicts)).run();
}

}  // namespace

size_t live_bytes_bound(std::span<const ArenaBlock> blocks, size_t alignment) {
  const std::vector<size_t> live = live_profile(blocks, aligned_sizes(blocks, alignment));
  return live.empty() ? 0 : *std::max_element(live.begin(), live.end());
}

ArenaLayout plan_arena(std::span<const ArenaBlock> blocks, size_t alignment) {
  std::vector<size_t> sizes = aligned_sizes(blocks, alignment);
  Conflicts conflicts = conflicts_where(sizes, [&](size_t a, size_t b) {
    return blocks[a].steps.back() >= blocks[b].steps.front() && blocks[b].steps.back() >= blocks[a].steps.front();
  });
  return solve(blocks, std::move(sizes), std::move(conflicts));
}

ArenaLayout plan_arena(std::span<const ArenaBlock> blocks, std::span<const std::vector<int32_t>> depends_on, size_t alignment) {
  std::vector<size_t> sizes = aligned_sizes(blocks, alignment);
  for (const ArenaBlock& block : blocks) {
    if (static_cast<size_t>(block.steps.back()) >= depends_on.size())
      throw Error(ErrorCode::internal, fmt::format("arena: step {} is not among the {} steps", block.steps.back(), depends_on.size()));
  }
  const std::vector<std::vector<bool>> ancestors = ancestors_of(depends_on);
  const auto precedes = [&](const ArenaBlock& a, const ArenaBlock& b) {
    return std::all_of(b.steps.begin(), b.steps.end(), [&](int32_t later) {
      const std::vector<bool>& before = ancestors[static_cast<size_t>(later)];
      return std::all_of(a.steps.begin(), a.steps.end(), [&](int32_t earlier) { return before[static_cast<size_t>(earlier)]; });
    });
  };
  Conflicts conflicts =
      conflicts_where(sizes, [&](size_t a, size_t b) { return !precedes(blocks[a], blocks[b]) && !precedes(blocks[b], blocks[a]); });
  return solve(blocks, std::move(sizes), std::move(conflicts));
}

}  // namespace fcm
