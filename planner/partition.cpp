// best[i] = min over groups [i, j) of cost + best[j]. Costs add up, so that the cover of a chain is exact under the model.
#include "planner/partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "fcm/emit.h"
#include "planner/tile_search.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// What a cover is compared by.
struct Score {
  double first = 0, second = 0;
  Score operator+(const Score& b) const { return {first + b.first, second + b.second}; }
  bool operator<(const Score& b) const { return first != b.first ? first < b.first : second < b.second; }
};

std::string join(const std::vector<std::string>& pieces, const char* between) {
  std::string text;
  for (const std::string& p : pieces) text += (text.empty() ? "" : between) + p;
  return text;
}

/// The term that makes `lost` slower than `won`, in words.
std::string reason(const Cost& lost, const Cost& won, Objective objective) {
  if (objective == Objective::gma) return fmt::format("{:.2f} M elements against {:.2f} M", lost.elements / 1e6, won.elements / 1e6);
  struct Term {
    const char* name;
    double more;
  };
  const Term terms[] = {{"steps", lost.step_us - won.step_us},
                        {"DRAM", lost.dram_us - won.dram_us},
                        {"L2", lost.l2_us - won.l2_us},
                        {"arithmetic", lost.compute_us - won.compute_us},
                        {"latency", lost.latency_us - won.latency_us}};
  const Term& most = *std::max_element(std::begin(terms), std::end(terms), [](const Term& a, const Term& b) { return a.more < b.more; });
  return fmt::format("{:+.2f} us, most of it {}", lost.time_us - won.time_us, most.name);
}

class Partitioner {
 public:
  Partitioner(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch)
      : graph_(graph),
        device_(device),
        options_(options),
        batch_(batch),
        residency_(residency_of()),
        finder_(graph, {options.dtype, options.tf32, device.target}),
        search_(device, residency_),
        position_(positions()) {
    check_overrides();
    if (options_.as == nullptr) return;
    for (const PlanStep& step : options_.as->steps) {
      if (step.module) given_[step.module->nodes].push_back(step.module->tile);
    }
  }

  Partition run() {
    result_.batch = batch_;
    for (const std::vector<NodeId>& chain : find_chains(graph_)) cover(chain);
    std::sort(result_.choices.begin(), result_.choices.end(),
              [](const Choice& a, const Choice& b) { return a.group.nodes.back() < b.group.nodes.back(); });
    for (const Choice& c : result_.choices) {
      result_.total += c.group.cost;
      result_.unfused += c.unfused.cost;
    }
    return std::move(result_);
  }

  std::vector<Group> candidates() {
    std::vector<Group> modules;
    for (const std::vector<NodeId>& chain : find_chains(graph_)) {
      for (std::vector<Group>& starting : groups_of(chain)) {
        for (Group& g : starting) {
          if (g.module) modules.push_back(std::move(g));
        }
      }
    }
    return modules;
  }

 private:
  struct Best {
    Score score{kNever, kNever};
    const Group* group = nullptr;
  };
  /// Groups by the position in the chain where they start.
  using Groups = std::vector<std::vector<Group>>;

  Residency residency_of() const;
  std::vector<double> positions() const;
  void check_overrides() const;
  const NodeOverride* override_of(NodeId n) const;
  Score score(const Cost& c) const {
    return options_.fuse.objective == Objective::gma ? Score{c.elements, c.time_us} : Score{c.time_us, c.elements};
  }
  Group node_group(NodeId n) const;
  bool complete(Group& group);
  Groups groups_of(const std::vector<NodeId>& chain);
  std::vector<const Group*> best_cover(const Groups& groups, size_t from, size_t to, const Group* without) const;
  std::vector<const Group*> given_cover(const Groups& groups) const;
  void cover(const std::vector<NodeId>& chain);
  Alternative alternative(const std::vector<const Group*>& groups, const Group& chosen) const;

  const Graph& graph_;
  const DeviceModel& device_;
  const PartitionOptions& options_;
  int64_t batch_;
  Residency residency_;
  SegmentFinder finder_;
  TileSearch search_;
  std::vector<double> position_;                                  // by node: bytes of outputs written before it
  std::map<std::vector<NodeId>, std::vector<TileConfig>> given_;  // by nodes of a module that stands: tiles of its parts
  Partition result_;
};

Residency Partitioner::residency_of() const {
  Residency r;
  const std::set<ValueId> used = [&] {
    std::set<ValueId> ids;
    for (const Node& n : graph_.nodes) ids.insert(n.inputs.begin(), n.inputs.end());
    return ids;
  }();
  for (const ValueId v : used) {
    if (graph_.is_constant(v))
      r.weights_of_model += static_cast<double>(graph_.value(v).constant->count() * static_cast<int64_t>(dtype_size(options_.dtype)));
  }
  return r;
}

std::vector<double> Partitioner::positions() const {
  std::vector<double> list;
  double bytes = 0;
  for (const Node& n : graph_.nodes) {
    list.push_back(bytes);
    for (const ValueId v : n.outputs) {
      if (v != kNoValue && graph_.value(v).shape)
        bytes +=
            static_cast<double>(element_count(at_batch(*graph_.value(v).shape, batch_))) * static_cast<double>(dtype_size(options_.dtype));
    }
  }
  list.push_back(bytes);
  return list;
}

void Partitioner::check_overrides() const {
  full_precision_nodes(graph_, options_.fuse.overrides);
  for (const auto& [name, what] : options_.fuse.overrides) {
    if (!what.tile.empty()) parse_tile(what.tile);
  }
}

const NodeOverride* Partitioner::override_of(NodeId n) const {
  const auto entry = options_.fuse.overrides.find(graph_.nodes[static_cast<size_t>(n)].origin.name);
  return entry == options_.fuse.overrides.end() ? nullptr : &entry->second;
}

Group Partitioner::node_group(NodeId n) const {
  Group g;
  g.nodes = {n};
  g.cost = node_cost(graph_, graph_.nodes[static_cast<size_t>(n)], batch_, options_.dtype, device_, residency_);
  if (const auto measured = options_.fuse.node_us.find(segment_key(graph_, g.nodes, batch_)); measured != options_.fuse.node_us.end())
    g.cost.time_us = measured->second;
  g.part_costs = {g.cost};
  return g;
}

/// Tiles and cost for a segment; false when no tile is legal.
bool Partitioner::complete(Group& group) {
  Segment& segment = group.segment;
  const int64_t images = segment.images.at(batch_);
  const auto given = given_.find(segment.nodes);
  if (!options_.fuse.rejected.empty() && options_.fuse.rejected.count(segment_key(graph_, segment.nodes, batch_)) > 0) return false;
  std::string wanted;
  for (const NodeId n : segment.nodes) {
    const NodeOverride* o = override_of(n);
    if (o != nullptr && (!o->fuse || o->full_precision)) return false;
    if (o != nullptr && !o->tile.empty()) wanted = o->tile;
  }
  for (size_t i = 0; i < segment.parts.size(); ++i) {
    group.settle_sums(i);
    const ModulePart& part = segment.parts[i];
    Residency residency = residency_;
    if (part.residual != kNoValue)
      residency.since_residual =
          position_[static_cast<size_t>(segment.nodes.back())] - position_[static_cast<size_t>(segment.nodes.front())];
    const auto measured = options_.fuse.tiles.find(tile_key(part.spec, images));
    TileConfig tile;
    if (given != given_.end()) {
      if (given->second.size() != segment.parts.size()) return false;
      tile = given->second[i];
    } else if (!wanted.empty() || measured != options_.fuse.tiles.end()) {
      const std::string& text = wanted.empty() ? measured->second : wanted;
      tile = parse_tile(text);
      if (const std::string why = refusal(part.spec, tile, device_); !why.empty())
        throw Error(ErrorCode::command_line, fmt::format("tile {} for {}: {}", text, to_string(part.spec), why));
    } else {
      const std::vector<CostedTile>& tiles = search_.tiles(part.spec, images);
      if (tiles.empty()) return false;
      tile = tiles[std::min(static_cast<size_t>(options_.fuse.tile_rank), tiles.size() - 1)].tile;
    }
    group.tiles.push_back(tile);
    Cost cost = module_cost(part.spec, tile, images, device_, residency);
    if (wanted.empty() && measured != options_.fuse.tiles.end()) cost.time_us = options_.fuse.tile_us.at(measured->first);
    group.part_costs.push_back(cost);
    group.cost += group.part_costs.back();
  }
  return true;
}

Partitioner::Groups Partitioner::groups_of(const std::vector<NodeId>& chain) {
  Groups groups(chain.size());
  for (size_t i = 0; i < chain.size(); ++i) {
    groups[i].push_back(node_group(chain[i]));
    for (Segment& segment : finder_.starting_at(chain, i, &result_.refusals)) {
      Group g;
      g.module = true;
      g.nodes = segment.nodes;
      g.segment = std::move(segment);
      if (complete(g)) {
        groups[i].push_back(std::move(g));
      } else {
        result_.refusals.push_back({g.nodes, g.text(), "no tile is legal, a node is kept apart, or it was measured to be slower"});
      }
    }
  }
  return groups;
}

/// The cheapest cover of the positions [from, to) that does not hold `without`.
std::vector<const Group*> Partitioner::best_cover(const Groups& groups, size_t from, size_t to, const Group* without) const {
  std::vector<Best> best(to - from + 1);
  best.back().score = {0, 0};
  for (size_t i = to; i-- > from;) {
    for (const Group& g : groups[i]) {
      const size_t end = i + g.nodes.size();
      if (end > to || &g == without) continue;
      const Score s = score(g.cost) + best[end - from].score;
      if (s < best[i - from].score) best[i - from] = {s, &g};
    }
  }
  std::vector<const Group*> chosen;
  for (size_t i = from; i < to;) {
    const Group* g = best[i - from].group;
    if (g == nullptr) return {};
    chosen.push_back(g);
    i += g->nodes.size();
  }
  return chosen;
}

/// The cover of a chain by the modules of the given variant, and the nodes between them.
std::vector<const Group*> Partitioner::given_cover(const Groups& groups) const {
  std::vector<const Group*> chosen;
  for (size_t i = 0; i < groups.size(); i += chosen.back()->nodes.size()) {
    const auto given =
        std::find_if(groups[i].begin(), groups[i].end(), [&](const Group& g) { return g.module && given_.contains(g.nodes); });
    chosen.push_back(given == groups[i].end() ? &groups[i].front() : &*given);
  }
  return chosen;
}

Alternative Partitioner::alternative(const std::vector<const Group*>& groups, const Group& chosen) const {
  Alternative a;
  std::vector<std::string> names;
  int operators = 0;
  for (const Group* g : groups) {
    a.cost += g->cost;
    names.push_back(g->module ? g->text() : std::string(op_kind(graph_.nodes[static_cast<size_t>(g->nodes[0])].op)));
    operators += g->module ? 0 : 1;
  }
  a.text = operators == static_cast<int>(groups.size()) ? fmt::format("{} operator{}", operators, operators == 1 ? "" : "s")
                                                        : join(names, " | ");
  a.why = reason(a.cost, chosen.cost, options_.fuse.objective);
  return a;
}

void Partitioner::cover(const std::vector<NodeId>& chain) {
  const Groups groups = groups_of(chain);
  size_t at = 0;
  for (const Group* g : options_.as != nullptr ? given_cover(groups) : best_cover(groups, 0, chain.size(), nullptr)) {
    const size_t end = at + g->nodes.size();
    Choice choice;
    choice.group = *g;
    std::vector<const Group*> alone;
    for (size_t i = at; i < end; ++i) alone.push_back(&groups[i].front());
    choice.unfused = alternative(alone, *g);
    if (const std::vector<const Group*> second = best_cover(groups, at, end, g); !second.empty() && second != alone)
      choice.runner_up = alternative(second, *g);
    result_.choices.push_back(std::move(choice));
    at = end;
  }
}

}  // namespace

void Group::settle_sums(size_t at) {
  ModulePart& part = segment.parts[at];
  if (part.sums_from < 0) return;
  const auto from = static_cast<size_t>(part.sums_from);
  part.spec.sum_tiles = geometry::derive(shape_of(segment.parts[from].spec, tiles[from])).tiles;
}

std::string Group::text() const {
  std::vector<std::string> names;
  for (const ModulePart& part : segment.parts) names.emplace_back(kind_name(kind_of(part.spec)));
  return join(names, "+");
}

Partition partition(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch) {
  return Partitioner(graph, device, options, batch).run();
}

std::vector<Group> candidate_groups(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch) {
  return Partitioner(graph, device, options, batch).candidates();
}

}  // namespace fcm
