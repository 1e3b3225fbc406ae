// A model made ready, and runs of groups of items.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/tensor.h"
#include "apps/fcm-infer/arguments.h"
#include "apps/fcm-infer/items.h"

namespace fcm::apps {

/// Microseconds.
struct Timing {
  double decode = 0;
  double preprocess = 0;
  double upload = 0;
  double compute = 0;
  double download = 0;
  double total = 0;  ///< of the run, as the caller sees it
};

/// Items that ran together. The times are of the last repetition.
struct Group {
  std::vector<std::string> names;   ///< one an item
  std::vector<HostTensor> outputs;  ///< in port order
  Timing timing;
  std::vector<double> compute_us;  ///< one a repetition
  std::vector<double> total_us;

  int64_t items() const { return static_cast<int64_t>(names.size()); }
};

class Session {
 public:
  /// Loads the model and creates the engine, with progress on a terminal.
  explicit Session(const Arguments& arguments);

  const api::Model& model() const { return model_; }
  const api::Engine& engine() const { return engine_; }
  const std::vector<fcm_port>& inputs() const { return inputs_; }
  const std::vector<fcm_port>& outputs() const { return outputs_; }
  const std::vector<ItemLayout>& output_layouts() const { return output_layouts_; }
  bool batch_free() const { return batch_free_; }
  /// Items in every run of a model with a fixed batch: the first dimension of its first input; 1 when the batch is free.
  int64_t fixed_items() const { return fixed_items_; }
  /// Items a run: `wanted` for a free batch, else the fixed one. Throws Failure(kCommandLine) when `wanted` (0: no wish) differs.
  int64_t items_per_run(int64_t wanted, int64_t fallback) const;

  /// Allocates for runs of up to `items` items.
  void prepare(int64_t items);
  /// Runs the named items `repeat` times. The buffers in `inputs` hold names.size() items, or fixed_items() for a fixed batch, of which the
  /// outputs of the first names.size() are kept.
  Group run(std::vector<std::string> names, const std::vector<fcm_input>& inputs, int64_t repeat);

  /// Steps [first, last] of the plan against the CPU reference, on `items` items.
  void check_steps(int64_t items, const std::vector<fcm_input>& inputs, size_t first, size_t last,
                   const std::function<void(const fcm_step_check&)>& report);
  /// Calls `report` for the first step that makes an infinity or NaN; where that is a fused module, once more for the first such layer of
  /// the network without fusion. False when there is none.
  bool find_nonfinite(int64_t items, const std::vector<fcm_input>& inputs, const std::function<void(const fcm_step_check&)>& report);

 private:
  const Arguments& arguments_;
  api::Model model_;
  api::Engine engine_;
  std::vector<fcm_port> inputs_;
  std::vector<fcm_port> outputs_;
  std::vector<ItemLayout> output_layouts_;
  bool batch_free_ = false;
  int64_t fixed_items_ = 1;
  std::optional<api::Context> context_;
};

}  // namespace fcm::apps
