// A plan as a file: the decisions that made it (which nodes are modules, with which tiles; which algorithms were measured best), from which
// the same plan is made again. JSON, versioned; what does not fit the model or the device is refused with the reason.
#pragma once

#include <string>

#include "planner/device_model.h"
#include "planner/plan.h"
#include "planner/segments.h"

namespace fcm {

/// 16 hex digits over the graph's text: its operators, shapes and names, not its weights.
std::string graph_digest(const Graph& graph);

/// The file's text. Throws Error(internal) for a plan that is not one of this graph.
std::string plan_file_text(const Graph& graph, const Plan& plan);

/// The plan of a file for `graph` on a device. A plan made for another device is taken, with a warning in the log, where every module is
/// legal on this one; its device stays in the plan and its hash. `source` stands for the file in messages.
/// Throws Error(bad_input): no plan file, another format version, another model, nodes that are no segment, a refused tile, or steps that
/// do not give the hash that the file names (a plan of another version of the planner). Throws as plan_unfused does.
Plan read_plan_file(const std::string& text, const std::string& source, const Graph& graph, const PlanBackend& backend,
                    const DeviceModel& device);

}  // namespace fcm
