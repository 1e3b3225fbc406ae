// Comparison of measured times; keys are texts, so that what was learnt outlives the plan it came from.
#include "planner/tuning.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr double kEqual = 1.02;

/// Times of nodes run one by one; those without a step (aliases) take none.
std::map<NodeId, double> node_times(const MeasuredVariant& unfused) {
  std::map<NodeId, double> times;
  for (size_t i = 0; i < unfused.us.size(); ++i) {
    const PlanStep& s = unfused.variant->steps[i];
    if (s.kind == PlanStep::Kind::node) times[s.node] += unfused.us[i];
  }
  return times;
}

void learn_tiles(int64_t batch, const MeasuredVariant& measured, FuseOptions& fuse) {
  for (size_t i = 0; i < measured.us.size(); ++i) {
    const PlanStep& s = measured.variant->steps[i];
    if (!s.module) continue;
    const std::string key = tile_key(s.module->spec, s.module->images.at(batch));
    const auto [known, fresh] = fuse.tile_us.try_emplace(key, measured.us[i]);
    if (!fresh && measured.us[i] >= known->second) continue;
    known->second = measured.us[i];
    fuse.tiles[key] = to_string(s.module->tile);
  }
}

}  // namespace

void learn(const Graph& graph, int64_t batch, std::span<const MeasuredVariant> fused, const MeasuredVariant& unfused, FuseOptions& fuse) {
  for (const MeasuredVariant& m : fused) learn_tiles(batch, m, fuse);
  const std::map<NodeId, double> alone = node_times(unfused);
  std::map<std::vector<NodeId>, double> segments;  // each with its fastest tiles
  for (const MeasuredVariant& m : fused) {
    std::map<std::vector<NodeId>, double> here;
    for (size_t i = 0; i < m.us.size(); ++i) {
      const PlanStep& s = m.variant->steps[i];
      if (s.module) here[s.module->nodes] += fuse.tile_us.at(tile_key(s.module->spec, s.module->images.at(batch)));
    }
    for (const auto& [nodes, us] : here) {
      const auto [known, fresh] = segments.try_emplace(nodes, us);
      if (!fresh && us < known->second) known->second = us;
    }
  }
  for (const auto& [nodes, us] : segments) {
    double one_by_one = 0;
    for (const NodeId n : nodes) {
      const auto found = alone.find(n);
      one_by_one += found == alone.end() ? 0.0 : found->second;
    }
    if (us > kEqual * one_by_one) fuse.rejected.insert(segment_key(graph, nodes, batch));
  }
}

bool all_learnt(const PlanVariant& variant, int64_t batch, const FuseOptions& fuse) {
  for (const PlanStep& s : variant.steps) {
    if (s.module && fuse.tiles.count(tile_key(s.module->spec, s.module->images.at(batch))) == 0) return false;
  }
  return true;
}

std::string lessons_text(const FuseOptions& fuse) {
  std::string text;
  for (const auto& [key, tile] : fuse.tiles) text += fmt::format("tile\t{}\t{}\t{}\n", key, tile, fuse.tile_us.at(key));
  for (const std::string& key : fuse.rejected) text += fmt::format("rejected\t{}\n", key);
  return text;
}

void read_lessons(const std::string& text, FuseOptions& fuse) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::vector<std::string> fields;
    for (size_t from = at; from <= end;) {
      const size_t tab = std::min(text.find('\t', from), end);
      fields.push_back(text.substr(from, tab - from));
      from = tab + 1;
    }
    at = end + 1;
    double us = 0;
    if (fields.size() == 4 && fields[0] == "tile" &&
        std::from_chars(fields[3].data(), fields[3].data() + fields[3].size(), us).ec == std::errc()) {
      parse_tile(fields[2]);
      fuse.tiles[fields[1]] = fields[2];
      fuse.tile_us[fields[1]] = us;
    } else if (fields.size() == 2 && fields[0] == "rejected") {
      fuse.rejected.insert(fields[1]);
    } else {
      throw Error(ErrorCode::bad_input, fmt::format("tuning results: '{}' is not a line of them", fields[0]));
    }
  }
}

}  // namespace fcm
