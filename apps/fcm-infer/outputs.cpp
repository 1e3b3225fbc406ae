// All outputs of all groups, joined and written.
#include "apps/fcm-infer/outputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "apps/common/program.h"

namespace fcm::apps {

std::string file_name_of(const std::string& output) {
  std::string name = output;
  const auto kept = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  std::replace_if(
      name.begin(), name.end(), [&](char c) { return !kept(c); }, '_');
  return name + ".npy";
}

OutputSet::OutputSet(const std::vector<fcm_port>& ports, std::vector<ItemLayout> layouts) : ports_(ports), layouts_(std::move(layouts)) {
  for (const fcm_port& port : ports_) {
    files_.push_back(file_name_of(port.name));
    if (std::count(files_.begin(), files_.end(), files_.back()) > 1) {
      throw Failure(kBadInput,
                    fmt::format("two outputs of the model would be the file '{}'; one of them is \"{}\"", files_.back(), port.name));
    }
  }
}

void OutputSet::add(std::vector<HostTensor> outputs, int64_t items) {
  for (size_t i = 0; i < layouts_.size() && !parts_.empty(); ++i) {
    if (layouts_[i].axis) continue;
    throw Failure(kBadInput,
                  fmt::format("output \"{}\" ({}) has no batch dimension, so that the outputs of several runs cannot be joined; give the "
                              "input of one run",
                              ports_[i].name, port_text(ports_[i])));
  }
  parts_.push_back({std::move(outputs), items});
}

std::vector<HostTensor> OutputSet::join() {
  int64_t total = 0;
  for (const Part& part : parts_) total += part.items;
  std::vector<HostTensor> joined;
  for (size_t i = 0; i < ports_.size(); ++i) {
    if (parts_.size() == 1) {
      joined.push_back(std::move(parts_[0].outputs[i]));
      continue;
    }
    HostTensor tensor(ports_[i].dtype, layouts_[i].dims_of(total));
    int64_t at = 0;
    for (const Part& part : parts_) {
      copy_items(layouts_[i], part.outputs[i].data(), part.items, 0, tensor.data(), total, at, part.items);
      at += part.items;
    }
    joined.push_back(std::move(tensor));
  }
  parts_.clear();
  return joined;
}

std::string OutputSet::path(const std::string& folder, size_t i) const {
  return (std::filesystem::path(folder) / files_[i]).string();
}

void save_outputs(const OutputSet& set, const std::vector<HostTensor>& tensors, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Failure(kBadInput, fmt::format("--save: folder '{}': {}", folder, error.message()));
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].save(set.path(folder, i));
}

}  // namespace fcm::apps
