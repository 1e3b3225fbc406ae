#include "planner/placement.h"

#include <map>

#include "runtime/engine/arena/arena.h"

namespace fcm {
namespace {

size_t aligned(size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

size_t buffer_bytes(const PlanVariant& variant, BufferId id, int64_t batch) {
  const PlanBuffer& b = variant.buffer(id);
  return layout_bytes(b.layout, at_batch(b.shape, batch));
}

}  // namespace

BufferPlaces place_buffers(const PlanVariant& variant, int64_t batch) {
  std::vector<BufferUse> uses = buffer_uses(variant);
  std::vector<ArenaBlock> blocks;
  blocks.reserve(uses.size());
  for (BufferUse& use : uses) blocks.push_back(ArenaBlock{buffer_bytes(variant, use.buffer, batch), std::move(use.steps)});
  const ArenaLayout layout = plan_arena(blocks);
  BufferPlaces places;
  places.bytes = layout.bytes;
  places.offsets.assign(variant.buffers.size(), BufferPlaces::kOutside);
  for (size_t i = 0; i < uses.size(); ++i) places.offsets[static_cast<size_t>(uses[i].buffer)] = layout.offsets[i];
  for (size_t b = 0; b < places.offsets.size(); ++b) {
    places.offsets[b] = places.offsets[static_cast<size_t>(variant.root(static_cast<BufferId>(b)))];
  }
  return places;
}

BufferPlaces place_within(const PlanVariant& variant, int64_t batch, const BufferPlaces& largest) {
  BufferPlaces places = place_buffers(variant, batch);
  return places.bytes <= largest.bytes ? places : largest;
}

BorderPlaces place_border(const PlanVariant& variant, int64_t max_batch) {
  BorderPlaces places;
  std::map<BufferId, size_t> at;
  const auto place = [&](BufferId id) {
    if (id == kNoBuffer) return BufferPlaces::kOutside;
    const auto [entry, fresh] = at.emplace(variant.root(id), places.bytes);
    if (fresh) places.bytes += aligned(buffer_bytes(variant, id, max_batch));
    return entry->second;
  };
  for (const BufferId b : variant.inputs) places.inputs.push_back(place(b));
  for (const BufferId b : variant.outputs) places.outputs.push_back(place(b));
  return places;
}

}  // namespace fcm
