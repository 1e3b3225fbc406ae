// Choice of tiles for a survey.
#include "tests/calibration/tasks.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "fcm/tiles.h"
#include "planner/partition.h"
#include "planner/tile_search.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"

namespace fcm::calibration {
namespace {

/// The tiles to time: the best of the planner's search at every batch, then others drawn from what is rated within five times the best.
std::vector<TileConfig> tiles_of(const ModuleSpec& spec, const SurveyOptions& options, const DeviceModel& device) {
  std::vector<TileConfig> tiles;
  const auto add = [&](const TileConfig& t) {
    if (std::find(tiles.begin(), tiles.end(), t) == tiles.end()) tiles.push_back(t);
  };
  TileSearch search(device, {});
  for (size_t rank = 0; rank < options.best; ++rank) {
    for (const int batch : options.batches) {
      const auto& found = search.tiles(spec, batch);
      if (rank < found.size()) add(found[rank].tile);
    }
  }
  std::mt19937 random(1);
  const TileDevice shape{device.target, static_cast<int>(device.sm_count)};
  const size_t each = (options.spread + options.batches.size() - 1) / options.batches.size();
  for (const int batch : options.batches) {
    std::vector<RatedTile> all = options.spread == 0 ? std::vector<RatedTile>() : candidate_tiles(spec, batch, shape, SIZE_MAX);
    std::erase_if(all, [&](const RatedTile& r) { return r.rating.total > 5 * all.front().rating.total; });
    const size_t before = tiles.size();
    for (size_t tries = 0; !all.empty() && tries < 50 && tiles.size() < before + each; ++tries) {
      // Squared: the better half is three times as likely.
      const double u = std::uniform_real_distribution<double>(0, 1)(random);
      add(all[std::min(all.size() - 1, static_cast<size_t>(u * u * static_cast<double>(all.size())))].tile);
    }
  }
  return tiles;
}

}  // namespace

void Specs::add(const ModuleSpec& spec) {
  if (seen_.insert(fcm::to_string(spec)).second) list_.push_back(spec);
}

void Specs::add_segments(const std::string& file, const DeviceModel& device, DType dtype, const std::vector<int>& batches) {
  Graph graph = onnx::import_file(file);
  passes::normalize(graph);
  PartitionOptions how;
  how.dtype = dtype;
  for (const int batch : batches) {
    for (const Candidate& c : candidates(graph, device, how, batch)) {
      for (const ModulePart& part : c.group.segment.parts) add(part.spec);
    }
  }
}

std::vector<Task> tasks_of(const std::vector<ModuleSpec>& specs, const SurveyOptions& options, const DeviceModel& device,
                           const std::vector<Row>& rows) {
  std::vector<std::vector<TileConfig>> tiles(specs.size());
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> workers;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    workers.emplace_back([&] {
      for (size_t i = next++; i < specs.size(); i = next++) tiles[i] = tiles_of(specs[i], options, device);
    });
  }
  workers.clear();
  std::set<std::string> known;
  for (const Row& r : rows) known.insert(key_of(r.spec, r.tile, r.batch));
  std::vector<Task> tasks;
  size_t longest = 0;
  for (const auto& list : tiles) longest = std::max(longest, list.size());
  for (size_t rank = 0; rank < longest; ++rank) {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (rank >= tiles[i].size()) continue;
      Task task{specs[i], tiles[i][rank], {}};
      for (const int batch : options.batches) {
        if (!known.contains(key_of(task.spec, task.tile, batch))) task.batches.push_back(batch);
      }
      if (!task.batches.empty()) tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

}  // namespace fcm::calibration
