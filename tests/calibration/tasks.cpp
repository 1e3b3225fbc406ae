// Choice of tiles for a survey.
#include "tests/calibration/tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "planner/partition.h"
#include "planner/tile_search.h"
#include "runtime/onnx/import.h"
#include "runtime/passes/passes.h"

namespace fcm::calibration {
namespace {

/// The tiles to time: the best of the planner's search at every number of images, then others that it looked at, drawn from what is
/// predicted within five times the best.
std::vector<TileConfig> tiles_of(const Subject& subject, const SurveyOptions& options, const DeviceModel& device) {
  std::vector<TileConfig> tiles;
  const auto add = [&](TileConfig t) {
    t.lone = false;  // a survey times both forms
    if (std::find(tiles.begin(), tiles.end(), t) == tiles.end()) tiles.push_back(t);
  };
  TileSearch search(device, {}, SIZE_MAX);
  for (size_t rank = 0; rank < options.best; ++rank) {
    for (const int images : subject.images) {
      const auto& found = search.tiles(subject.spec, images);
      if (rank < found.size()) add(found[rank].tile);
    }
  }
  std::mt19937 random(1);
  const size_t each = (options.spread + subject.images.size() - 1) / subject.images.size();
  for (const int images : subject.images) {
    const auto& found = search.tiles(subject.spec, images);
    const auto end =
        std::find_if(found.begin(), found.end(), [&](const CostedTile& t) { return t.cost.time_us > 5 * found[0].cost.time_us; });
    const auto count = static_cast<size_t>(end - found.begin());
    const size_t before = tiles.size();
    for (size_t tries = 0; count > 0 && tries < 50 && tiles.size() < before + each; ++tries) {
      // Squared: the better half is three times as likely.
      const double u = std::uniform_real_distribution<double>(0, 1)(random);
      add(found[std::min(count - 1, static_cast<size_t>(u * u * static_cast<double>(count)))].tile);
    }
  }
  return tiles;
}

}  // namespace

void Subjects::add(const ModuleSpec& spec, const std::vector<int>& images) {
  const auto [entry, fresh] = at_.emplace(fcm::to_string(spec), list_.size());
  if (fresh) list_.push_back({spec, {}});
  list_[entry->second].images.insert(images.begin(), images.end());
}

void Subjects::add_segments(const std::string& file, const DeviceModel& device, DType dtype, const std::vector<int>& batches) {
  Graph graph = onnx::import_file(file);
  passes::normalize(graph);
  PartitionOptions how;
  how.dtype = dtype;
  for (const int batch : batches) {
    for (const Candidate& c : candidates(graph, device, how, batch)) {
      for (const ModulePart& part : c.group.segment.parts) add(part.spec, {static_cast<int>(c.group.segment.images.at(batch))});
    }
  }
}

std::vector<Task> tasks_of(const std::vector<Subject>& subjects, const SurveyOptions& options, const DeviceModel& device,
                           const std::vector<Row>& rows) {
  std::vector<std::vector<TileConfig>> tiles(subjects.size());
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> workers;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    workers.emplace_back([&] {
      for (size_t i = next++; i < subjects.size(); i = next++) tiles[i] = tiles_of(subjects[i], options, device);
    });
  }
  workers.clear();
  std::set<std::string> known;
  for (const Row& r : rows) known.insert(key_of(r.spec, r.tile, r.batch));
  std::vector<Task> tasks;
  size_t longest = 0;
  for (const auto& list : tiles) longest = std::max(longest, list.size());
  for (size_t rank = 0; rank < longest; ++rank) {
    for (size_t i = 0; i < subjects.size(); ++i) {
      if (rank >= tiles[i].size()) continue;
      Task task{subjects[i].spec, tiles[i][rank], {}};
      for (const int images : subjects[i].images) {
        if (!known.contains(key_of(task.spec, task.tile, images))) task.batches.push_back(images);
      }
      if (!task.batches.empty()) tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

std::vector<Task> tasks_again(const std::vector<Row>& table, double within, const std::vector<Row>& known) {
  std::map<std::string, double> best;  // by module and images
  const auto subject = [](const Row& r) { return fmt::format("{} | {}", r.batch, fcm::to_string(r.spec)); };
  for (const Row& r : table) {
    const auto [entry, fresh] = best.emplace(subject(r), r.us);
    entry->second = std::min(entry->second, r.us);
  }
  std::set<std::string> done;
  for (const Row& r : known) done.insert(key_of(r.spec, r.tile, r.batch));
  struct Kernel {
    Task task;
    double excess;  // the least over its numbers of images
  };
  std::map<std::string, Kernel> kernels;
  for (const Row& r : table) {
    const double excess = r.us / best.at(subject(r)) - 1;
    TileConfig tile = r.tile;
    tile.lone = false;
    if (excess > within || !done.insert(key_of(r.spec, tile, r.batch)).second) continue;
    Kernel& k = kernels.emplace(key_of(r.spec, tile, 0), Kernel{{r.spec, tile, {}}, excess}).first->second;
    k.task.batches.push_back(r.batch);
    k.excess = std::min(k.excess, excess);
  }
  std::vector<Kernel> order;
  for (auto& [key, kernel] : kernels) order.push_back(std::move(kernel));
  std::stable_sort(order.begin(), order.end(), [](const Kernel& a, const Kernel& b) { return a.excess < b.excess; });
  std::vector<Task> tasks;
  for (Kernel& k : order) tasks.push_back(std::move(k.task));
  return tasks;
}

}  // namespace fcm::calibration
