// From candidates to measurements; keys are texts, so that what was learnt outlives the plan it came from.
#include "planner/tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "fcm/emit.h"
#include "planner/tile_search.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

/// Distinct kernels in order of appearance.
class Jobs {
 public:
  void add(const ModuleSpec& spec, const TileConfig& tile, int64_t images) {
    if (known_.emplace(tile_key(spec, images) + " " + to_string(tile), list_.size()).second) list_.push_back({spec, tile, images});
  }
  const std::vector<TuneJob>& list() const { return list_; }

 private:
  std::map<std::string, size_t> known_;
  std::vector<TuneJob> list_;
};

/// The best tiles of every part of a segment. A part that reads sums is another module for each number of them that the part before it may
/// write.
void add_segment(const Group& group, int64_t batch, TileSearch& search, size_t most, Jobs& jobs) {
  const int64_t images = group.segment.images.at(batch);
  const auto tiles_of = [&](const ModuleSpec& spec) {
    std::vector<TileConfig> tiles;
    for (const CostedTile& t : search.tiles(spec, images)) {
      if (tiles.size() < most) tiles.push_back(t.tile);
    }
    return tiles;
  };
  for (const ModulePart& part : group.segment.parts) {
    std::vector<ModuleSpec> specs = {part.spec};
    if (part.sums_from >= 0) {
      specs.clear();
      const ModuleSpec& writer = group.segment.parts[static_cast<size_t>(part.sums_from)].spec;
      for (const TileConfig& tile : tiles_of(writer)) {
        ModuleSpec reader = part.spec;
        reader.sum_tiles = geometry::derive(shape_of(writer, tile)).tiles;
        if (std::find(specs.begin(), specs.end(), reader) == specs.end()) specs.push_back(std::move(reader));
      }
    }
    for (const ModuleSpec& spec : specs) {
      for (const TileConfig& tile : tiles_of(spec)) jobs.add(spec, tile, images);
    }
  }
}

/// A cover whose modules run as one chain; tiles are changed one module at a time, equal modules together.
class Race {
 public:
  Race(const Partition& cover, int64_t batch, const MeasuredTimes& times, Measure& measure) : cover_(cover), measure_(measure) {
    bool module_ahead = false;
    for (const Choice& c : cover.choices) {
      if (!c.group.module) {
        const auto us = times.nodes.find(c.group.nodes.front());
        others_us_ += us == times.nodes.end() ? 0.0 : us->second;
        module_ahead = module_ahead && us == times.nodes.end();
        continue;
      }
      for (size_t i = 0; i < c.group.tiles.size(); ++i) {
        steps_.push_back({c.group.segment.parts[i].spec, c.group.tiles[i], c.group.segment.images.at(batch), module_ahead});
        module_ahead = true;
      }
    }
    us_ = run(steps_);
  }

  double us() const { return us_ + others_us_; }

  void settle(const MeasuredTimes& times) {
    constexpr int kPasses = 2;
    constexpr double kFaster = 0.997;
    for (int pass = 0; pass < kPasses; ++pass) {
      bool changed = false;
      for (size_t i = 0; i < steps_.size(); ++i) {
        const std::string key = tile_key(steps_[i].spec, steps_[i].images);
        const auto known = times.modules.find(key);
        const bool first = std::none_of(steps_.begin(), steps_.begin() + static_cast<ptrdiff_t>(i),
                                        [&](const TuneJob& j) { return j.spec == steps_[i].spec; });
        if (known == times.modules.end() || !first) continue;
        for (const auto& [text, alone] : known->second) {
          const std::vector<TuneJob> other = with(steps_[i].spec, parse_tile(text));
          if (other.empty()) continue;
          const double us = run(other);
          if (us >= us_ * kFaster) continue;
          us_ = us;
          steps_ = other;
          changed = true;
        }
      }
      if (!changed) return;
    }
  }

  std::vector<FixedSegment> segments() const {
    std::vector<FixedSegment> segments;
    size_t at = 0;
    for (const Choice& c : cover_.choices) {
      if (!c.group.module) continue;
      FixedSegment& s = segments.emplace_back(FixedSegment{c.group.nodes, {}});
      for (size_t i = 0; i < c.group.tiles.size(); ++i) s.tiles.push_back(steps_[at++].tile);
    }
    return segments;
  }

 private:
  double run(const std::vector<TuneJob>& steps) { return steps.empty() ? 0.0 : measure_.chain(steps); }

  /// The steps with another tile for a module; none when that changes how many sums a reader gets, or nothing.
  std::vector<TuneJob> with(const ModuleSpec& spec, const TileConfig& tile) const {
    std::vector<TuneJob> steps = steps_;
    bool changed = false;
    for (TuneJob& j : steps) {
      if (!(j.spec == spec) || j.tile == tile) continue;
      if (spec.pool != geometry::Pool::none &&
          geometry::derive(shape_of(spec, tile)).tiles != geometry::derive(shape_of(spec, j.tile)).tiles)
        return {};
      j.tile = tile;
      changed = true;
    }
    return changed ? steps : std::vector<TuneJob>();
  }

  const Partition& cover_;
  Measure& measure_;
  std::vector<TuneJob> steps_;
  double others_us_ = 0;  // nodes that are no modules
  double us_ = 0;
};

}  // namespace

TuneReport tune(const Graph& graph, const DeviceModel& device, PartitionOptions& how, int64_t batch, Measure& measure,
                const TuneEffort& effort, MeasuredTimes* times) {
  TuneReport report;
  MeasuredTimes own;
  MeasuredTimes& known = times == nullptr ? own : *times;
  const Partition analytic = partition(graph, device, how, batch);
  known.nodes = measure.nodes(batch);
  for (const auto& [node, us] : known.nodes) report.unfused_us += us;
  TileSearch search(device, {});
  Jobs jobs;
  for (const Choice& c : analytic.choices) {
    for (size_t i = 0; i < c.group.tiles.size(); ++i)
      jobs.add(c.group.segment.parts[i].spec, c.group.tiles[i], c.group.segment.images.at(batch));
  }
  for (const Candidate& c : candidates(graph, device, how, batch)) {
    ++report.segments;
    if (effort.keep > 0 && c.group.cost.time_us > effort.keep * c.best_us) continue;
    ++report.measured;
    add_segment(c.group, batch, search, effort.tiles, jobs);
  }
  report.kernels = jobs.list().size();
  const std::vector<double> us = measure.modules(jobs.list());
  for (size_t i = 0; i < us.size(); ++i) {
    const TuneJob& job = jobs.list()[i];
    if (std::isfinite(us[i])) known.modules[tile_key(job.spec, job.images)][to_string(job.tile)] = us[i];
  }
  PartitionOptions measured = how;
  measured.measured = &known;
  const Partition alone = partition(graph, device, measured, batch);
  Race from_alone(alone, batch, known, measure), from_analytic(analytic, batch, known, measure);
  report.alone_us = from_alone.us();
  report.analytic_us = from_analytic.us();
  from_alone.settle(known);
  from_analytic.settle(known);
  const Race& best = from_analytic.us() <= from_alone.us() ? from_analytic : from_alone;
  report.tuned_us = best.us();
  how.fuse.fixed[batch] = best.segments();
  return report;
}

std::string lessons_text(const std::map<int64_t, std::vector<FixedSegment>>& fixed) {
  std::string text;
  for (const auto& [batch, segments] : fixed) {
    text += fmt::format("batch {}\n", batch);
    for (const FixedSegment& s : segments) {
      text += "segment";
      for (const NodeId n : s.nodes) text += fmt::format(" {}", n);
      text += " :";
      for (const TileConfig& t : s.tiles) text += " " + to_string(t);
      text += "\n";
    }
  }
  return text + "end\n";
}

std::map<int64_t, std::vector<FixedSegment>> read_lessons(const std::string& text) {
  std::map<int64_t, std::vector<FixedSegment>> fixed;
  std::vector<FixedSegment>* segments = nullptr;
  std::istringstream in(text);
  bool ended = false;
  for (std::string line; std::getline(in, line) && !ended;) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    int64_t number = 0;
    if (word == "end") {
      ended = true;
    } else if (word == "batch" && words >> number) {
      segments = &fixed[number];
    } else if (word == "segment" && segments != nullptr) {
      FixedSegment& s = segments->emplace_back();
      while (words >> number) s.nodes.push_back(static_cast<NodeId>(number));
      words.clear();
      words >> word;
      if (word != ":") throw Error(ErrorCode::bad_input, fmt::format("tuning results: '{}' is no segment", line));
      while (words >> word) s.tiles.push_back(parse_tile(word));
    } else {
      throw Error(ErrorCode::bad_input, fmt::format("tuning results: '{}' is not a line of them", line));
    }
  }
  if (!ended) throw Error(ErrorCode::bad_input, "tuning results: the end is missing");
  return fixed;
}

}  // namespace fcm
