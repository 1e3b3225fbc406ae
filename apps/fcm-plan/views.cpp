// Text views.
#include "apps/fcm-plan/views.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/common/table.h"
#include "runtime/support/error.h"

namespace fcm::apps {
namespace {

const Node& node_of(const Graph& graph, NodeId id) {
  return graph.nodes[static_cast<size_t>(id)];
}

bool moves_nothing(const Group& g) {
  return !g.module && g.cost.time_us == 0;
}

std::string bytes_cell(double bytes) {
  return bytes_text(static_cast<size_t>(bytes));
}

std::string alternative_line(const char* what, const Alternative& a) {
  return a.text.empty() ? std::string() : fmt::format("  {:<10} {}: {:.2f} us ({})\n", what, a.text, a.cost.time_us, a.why);
}

std::string totals_text(const PlanView& view) {
  const Partition& p = *view.partition;
  const auto steps = std::count_if(p.choices.begin(), p.choices.end(), [](const Choice& c) { return !moves_nothing(c.group); });
  int kernels = 0, alone = 0;
  for (const Choice& c : p.choices) {
    kernels += moves_nothing(c.group) ? 0 : static_cast<int>(c.group.part_costs.size());
    for (const NodeId n : c.group.nodes) {
      const Op& op = node_of(*view.graph, n).op;
      alone += std::holds_alternative<Reshape>(op) || std::holds_alternative<Identity>(op) ? 0 : 1;
    }
  }
  const bool both = view.measured != nullptr;
  std::vector<std::string> titles = {"", ">steps", ">kernels", ">us", ">L2", ">DRAM", ">M accesses"};
  if (both) titles.insert(titles.end(), {">measured, sum", ">one replay"});
  Table table(titles);
  const auto row = [&](const char* name, long count, int launches, const Cost& c, double sum_us, double replay_us) {
    std::vector<std::string> cells = {name,
                                      fmt::to_string(count),
                                      fmt::to_string(launches),
                                      fmt::format("{:.1f}", c.time_us),
                                      bytes_cell(c.l2_bytes()),
                                      bytes_cell(c.dram_bytes),
                                      fmt::format("{:.2f}", c.elements / 1e6)};
    if (both) cells.insert(cells.end(), {fmt::format("{:.1f}", sum_us), fmt::format("{:.1f}", replay_us)});
    table.add(cells);
  };
  double sum = 0, sum_alone = 0;
  for (const Choice& c : p.choices) {
    sum += std::max(0.0, measured_us(view, c.group));
    sum_alone += std::max(0.0, measured_alone_us(view, c.group));
  }
  row("plan", static_cast<long>(steps), kernels, p.total, sum, both ? view.measured->replay_us : 0);
  row("unfused", alone, alone, p.unfused, sum_alone, both ? view.measured->unfused_replay_us : 0);
  return table.text();
}

}  // namespace

std::string span_text(const Graph& graph, const Group& group) {
  const std::string& first = node_of(graph, group.nodes.front()).origin.name;
  const std::string& last = node_of(graph, group.nodes.back()).origin.name;
  return first == last ? first : first + " .. " + last;
}

std::string kind_text(const Graph& graph, const Group& group) {
  return group.module ? group.text() : std::string(op_kind(node_of(graph, group.nodes.front()).op));
}

double measured_us(const PlanView& view, const Group& group) {
  if (view.measured == nullptr) return -1;
  const auto found = view.measured->group_us.find(group.nodes);
  return found == view.measured->group_us.end() ? -1 : found->second;
}

double measured_alone_us(const PlanView& view, const Group& group) {
  if (view.measured == nullptr) return -1;
  double us = 0;
  for (const NodeId n : group.nodes) {
    const auto found = view.measured->node_us.find(n);
    us += found == view.measured->node_us.end() ? 0 : found->second;  // a Reshape has no step
  }
  return us;
}

std::string table_text(const PlanView& view, bool details) {
  const bool both = view.measured != nullptr;
  std::string text =
      fmt::format("{}: {}, batch {}, on {} ({}), plan {}, planned in {:.1f} ms\n\n", view.model, view.precision, view.partition->batch,
                  view.device->name, both ? "predicted and measured" : "predicted", view.plan_hash, view.planning_ms);
  std::vector<std::string> titles = {">", "step", "kind", ">us", ">L2", ">DRAM", ">unfused us", "runner-up", ">us"};
  if (both) titles.insert(titles.begin() + 4, ">measured"), titles.insert(titles.begin() + 8, ">measured");
  if (details) titles.emplace_back("tile");
  Table table(titles);
  int number = 0;
  for (const Choice& c : view.partition->choices) {
    if (moves_nothing(c.group)) continue;
    std::string tiles;
    for (const TileConfig& t : c.group.tiles) tiles += (tiles.empty() ? "" : " + ") + to_string(t);
    const bool second = !c.runner_up.text.empty();
    const auto us_cell = [](double us) { return us < 0 ? std::string() : fmt::format("{:.2f}", us); };
    std::vector<std::string> cells = {fmt::to_string(number++),
                                      span_text(*view.graph, c.group),
                                      kind_text(*view.graph, c.group),
                                      us_cell(c.group.cost.time_us),
                                      bytes_cell(c.group.cost.l2_bytes()),
                                      bytes_cell(c.group.cost.dram_bytes),
                                      us_cell(c.group.module ? c.unfused.cost.time_us : -1),
                                      c.runner_up.text,
                                      us_cell(second ? c.runner_up.cost.time_us : -1)};
    if (both) {
      cells.insert(cells.begin() + 4, us_cell(measured_us(view, c.group)));
      cells.insert(cells.begin() + 8, us_cell(c.group.module ? measured_alone_us(view, c.group) : -1));
    }
    if (details) cells.push_back(tiles);
    table.add(cells);
  }
  text += table.text() + "\n" + totals_text(view);
  return text;
}

std::string explain_text(const PlanView& view, const std::string& name) {
  const Graph& graph = *view.graph;
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.origin.name == name; });
  if (found == graph.nodes.end()) throw Error(ErrorCode::command_line, fmt::format("{} has no node \"{}\"", view.model, name));
  const auto id = static_cast<NodeId>(found - graph.nodes.begin());
  std::string text;
  for (const Choice& c : view.partition->choices) {
    if (std::find(c.group.nodes.begin(), c.group.nodes.end(), id) == c.group.nodes.end()) continue;
    text += fmt::format("{} {}\n", kind_text(graph, c.group), span_text(graph, c.group));
    for (const NodeId n : c.group.nodes)
      text += fmt::format("  node       {}: {}\n", node_of(graph, n).origin.name, to_string(node_of(graph, n).op));
    for (size_t i = 0; i < c.group.part_costs.size(); ++i) {
      if (c.group.module)
        text += fmt::format("  module     {}\n  tile       {}\n", to_string(c.group.segment.parts[i].spec), to_string(c.group.tiles[i]));
      const Cost& cost = c.group.part_costs[i];
      text += fmt::format("  time       {}\n", to_string(cost));
      text += fmt::format("  bytes      L2 {} (input {}, weights {}, output {}, residual {}, sums {}, gate {}), DRAM {}\n",
                          bytes_cell(cost.l2_bytes()), bytes_cell(cost.traffic.input), bytes_cell(cost.traffic.weights),
                          bytes_cell(cost.traffic.output), bytes_cell(cost.traffic.residual), bytes_cell(cost.traffic.sums),
                          bytes_cell(cost.traffic.gate), bytes_cell(cost.dram_bytes));
      text += fmt::format("  work       {:.0f} blocks, {:.1f} M multiply-adds on tensor cores, {:.1f} M on CUDA cores\n", cost.blocks,
                          cost.tensor_macs / 1e6, cost.core_macs / 1e6);
    }
    if (measured_us(view, c.group) >= 0)
      text += fmt::format("  measured   {:.2f} us, its nodes one by one {:.2f} us\n", measured_us(view, c.group),
                          measured_alone_us(view, c.group));
    if (c.group.module) text += alternative_line("unfused", c.unfused) + alternative_line("runner-up", c.runner_up);
  }
  for (const Refusal& r : view.partition->refusals) {
    if (std::find(r.nodes.begin(), r.nodes.end(), id) == r.nodes.end()) continue;
    text += fmt::format("  refused    {} from \"{}\": {}\n", r.pattern, node_of(graph, r.nodes.front()).origin.name, r.reason);
  }
  return text;
}

std::string dot_text(const PlanView& view) {
  const Graph& graph = *view.graph;
  const auto quoted = [](const std::string& s) {
    std::string out = "\"";
    for (const char c : s) out += c == '"' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
    return out + "\"";
  };
  std::string text = "digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n";
  int cluster = 0;
  for (const Choice& c : view.partition->choices) {
    if (c.group.module) {
      text += fmt::format("  subgraph cluster_{} {{\n    style=filled; color=\"#d7e8d4\"; label={};\n", cluster++,
                          quoted(fmt::format("{} {:.2f} us", c.group.text(), c.group.cost.time_us)));
    }
    for (const NodeId n : c.group.nodes) {
      const Node& node = node_of(graph, n);
      text += fmt::format("    n{} [label={}];\n", n, quoted(node.origin.name + "\n" + std::string(op_kind(node.op))));
    }
    if (c.group.module) text += "  }\n";
  }
  const Uses uses(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId v : graph.nodes[n].inputs) {
      if (v == kNoValue || uses.producer[static_cast<size_t>(v)] == kNoNode) continue;
      text += fmt::format("  n{} -> n{};\n", uses.producer[static_cast<size_t>(v)], n);
    }
  }
  return text + "}\n";
}

}  // namespace fcm::apps
