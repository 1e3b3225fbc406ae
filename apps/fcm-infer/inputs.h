// What the INPUT arguments name: image files, or tensors for the model's inputs.
#pragma once

#include <string>
#include <vector>

#include "apps/common/tensor.h"
#include "apps/fcm-infer/items.h"

namespace fcm::apps {

struct TensorArgument {
  std::string name;  ///< input of the model; empty: the next one that is not named
  std::string path;
};

struct InputList {
  std::vector<std::string> images;  ///< folders replaced by the image files in them, sorted
  std::vector<TensorArgument> tensors;
};

/// Throws Failure(kBadInput) for a folder without images or one that cannot be read, Failure(kCommandLine) for images mixed with tensors.
/// A file that does not exist is kept: it is reported when its turn comes.
InputList list_inputs(const std::vector<std::string>& arguments);

/// The tensors of all model inputs, in port order, each with the same number of items.
struct TensorInputs {
  std::vector<HostTensor> tensors;
  int64_t items = 0;
};

/// Loads and matches them. `fixed_items` as for item_layout. Throws Failure(kBadInput) for a dtype or shape that is not the model's (both
/// are named), Failure(kCommandLine) for a missing, unknown or doubly given input.
TensorInputs load_tensors(const std::vector<TensorArgument>& arguments, const std::vector<fcm_port>& ports, bool batch_free,
                          int64_t fixed_items);

}  // namespace fcm::apps
