// best[i] = min over groups [i, j) of cost + best[j]. Costs add up, so that the cover of a chain is exact under the model.
#include "planner/partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
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
  /// `fewer`: the same at fewer images, which has run, or null.
  Partitioner(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch, const Partitioner* fewer)
      : graph_(graph),
        device_(device),
        options_(options),
        batch_(batch),
        position_(positions()),
        residency_(residency_of()),
        finder_(graph, {options.dtype, options.tf32, device.target}),
        search_(device, residency_, 1, fewer == nullptr ? nullptr : &fewer->search_) {
    check_overrides();
    const auto fixed = options_.fuse.fixed.find(batch_);
    if (fixed == options_.fuse.fixed.end()) return;
    is_fixed_ = true;
    for (const FixedSegment& s : fixed->second) fixed_[s.nodes] = s.tiles;
  }

  Partition run() {
    result_.batch = batch_;
    for (const std::vector<NodeId>& chain : find_chains(graph_)) cover(chain);
    std::sort(result_.choices.begin(), result_.choices.end(),
              [](const Choice& a, const Choice& b) { return a.group.nodes.back() < b.group.nodes.back(); });
    const auto modules = std::count_if(result_.choices.begin(), result_.choices.end(), [](const Choice& c) { return c.group.module; });
    if (is_fixed_ && static_cast<size_t>(modules) != fixed_.size())
      throw Error(ErrorCode::internal,
                  fmt::format("{}: {} of {} fixed segments are segments of this graph", graph_.name, modules, fixed_.size()));
    for (const Choice& c : result_.choices) {
      result_.total += c.group.cost;
      result_.unfused += c.unfused.cost;
    }
    result_.rated_tiles = search_.rated();
    return std::move(result_);
  }

  std::vector<Candidate> candidates() {
    std::vector<Candidate> list;
    for (const std::vector<NodeId>& chain : find_chains(graph_)) {
      const Groups groups = groups_of(chain, true);
      for (size_t at = 0; at < groups.size(); ++at) {
        for (const Offer& g : groups[at]) {
          if (!g.module || g.score.first == kNever) continue;
          Candidate& c = list.emplace_back(Candidate{static_cast<const Group&>(g), 0});
          for (const Offer* best : best_cover(groups, at, at + g.nodes.size(), nullptr)) c.best_us += best->cost.time_us;
        }
      }
    }
    return list;
  }

 private:
  /// A group to choose, with its score: the least that it can be until it is settled, none when it turns out to be impossible.
  struct Offer : Group {
    bool settled = false;
    Score score;
    std::vector<SearchedModule*> searches;  ///< by part; null where a part reads sums: how many is known when it is settled
    double others_us = 0;                   ///< what these take at least
  };
  struct Best {
    Score score{kNever, kNever};
    const Offer* group = nullptr;
  };
  /// Groups by the position in the chain where they start.
  using Groups = std::vector<std::vector<Offer>>;

  Residency residency_of() const;
  std::vector<double> positions() const;
  void check_overrides() const;
  const NodeOverride* override_of(NodeId n) const;
  Score score(const Cost& c) const {
    return options_.fuse.objective == Objective::gma ? Score{c.elements, c.time_us} : Score{c.time_us, c.elements};
  }
  Group node_group(NodeId n) const;
  Cost among_modules(const Group& group) const;
  std::optional<std::string> wanted_tile(const Group& group) const;
  std::optional<TileConfig> tile_for(const Group& group, size_t part, const std::string& wanted);
  bool complete(Group& group);
  Offer offer(Segment segment);
  bool raise(Offer& offer) const;
  void settle(Offer& offer);
  SearchedModule* next_search(const Offer& offer) const;
  Groups groups_of(const std::vector<NodeId>& chain, bool settled);
  std::vector<const Offer*> best_cover(const Groups& groups, size_t from, size_t to, const Group* without) const;
  std::vector<const Offer*> settled_cover(Groups& groups);
  std::vector<const Offer*> fixed_cover(const Groups& groups) const;
  void cover(const std::vector<NodeId>& chain);
  Alternative alternative(const std::vector<const Offer*>& groups, const Group& chosen) const;

  const Graph& graph_;
  const DeviceModel& device_;
  const PartitionOptions& options_;
  int64_t batch_;
  std::vector<double> position_;  // by node: bytes of outputs written before it
  Residency residency_;
  SegmentFinder finder_;
  TileSearch search_;
  bool is_fixed_ = false;
  std::map<std::vector<NodeId>, std::vector<TileConfig>> fixed_;  // by nodes of a segment that stands: tiles of its parts
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
      r.run_bytes += static_cast<double>(graph_.value(v).constant->count() * static_cast<int64_t>(dtype_size(options_.dtype)));
  }
  r.run_bytes += position_.back();
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
  if (options_.measured != nullptr) {
    const auto measured = options_.measured->nodes.find(n);
    g.cost.time_us = measured == options_.measured->nodes.end() ? 0.0 : measured->second;  // an alias takes no time
  }
  g.part_costs = {g.cost};
  return g;
}

/// The tile of a part: fixed, asked for, the fastest measured, or the best predicted. Nothing when there is none.
std::optional<TileConfig> Partitioner::tile_for(const Group& group, size_t part, const std::string& wanted) {
  const ModuleSpec& spec = group.segment.parts[part].spec;
  const int64_t images = group.segment.images.at(batch_);
  const auto checked = [&](const TileConfig& tile) {
    if (const std::string why = refusal(spec, tile, device_); !why.empty())
      throw Error(ErrorCode::command_line, fmt::format("tile {} for {}: {}", to_string(tile), to_string(spec), why));
    return tile;
  };
  if (const auto fixed = fixed_.find(group.nodes); fixed != fixed_.end())
    return part < fixed->second.size() ? std::optional(checked(fixed->second[part])) : std::nullopt;
  if (!wanted.empty()) return checked(parse_tile(wanted));
  if (options_.measured != nullptr) {
    const auto known = options_.measured->modules.find(tile_key(spec, images));
    if (known == options_.measured->modules.end()) return std::nullopt;
    const auto fastest =
        std::min_element(known->second.begin(), known->second.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return parse_tile(fastest->first);
  }
  const std::vector<CostedTile>& tiles = search_.tiles(spec, images);
  return tiles.empty() ? std::nullopt : std::optional(tiles.front().tile);
}

/// The tile that a caller wants for a segment, empty when none is; nothing when one of its nodes is to execute alone.
std::optional<std::string> Partitioner::wanted_tile(const Group& group) const {
  std::string wanted;
  for (const NodeId n : group.nodes) {
    const NodeOverride* o = override_of(n);
    if (o != nullptr && (!o->fuse || o->full_precision)) return std::nullopt;
    if (o != nullptr && !o->tile.empty()) wanted = o->tile;
  }
  return wanted;
}

/// Tiles and cost for a segment; false when it cannot be, or is not wanted.
bool Partitioner::complete(Group& group) {
  Segment& segment = group.segment;
  const int64_t images = segment.images.at(batch_);
  const std::optional<std::string> wanted = wanted_tile(group);
  if (!wanted) return false;
  for (size_t i = 0; i < segment.parts.size(); ++i) {
    group.settle_sums(i);
    const ModulePart& part = segment.parts[i];
    const std::optional<TileConfig> tile = tile_for(group, i, *wanted);
    if (!tile) return false;
    Residency residency = residency_;
    if (part.residual != kNoValue)
      residency.since_residual =
          position_[static_cast<size_t>(segment.nodes.back())] - position_[static_cast<size_t>(segment.nodes.front())];
    group.tiles.push_back(*tile);
    Cost cost = module_cost(part.spec, *tile, images, device_, residency);
    if (options_.measured != nullptr) {
      if (const auto known = options_.measured->modules.find(tile_key(part.spec, images)); known != options_.measured->modules.end()) {
        if (const auto us = known->second.find(to_string(*tile)); us != known->second.end()) cost.time_us = us->second;
      }
    }
    group.part_costs.push_back(cost);
    group.cost += group.part_costs.back();
  }
  return true;
}

Partitioner::Offer Partitioner::offer(Segment segment) {
  Offer o;
  o.module = true;
  o.nodes = segment.nodes;
  for (const ModulePart& part : segment.parts) {
    const int64_t images = segment.images.at(batch_);
    const bool reads_sums = part.sums_from >= 0;
    o.searches.push_back(reads_sums ? nullptr : &search_.module(part.spec, images));
    if (reads_sums) o.others_us += least_module_us(part.spec, images, device_, residency_);
    o.cost.elements += module_elements(part.spec, images);
  }
  o.segment = std::move(segment);
  raise(o);
  return o;
}

/// Raises a score to what is known of the parts by now; false when it is that.
bool Partitioner::raise(Offer& o) const {
  double us = o.others_us;
  for (const SearchedModule* s : o.searches) us += s != nullptr ? s->least_us : 0;
  if (us == o.cost.time_us) return false;
  o.cost.time_us = us;
  o.score = score(o.cost);
  return true;
}

void Partitioner::settle(Offer& o) {
  o.settled = true;
  o.cost = Cost{};
  if (complete(o)) {
    o.score = score(o.cost);
  } else {
    o.score = {kNever, kNever};
    result_.refusals.push_back({o.nodes, o.text(), "no tile is legal, a node is kept apart, or it was not measured"});
  }
}

/// The next search that an offer needs before it can be settled, or null.
SearchedModule* Partitioner::next_search(const Offer& o) const {
  if (wanted_tile(o) != "") return nullptr;
  const auto next =
      std::find_if(o.searches.begin(), o.searches.end(), [](const SearchedModule* s) { return s != nullptr && !s->searched; });
  return next == o.searches.end() ? nullptr : *next;
}

Partitioner::Groups Partitioner::groups_of(const std::vector<NodeId>& chain, bool settled) {
  Groups groups(chain.size());
  for (size_t i = 0; i < chain.size(); ++i) {
    Offer& alone = groups[i].emplace_back(Offer{node_group(chain[i]), true, {}, {}});
    alone.score = score(among_modules(alone));
    for (Segment& segment : finder_.starting_at(chain, i, &result_.refusals)) {
      groups[i].push_back(offer(std::move(segment)));
      if (settled) settle(groups[i].back());
    }
  }
  return groups;
}

/// The cheapest cover of the positions [from, to) that does not hold `without`.
std::vector<const Partitioner::Offer*> Partitioner::best_cover(const Groups& groups, size_t from, size_t to, const Group* without) const {
  std::vector<Best> best(to - from + 1);
  best.back().score = {0, 0};
  for (size_t i = to; i-- > from;) {
    for (const Offer& g : groups[i]) {
      const size_t end = i + g.nodes.size();
      if (end > to || &g == without) continue;
      const Score s = g.score + best[end - from].score;
      if (s < best[i - from].score) best[i - from] = {s, &g};
    }
  }
  std::vector<const Offer*> chosen;
  for (size_t i = from; i < to;) {
    const Offer* g = best[i - from].group;
    if (g == nullptr) return {};
    chosen.push_back(g);
    i += g->nodes.size();
  }
  return chosen;
}

/// The cheapest cover of a whole chain. What is not settled costs at least as much as its score says: once none of that is in the cheapest
/// cover, no other cover is cheaper. Searches are made one by one, when all that is known already does not change the cover.
std::vector<const Partitioner::Offer*> Partitioner::settled_cover(Groups& groups) {
  while (true) {
    std::vector<const Offer*> chosen = best_cover(groups, 0, groups.size(), nullptr);
    Offer* longest = nullptr;  // it stands for the most that can be saved
    bool learnt = false;
    size_t at = 0;
    for (const Offer* o : chosen) {
      Offer& mine = groups[at][static_cast<size_t>(o - groups[at].data())];
      at += mine.nodes.size();
      if (mine.settled) continue;
      if (next_search(mine) == nullptr) {
        settle(mine);
        learnt = true;
      } else if (raise(mine)) {
        learnt = true;
      } else if (longest == nullptr || mine.nodes.size() > longest->nodes.size()) {
        longest = &mine;
      }
    }
    if (learnt) continue;
    if (longest == nullptr) return chosen;
    search_.search(*next_search(*longest));
    raise(*longest);
  }
}

/// The cover of a chain by the segments that stand, and the nodes between them.
std::vector<const Partitioner::Offer*> Partitioner::fixed_cover(const Groups& groups) const {
  std::vector<const Offer*> chosen;
  for (size_t i = 0; i < groups.size(); i += chosen.back()->nodes.size()) {
    const auto stands = [&](const Offer& g) { return g.module && g.score.first < kNever && fixed_.contains(g.nodes); };
    const auto found = std::find_if(groups[i].begin(), groups[i].end(), stands);
    chosen.push_back(found == groups[i].end() ? &groups[i].front() : &*found);
  }
  return chosen;
}

/// What a group costs in a plan of modules.
Cost Partitioner::among_modules(const Group& group) const {
  Cost c = group.cost;
  if (group.module) return c;
  const double us = among_modules_us(graph_.nodes[static_cast<size_t>(group.nodes[0])], device_);
  c.step_us += us, c.time_us += us, c.among_us += us;
  return c;
}

Alternative Partitioner::alternative(const std::vector<const Offer*>& groups, const Group& chosen) const {
  Alternative a;
  std::vector<std::string> names;
  const bool operators = std::none_of(groups.begin(), groups.end(), [](const Offer* g) { return g->module; });
  for (const Offer* g : groups) {
    a.cost += operators ? g->cost : among_modules(*g);
    names.push_back(g->module ? g->text() : std::string(op_kind(graph_.nodes[static_cast<size_t>(g->nodes[0])].op)));
  }
  a.text = operators ? fmt::format("{} operator{}", groups.size(), groups.size() == 1 ? "" : "s") : join(names, " | ");
  a.why = reason(a.cost, chosen.cost, options_.fuse.objective);
  return a;
}

void Partitioner::cover(const std::vector<NodeId>& chain) {
  // Predictions bound no measured time.
  Groups groups = groups_of(chain, is_fixed_ || options_.alternatives || options_.measured != nullptr);
  size_t at = 0;
  for (const Offer* g : is_fixed_ ? fixed_cover(groups) : settled_cover(groups)) {
    const size_t end = at + g->nodes.size();
    Choice choice;
    choice.group = static_cast<const Group&>(*g);
    if (!g->module) choice.group.cost = among_modules(*g), choice.group.part_costs = {choice.group.cost};
    std::vector<const Offer*> alone;
    for (size_t i = at; i < end; ++i) alone.push_back(&groups[i].front());
    choice.unfused = alternative(alone, *g);
    if (options_.alternatives) {
      if (const std::vector<const Offer*> second = best_cover(groups, at, end, g); !second.empty() && second != alone)
        choice.runner_up = alternative(second, *g);
    }
    result_.choices.push_back(std::move(choice));
    at = end;
  }
}

}  // namespace

std::string tile_key(const ModuleSpec& spec, int64_t images) {
  return fmt::format("{} x {}", images, to_string(spec));
}

void leave_out_views(Partition& partition, const PlanVariant& variant) {
  std::set<NodeId> run;
  for (const PlanStep& step : variant.steps) {
    if (step.node != kNoNode) run.insert(step.node);
  }
  std::erase_if(partition.choices, [&](const Choice& c) { return !c.group.module && !run.contains(c.group.nodes.front()); });
  partition.total = partition.unfused = Cost{};
  for (const Choice& c : partition.choices) {
    partition.total += c.group.cost;
    partition.unfused += c.unfused.cost;
  }
}

void take_dram_bytes(Partition& partition, const PlanVariant& variant, const std::vector<double>& bytes) {
  std::map<NodeId, std::vector<double>> by_last_node;
  for (size_t i = 0; i < variant.steps.size(); ++i) {
    const PlanStep& step = variant.steps[i];
    const NodeId last = step.module ? step.module->nodes.back() : step.node;
    if (last != kNoNode) by_last_node[last].push_back(bytes[i]);
  }
  for (Choice& c : partition.choices) {
    const std::vector<double>& parts = by_last_node[c.group.nodes.back()];
    if (parts.size() != c.group.part_costs.size()) continue;  // a view has no step
    for (size_t i = 0; i < parts.size(); ++i) c.group.part_costs[i].dram_bytes = parts[i];
    c.group.cost.dram_bytes = std::accumulate(parts.begin(), parts.end(), 0.0);
  }
}

std::vector<FixedSegment> segments_of(const PlanVariant& variant) {
  std::vector<FixedSegment> segments;
  for (const PlanStep& step : variant.steps) {
    if (!step.module) continue;
    if (segments.empty() || segments.back().nodes != step.module->nodes) segments.push_back({step.module->nodes, {}});
    segments.back().tiles.push_back(step.module->tile);
  }
  return segments;
}

std::vector<FixedSegment> segments_of(const Partition& partition) {
  std::vector<FixedSegment> segments;
  for (const Choice& c : partition.choices) {
    if (c.group.module) segments.push_back({c.group.nodes, c.group.tiles});
  }
  return segments;
}

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
  return std::move(partitions(graph, device, options, {batch}).front());
}

std::vector<Partition> partitions(const Graph& graph, const DeviceModel& device, const PartitionOptions& options,
                                  const std::vector<int64_t>& batches) {
  std::vector<Partition> list;
  std::unique_ptr<Partitioner> fewer;
  for (const int64_t batch : batches) {
    auto partitioner = std::make_unique<Partitioner>(graph, device, options, batch, fewer.get());
    list.push_back(partitioner->run());
    fewer = std::move(partitioner);
  }
  return list;
}

std::vector<Candidate> candidates(const Graph& graph, const DeviceModel& device, const PartitionOptions& options, int64_t batch) {
  return Partitioner(graph, device, options, batch, nullptr).candidates();
}

}  // namespace fcm
