// All outputs of all groups, joined into one tensor an output, and written as .npy files.
#pragma once

#include <string>
#include <vector>

#include "apps/common/tensor.h"
#include "apps/fcm-infer/items.h"

namespace fcm::apps {

/// An output's name as that of a file: every character but letters, digits, '.', '_' and '-' becomes '_'.
std::string file_name_of(const std::string& output);

class OutputSet {
 public:
  /// Throws Failure(kBadInput) when two outputs would share a file name.
  OutputSet(const std::vector<fcm_port>& ports, std::vector<ItemLayout> layouts);

  /// The outputs of a group of `items`, in port order. Throws Failure(kBadInput) when an output without a batch comes a second time.
  void add(std::vector<HostTensor> outputs, int64_t items);
  /// Everything added, in port order. Empties the set.
  std::vector<HostTensor> join();
  /// DIR/NAME.npy of output `i`.
  std::string path(const std::string& folder, size_t i) const;

 private:
  struct Part {
    std::vector<HostTensor> outputs;
    int64_t items;
  };
  std::vector<fcm_port> ports_;
  std::vector<ItemLayout> layouts_;
  std::vector<std::string> files_;
  std::vector<Part> parts_;
};

/// Writes every tensor to its path, making the folder when it is missing. Throws Failure(kBadInput) or api::Error.
void save_outputs(const OutputSet& set, const std::vector<HostTensor>& tensors, const std::string& folder);

}  // namespace fcm::apps
