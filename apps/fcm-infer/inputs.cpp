// What the INPUT arguments name.
#include "apps/fcm-infer/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>

#include "apps/common/program.h"

namespace fcm::apps {
namespace {

namespace fs = std::filesystem;

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

bool is_image_name(const fs::path& path) {
  constexpr std::array<std::string_view, 5> kExtensions = {".jpg", ".jpeg", ".png", ".bmp", ".gif"};
  return std::find(kExtensions.begin(), kExtensions.end(), lower_extension(path)) != kExtensions.end();
}

std::vector<std::string> images_in(const fs::path& folder) {
  std::vector<std::string> found;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (is_image_name(entry.path()) && !entry.is_directory()) found.push_back(entry.path().string());
    }
  } catch (const fs::filesystem_error& e) {
    throw Failure(kBadInput, fmt::format("folder '{}': {}", folder.string(), e.code().message()));
  }
  if (found.empty()) throw Failure(kBadInput, fmt::format("folder '{}': holds no image (.jpg, .jpeg, .png, .bmp, .gif)", folder.string()));
  std::sort(found.begin(), found.end());
  return found;
}

/// An existing file is a path as it stands, even if its name holds '='.
TensorArgument tensor_argument(const std::string& text) {
  const size_t equals = text.find('=');
  std::error_code ignored;
  if (equals == std::string::npos || fs::exists(text, ignored)) return {"", text};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// The number of items in `dims`, or nothing when they are not the port's.
std::optional<int64_t> items_in(const std::vector<int64_t>& dims, const ItemLayout& layout, bool batch_free, int64_t fixed_items) {
  if (dims.size() != layout.dims.size()) return std::nullopt;
  int64_t items = batch_free ? 0 : fixed_items;  // 0: not known yet
  if (batch_free && layout.axis) {
    const int64_t factor = layout.dims[*layout.axis];
    if (factor <= 0 || dims[*layout.axis] <= 0 || dims[*layout.axis] % factor != 0) return std::nullopt;
    items = dims[*layout.axis] / factor;
  }
  return dims == layout.dims_of(items) ? std::optional(items) : std::nullopt;
}

}  // namespace

InputList list_inputs(const std::vector<std::string>& arguments) {
  InputList list;
  for (const std::string& argument : arguments) {
    std::error_code ignored;
    if (fs::is_directory(argument, ignored)) {
      const std::vector<std::string> found = images_in(argument);
      list.images.insert(list.images.end(), found.begin(), found.end());
    } else if (lower_extension(argument) == ".npy") {
      list.tensors.push_back(tensor_argument(argument));
    } else {
      list.images.push_back(argument);
    }
  }
  if (!list.images.empty() && !list.tensors.empty()) {
    throw Failure(kCommandLine,
                  fmt::format("INPUT: images ('{}') and tensors ('{}') cannot be mixed", list.images[0], list.tensors[0].path));
  }
  return list;
}

TensorInputs load_tensors(const std::vector<TensorArgument>& arguments, const std::vector<fcm_port>& ports, bool batch_free,
                          int64_t fixed_items) {
  std::map<size_t, std::string> paths;  // by port
  const auto assign = [&](size_t port, const std::string& path) {
    if (!paths.emplace(port, path).second) throw Failure(kCommandLine, fmt::format("input \"{}\" is given twice", ports[port].name));
  };
  std::string names;
  for (const fcm_port& port : ports)
    names += fmt::format("{}\"{}\" ({} {})", names.empty() ? "" : ", ", port.name, dtype_text(port.dtype), port_text(port));
  for (const TensorArgument& argument : arguments) {
    if (argument.name.empty()) continue;
    const auto found = std::find_if(ports.begin(), ports.end(), [&](const fcm_port& port) { return argument.name == port.name; });
    if (found == ports.end()) throw Failure(kCommandLine, fmt::format("the model has no input \"{}\"; it has {}", argument.name, names));
    assign(static_cast<size_t>(found - ports.begin()), argument.path);
  }
  for (const TensorArgument& argument : arguments) {
    if (!argument.name.empty()) continue;
    size_t next = 0;
    while (paths.count(next) > 0) ++next;
    if (next >= ports.size())
      throw Failure(kCommandLine, fmt::format("'{}' is one tensor too many; the model's inputs are {}", argument.path, names));
    assign(next, argument.path);
  }
  if (paths.size() != ports.size()) {
    throw Failure(kCommandLine, fmt::format("the model's inputs are {}; {} of {} were given", names, paths.size(), ports.size()));
  }

  TensorInputs inputs;
  for (size_t i = 0; i < ports.size(); ++i) {
    HostTensor tensor(paths[i]);
    const ItemLayout layout = item_layout(ports[i], batch_free ? 1 : fixed_items);
    const auto items = items_in(tensor.dims(), layout, batch_free, fixed_items);
    if (tensor.dtype() != ports[i].dtype || !items) {
      throw Failure(kBadInput, fmt::format("tensor '{}': is {} {}, but input \"{}\" is {} {}", paths[i], dtype_text(tensor.dtype()),
                                           dims_text(tensor.dims()), ports[i].name, dtype_text(ports[i].dtype), port_text(ports[i])));
    }
    if (*items > 0 && inputs.items > 0 && *items != inputs.items) {
      throw Failure(kBadInput, fmt::format("tensor '{}': has a batch of {}, the inputs before it {}", paths[i], *items, inputs.items));
    }
    inputs.items = std::max(inputs.items, *items);
    inputs.tensors.push_back(std::move(tensor));
  }
  inputs.items = std::max<int64_t>(inputs.items, 1);
  return inputs;
}

}  // namespace fcm::apps
