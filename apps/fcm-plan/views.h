// A partition as text, JSON, Graphviz and HTML.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/partition.h"

namespace fcm::apps {

/// What was measured of a plan on the device, microseconds.
struct MeasuredPlan {
  std::map<std::vector<NodeId>, double> group_us;  ///< by a group's nodes: all its kernels
  std::map<NodeId, double> node_us;                ///< every node by its operator, in the plan without fusion
  double replay_us = 0;                            ///< one synchronised replay of the whole plan, median
  double unfused_replay_us = 0;
};

/// What is shown: a model's partition for one device, precision and batch.
struct PlanView {
  const Graph* graph = nullptr;
  const DeviceModel* device = nullptr;
  const Partition* partition = nullptr;
  std::string model;      ///< file name
  std::string precision;  ///< "fp16"
  std::string plan_hash;
  Objective objective = Objective::time;
  double planning_ms = 0;
  const MeasuredPlan* measured = nullptr;  ///< null: predictions alone
};

/// Measured time of a group, or of its nodes one by one; negative when it was not measured.
double measured_us(const PlanView& view, const Group& group);
double measured_alone_us(const PlanView& view, const Group& group);

/// "block3/expand .. block3/project": the first and last node of a group.
std::string span_text(const Graph& graph, const Group& group);
/// "PWDWPW", or the operator of a single node.
std::string kind_text(const Graph& graph, const Group& group);

/// A row a step, totals below. `details` adds tiles and the terms of the time.
std::string table_text(const PlanView& view, bool details);
/// Everything known of the step that holds a node: spec, tile, terms, what lost and why, what was refused around it.
/// Throws Error(command_line) when there is no such node.
std::string explain_text(const PlanView& view, const std::string& name);
std::string json_text(const PlanView& view);
/// A Graphviz digraph, modules as clusters.
std::string dot_text(const PlanView& view);
/// One self-contained page: the network as a column of blocks with time and bytes saved.
std::string html_text(const PlanView& view);

}  // namespace fcm::apps
