// What a survey times: which modules, and which tiles of each.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "planner/device_model.h"
#include "tests/calibration/table.h"

namespace fcm::calibration {

struct SurveyOptions {
  std::vector<int> batches = {1, 8, 64};
  size_t best = 4;    ///< tiles that the planner's search likes most, a batch
  size_t spread = 8;  ///< other tiles, good and bad, over all batches
};

/// A module and the numbers of images to time it at.
struct Subject {
  ModuleSpec spec;
  std::set<int> images;
};

/// Modules, each once, in order of appearance.
class Subjects {
 public:
  void add(const ModuleSpec& spec, const std::vector<int>& images);
  /// Modules of every legal segment of a network (an .onnx file), with the sums that the planner's tiles make and the images (of layers on
  /// tokens: rows) that these batches give. Throws Error as the import does.
  void add_segments(const std::string& file, const DeviceModel& device, DType dtype, const std::vector<int>& batches);
  const std::vector<Subject>& list() const { return list_; }

 private:
  std::map<std::string, size_t> at_;
  std::vector<Subject> list_;
};

/// A kernel and the batches to time it at.
struct Task {
  ModuleSpec spec;
  TileConfig tile;
  std::vector<int> batches;
};

/// All work that `known` does not hold, the first tile of every module before the second of any, so that what is done when time runs out
/// covers all modules. Deterministic; uses all cores.
std::vector<Task> tasks_of(const std::vector<Subject>& subjects, const SurveyOptions& options, const DeviceModel& device,
                           const std::vector<Row>& known);

/// What a table holds that was within a factor 1 + `within` of its module's fastest at that number of images, to be timed again with other
/// kernels; every module's best first. Without what `known` holds.
std::vector<Task> tasks_again(const std::vector<Row>& table, double within, const std::vector<Row>& known);

}  // namespace fcm::calibration
