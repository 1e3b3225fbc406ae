// Measured kernels as a text table: what fcm-tile-survey appends to and fcm-tile-fit reads.
#pragma once

#include <string>
#include <vector>

#include "fcm/spec.h"

namespace fcm::calibration {

/// One kernel at one batch.
struct Row {
  int batch = 1;
  double us = 0;  ///< a launch among launches of itself in a graph, overlapping as in plans
  ModuleSpec spec;
  TileConfig tile;
  int registers = 0;
  int spilled_bytes = 0;
  int resident = 0;  ///< blocks that the device holds at a time
};

/// "batch us registers spilled resident spec tile", separated by tabs.
std::string to_string(const Row& row);
/// Rows of a file; lines that start with '#' are comments, a last line without its end (an interrupted survey) is left out. Empty when
/// there is no such file. Throws Error(bad_input) naming file and line.
std::vector<Row> read_rows(const std::string& path);
/// What a row is a measurement of.
std::string key_of(const ModuleSpec& spec, const TileConfig& tile, int batch);

/// A module of a list, and the numbers of images that the list asks for (none: the reader's).
struct ListedModule {
  ModuleSpec spec;
  std::vector<int> images;
};
/// A list of modules: lines "name | spec" (apps/fcm-bench/modules), "name | spec | 1,8,64" with numbers of images, or specs alone; '#'
/// starts a comment. Every edge gets `dtype`. Throws Error(bad_input) naming file and line.
std::vector<ListedModule> read_modules(const std::string& path, DType dtype);

}  // namespace fcm::calibration
